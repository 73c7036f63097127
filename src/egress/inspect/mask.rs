//! Takes a credential out of what a server sends back.
//!
//! Each form of the value that a server is likely to echo is overwritten with as many asterisks,
//! so that lengths and frames stay right. Of a stream only the bytes that could begin such a form
//! are held back, and only until it is known.

use std::sync::Arc;

use aho_corasick::AhoCorasick;
use base64::{
    Engine,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};
use hyper::body::Bytes;
use zeroize::Zeroizing;

/// What stands where a credential stood.
const MASK: u8 = b'*';

/// The forms of a value that are looked for.
#[derive(Debug)]
pub(super) struct Forms {
    finder: AhoCorasick,
    forms: Vec<Zeroizing<Vec<u8>>>,
    longest: usize,
}

impl Forms {
    /// Takes the values that were sent: the secret, and what else is made of it.
    pub(super) fn new<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<Arc<Self>> {
        let mut forms: Vec<Zeroizing<Vec<u8>>> = values.into_iter().flat_map(forms).collect();
        forms.sort_by(|one, other| one.as_slice().cmp(other.as_slice()));
        forms.dedup_by(|one, other| **one == **other);
        let longest = forms.iter().map(|form| form.len()).max()?;
        let finder = AhoCorasick::new(forms.iter().map(|form| form.as_slice())).ok()?;
        Some(Arc::new(Self {
            finder,
            forms,
            longest,
        }))
    }

    /// Returns where the last bytes could begin a form that is not whole yet.
    fn begun(&self, bytes: &[u8]) -> usize {
        let from = bytes.len().saturating_sub(self.longest - 1);
        let begins = |at: &usize| {
            let tail = &bytes[*at..];
            let longer = |form: &Zeroizing<Vec<u8>>| form.len() > tail.len();
            self.forms
                .iter()
                .any(|form| longer(form) && form.starts_with(tail))
        };
        (from..bytes.len()).find(begins).unwrap_or(bytes.len())
    }

    fn blank(&self, bytes: &mut [u8]) -> bool {
        let ranges: Vec<_> = self
            .finder
            .find_overlapping_iter(&*bytes)
            .map(|one| one.range())
            .collect();
        for range in &ranges {
            bytes[range.clone()].fill(MASK);
        }
        !ranges.is_empty()
    }
}

/// Returns the spellings of a value: as it is, as JSON and URLs hold it, in hexadecimal, and within
/// base64 at each of the three places where it can begin.
fn forms(value: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let hex = |upper: bool| -> Vec<u8> {
        let digit = |byte: &u8| match upper {
            true => format!("{byte:02X}"),
            false => format!("{byte:02x}"),
        };
        value
            .iter()
            .flat_map(|byte| digit(byte).into_bytes())
            .collect()
    };
    let url: Vec<u8> = value.iter().flat_map(|byte| escaped(*byte)).collect();
    let mut all = vec![value.to_vec(), hex(false), hex(true), url];
    if let Ok(text) = std::str::from_utf8(value)
        && let Ok(json) = serde_json::to_string(text)
    {
        all.push(json.trim_matches('"').as_bytes().to_vec());
    }
    for before in 0..3 {
        let padded = [&[0; 3][..before], value].concat();
        // Of the first and the last character not all bits are the value's.
        let first = (before * 8).div_ceil(6);
        let last = padded.len() * 8 / 6;
        for text in [
            BASE64_STANDARD_NO_PAD.encode(&padded),
            BASE64_URL_SAFE_NO_PAD.encode(&padded),
        ] {
            all.push(text.as_bytes()[first..last].to_vec());
        }
    }
    all.into_iter().map(Zeroizing::new).collect()
}

fn escaped(byte: u8) -> Vec<u8> {
    match byte {
        b'-' | b'.' | b'_' | b'~' => vec![byte],
        _ if byte.is_ascii_alphanumeric() => vec![byte],
        _ => format!("%{byte:02X}").into_bytes(),
    }
}

/// Masks one stream.
#[derive(Debug)]
pub(super) struct Mask {
    forms: Arc<Forms>,
    held: Zeroizing<Vec<u8>>,
    /// The first bytes of `held` that belong to a form found before.
    blank: usize,
    found: bool,
}

impl Mask {
    pub(super) fn new(forms: Arc<Forms>) -> Self {
        Self {
            forms,
            held: Zeroizing::default(),
            blank: 0,
            found: false,
        }
    }

    /// Takes the next bytes and returns what may go on.
    pub(super) fn feed(&mut self, bytes: Bytes) -> Bytes {
        if self.held.is_empty()
            && self.forms.begun(&bytes) == bytes.len()
            && !self.forms.finder.is_match(&*bytes)
        {
            return bytes;
        }
        let raw = Zeroizing::new([self.held.as_slice(), &bytes].concat());
        let cut = self.forms.begun(&raw);
        let mut masked = Zeroizing::new(raw.to_vec());
        self.found |= self.forms.blank(&mut masked);
        masked[..self.blank].fill(MASK);
        // What is held stays as it came, for the form that it may begin.
        let found = (cut..raw.len()).rev().find(|at| masked[*at] != raw[*at]);
        self.blank = found.map_or(self.blank.saturating_sub(cut), |at| at + 1 - cut);
        self.held = Zeroizing::new(raw[cut..].to_vec());
        Bytes::copy_from_slice(&masked[..cut])
    }

    /// Returns what was held back, at the end.
    pub(super) fn rest(&mut self) -> Bytes {
        self.held[..self.blank].fill(MASK);
        self.blank = 0;
        let rest = Bytes::copy_from_slice(&self.held);
        self.held.clear();
        rest
    }

    /// Returns the value with what it holds of the credential masked, none when it holds none.
    pub(super) fn value(&mut self, value: &[u8]) -> Option<Vec<u8>> {
        let mut masked = value.to_vec();
        let found = self.forms.blank(&mut masked);
        self.found |= found;
        found.then_some(masked)
    }

    /// Returns whether something is held back.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Returns whether anything was masked so far.
    pub(super) fn found(&self) -> bool {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    const SECRET: &[u8] = b"sk-test-\"9/+?=abcd";

    fn masked(text: &[u8], cuts: &[usize]) -> Vec<u8> {
        let mut mask = Mask::new(Forms::new([SECRET]).unwrap());
        let mut out = Vec::new();
        let mut rest = text;
        for cut in cuts {
            let (head, tail) = rest.split_at((*cut).min(rest.len()));
            out.extend(mask.feed(Bytes::copy_from_slice(head)));
            rest = tail;
        }
        out.extend(mask.feed(Bytes::copy_from_slice(rest)));
        out.extend(mask.rest());
        out
    }

    fn holds(haystack: &[u8], needle: &[u8]) -> bool {
        haystack
            .windows(needle.len())
            .any(|window| window == needle)
    }

    #[test]
    fn every_form_is_masked_and_lengths_stay() {
        for form in forms(SECRET) {
            let text = [b"before ", form.as_slice(), b" after"].concat();
            let out = masked(&text, &[]);
            assert_eq!(out.len(), text.len());
            assert!(!holds(&out, &form), "{}", form.escape_ascii());
            assert!(out.starts_with(b"before *") && out.ends_with(b"* after"));
        }
    }

    #[test]
    fn what_cannot_begin_a_form_is_not_held_back() {
        let mut mask = Mask::new(Forms::new([SECRET]).unwrap());
        let event = Bytes::from_static(b"data: hello\n\n");
        assert_eq!(mask.feed(event.clone()), event);
        assert!(!mask.holds() && !mask.found());
        assert_eq!(mask.feed(Bytes::from_static(b"x sk-te")), &b"x "[..]);
        assert!(mask.holds());
        assert_eq!(mask.feed(Bytes::from_static(b"a")), &b"sk-tea"[..]);
    }

    #[test]
    fn two_values_that_overlap_are_both_masked() {
        let mut mask = Mask::new(Forms::new([&b"aabaacaa"[..]]).unwrap());
        let mut out = mask.feed(Bytes::from_static(b"..aabaaca")).to_vec();
        out.extend(mask.feed(Bytes::from_static(b"abaacaa..")));
        out.extend(mask.rest());
        assert_eq!(out, b"..**************..");
    }

    proptest! {
        #[test]
        fn no_cut_lets_a_value_through(
            before in prop::collection::vec(any::<u8>(), 0..30),
            form in 0usize..8,
            cuts in prop::collection::vec(0usize..12, 0..12),
        ) {
            let forms = forms(SECRET);
            let form = &forms[form % forms.len()];
            let text = [&before, form.as_slice(), form.as_slice(), b"tail"].concat();
            let out = masked(&text, &cuts);
            prop_assert_eq!(out.len(), text.len());
            prop_assert!(!holds(&out, form));
        }

        #[test]
        fn what_holds_no_value_passes_unchanged(
            text in prop::collection::vec(97u8..110, 0..200),
            cuts in prop::collection::vec(0usize..12, 0..12),
        ) {
            prop_assert_eq!(masked(&text, &cuts), text);
        }
    }
}
