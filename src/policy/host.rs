//! Patterns of host names.

use std::{fmt, str::FromStr};

use super::{DeniedNames, HostPattern};
use crate::name::HostName;

/// Why a text is not a host pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("host `{}` {why}", text.escape_debug())]
pub struct HostError {
    /// The text that was given.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
    /// What would have been right.
    pub help: &'static str,
}

impl HostPattern {
    /// Returns whether the pattern covers `name`. An exact name covers no child; a wildcard covers
    /// exactly one more label, not the parent.
    #[must_use]
    pub fn matches(&self, name: &HostName) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Wildcard(parent) => name
                .as_str()
                .split_once('.')
                .is_some_and(|(_, rest)| rest == parent.as_str()),
        }
    }
}

impl DeniedNames {
    /// Returns whether the denial covers `name`.
    #[must_use]
    pub fn matches(&self, name: &HostName) -> bool {
        match self {
            Self::All => true,
            Self::Exact(exact) => exact == name,
            Self::Below(parent) => {
                let rest = name.as_str().strip_suffix(parent.as_str());
                rest.is_some_and(|rest| rest.ends_with('.'))
            }
        }
    }
}

impl fmt::Display for DeniedNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Exact(name) => write!(f, "{name}"),
            Self::Below(parent) => write!(f, "*.{parent}"),
        }
    }
}

impl FromStr for DeniedNames {
    type Err = HostError;

    /// Reads a host as it stands in a `deny` list: unlike in a rule, `*` and `*.com` are taken.
    fn from_str(text: &str) -> Result<Self, HostError> {
        if text == "*" {
            return Ok(Self::All);
        }
        if let Some(parent) = text.strip_prefix("*.")
            && let Ok(parent) = parent.parse()
        {
            return Ok(Self::Below(parent));
        }
        text.parse().map(|pattern| match pattern {
            HostPattern::Exact(name) => Self::Exact(name),
            HostPattern::Wildcard(parent) => Self::Below(parent),
        })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
        }
    }
}

impl FromStr for HostPattern {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let fail = |why, help| HostError {
            text: text.to_owned(),
            why,
            help,
        };
        let Some(parent) = text.strip_prefix("*.") else {
            return exact(text)
                .map(Self::Exact)
                .map_err(|(why, help)| fail(why, help));
        };
        let parent = exact(parent).map_err(|(why, help)| fail(why, help))?;
        if !parent.as_str().contains('.') {
            return Err(fail(
                "opens a whole top-level domain",
                "name at least two labels, such as `*.example.com`",
            ));
        }
        Ok(Self::Wildcard(parent))
    }
}

fn exact(text: &str) -> Result<HostName, (&'static str, &'static str)> {
    if text == "*" {
        return Err((
            "opens the whole network",
            "name each host; there is no rule for all",
        ));
    }
    if text.contains('*') {
        return Err((
            "has a wildcard that is not the whole leftmost label",
            "write `*.example.com`",
        ));
    }
    let before = text.split_once('/').map(|(before, _)| before);
    if before.is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()) {
        return Err(("is a range of addresses", ADDRESS));
    }
    if text.contains('/') {
        return Err((
            "is a URL",
            "write the name and the port only, such as `api.example.com:443`",
        ));
    }
    if text.contains([':', '[', ']']) {
        return Err(("is an address or holds more than a name", ADDRESS));
    }
    if let Some(bare) = text
        .strip_suffix('.')
        .filter(|bare| bare.parse::<HostName>().is_ok())
    {
        debug_assert!(!bare.is_empty(), "an empty name does not parse");
        return Err(("ends in a dot", "write the name without the last dot"));
    }
    text.parse().map_err(|_| match text.rsplit('.').next() {
        Some(last) if last.starts_with("0x") || (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit())) => {
            ("is an address", ADDRESS)
        }
        _ => ("is not a host name", "a name is labels of a-z, 0-9 and `-` joined by single dots; write IDN names as `xn--…`"),
    })
}

const ADDRESS: &str = "addresses have no route: give it a name, and pin the name under `hosts:` in your own policy (~/.config/loki/policies)";

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, name: &str) -> bool {
        pattern
            .parse::<HostPattern>()
            .unwrap()
            .matches(&name.parse().unwrap())
    }

    #[test]
    fn wildcards_cover_exactly_one_leftmost_label() {
        let table = [
            ("*.github.com", "api.github.com", true),
            ("*.github.com", "gist.github.com", true),
            ("*.github.com", "a-b.github.com", true),
            ("*.github.com", "xn--bcher-kva.github.com", true),
            ("*.github.com", "API.GitHub.com", true),
            ("*.github.com", "github.com", false),
            ("*.github.com", "a.b.github.com", false),
            ("*.github.com", "evilgithub.com", false),
            ("*.github.com", "evil-github.com", false),
            ("*.github.com", "github.com.evil.test", false),
            ("*.github.com", "api.github.com.evil.test", false),
            ("*.github.com", "api.github.co", false),
            ("*.github.com", "api.github.comx", false),
            ("*.github.com", "api-github.com", false),
            ("*.github.com", "github", false),
            ("*.github.com", "com", false),
            ("*.api.github.com", "x.api.github.com", true),
            ("*.api.github.com", "api.github.com", false),
            ("*.api.github.com", "x.github.com", false),
            ("github.com", "github.com", true),
            ("GitHub.com", "github.com", true),
            ("github.com", "GITHUB.COM", true),
            ("github.com", "gist.github.com", false),
            ("github.com", "www.github.com", false),
            ("github.com", "evilgithub.com", false),
            ("github.com", "github.com.evil.test", false),
            ("github.com", "github.co", false),
            ("github.com", "github.comm", false),
            ("localhost", "localhost", true),
            ("localhost", "a.localhost", false),
        ];
        assert_eq!(table.len(), 30);
        for (pattern, name, expected) in table {
            assert_eq!(covers(pattern, name), expected, "{pattern} against {name}");
        }
    }

    #[test]
    fn an_exact_parent_does_not_open_its_children() {
        assert!(covers("github.com", "github.com"));
        assert!(!covers("github.com", "gist.github.com"));
    }

    #[test]
    fn patterns_that_open_too_much_are_refused() {
        for text in [
            "*",
            "*.",
            "*.com",
            "*.*",
            "*.*.com",
            "a.*.com",
            "*a.example.com",
            "a*.example.com",
            "**.example.com",
            "example.*",
            "*.example.com.",
            ".example.com",
            "",
            "*.1.2.3.4",
            "10.0.0.1",
            "[::1]",
            "::1",
            "0x7f.1",
            "https://example.com",
            "example.com/path",
            "user@example.com",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text:?}");
        }
    }
}
