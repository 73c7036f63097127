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
        let name = command(line, refs.is_empty())?;
        refs.push(name);
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

/// Reads `OLD NEW REF`, and behind a NUL of the first line what the client can do.
fn command(line: &[u8], is_first: bool) -> Result<String, PushError> {
    let mut parts = line.splitn(2, |byte| *byte == 0);
    let command = parts.next().unwrap_or_default();
    match (parts.next(), is_first) {
        (Some(abilities), true) => able(abilities)?,
        (None, false) => {}
        _ => return Err(PushError::Malformed("a NUL is missing or out of place")),
    }
    let command = if is_first { command } else { chomp(command) };
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
