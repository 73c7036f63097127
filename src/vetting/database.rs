//! The advisories of this machine as one text: a line that says what it is, the hash of all that
//! follows, a line that sums it up, then a line for each package, sorted.
//!
//! A lookup is a binary search over lines, and only the line it finds is read: starting with two
//! hundred thousand advisories costs one hash.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::osv::{Advisory, Record};
use crate::{digest::Digest, policy::RegistryKind};

const MAGIC: &str = "loki advisories 1";

/// The kinds, in the order and by the names of lines.
const KINDS: [RegistryKind; 4] = [
    RegistryKind::Crates,
    RegistryKind::Debian,
    RegistryKind::Npm,
    RegistryKind::Pypi,
];

/// What was imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// When.
    pub imported: jiff::Timestamp,
    /// From which directories or files.
    pub from: Vec<String>,
    /// When the newest record was last changed.
    pub newest: Option<jiff::Timestamp>,
    /// Records that are kept, by registry.
    pub advisories: BTreeMap<String, u64>,
    /// Packages that they are about.
    pub packages: u64,
    /// Records left out because they were withdrawn.
    pub withdrawn: u64,
    /// Records left out because no registry here has what they are about.
    pub elsewhere: u64,
}

/// Records as they come in.
#[derive(Debug, Default)]
pub struct Collection {
    packages: BTreeMap<(&'static str, String), Vec<Advisory>>,
    advisories: BTreeMap<String, u64>,
    newest: Option<jiff::Timestamp>,
    withdrawn: u64,
    elsewhere: u64,
}

/// A stored text that is no database as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It does not begin as one.
    #[error("it is no database of advisories of this version of loki")]
    Strange,
    /// It is not what was written.
    #[error("it was changed, or not written whole")]
    Changed,
}

/// The advisories of this machine.
#[derive(Debug)]
pub struct Database {
    bytes: Vec<u8>,
    /// Where each package's line begins; one more for the end.
    lines: Vec<usize>,
    summary: Summary,
}

impl Collection {
    /// Takes a record in.
    pub fn add(&mut self, record: Record) {
        self.newest = self.newest.max(Some(record.modified));
        if record.withdrawn {
            self.withdrawn += 1;
            return;
        }
        if record.about.is_empty() {
            self.elsewhere += 1;
            return;
        }
        let mut kinds: Vec<&str> = Vec::new();
        for (kind, name, advisory) in record.about {
            let word = kind.name();
            if !kinds.contains(&word) {
                kinds.push(word);
                *self.advisories.entry(word.to_owned()).or_default() += 1;
            }
            self.packages
                .entry((word, name))
                .or_default()
                .push(advisory);
        }
    }

    /// Returns whether nothing of use came in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    /// Writes all of it as one text. The same records give the same text, in whatever order they
    /// came, but for the time of the import and where they came from.
    #[must_use]
    pub fn written(mut self, imported: jiff::Timestamp, from: Vec<String>) -> (Vec<u8>, Summary) {
        let summary = Summary {
            imported,
            from,
            newest: self.newest,
            advisories: self.advisories,
            packages: u64::try_from(self.packages.len()).unwrap_or(u64::MAX),
            withdrawn: self.withdrawn,
            elsewhere: self.elsewhere,
        };
        let mut body = serde_json::to_vec(&summary).expect("a summary is always JSON");
        body.push(b'\n');
        for ((kind, name), advisories) in &mut self.packages {
            advisories.sort_by(|a, b| a.id.cmp(&b.id));
            body.extend_from_slice(format!("{kind} {name}\t").as_bytes());
            serde_json::to_writer(&mut body, advisories).expect("advisories are always JSON");
            body.push(b'\n');
        }
        let digest = Digest::of(&body);
        let mut bytes = format!("{MAGIC}\n").into_bytes();
        bytes.extend_from_slice(&digest.hex());
        bytes.push(b'\n');
        bytes.extend_from_slice(&body);
        (bytes, summary)
    }
}

impl Database {
    /// Takes a stored text, once its hash was checked.
    ///
    /// # Errors
    /// Returns [`Unusable`] when it is not as [`Collection::written`] made it.
    pub fn read(bytes: Vec<u8>) -> Result<Self, Unusable> {
        let rest = bytes
            .strip_prefix(MAGIC.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"\n"));
        let rest = rest.ok_or(Unusable::Strange)?;
        let (hash, body) = rest.split_at_checked(65).ok_or(Unusable::Changed)?;
        if hash.last() != Some(&b'\n') || Digest::of(body).hex() != hash[..64] {
            return Err(Unusable::Changed);
        }
        let start = bytes.len() - body.len();
        let mut ends = body.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let (first, _) = ends.next().ok_or(Unusable::Changed)?;
        let summary = serde_json::from_slice(&body[..first]).map_err(|_| Unusable::Strange)?;
        let mut lines = vec![start + first + 1];
        lines.extend(ends.map(|(at, _)| start + at + 1));
        Ok(Self {
            lines,
            summary,
            bytes,
        })
    }

    /// Returns what was imported.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Returns the advisories about a package, by its name in the form in which names are compared.
    ///
    /// # Errors
    /// Returns [`Unusable`] when the package's line is no list of advisories.
    pub fn about(&self, kind: RegistryKind, name: &str) -> Result<Vec<Advisory>, Unusable> {
        let wanted = format!("{} {name}", kind.name());
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low + (high - low) / 2;
            let (key, json) = self.line(middle).ok_or(Unusable::Changed)?;
            match key.cmp(wanted.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return read(json),
            }
        }
        Ok(Vec::new())
    }

    /// Returns every package with its advisories, in order.
    pub fn packages(
        &self,
    ) -> impl Iterator<Item = Result<(RegistryKind, String, Vec<Advisory>), Unusable>> {
        (0..self.count()).map(|at| {
            let (key, json) = self.line(at).ok_or(Unusable::Changed)?;
            let key = std::str::from_utf8(key).map_err(|_| Unusable::Strange)?;
            let (kind, name) = key.split_once(' ').ok_or(Unusable::Strange)?;
            let kind = KINDS.iter().find(|known| known.name() == kind);
            Ok((
                *kind.ok_or(Unusable::Strange)?,
                name.to_owned(),
                read(json)?,
            ))
        })
    }

    fn count(&self) -> usize {
        self.lines.len().saturating_sub(1)
    }

    /// Returns the key and the JSON of a line.
    fn line(&self, at: usize) -> Option<(&[u8], &[u8])> {
        let (from, to) = (*self.lines.get(at)?, *self.lines.get(at + 1)?);
        let line = self.bytes.get(from..to)?.strip_suffix(b"\n")?;
        let tab = line.iter().position(|byte| *byte == b'\t')?;
        Some((&line[..tab], &line[tab + 1..]))
    }
}

fn read(json: &[u8]) -> Result<Vec<Advisory>, Unusable> {
    serde_json::from_slice(json).map_err(|_| Unusable::Strange)
}
