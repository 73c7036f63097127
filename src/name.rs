//! Names, each parsed once and strictly into a canonical type. Matching is then equality.

use std::{fmt, str::FromStr};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{}` {why}", text.escape_debug())]
#[expect(
    clippy::module_name_repetitions,
    reason = "`Error` alone says too little where it is used"
)]
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
/// Longest name that is made of a title, in bytes.
const OF_TITLE: usize = 40;

impl TaskId {
    /// Makes the name of a task from its title; none where that holds no ASCII letter or digit.
    #[must_use]
    pub fn from_title(title: &str) -> Option<Self> {
        let mut name = String::new();
        for c in title.chars().flat_map(char::to_lowercase) {
            if c.is_ascii_alphanumeric() {
                name.push(c);
            } else if !name.is_empty() && !name.ends_with('-') {
                name.push('-');
            }
            if name.len() == OF_TITLE {
                break;
            }
        }
        name.trim_end_matches('-').parse().ok()
    }
}

word!(
    /// A run, such as `20261121-073300-1f3a`. Becomes part of a branch name and of paths.
    RunId, "run", 40
);
word!(
    /// A checkpoint, such as `20261121-073300-1f3a`. Becomes part of paths.
    CheckpointId, "checkpoint", 40
);

/// Checks the one shape of all words: `[a-z0-9]` first, then `[a-z0-9-]`, at most `max` bytes.
fn word(what: &'static str, text: &str, max: usize) -> Result<(), NameError> {
    let fail = |why| {
        Err(NameError {
            what,
            text: text.to_owned(),
            why,
        })
    };
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if text.is_empty() {
        return fail("is empty");
    }
    if text.len() > max {
        return fail("is too long");
    }
    if !text.bytes().all(|b| letter(b) || b == b'-') || text.starts_with('-') || text.ends_with('-')
    {
        return fail("may hold only a-z, 0-9 and inner `-`");
    }
    Ok(())
}

/// A host name in canonical form: lower case ASCII labels without a trailing dot, never an
/// address literal, at most 253 bytes.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
#[expect(
    clippy::module_name_repetitions,
    reason = "a host is more than its name"
)]
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
        let fail = |why| {
            Err(NameError {
                what: "host name",
                text: text.to_owned(),
                why,
            })
        };
        let lower = text.to_ascii_lowercase();
        if lower.is_empty() || lower.len() > 253 {
            return fail("must have 1 to 253 characters");
        }
        for label in lower.split('.') {
            let inner =
                |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
            if label.is_empty() || label.len() > 63 || !label.bytes().all(inner) {
                return fail("must be labels of a-z, 0-9, `-` joined by single dots");
            }
            if label.starts_with('-') || label.ends_with('-') {
                return fail("has a label that begins or ends with `-`");
            }
        }
        let last = lower.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") {
            return fail("is an address, not a name: only names are allowed here");
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Forty texts that one reader takes for one host and another reader for another.
    const HOSTILE: [&str; 40] = [
        "",
        ".",
        "..",
        "evil.test\0.allowed.test",
        "allowed.test\0",
        "\0allowed.test",
        "allowed.test.",
        "allowed.test..",
        ".allowed.test",
        "allowed..test",
        " allowed.test",
        "allowed.test ",
        "allowed.test\t",
        "allowed.test\n",
        "allowed.test\r\nHost: evil.test",
        "allowed test",
        "user@allowed.test",
        "evil.test@allowed.test",
        "allowed.test:443",
        "allowed.test/",
        "allowed.test/../evil.test",
        "allowed.test?x",
        "allowed.test#evil.test",
        "https://allowed.test",
        "//allowed.test",
        "allowed%2etest",
        "allowed.test%00.evil.test",
        "allowed%00.test",
        "allowed\\.test",
        "allowed.test\\@evil.test",
        "аllowed.test",
        "allowed。test",
        "allowed\u{200b}.test",
        "ALLOWED.tést",
        "*.allowed.test",
        "-allowed.test",
        "allowed-.test",
        "allowed.test,evil.test",
        "[allowed.test]",
        "allowed.test;evil.test",
    ];

    #[test]
    fn forty_hostile_names_are_refused() {
        for text in HOSTILE {
            assert!(
                text.parse::<HostName>().is_err(),
                "{text:?} was taken for a name"
            );
        }
    }

    #[test]
    fn long_names_and_labels_are_refused() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
        assert_eq!(longest.len(), 253);
        assert!(longest.parse::<HostName>().is_ok());
        assert!(format!("{longest}b").parse::<HostName>().is_err());
        assert!(format!("{label}a.test").parse::<HostName>().is_err());
    }

    #[test]
    fn every_spelling_of_an_address_is_refused() {
        let spellings = [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0x7f.0x0.0x0.0x1",
            "0177.0.0.1",
            "017700000001",
            "0177.0x0.0.1",
            "127.0.0.1.",
            "127.0.0.0x1",
            "0x7F.0.0.1",
            "00000177.0.0.1",
            "[::1]",
            "::1",
            "0:0:0:0:0:0:0:1",
            "[::ffff:127.0.0.1]",
            "::ffff:7f00:1",
            "fe80::1%eth0",
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "0xa9.254.0xa9.254",
            "[::ffff:169.254.169.254]",
            "169.254.43518",
            "64:ff9b::a9fe:a9fe",
            "１２７.0.0.1",
            "127。0。0。1",
        ];
        assert!(spellings.len() >= 25);
        for text in spellings {
            assert!(
                text.parse::<HostName>().is_err(),
                "{text:?} was taken for a name"
            );
        }
    }

    #[test]
    fn ordinary_names_are_taken_and_lowered() {
        let names = [
            "api.stripe.com",
            "localhost",
            "a",
            "3com.com",
            "0xacab.org",
            "xn--bcher-kva.example",
            "_dmarc.example.com",
        ];
        for text in names {
            assert_eq!(
                text.parse::<HostName>().map(|name| name.to_string()),
                Ok(text.to_owned())
            );
        }
        assert_eq!(
            "API.Stripe.COM".parse::<HostName>().map(String::from),
            Ok("api.stripe.com".to_owned())
        );
    }

    #[test]
    fn words_hold_nothing_that_a_path_or_a_branch_could_misread() {
        for text in [
            "", "-a", "a-", "A", "a/b", "..", "a b", "a\n", "a.b", "--help", "é",
        ] {
            assert!(
                text.parse::<Role>().is_err(),
                "{text:?} was taken for a role"
            );
        }
        assert!("eng-backend".parse::<Role>().is_ok());
    }
}
