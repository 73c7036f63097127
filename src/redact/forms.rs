//! The forms in which a value may show.

use std::collections::BTreeSet;

use base64::{
    Engine as _,
    alphabet::{self, Alphabet},
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};

/// Bytes of what is looked for at once. Longer forms are looked for piece by piece, so that little
/// is ever held back. A line break that a program puts into a form hides from a mask the pieces that
/// it stands in, all of a short form; a search looks through it.
pub(super) const PIECE: usize = 32;
/// The shortest value, and the shortest line of one, that is looked for: shorter ones are parts of
/// ordinary words.
pub(super) const SHORTEST: usize = 8;

/// What the encoders of URLs in use leave as it is, besides letters and digits. Those with a `+`
/// write one for a space.
const KEPT_IN_URLS: [&str; 8] = [
    "",
    "-._~",
    "-._~/",
    "-_.!~*'()",
    "-_.!~*'();/?:@&=$,#",
    "+-._~",
    "+*-._",
    "+-_.",
];

/// Returns everything that gives a value away: the value and each of its lines, as they are and
/// encoded, in pieces.
pub(super) fn pieces(value: &str) -> BTreeSet<Vec<u8>> {
    let lines = value.lines().map(str::trim_end);
    let texts: BTreeSet<&str> = lines
        .chain([value, value.trim_end()])
        .filter(|text| text.len() >= SHORTEST)
        .collect();
    let mut pieces = BTreeSet::new();
    for form in texts.into_iter().flat_map(forms) {
        cut(&form, &mut pieces);
    }
    pieces
}

/// Cuts a form into pieces of equal length; the last one overlaps the one before it.
fn cut(form: &[u8], into: &mut BTreeSet<Vec<u8>>) {
    let last = form.len().saturating_sub(PIECE);
    let starts = (0..last).step_by(PIECE).chain([last]);
    into.extend(starts.map(|at| form[at..(at + PIECE).min(form.len())].to_vec()));
}

fn forms(text: &str) -> Vec<Vec<u8>> {
    let bytes = text.as_bytes();
    let mut forms = vec![bytes.to_vec()];
    for alphabet in [&alphabet::STANDARD, &alphabet::URL_SAFE] {
        forms.extend((0..3).flat_map(|before| base64(bytes, before, alphabet)));
    }
    for digits in [b"0123456789abcdef", b"0123456789ABCDEF"] {
        forms.push(each(bytes, |byte| hex(byte, digits)));
        forms.push(each(bytes, |byte| percent(byte, digits)));
        forms.extend(KEPT_IN_URLS.iter().map(|kept| {
            each(bytes, |byte| match byte {
                b' ' if kept.contains('+') => vec![b'+'],
                _ if byte.is_ascii_alphanumeric() => vec![byte],
                _ if kept.as_bytes().contains(&byte) && byte != b'+' => vec![byte],
                _ => percent(byte, digits),
            })
        }));
    }
    forms.extend(escaped(text));
    forms
}

/// Returns the base64 of `bytes` where they begin `before` bytes into a group of three: all digits
/// that depend on nothing else; and all of them where nothing follows.
fn base64(bytes: &[u8], before: usize, alphabet: &Alphabet) -> [Vec<u8>; 2] {
    let shifted = [&[0; 2][..before], bytes].concat();
    let mut digits = GeneralPurpose::new(alphabet, NO_PAD)
        .encode(&shifted)
        .into_bytes();
    let shared = (before * 8).div_ceil(6);
    let ending = digits.split_off(shared);
    let whole = shifted.len() * 8 / 6 - shared;
    [ending[..whole].to_vec(), ending]
}

fn each(bytes: &[u8], form: impl Fn(u8) -> Vec<u8>) -> Vec<u8> {
    bytes.iter().copied().flat_map(form).collect()
}

fn hex(byte: u8, digits: &[u8; 16]) -> Vec<u8> {
    vec![
        digits[usize::from(byte >> 4)],
        digits[usize::from(byte & 15)],
    ]
}

fn percent(byte: u8, digits: &[u8; 16]) -> Vec<u8> {
    [vec![b'%'], hex(byte, digits)].concat()
}

/// Returns how JSON may have a text: as it is, with slashes escaped, in ASCII only.
fn escaped(text: &str) -> [Vec<u8>; 4] {
    let quoted = serde_json::Value::from(text).to_string();
    let plain = quoted.trim_start_matches('"');
    let plain = plain.strip_suffix('"').unwrap_or(plain).to_owned();
    let ascii: String = plain.chars().map(in_ascii).collect();
    let slashed = |text: &str| text.replace('/', "\\/").into_bytes();
    [slashed(&plain), slashed(&ascii), plain.into(), ascii.into()]
}

fn in_ascii(c: char) -> String {
    if c.is_ascii() {
        return c.to_string();
    }
    let units = c.encode_utf16(&mut [0; 2]).to_vec();
    units.iter().map(|unit| format!("\\u{unit:04x}")).collect()
}
