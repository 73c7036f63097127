//! When the versions of a package came out, as the registry itself says it.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    asked::{Asked, Package, pypi},
    version::Version,
};
use crate::policy::{RegistryKind, UrlPath};

/// Why an answer of a registry does not say it.
#[derive(Debug, thiserror::Error)]
pub enum Unlearned {
    /// It is not what it should be.
    #[error("the registry's answer is no metadata of a package: {0}")]
    Answer(String),
    /// Such a registry has no such answer.
    #[error("a registry of `{kind}` does not say when a version came out", kind = .0.name())]
    Never(RegistryKind),
}

/// When the versions of one package came out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// By version; of pip by host and path of the file, for a version may get files later.
    at: HashMap<String, Timestamp>,
    /// Versions that a person could take, each with when the last of it came out.
    versions: Vec<(String, Timestamp)>,
}

impl Published {
    /// Reads the registry's answer about a package. `base` is where it came from, against which
    /// addresses in it are read.
    ///
    /// # Errors
    /// Returns [`Unlearned`] when it is no metadata of a package.
    pub fn read(kind: RegistryKind, base: &url::Url, body: &[u8]) -> Result<Self, Unlearned> {
        match kind {
            RegistryKind::Npm => npm(body),
            RegistryKind::Crates => crates(body),
            RegistryKind::Pypi => python(base, body),
            RegistryKind::Debian => Err(Unlearned::Never(kind)),
        }
    }

    /// Returns when a package came out; `place` is its host and path, which count for pip. None
    /// when the registry does not say.
    #[must_use]
    pub fn of(&self, package: &Package, place: &str) -> Option<Timestamp> {
        match package.kind {
            RegistryKind::Pypi => self
                .at
                .get(place.strip_suffix(".metadata").unwrap_or(place)),
            _ => self.at.get(&package.version),
        }
        .copied()
    }

    /// Returns the newest final version that was out at a time.
    #[must_use]
    pub fn newest_at(&self, kind: RegistryKind, time: Timestamp) -> Option<&str> {
        let out = self.versions.iter().filter(|(_, at)| *at <= time);
        let read = out.filter_map(|(text, _)| Some((Version::read(kind, text)?, text.as_str())));
        let newest = read
            .filter(|(version, _)| version.is_final())
            .max_by(|(a, _), (b, _)| a.order(b).unwrap_or(std::cmp::Ordering::Equal));
        newest.map(|(_, text)| text)
    }

    /// Returns how many times it holds, which is what it costs to remember.
    #[must_use]
    pub fn len(&self) -> usize {
        self.at.len() + self.versions.len()
    }

    /// Returns whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn add(&mut self, key: String, version: &str, at: Timestamp) {
        self.at.insert(key, at);
        self.versions.push((version.to_owned(), at));
    }
}

fn wrong(error: impl std::fmt::Display) -> Unlearned {
    Unlearned::Answer(error.to_string())
}

/// The whole packument; the short form that clients prefer has no times.
fn npm(body: &[u8]) -> Result<Published, Unlearned> {
    #[derive(Deserialize)]
    struct Packument {
        time: HashMap<String, serde_json::Value>,
    }
    let packument: Packument = serde_json::from_slice(body).map_err(wrong)?;
    let mut published = Published::default();
    for (version, at) in packument.time {
        let at = at.as_str().and_then(|at| at.parse().ok());
        if let Some(at) = at.filter(|_| !matches!(version.as_str(), "created" | "modified")) {
            published.add(version.clone(), &version, at);
        }
    }
    Ok(published)
}

/// One line of JSON for each version.
fn crates(body: &[u8]) -> Result<Published, Unlearned> {
    #[derive(Deserialize)]
    struct Line {
        vers: String,
        #[serde(default)]
        yanked: bool,
        pubtime: Option<String>,
    }
    let text = std::str::from_utf8(body).map_err(wrong)?;
    let mut published = Published::default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let line: Line = serde_json::from_str(line).map_err(wrong)?;
        let Some(at) = line.pubtime.and_then(|at| at.parse().ok()) else {
            continue;
        };
        published.at.insert(line.vers.clone(), at);
        if !line.yanked {
            published.versions.push((line.vers, at));
        }
    }
    Ok(published)
}

/// A page of an index, in JSON (PEP 691, 700) or in HTML with the same as attributes.
fn python(base: &url::Url, body: &[u8]) -> Result<Published, Unlearned> {
    let text = std::str::from_utf8(body).map_err(wrong)?;
    let files = match text.trim_start().starts_with('{') {
        true => listed(text)?,
        false => linked(text),
    };
    let mut published = Published::default();
    for (address, at) in files {
        let Some((place, name)) = placed(base, &address) else {
            continue;
        };
        let Some(at) = at.and_then(|at| at.parse().ok()) else {
            continue;
        };
        if let Ok(Asked::Package(package)) = pypi::file(&name) {
            published.add(place, &package.version, at);
        }
    }
    // A version is as young as its youngest file.
    published
        .versions
        .sort_by(|a, b| (&a.0, b.1).cmp(&(&b.0, a.1)));
    published.versions.dedup_by(|next, first| next.0 == first.0);
    Ok(published)
}

fn listed(text: &str) -> Result<Vec<(String, Option<String>)>, Unlearned> {
    #[derive(Deserialize)]
    struct Page {
        files: Vec<File>,
    }
    #[derive(Deserialize)]
    struct File {
        url: String,
        #[serde(rename = "upload-time")]
        uploaded: Option<String>,
    }
    let page: Page = serde_json::from_str(text).map_err(wrong)?;
    let files = page.files.into_iter();
    Ok(files.map(|file| (file.url, file.uploaded)).collect())
}

/// Returns the links of a page, each with when its file was uploaded.
fn linked(text: &str) -> Vec<(String, Option<String>)> {
    let links = text.split("<a ").skip(1);
    let links = links.filter_map(|link| {
        let tag = link.split('>').next()?;
        let address = attribute(tag, "href")?;
        Some((address, attribute(tag, "data-upload-time")))
    });
    links.collect()
}

/// Returns the value of a quoted attribute.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let mut rest = tag;
    loop {
        let (before, behind) = rest.split_once('=')?;
        let behind = behind.trim_start();
        let quote = behind.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, next) = behind.get(1..)?.split_once(quote)?;
        if before.trim() == name {
            return Some(value.replace("&amp;", "&"));
        }
        rest = next;
    }
}

/// Returns host and path, in its normal form, of a file's address, and its name.
fn placed(base: &url::Url, address: &str) -> Option<(String, String)> {
    let url = base.join(address).ok()?;
    let path: UrlPath = url.path().parse().ok()?;
    let name = path.as_str().rsplit('/').next()?.to_owned();
    Some((format!("{}{}", url.host_str()?, path.as_str()), name))
}
