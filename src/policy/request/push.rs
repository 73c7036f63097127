//! What a push over HTTPS updates: the first bytes of its body, which name every ref before the
//! objects come.
//!
//! ```text
//! [shallow OID]… , OLD NEW REF NUL CAPABILITIES , [OLD NEW REF]… , flush , pack
//! ```
//! Each part is one pkt-line: four hexadecimal digits of length, then the text. What a server could
//! read in another way (signed pushes, options, further NULs) is refused, never guessed.

use super::path::starred;

/// The most bytes of a body that are looked at for its refs.
pub const PUSH_HEAD_MAX: usize = 64 * 1024;

/// Why the first bytes of a push are not passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The body is not what git sends.
    #[error("the push is not in git's format: {0}")]
    Malformed(&'static str),
    /// The push does what no rule can say.
    #[error("the push asks for {0}, which no rule allows")]
    Unsaid(&'static str),
    /// The refs do not end within [`PUSH_HEAD_MAX`].
    #[error("the push names more refs than 64 KiB hold")]
    TooLong,
}

/// Returns the refs that a push creates, updates or deletes, read from the first bytes of its body;
/// none when more bytes are needed. A body that ends before is no push and must be refused. An
/// empty list is git's probe, which pushes nothing.
///
/// # Errors
/// Returns [`PushError`] for a body that git would not send, for signed pushes and push options,
/// and for more refs than are looked at.
pub fn git_push(body: &[u8]) -> Result<Option<Vec<String>>, PushError> {
    let mut refs = Vec::new();
    let mut rest = body;
    loop {
        let Some((line, behind)) = packet(rest)? else {
            let whole = body.len() < PUSH_HEAD_MAX;
            return if whole {
                Ok(None)
            } else {
                Err(PushError::TooLong)
            };
        };
        if body.len() - behind.len() > PUSH_HEAD_MAX {
            return Err(PushError::TooLong);
        }
        let Some(line) = line else {
            return Ok(Some(refs));
        };
        rest = behind;
        if let Some(oid) = line.strip_prefix(b"shallow ") {
            if !refs.is_empty() || !is_oid(chomp(oid)) {
                return Err(PushError::Malformed("a `shallow` line is out of place"));
            }
            continue;
        }
        if line.starts_with(b"push-cert") {
            return Err(PushError::Unsaid("a signed push"));
        }
        let command = if refs.is_empty() {
            first(line)?
        } else {
            chomp(line)
        };
        refs.push(updated(command)?);
    }
}

type Packet<'b> = (Option<&'b [u8]>, &'b [u8]);

/// Splits off one pkt-line: none inside is a flush, none outside is not yet whole.
fn packet(bytes: &[u8]) -> Result<Option<Packet<'_>>, PushError> {
    let Some((digits, rest)) = bytes.split_at_checked(4) else {
        return Ok(None);
    };
    let bad = PushError::Malformed("a length is not four hexadecimal digits");
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(bad);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| bad.clone())?;
    match usize::from_str_radix(digits, 16).map_err(|_| bad)? {
        0 => Ok(Some((None, rest))),
        length @ 5..=65520 => Ok(rest
            .split_at_checked(length - 4)
            .map(|(line, rest)| (Some(line), rest))),
        _ => Err(PushError::Malformed("a line has no length")),
    }
}

/// Returns what stands before the NUL of the first line: behind it is what the client can do.
fn first(line: &[u8]) -> Result<&[u8], PushError> {
    let nul = line.iter().position(|byte| *byte == 0);
    let nul = nul.ok_or(PushError::Malformed("its first line has no NUL"))?;
    let (command, abilities) = line.split_at(nul);
    able(abilities.split_at(1).1)?;
    Ok(command)
}

/// Returns the ref of `OLD NEW REF`.
fn updated(command: &[u8]) -> Result<String, PushError> {
    let bad = PushError::Malformed("a line is not `OLD NEW REF`");
    let mut words = command.splitn(3, |byte| *byte == b' ');
    let (Some(old), Some(new), Some(name)) = (words.next(), words.next(), words.next()) else {
        return Err(bad);
    };
    let name = std::str::from_utf8(name).map_err(|_| bad.clone())?;
    if !is_oid(old) || !is_oid(new) || old.len() != new.len() || !is_ref(name) {
        return Err(bad);
    }
    Ok(name.to_owned())
}

fn able(abilities: &[u8]) -> Result<(), PushError> {
    let text = std::str::from_utf8(chomp(abilities))
        .ok()
        .filter(|text| !text.chars().any(char::is_control))
        .ok_or(PushError::Malformed("its abilities are no line of text"))?;
    let named = |word: &str| word == "push-options" || word.starts_with("push-cert");
    if text.split(' ').any(named) {
        return Err(PushError::Unsaid("push options or a signed push"));
    }
    Ok(())
}

fn chomp(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

fn is_oid(text: &[u8]) -> bool {
    matches!(text.len(), 40 | 64)
        && text
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns whether git would take the text as the name of a ref.
fn is_ref(name: &str) -> bool {
    let odd =
        |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    !name.chars().any(odd)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && name.split('/').all(part)
        && name.contains('/')
}

/// Returns whether a text may name branches: `main`, `loki/*`.
pub(super) fn is_branch(text: &str) -> bool {
    let probe = format!("refs/heads/{}", text.replace('*', "x"));
    text.len() <= 256 && !text.starts_with('-') && !text.starts_with("refs/") && is_ref(&probe)
}

/// Returns the first ref that none of `branches` names: another branch, a tag, anything else.
pub(super) fn beyond<'r>(refs: &'r [String], branches: &[String]) -> Option<&'r String> {
    let named = |name: &str| {
        let branch = name.strip_prefix("refs/heads/");
        branch.is_some_and(|name| {
            branches
                .iter()
                .any(|branch| starred(branch, name, |_| true))
        })
    };
    refs.iter().find(|name| !named(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    /// What git 2.47.3 sent over HTTP: one branch; a branch, another and a tag; a deletion; a push
    /// with an option. Packs are cut off behind their head.
    const ONE: &[u8] = b"00af0000000000000000000000000000000000000000 4efbb2285d73af7030a40001e9d547cc4c993330 refs/heads/main\0 report-status-v2 side-band-64k quiet object-format=sha1 agent=git/2.47.30000PACK\0\0\0\x02";
    const MANY: &[u8] = b"00b10000000000000000000000000000000000000000 4efbb2285d73af7030a40001e9d547cc4c993330 refs/heads/loki/a\0 report-status-v2 side-band-64k quiet object-format=sha1 agent=git/2.47.300620000000000000000000000000000000000000000 4efbb2285d73af7030a40001e9d547cc4c993330 refs/heads/x00620000000000000000000000000000000000000000 4efbb2285d73af7030a40001e9d547cc4c993330 refs/tags/v10000PACK\0\0\0\x02";
    const DELETION: &[u8] = b"00ac4efbb2285d73af7030a40001e9d547cc4c993330 0000000000000000000000000000000000000000 refs/heads/x\0 report-status-v2 side-band-64k quiet object-format=sha1 agent=git/2.47.30000";
    const OPTION: &[u8] = b"00b90000000000000000000000000000000000000000 4efbb2285d73af7030a40001e9d547cc4c993330 refs/heads/y\0 report-status-v2 side-band-64k quiet push-options object-format=sha1 agent=git/2.47.30000000bmerge=10000PACK\0\0\0\x02";

    fn refs(body: &[u8]) -> Vec<String> {
        git_push(body).unwrap().expect("the refs are whole")
    }

    fn line(text: &str) -> Vec<u8> {
        let mut line = format!("{:04x}", text.len() + 4).into_bytes();
        line.extend(text.as_bytes());
        line
    }

    fn update(name: &str) -> String {
        format!("{} {} {name}", "0".repeat(40), "a".repeat(40))
    }

    #[test]
    fn the_refs_that_git_sends_are_read() {
        assert_eq!(refs(ONE), ["refs/heads/main"]);
        assert_eq!(
            refs(MANY),
            ["refs/heads/loki/a", "refs/heads/x", "refs/tags/v1"]
        );
        assert_eq!(refs(DELETION), ["refs/heads/x"]);
        assert_eq!(refs(b"0000"), Vec::<String>::new());
        assert_eq!(
            git_push(OPTION),
            Err(PushError::Unsaid("push options or a signed push"))
        );
    }

    #[test]
    fn a_head_that_is_not_whole_wants_more_at_every_byte() {
        let end = MANY.len() - b"PACK\0\0\0\x02".len();
        for cut in 0..end {
            assert_eq!(git_push(&MANY[..cut]), Ok(None), "cut at {cut}");
        }
        assert_eq!(refs(&MANY[..end]).len(), 3);
    }

    #[test]
    fn a_shallow_clone_may_push() {
        let shallow = line(&format!("shallow {}", "b".repeat(40)));
        let body = [shallow.clone(), ONE.to_vec()].concat();
        assert_eq!(refs(&body), ["refs/heads/main"]);
        let late = [
            line(&format!("{}\0 quiet", update("refs/heads/a"))),
            shallow,
        ]
        .concat();
        assert!(git_push(&late).is_err());
    }

    #[test]
    fn what_git_would_not_send_is_refused() {
        let able = |name: &str| format!("{}\0 quiet", update(name));
        for (why, body) in [
            ("no capabilities", line(&update("refs/heads/a"))),
            ("no ref", line(&format!("{}\0", "a".repeat(81)))),
            ("a short old", line("0000 aaaa refs/heads/a\0 quiet")),
            ("upper case", line(&able("refs/heads/a").replace('a', "A"))),
            ("a newline in the name", line(&able("refs/heads/a\n"))),
            ("a second name", line(&able("refs/heads/a refs/heads/b"))),
            ("no directory", line(&able("main"))),
            ("dots", line(&able("refs/heads/a..b"))),
            ("an escape", line(&able("refs/heads/a\u{1b}[2J"))),
            ("a lock", line(&able("refs/heads/a.lock"))),
            (
                "a second NUL",
                line(&format!("{}\0refs/heads/b", able("refs/heads/a"))),
            ),
            ("a delimiter", b"0001".to_vec()),
            ("an empty line", b"0004".to_vec()),
            ("a length beyond git's", b"fffff".to_vec()),
            ("no length", b"+0af".to_vec()),
            ("HTTP inside", b"POST / HTTP/1.1\r\n".to_vec()),
            ("a certificate", line("push-cert\0 quiet")),
            (
                "a NUL later",
                [line(&able("refs/heads/a")), line(&able("refs/heads/b"))].concat(),
            ),
            ("gzip", vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0]),
        ] {
            assert!(git_push(&body).is_err(), "{why}: {:?}", git_push(&body));
        }
        let endless = line(&able("refs/heads/a"));
        let more = line(&update("refs/heads/b")).repeat(2000);
        assert_eq!(git_push(&[endless, more].concat()), Err(PushError::TooLong));
    }

    #[test]
    fn only_the_named_branches_may_be_updated() {
        let may = |refs: &[&str], branches: &[&str]| {
            let refs: Vec<String> = refs.iter().map(|&name| name.to_owned()).collect();
            let branches: Vec<String> = branches.iter().map(|&name| name.to_owned()).collect();
            beyond(&refs, &branches).cloned()
        };
        assert_eq!(may(&["refs/heads/main"], &["main"]), None);
        assert_eq!(may(&["refs/heads/loki/a/b"], &["main", "loki/*"]), None);
        for bad in [
            "refs/heads/mainx",
            "refs/heads/Main",
            "refs/tags/main",
            "refs/main",
            "main",
            "refs/heads/refs/heads/main",
        ] {
            assert_eq!(
                may(&["refs/heads/main", bad], &["main"]),
                Some(bad.to_owned())
            );
        }
        assert_eq!(
            may(&["refs/heads/lokix"], &["loki/*"]),
            Some("refs/heads/lokix".to_owned())
        );
    }

    #[test]
    fn names_of_branches_are_those_that_git_takes() {
        for good in ["main", "loki/*", "release-1.0", "*"] {
            assert!(is_branch(good), "{good}");
        }
        for bad in [
            "",
            "-x",
            "refs/heads/main",
            "a..b",
            "a b",
            "/a",
            "a/",
            "a//b",
            "a.lock",
            ".a",
            "a^",
            "a~1",
            "a:b",
            "@{u}",
        ] {
            assert!(!is_branch(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_every_ref_stands_in_them(mut body: Vec<u8>, at in 0usize..400, byte: u8) {
            drop(git_push(&body));
            body = MANY.to_vec();
            let at = at % body.len();
            body[at] = byte;
            if let Ok(Some(refs)) = git_push(&body) {
                for name in refs {
                    let sent = body.windows(name.len()).any(|window| window == name.as_bytes());
                    prop_assert!(sent, "{name}");
                }
            }
        }
    }
}
