//! Object ids, checked.

use std::{fmt, str::FromStr};

use super::GitError;

/// The id of a commit or a tree: 40 or 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(String);

impl ObjectId {
    /// Returns the digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id that stands for "no object" in a repository of the same format.
    pub(super) fn zero(&self) -> Self {
        Self("0".repeat(self.0.len()))
    }

    /// Returns the id of the empty tree in a repository of the same format; git knows it without
    /// storing it.
    pub(super) fn empty_tree(&self) -> Self {
        Self(String::from(if self.0.len() == 40 {
            "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
        } else {
            "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321"
        }))
    }
}

impl FromStr for ObjectId {
    type Err = GitError;

    fn from_str(text: &str) -> Result<Self, GitError> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if matches!(text.len(), 40 | 64) && text.bytes().all(digit) {
            return Ok(Self(text.to_owned()));
        }
        Err(GitError::Id {
            text: text.chars().take(80).collect(),
        })
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::ObjectId;

    #[test]
    fn only_full_lower_case_ids_are_ids() {
        assert!("a".repeat(40).parse::<ObjectId>().is_ok());
        assert!("0".repeat(64).parse::<ObjectId>().is_ok());
        for bad in [
            "",
            "HEAD",
            "--help",
            &"A".repeat(40),
            &"a".repeat(41),
            &"g".repeat(40),
        ] {
            assert!(bad.parse::<ObjectId>().is_err(), "{bad}");
        }
    }
}
