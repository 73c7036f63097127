//! Advisories in the format of the OSV project: one JSON object a record.
//!
//! Read strictly, so that a fault is told with its place: what is not understood could be what
//! would have refused a package. Ranges of commits, ecosystems without a registry here, and records
//! that were withdrawn are left out.

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IgnoredAny, MapAccess},
};

use super::name::canonical;
use crate::{diagnostic::Diagnostic, policy::RegistryKind};

/// One record, as far as it concerns packages of a registry that rules may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its id, such as `GHSA-xxxx-xxxx-xxxx`.
    pub id: String,
    /// When it was last changed, in RFC 3339.
    pub modified: jiff::Timestamp,
    /// Whether it was taken back.
    pub withdrawn: bool,
    /// Whose packages it is about, each with its name in the form in which names are compared.
    pub about: Vec<(RegistryKind, String, Advisory)>,
}

/// A text that is no record, and where.
pub type FaultyRecord = Diagnostic;

/// What an advisory says of one package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advisory {
    /// Its id.
    pub id: String,
    /// Its other ids.
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// How bad it is, in a word of whoever wrote it.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Of Debian: for which release, such as `12`.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Which versions it is about.
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Range>,
    /// Further versions that it is about.
    #[serde(rename = "v", default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
}

/// A stretch of versions, as what happened at which version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range(pub Vec<Event>);

/// What happened at a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// From it on versions are affected; `0` is before all.
    Introduced(String),
    /// From it on they are not.
    Fixed(String),
    /// After it they are not.
    LastAffected(String),
    /// From it on nothing is said.
    Limit(String),
}

#[derive(Deserialize)]
struct Raw {
    id: Id,
    modified: jiff::Timestamp,
    withdrawn: Option<jiff::Timestamp>,
    aliases: Option<Vec<Id>>,
    affected: Option<Vec<Affected>>,
    database_specific: Option<Own>,
}

#[derive(Deserialize)]
struct Affected {
    package: Option<Package>,
    ranges: Option<Vec<RawRange>>,
    versions: Option<Vec<String>>,
    database_specific: Option<Own>,
    ecosystem_specific: Option<Own>,
}

#[derive(Deserialize)]
struct Package {
    ecosystem: String,
    name: String,
}

#[derive(Deserialize)]
struct RawRange {
    #[serde(rename = "type")]
    kind: RangeKind,
    events: Vec<Event>,
}

#[derive(Deserialize, PartialEq, Eq)]
enum RangeKind {
    #[serde(rename = "SEMVER")]
    Semver,
    #[serde(rename = "ECOSYSTEM")]
    Ecosystem,
    #[serde(rename = "GIT")]
    Git,
}

/// What a database adds of its own, of which only a word for how bad it is counts.
#[derive(Default)]
struct Own {
    severity: Option<String>,
}

impl<'de> Deserialize<'de> for Own {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Own;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of the database's own")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Own, A::Error> {
                let mut own = Own::default();
                while let Some(key) = map.next_key::<String>()? {
                    if key == "severity" {
                        own.severity = word(&map.next_value::<serde_json::Value>()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(own)
            }
        }
        from.deserialize_map(Visitor)
    }
}

fn word(value: &serde_json::Value) -> Option<String> {
    let text = value.as_str()?.to_ascii_lowercase();
    let fits = (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase());
    fits.then_some(text)
}

/// An id: it is shown to people and sent in answers, so its letters are few.
struct Id(String);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
        if (1..=128).contains(&text.len()) && text.bytes().all(letter) {
            return Ok(Self(text));
        }
        Err(de::Error::custom(
            "an id has up to 128 letters, digits, `-`, `_`, `.` and `:`",
        ))
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Event;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(
                    "one of `introduced`, `fixed`, `last_affected` and `limit` with a version",
                )
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
                let wrong = || {
                    de::Error::custom(
                        "an event has exactly one of `introduced`, `fixed`, `last_affected` and `limit`",
                    )
                };
                let (key, version) = map.next_entry::<String, String>()?.ok_or_else(wrong)?;
                if map.next_key::<IgnoredAny>()?.is_some() {
                    return Err(wrong());
                }
                match key.as_str() {
                    "introduced" => Ok(Event::Introduced(version)),
                    "fixed" => Ok(Event::Fixed(version)),
                    "last_affected" => Ok(Event::LastAffected(version)),
                    "limit" => Ok(Event::Limit(version)),
                    _ => Err(wrong()),
                }
            }
        }
        from.deserialize_map(Visitor)
    }
}

impl Record {
    /// Reads a record; `file` is how a fault names it.
    ///
    /// # Errors
    /// Returns where the text is no record, with what would be right.
    pub fn read(file: &std::path::Path, text: &str) -> Result<Self, Box<FaultyRecord>> {
        let raw: Raw = serde_json::from_str(text).map_err(|error| fault(file, text, &error))?;
        let mut about = Vec::new();
        let aliases: Vec<String> = raw
            .aliases
            .unwrap_or_default()
            .into_iter()
            .map(|id| id.0)
            .collect();
        for affected in raw.affected.unwrap_or_default() {
            let of = affected.database_specific.and_then(|own| own.severity);
            let of = of.or_else(|| affected.ecosystem_specific.and_then(|own| own.severity));
            let whole = raw.database_specific.as_ref();
            let Some((kind, name, release)) = affected.package.and_then(registry) else {
                continue;
            };
            let advisory = Advisory {
                id: raw.id.0.clone(),
                aliases: aliases.clone(),
                severity: of.or_else(|| whole.and_then(|own| own.severity.clone())),
                release,
                ranges: ranges(affected.ranges),
                versions: affected.versions.unwrap_or_default(),
            };
            let advisory = advisory.without_repeats(kind);
            if !advisory.ranges.is_empty() || !advisory.versions.is_empty() {
                about.push((kind, name, advisory));
            }
        }
        Ok(Self {
            id: raw.id.0,
            modified: raw.modified,
            withdrawn: raw.withdrawn.is_some(),
            about,
        })
    }
}

fn ranges(raw: Option<Vec<RawRange>>) -> Vec<Range> {
    let raw = raw.unwrap_or_default().into_iter();
    raw.filter(|range| range.kind != RangeKind::Git && !range.events.is_empty())
        .map(|range| Range(range.events))
        .collect()
}

/// Returns whose package it is; none of an ecosystem that no rule names. Behind a `:` stands the
/// release of a distribution.
fn registry(package: Package) -> Option<(RegistryKind, String, Option<String>)> {
    let (ecosystem, release) = match package.ecosystem.split_once(':') {
        Some((ecosystem, release)) => (ecosystem, Some(release.to_owned())),
        None => (package.ecosystem.as_str(), None),
    };
    let kind = match ecosystem.split('.').next()? {
        "npm" => RegistryKind::Npm,
        "PyPI" => RegistryKind::Pypi,
        "crates" => RegistryKind::Crates,
        "Debian" => RegistryKind::Debian,
        _ => return None,
    };
    // No request could ask for a name that is none.
    Some((kind, canonical(kind, &package.name)?, release))
}

fn fault(file: &std::path::Path, text: &str, error: &serde_json::Error) -> Box<FaultyRecord> {
    let said = error.to_string();
    let message = said
        .rsplit_once(" at line ")
        .map_or(said.as_str(), |(said, _)| said);
    let picture = text.lines().nth(error.line().saturating_sub(1));
    Box::new(Diagnostic {
        file: file.to_owned(),
        line: error.line(),
        column: error.column().max(1),
        width: 1,
        picture: picture.unwrap_or_default().to_owned(),
        message: format!("no advisory in OSV format: {message}"),
        help: Some(
            "one JSON object with `id`, `modified` and `affected`, as the OSV project exports it"
                .to_owned(),
        ),
    })
}
