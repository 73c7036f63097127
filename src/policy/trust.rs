//! What a person trusted: the files of a project's policy as they were when he looked.
//!
//! Kept outside the repository, so that nothing that comes with the code can trust itself. Trust is
//! for the files together: a file that is changed, added or gone ends it, because a removed denial
//! widens like an added rule.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use similar::{ChangeTag, TextDiff};

use super::{Layer, Source, Trust};
use crate::digest::Digest;

/// The format of the pins.
const VERSION: u32 = 1;

/// The trusted files of one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    version: u32,
    /// The repository, for people who look.
    repository: String,
    /// Each file by its name below `.loki/policies`.
    files: BTreeMap<String, Pin>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    sha256: Digest,
    /// The text, so that a change can be shown.
    text: String,
}

/// Why kept pins are not believed.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// They are no JSON of this form.
    #[error("the pins cannot be read")]
    Form(#[from] serde_json::Error),
    /// They were written by another Loki.
    #[error("the pins have version {0}, and this Loki reads {VERSION}")]
    Version(u32),
    /// A pinned text is not the one that was pinned.
    #[error("the pinned text of `{0}` does not have its hash")]
    Text(String),
}

/// How a project's files differ from the trusted ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The file, by its name below `.loki/policies`.
    pub file: String,
    /// The lines that came and went, each with `+` or `-` in front. Text of unknown origin.
    pub lines: Vec<String>,
}

impl Pins {
    /// Pins the project's files among `sources`.
    #[must_use]
    pub fn of(repository: &str, sources: &[Source]) -> Self {
        let pin = |(name, text): (String, &str)| {
            let sha256 = Digest::of(text.as_bytes());
            let text = text.to_owned();
            (name, Pin { sha256, text })
        };
        Self {
            version: VERSION,
            repository: repository.to_owned(),
            files: project(sources).map(pin).collect(),
        }
    }

    /// Reads pins as [`Pins::text`] wrote them.
    ///
    /// # Errors
    /// When they are damaged or of another version.
    pub fn parse(text: &str) -> Result<Self, PinsError> {
        let pins: Self = serde_json::from_str(text)?;
        if pins.version != VERSION {
            return Err(PinsError::Version(pins.version));
        }
        let damaged = |(_, pin): &(&String, &Pin)| Digest::of(pin.text.as_bytes()) != pin.sha256;
        match pins.files.iter().find(damaged) {
            Some((name, _)) => Err(PinsError::Text(name.clone())),
            None => Ok(pins),
        }
    }

    /// Returns the pins as text to keep.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("pins are texts and numbers")
    }

    /// Returns whether the project's files among `sources` are exactly the trusted ones.
    #[must_use]
    pub fn trust(&self, sources: &[Source]) -> Trust {
        if *self == Self::of(&self.repository, sources) {
            Trust::Pinned
        } else {
            Trust::No
        }
    }

    /// Returns how the project's files among `sources` differ from the trusted ones.
    #[must_use]
    pub fn changes(&self, sources: &[Source]) -> Vec<Change> {
        let now: BTreeMap<String, &str> = project(sources).collect();
        let names = self.files.keys().chain(now.keys());
        let names: std::collections::BTreeSet<&String> = names.collect();
        let change = |name: &String| {
            let old = self.files.get(name).map_or("", |pin| &pin.text);
            let new = now.get(name).copied().unwrap_or_default();
            let is_same = old == new && self.files.contains_key(name) == now.contains_key(name);
            (!is_same).then(|| Change {
                file: name.clone(),
                lines: changed_lines(old, new),
            })
        };
        names.into_iter().filter_map(change).collect()
    }
}

/// Returns the name and text of each file of the project.
fn project(sources: &[Source]) -> impl Iterator<Item = (String, &str)> {
    let project = sources
        .iter()
        .filter(|source| source.layer == Layer::Project);
    project.map(|source| {
        let name = source.file.file_name().unwrap_or(source.file.as_os_str());
        // Two names that are no text must not become one: only one of them would be pinned.
        let text = name.to_str().map(str::to_owned);
        let name = text.unwrap_or_else(|| format!("{name:?}"));
        (name, source.text.as_str())
    })
}

/// Returns the lines of a policy that came (`+`) and went (`-`), as people read them.
#[must_use]
pub fn changed_lines(old: &str, new: &str) -> Vec<String> {
    let diff = TextDiff::from_lines(old, new);
    let changed = diff.iter_all_changes().filter_map(|change| {
        let sign = match change.tag() {
            ChangeTag::Equal => return None,
            ChangeTag::Insert => '+',
            ChangeTag::Delete => '-',
        };
        Some(format!("{sign}{}", change.value().trim_end_matches('\n')))
    });
    changed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> Source {
        Source {
            layer: Layer::Project,
            file: format!(".loki/policies/{name}").into(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn only_exactly_the_pinned_files_are_trusted() {
        let (a, b) = (file("a.yaml", "version: 1\n"), file("b.yaml", "x\n"));
        let pins = Pins::of("/r", &[a.clone(), b.clone()]);
        let kept = Pins::parse(&pins.text()).unwrap();
        assert_eq!(kept.trust(&[b.clone(), a.clone()]), Trust::Pinned);
        let changed = file("b.yaml", "x\ny\n");
        for other in [
            vec![a.clone()],
            vec![],
            vec![a.clone(), changed],
            vec![a.clone(), b.clone(), file("c.yaml", "")],
            vec![a.clone(), file("c.yaml", "x\n")],
        ] {
            assert_eq!(kept.trust(&other), Trust::No, "{other:?}");
            assert!(!kept.changes(&other).is_empty(), "{other:?}");
        }
        assert!(kept.changes(&[a, b]).is_empty());
    }

    #[test]
    fn names_that_are_no_text_are_pinned_each_by_itself() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
        let strange = |byte: u8, text: &str| Source {
            file: OsStr::from_bytes(&[byte, b'.', b'y']).into(),
            ..file("", text)
        };
        let pins = Pins::of("/r", &[strange(0xfe, "trusted"), strange(0xff, "same")]);
        let swapped = [strange(0xfe, "hostile"), strange(0xff, "same")];
        assert_eq!(pins.trust(&swapped), Trust::No);
        assert_eq!(pins.changes(&swapped).len(), 1);
    }

    #[test]
    fn a_change_is_shown_by_its_lines() {
        let pins = Pins::of("/r", &[file("a.yaml", "one\ntwo\nthree\n")]);
        let changes = pins.changes(&[file("a.yaml", "one\n2\nthree\n")]);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].lines, ["-two", "+2"]);
    }

    #[test]
    fn damaged_pins_are_not_believed() {
        let good = Pins::of("/r", &[file("a.yaml", "one\n")]).text();
        assert!(Pins::parse(&good).is_ok());
        for bad in [
            good.replace("one", "two"),
            good.replace("\"version\": 1", "\"version\": 2"),
            good.replace("repository", "repo"),
            String::new(),
            "{}".to_owned(),
        ] {
            assert!(Pins::parse(&bad).is_err(), "{bad}");
        }
    }
}
