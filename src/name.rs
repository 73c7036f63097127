//! Names, each parsed once and strictly into a canonical type. Matching is then equality.

use std::{fmt, str::FromStr};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{}` {why}", text.escape_debug())]
pub struct NameError {
    /// The kind of name that was wanted, such as `role`.
    pub what: &'static str,
    /// The text that was given.
    pub text: String,
    /// What is wrong with it, and what would have been right.
    pub why: &'static str,
}

macro_rules! word {
    ($(#[$doc:meta])* $type:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Returns the canonical text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                word($what, text, $max).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

word!(
    /// A role, such as `eng-backend`.
    Role, "role", 40
);
word!(
    /// A task within a run, such as `store`. Becomes part of a branch name and of paths.
    TaskId, "task", 60
);
word!(
    /// A run, such as `20261121-073300-1f3a`. Becomes part of a branch name and of paths.
    RunId, "run", 40
);

/// Checks the one shape of all words: `[a-z0-9]` first, then `[a-z0-9-]`, at most `max` bytes.
fn word(what: &'static str, text: &str, max: usize) -> Result<(), NameError> {
    let fail = |why| Err(NameError { what, text: text.to_owned(), why });
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if text.is_empty() {
        return fail("is empty");
    }
    if text.len() > max {
        return fail("is too long");
    }
    if !text.bytes().all(|b| letter(b) || b == b'-') || text.starts_with('-') || text.ends_with('-') {
        return fail("may hold only a-z, 0-9 and inner `-`");
    }
    Ok(())
}

/// A host name in canonical form: lower case ASCII labels without a trailing dot, never an
/// address literal, at most 253 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

impl HostName {
    /// Returns the canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fail = |why| Err(NameError { what: "host name", text: text.to_owned(), why });
        let lower = text.to_ascii_lowercase();
        if lower.is_empty() || lower.len() > 253 {
            return fail("must have 1 to 253 characters");
        }
        for label in lower.split('.') {
            let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
            if label.is_empty() || label.len() > 63 || !label.bytes().all(inner) {
                return fail("must be labels of a-z, 0-9, `-` joined by single dots");
            }
            if label.starts_with('-') || label.ends_with('-') {
                return fail("has a label that begins or ends with `-`");
            }
        }
        Ok(Self(lower))
    }
}

impl TryFrom<String> for HostName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
