//! Paths of requests, and the patterns that rules have for them.
//!
//! One path has many spellings, and a server may read more of them alike than we do. So a path is
//! brought into a normal form, and what could still be read as another path (`..`, an empty
//! component, `%2F`, a doubly escaped byte) is told: a rule that names paths never covers it.
//! Nothing is resolved here: `/a/../b` is not `/b`, it is refused.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// A path in its normal form, without its query: every escape of a character that may stand for
/// itself is decoded, all others are upper case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UrlPath {
    text: String,
    /// What makes it ambiguous in a way that no pattern can spell.
    twofold: Option<&'static str>,
}

/// A text that is no path of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path {why}")]
pub struct PathError {
    /// What is wrong with it.
    pub why: &'static str,
}

/// The longest path there is.
const LONGEST: usize = 16 * 1024;

impl FromStr for UrlPath {
    type Err = PathError;

    /// Reads the path of a request as it was sent, without its query.
    fn from_str(sent: &str) -> Result<Self, PathError> {
        if !sent.starts_with('/') {
            return Err(PathError {
                why: "does not begin with `/`",
            });
        }
        if sent.len() > LONGEST {
            return Err(PathError {
                why: "is longer than 16 KiB",
            });
        }
        let (text, bad) = decoded(sent)?;
        let twofold = bad.or_else(|| bad_component(&text));
        Ok(Self { text, twofold })
    }
}

/// Returns the normal form, and what a server could read differently in single characters.
fn decoded(sent: &str) -> Result<(String, Option<&'static str>), PathError> {
    let mut text = String::with_capacity(sent.len());
    let mut raw = Vec::with_capacity(sent.len());
    let mut bad = None;
    let mut bytes = sent.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            if !stands_for_itself(byte) && !matches!(byte, b'/' | b';') {
                return Err(PathError {
                    why: "holds a character that no path may hold",
                });
            }
            text.push(char::from(byte));
            raw.push(byte);
            continue;
        }
        let escaped = hex(bytes.next()).zip(hex(bytes.next()));
        let Some((high, low)) = escaped else {
            return Err(PathError {
                why: "holds a `%` without two hexadecimal digits",
            });
        };
        let byte = high * 16 + low;
        raw.push(byte);
        if stands_for_itself(byte) {
            text.push(char::from(byte));
        } else {
            bad = bad.or(twofold(byte));
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok((text, bad.or_else(|| bad_letters(&raw))))
}

/// Returns whether a byte may stand in a component without its escape.
fn stands_for_itself(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(
            byte,
            b'/' | b';' | b'%' | b'?' | b'#' | b'\\' | b'"' | b'<' | b'>' | b'`'
        )
}

fn hex(digit: Option<u8>) -> Option<u8> {
    let value = char::from(digit?).to_digit(16)?;
    u8::try_from(value).ok()
}

/// Returns why an escaped byte may be read as another path. An escaped `/` or `;` is judged later:
/// a pattern may spell it.
fn twofold(byte: u8) -> Option<&'static str> {
    match byte {
        b'%' => Some("holds an escaped `%`, which may be decoded twice"),
        b'\\' => Some("holds an escaped `\\`, which some servers read as `/`"),
        b'?' | b'#' => Some("holds an escaped `?` or `#`, where some servers end it"),
        b';' => Some("holds an escaped `;`, where some servers end a component"),
        _ if byte.is_ascii_control() => Some("holds an escaped control character"),
        _ => None,
    }
}

/// Returns why letters beyond ASCII may be read as another path: what is no letter may be folded
/// into a dot or a slash, and what is no UTF-8 into anything.
fn bad_letters(raw: &[u8]) -> Option<&'static str> {
    let Ok(text) = std::str::from_utf8(raw) else {
        return Some("holds escapes that are no UTF-8");
    };
    let odd = text.chars().any(|c| !c.is_ascii() && !c.is_alphabetic());
    odd.then_some("holds a sign beyond ASCII that is no letter")
}

/// Returns why components may be read as another path, whatever a server splits them at.
fn bad_component(text: &str) -> Option<&'static str> {
    let apart = text.replace("%2F", "/").replace(';', "/");
    let parts: Vec<&str> = apart.split('/').skip(1).collect();
    if parts.iter().any(|part| matches!(*part, "." | "..")) {
        return Some("holds a `.` or `..` component");
    }
    let (_, inner) = parts.split_last()?;
    let empty = inner.iter().any(|part| part.is_empty());
    empty.then_some("holds an empty component (`//`)")
}

impl UrlPath {
    /// Returns the normal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns why a server could read another path than a rule does, none when it could not.
    #[must_use]
    pub fn ambiguity(&self) -> Option<&'static str> {
        self.twofold.or_else(|| {
            (self.text.contains("%2F") || self.text.contains(';'))
                .then_some("holds `%2F` or `;`, where some servers end a component")
        })
    }
}

impl fmt::Display for UrlPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A pattern over paths: `*` is any text within a component, `**` alone between slashes is any
/// components, at the end at least one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern {
    text: String,
}

impl Serialize for PathPattern {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for PathPattern {
    type Err = PathError;

    /// Reads a pattern and brings it into the normal form of paths. It may spell `%2F` and `;`,
    /// which no wildcard covers.
    fn from_str(written: &str) -> Result<Self, PathError> {
        let fail = |why| Err(PathError { why });
        if written.contains(['?', '#']) {
            return fail("holds a `?` or `#`: a query is no part of the match");
        }
        if written.to_ascii_uppercase().contains("%2A") {
            return fail("holds an escaped `*`: write the `*`, which covers itself");
        }
        let path: UrlPath = written.parse()?;
        if let Some(why) = path.twofold {
            return fail(why);
        }
        let stars = |part: &str| part.contains("**") && part != "**";
        if path.text.split('/').any(stars) {
            return fail("has `**` next to other text");
        }
        if path.text.split('/').count() > 64 {
            return fail("has more than 63 components");
        }
        Ok(Self { text: path.text })
    }
}

impl PathPattern {
    /// Returns the pattern in its normal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether the pattern covers a path. An ambiguous path is covered only where the
    /// pattern itself spells what is ambiguous.
    #[must_use]
    pub fn matches(&self, path: &UrlPath) -> bool {
        if path.twofold.is_some() {
            return false;
        }
        let mine: Vec<&str> = self.text.split('/').skip(1).collect();
        let asked: Vec<&str> = path.text.split('/').skip(1).collect();
        // `next[j]`: the components of mine behind this one cover those of the path from `j`.
        let mut next = vec![false; asked.len() + 1];
        next[asked.len()] = true;
        for (at, part) in mine.iter().enumerate().rev() {
            let mut row = vec![false; asked.len() + 1];
            let last = at + 1 == mine.len();
            for from in (0..=asked.len()).rev() {
                row[from] = match (*part, asked.get(from)) {
                    ("**", Some(one)) if last => plain(one) && (next[from + 1] || row[from + 1]),
                    ("**", Some(one)) => next[from] || (plain(one) && row[from + 1]),
                    ("**", None) => !last && next[from],
                    (_, Some(one)) => next[from + 1] && component(part, one),
                    (_, None) => false,
                };
            }
            next = row;
        }
        next[0]
    }
}

/// Returns whether a wildcard may cover a text: nothing ambiguous, and no escape cut in two.
pub(super) fn plain(text: &str) -> bool {
    let from = text.len().saturating_sub(2);
    let cut = text.as_bytes()[from..].contains(&b'%');
    !cut && !text.contains("%2F") && !text.contains(';')
}

/// Returns whether one component of a pattern covers one of a path. The empty one behind a last
/// slash is covered by itself alone.
pub(super) fn component(mine: &str, asked: &str) -> bool {
    if asked.is_empty() {
        return mine.is_empty();
    }
    starred(mine, asked, plain)
}

/// Returns whether a text with stars covers another, each star standing for a text that is `fit`.
pub(super) fn starred(mine: &str, asked: &str, fit: fn(&str) -> bool) -> bool {
    let mut pieces = mine.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = asked.strip_prefix(first) else {
        return false;
    };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.strip_suffix(piece).is_some_and(fit);
        }
        // The leftmost place is right: whatever follows a star finds the most room there.
        let Some((skipped, behind)) = rest.split_once(piece) else {
            return false;
        };
        if !fit(skipped) {
            return false;
        }
        rest = behind;
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn path(text: &str) -> UrlPath {
        text.parse().unwrap()
    }

    fn covers(pattern: &str, text: &str) -> bool {
        let pattern: PathPattern = pattern.parse().unwrap();
        text.parse().is_ok_and(|path| pattern.matches(&path))
    }

    #[test]
    fn spellings_of_one_path_have_one_normal_form() {
        for (sent, normal) in [
            ("/v1/messages", "/v1/messages"),
            ("/%76%31/messages", "/v1/messages"),
            ("/v1%2Dx%5f%7e%2e5", "/v1-x_~.5"),
            ("/%40scope/%2b%3a", "/@scope/+:"),
            ("/a%20b", "/a%20b"),
            ("/a%c3%a9", "/a%C3%A9"),
            ("/a/", "/a/"),
            ("/", "/"),
            ("/@a%2fb", "/@a%2Fb"),
        ] {
            assert_eq!(path(sent).as_str(), normal, "{sent}");
        }
    }

    #[test]
    fn what_no_path_may_hold_is_none() {
        for sent in [
            "",
            "a",
            "*",
            "//\u{e9}",
            "/é",
            "/a b",
            "/a\0",
            "/a\u{7f}",
            "/a\r\n",
            "/a\tb",
            "/a\\b",
            "/a#b",
            "/a?b",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%+1",
            "/\"",
            "/<x>",
            "/`",
            "http://a.test/",
            "a.test:443",
        ] {
            assert!(sent.parse::<UrlPath>().is_err(), "{sent:?}");
        }
        assert!(
            format!("/{}", "a".repeat(20_000))
                .parse::<UrlPath>()
                .is_err()
        );
    }

    #[test]
    fn a_path_that_a_server_may_read_differently_is_covered_by_no_pattern() {
        for sent in [
            "/repos/x/../y",
            "/repos/x/%2e%2e/y",
            "/repos/x/.%2E/y",
            "/repos/./x",
            "/repos/x/..",
            "/repos/x%2f..%2fy",
            "/repos/x%2Fy",
            "/repos/..%2fy",
            "/repos/x;a=b/y",
            "/repos/..;/y",
            "/repos/x%3b/y",
            "/repos//x",
            "//repos/x",
            "/repos/x//",
            "/repos/x%5c..%5cy",
            "/repos/x%00",
            "/repos/x%0d%0a",
            "/repos/x%7f",
            "/repos/%252e%252e/y",
            "/repos/x%25",
            "/repos/x%3fy",
            "/repos/x%23y",
            "/repos/%c0%ae%c0%ae/y",
            "/repos/x%c0%afy",
            "/repos/x%ff",
            "/repos/x%ef%bc%8fy",
            "/repos/%ef%bc%8e%ef%bc%8e/y",
            "/repos/%e2%80%a5/y",
            "/repos/x%e2%80%8by",
        ] {
            assert!(path(sent).ambiguity().is_some(), "{sent}");
            for pattern in [
                "/**",
                "/repos/**",
                "/repos/*",
                "/repos/*/*",
                "/repos/x*",
                "/**/y",
            ] {
                assert!(!covers(pattern, sent), "{pattern} covers {sent}");
            }
        }
        assert_eq!(path("/repos/caf%c3%a9/x").ambiguity(), None);
    }

    #[test]
    fn stars_stay_where_they_stand() {
        for (pattern, asked, expected) in [
            ("/v1/messages", "/v1/messages", true),
            ("/v1/messages", "/v1/%6dessages", true),
            ("/%761/messages", "/v1/messages", true),
            ("/v1/messages", "/v1/messages/", false),
            ("/v1/messages", "/V1/messages", false),
            ("/v1/messages", "/v1/messages/x", false),
            ("/v1/messages", "/x/v1/messages", false),
            ("/v1/messages/**", "/v1/messages", false),
            ("/v1/messages/**", "/v1/messages/", true),
            ("/v1/messages/**", "/v1/messages/a/b/c", true),
            ("/v1/messages/**", "/v1/messagesx/a", false),
            ("/**", "/", true),
            ("/**", "/a/b", true),
            ("/", "/", true),
            ("/", "/a", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/b%20c", true),
            ("/a/*", "/a/", false),
            ("/a/*", "/a/b/c", false),
            ("/a/*/c", "/a/b/c", true),
            ("/a/**/z", "/a/z", true),
            ("/a/**/z", "/a/b/c/z", true),
            ("/a/**/z", "/a/b/c/y", false),
            ("/a/b*d", "/a/bcd", true),
            ("/a/b*d", "/a/bd", true),
            ("/a/b*d", "/a/b", false),
            ("/a/*x*y", "/a/1x2y", true),
            ("/a/*x*y", "/a/1y2x", false),
            ("/@*%2F*", "/@a%2fb", true),
            ("/@*%2F*", "/@a%2Fb%2Fc", false),
            ("/@*%2F*", "/@a%2F..", false),
            ("/@*2F*", "/@a%2Fb", false),
            ("/@*F*", "/@a%2Fb", false),
            ("/a;v=*", "/a;v=1", true),
            ("/a;v=*", "/a;v=1;w=2", false),
        ] {
            assert_eq!(covers(pattern, asked), expected, "{pattern} and {asked}");
        }
    }

    #[test]
    fn patterns_that_promise_what_they_cannot_hold_are_refused() {
        for pattern in [
            "",
            "v1/**",
            "/v1?x=1",
            "/v1#a",
            "/a/../b",
            "/a//b",
            "/a**",
            "/**a",
            "/a%2a",
            "/a%5cb",
            "/a%252e",
            "/a b",
            "/é",
            "https://a.test/x",
            "/a%00",
        ] {
            assert!(pattern.parse::<PathPattern>().is_err(), "{pattern:?}");
        }
        let deep = "/a".repeat(64);
        assert!(deep.parse::<PathPattern>().is_err());
    }

    /// What a lenient server could make of a path: decoded twice, at every separator, resolved.
    fn lenient(sent: &str) -> String {
        fn once(text: &[u8]) -> Vec<u8> {
            let mut out = Vec::new();
            let mut at = 0;
            while at < text.len() {
                let pair = text
                    .get(at + 1..at + 3)
                    .and_then(|two| std::str::from_utf8(two).ok());
                match pair.and_then(|two| u8::from_str_radix(two, 16).ok()) {
                    Some(byte) if text[at] == b'%' => {
                        out.push(byte);
                        at += 3;
                    }
                    _ => {
                        out.push(text[at]);
                        at += 1;
                    }
                }
            }
            out
        }
        let decoded = String::from_utf8_lossy(&once(&once(sent.as_bytes()))).replace('\\', "/");
        let ended = decoded.split(['?', '#', '\0']).next().unwrap_or_default();
        let mut parts: Vec<&str> = Vec::new();
        for part in ended.split('/') {
            match part.split(';').next().unwrap_or_default() {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        format!("/{}", parts.join("/"))
    }

    fn spellings() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            proptest::sample::select(vec![
                "/", "/", "/", "a", "b", "c", "..", ".", "%2e", "%2E", "%2f", "%2F", "%5c",
                "%252e", "%25", ";", "%3b", "%00", "%61", "%62", "//", "%3f", "%23", "%c3%a9",
                "%c0%af", "*", "%2a",
            ])
            .prop_map(str::to_owned),
            "[ -~]".prop_map(|text| text),
        ];
        proptest::collection::vec(piece, 0..10).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]

        #[test]
        fn the_normal_form_of_a_normal_form_is_itself(sent in spellings()) {
            if let Ok(path) = sent.parse::<UrlPath>() {
                let again: UrlPath = path.as_str().parse().unwrap();
                prop_assert_eq!(&again, &path);
            }
        }

        #[test]
        fn no_spelling_leads_out_of_what_a_pattern_covers(sent in spellings()) {
            for (pattern, below) in [("/a/**", "/a"), ("/a/*", "/a"), ("/b/a*/c", "/b/a"), ("/a", "/a")] {
                if covers(pattern, &sent) {
                    let read = lenient(&sent);
                    prop_assert!(read.starts_with(below), "{} covers {}, which a server may read as {}", pattern, sent, read);
                }
            }
        }

        #[test]
        fn any_text_is_a_path_or_refused(sent in "\\PC{0,24}|[/%.;a0-9*]{0,24}") {
            if let Ok(path) = sent.parse::<UrlPath>() {
                prop_assert!(path.as_str().is_ascii());
            }
            if let Ok(pattern) = sent.parse::<PathPattern>() {
                let again: PathPattern = pattern.as_str().parse().unwrap();
                prop_assert_eq!(again, pattern);
            }
        }
    }
}
