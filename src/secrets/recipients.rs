//! The public keys that a store is encrypted to, and the file that lists them.

use std::{fmt, str::FromStr};

use super::error::SecretsError;

const NOT_KNOWN: &str = "give an age key (`age1…`) or an SSH key (`ssh-ed25519 …` or `ssh-rsa …`)";
const PLUGIN: &str =
    "it needs a plugin, a program that Loki would have to run on this host; it runs none";
const BROKEN: &str = "it is cut off or mistyped: copy the whole key";

/// One public key.
#[derive(Clone)]
pub struct Recipient {
    text: String,
    key: Key,
}

#[derive(Clone)]
enum Key {
    X25519(age::x25519::Recipient),
    Ssh(age::ssh::Recipient),
}

impl Recipient {
    /// The key as age sees it.
    pub(super) fn key(&self) -> &dyn age::Recipient {
        match &self.key {
            Key::X25519(key) => key,
            Key::Ssh(key) => key,
        }
    }
}

impl From<age::x25519::Recipient> for Recipient {
    fn from(key: age::x25519::Recipient) -> Self {
        Self {
            text: key.to_string(),
            key: Key::X25519(key),
        }
    }
}

impl From<age::ssh::Recipient> for Recipient {
    fn from(key: age::ssh::Recipient) -> Self {
        Self {
            text: key.to_string(),
            key: Key::Ssh(key),
        }
    }
}

impl FromStr for Recipient {
    type Err = SecretsError;

    /// Reads a key; what follows an SSH key on its line is a comment.
    fn from_str(text: &str) -> Result<Self, SecretsError> {
        let unusable = |why| SecretsError::Recipient {
            text: text.chars().take(80).collect(),
            why,
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            [key] if key.starts_with("AGE-SECRET-KEY-") => Err(SecretsError::Recipient {
                text: "AGE-SECRET-KEY-…".to_owned(),
                why: "that is a private key; give the public one, which begins with `age1`",
            }),
            // A key of this kind has no further `1` in it; names of plugins stand before one.
            [key] if key.starts_with("age1") && key.matches('1').count() > 1 => {
                Err(unusable(PLUGIN))
            }
            [key] if key.starts_with("age1") => key
                .parse::<age::x25519::Recipient>()
                .map(Self::from)
                .map_err(|_| unusable(BROKEN)),
            [kind @ ("ssh-ed25519" | "ssh-rsa"), key, ..] => format!("{kind} {key}")
                .parse::<age::ssh::Recipient>()
                .map(Self::from)
                .map_err(|_| unusable(BROKEN)),
            _ => Err(unusable(NOT_KNOWN)),
        }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A line of the file.
enum Line {
    Key(Box<Recipient>, String),
    /// Empty, or a comment.
    Other(String),
}

/// The keys a store is encrypted to, with the comments of the file they stand in.
pub struct Recipients(Vec<Line>);

impl Recipients {
    pub(super) fn of(first: Recipient) -> Self {
        let about = "# Who can read secrets.env.age: one public key a line, as `age -R` takes it.";
        Self(vec![Line::Other(about.to_owned()), Line::of(first)])
    }

    /// Reads a file; every line must be understood.
    pub(super) fn parse(text: &str) -> Result<Self, SecretsError> {
        let line = |line: &str| match line.trim() {
            "" => Ok(Line::Other(line.to_owned())),
            comment if comment.starts_with('#') => Ok(Line::Other(line.to_owned())),
            key => Ok(Line::Key(Box::new(key.parse()?), line.to_owned())),
        };
        text.lines().map(line).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the file's text.
    pub(super) fn text(&self) -> String {
        let line = |line: &Line| match line {
            Line::Key(_, text) | Line::Other(text) => format!("{text}\n"),
        };
        self.0.iter().map(line).collect()
    }

    /// Returns the keys, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Recipient> {
        self.0.iter().filter_map(Line::key)
    }

    /// Adds a key, unless it is there.
    pub fn add(&mut self, new: Recipient) {
        if !self.iter().any(|key| key.text == new.text) {
            self.0.push(Line::of(new));
        }
    }

    /// Removes a key.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove(&mut self, gone: &Recipient) -> Result<(), SecretsError> {
        let before = self.0.len();
        self.0
            .retain(|line| line.key().is_none_or(|key| key.text != gone.text));
        if self.0.len() == before {
            return Err(SecretsError::NoSuchRecipient {
                text: gone.text.clone(),
            });
        }
        Ok(())
    }
}

impl Line {
    fn of(key: Recipient) -> Self {
        let text = key.text.clone();
        Self::Key(Box::new(key), text)
    }

    fn key(&self) -> Option<&Recipient> {
        match self {
            Self::Key(key, _) => Some(key),
            Self::Other(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSH: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN";

    fn age() -> String {
        ::age::x25519::Identity::generate().to_public().to_string()
    }

    #[test]
    fn keys_of_both_kinds_are_read_and_comments_are_kept() {
        let text = format!("# team\n\n{}\n{SSH} alice@example.com\n", age());
        let mut all = Recipients::parse(&text).unwrap();
        assert_eq!(all.text(), text);
        assert_eq!(all.iter().count(), 2);
        // The same key under another comment is the same key.
        all.add(SSH.parse().unwrap());
        assert_eq!(all.iter().count(), 2);
        all.remove(&format!("{SSH} bob").parse().unwrap()).unwrap();
        assert_eq!(all.iter().count(), 1);
        let gone = all.remove(&SSH.parse().unwrap()).unwrap_err();
        assert!(
            gone.to_string().contains("none of the recipients"),
            "{gone}"
        );
    }

    #[test]
    fn what_is_no_public_key_is_refused_and_a_private_one_is_not_repeated() {
        let secret = ::age::x25519::Identity::generate().to_string();
        let secret = ::age::secrecy::ExposeSecret::expose_secret(&secret).to_owned();
        for (text, said) in [
            ("age1short", "mistyped"),
            (
                "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t",
                "plugin",
            ),
            ("age1../../../tmp/x1qqqq", "plugin"),
            ("ssh-ed25519 AAAA", "mistyped"),
            ("ecdsa-sha2-nistp256 AAAA", "give an age key"),
            ("", "give an age key"),
            (secret.as_str(), "private key"),
        ] {
            let refused = text.parse::<Recipient>().err().expect(text).to_string();
            assert!(refused.contains(said), "{text}: {refused}");
            assert!(!refused.contains(&secret), "{refused}");
        }
        assert!(Recipients::parse("age1short\n").is_err());
    }
}
