//! Finds text that a reviewer reads otherwise than a compiler: characters that reorder, hide or
//! overwrite what stands around them, and names whose letters look like other letters.
//!
//! It judges lines, and does not know languages: a comment counts like code.

use std::collections::HashSet;

use unicode_script::{Script, UnicodeScript};
use unicode_security::{GeneralSecurityProfile as _, confusable_detection::skeleton};

use super::sights::{Mark, Sight, Sights};
use crate::{digest::Digest, text::is_hostile};

/// The rule that hidden characters break.
pub(in crate::git) const HIDDEN: &str = "hidden-text";
/// The rule that letters of several scripts in one name break.
pub(in crate::git) const MIXED: &str = "mixed-scripts";
/// How much of a file is looked at to tell whether it is text, as git does.
const PROBE: usize = 8000;
/// Most selectors of ideographic variants on one line: more of them carry data.
const VARIANTS: usize = 8;

/// Returns whether git would call the beginning of a file binary.
pub(super) fn is_binary(beginning: &[u8]) -> bool {
    beginning.iter().take(PROBE).any(|byte| *byte == 0)
}

/// Adds what is odd about the letters of a piece of a text file.
pub(super) fn look(text: &[u8], seen: &mut Sights) {
    for line in odd_lines(text) {
        if seen.is_full() {
            return;
        }
        let shown = String::from_utf8_lossy(line);
        for (rule, message) in odd(&shown) {
            seen.add(Sight {
                rule,
                message,
                mark: Mark::Line(Digest::of(line)),
            });
        }
    }
}

/// Returns the lines that may have anything odd, without their ends.
pub(super) fn odd_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = text.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !is_plain(line))
}

/// Returns what is odd about a name.
pub(in crate::git) fn of_name(path: &[u8]) -> Vec<(&'static str, String)> {
    if is_plain(path) {
        return Vec::new();
    }
    odd(&String::from_utf8_lossy(path))
}

/// Returns whether bytes are printable ASCII, tabs and form feeds: the usual case.
fn is_plain(line: &[u8]) -> bool {
    let plain = |byte: &u8| matches!(byte, b'\t' | 0x0c | b' '..=b'~');
    line.iter().all(plain)
}

fn odd(line: &str) -> Vec<(&'static str, String)> {
    let mut odd = Vec::new();
    if let Some(c) = hidden(line) {
        let code = u32::from(c);
        odd.push((
            HIDDEN,
            format!("has the character U+{code:04X}, which {}", deed(c)),
        ));
    }
    if let Some((c, looks)) = line.chars().find_map(disguised) {
        let code = u32::from(c);
        odd.push((
            MIXED,
            format!("has the character U+{code:04X}, which looks like `{looks}`"),
        ));
    } else if let Some((name, looks)) = misleading(line) {
        let codes = name.chars().filter(|c| !c.is_ascii()).map(u32::from);
        let codes: Vec<String> = codes.take(4).map(|code| format!("U+{code:04X}")).collect();
        let message = format!(
            "has a name that looks like `{looks}` and is not ({})",
            codes.join(" ")
        );
        odd.push((MIXED, message));
    }
    odd
}

/// Returns the first character that is not there to be read.
fn hidden(line: &str) -> Option<char> {
    let (mut before, mut base) = (None, None);
    let mut variants = 0;
    let mut letters = line.chars().peekable();
    while let Some(c) = letters.next() {
        let next = letters.peek().copied();
        let acts = match c {
            '\u{c}' => false,
            // A mark of the byte order.
            '\u{feff}' => before.is_some(),
            '\r' => true,
            // Spaces and selectors of a script, beside letters of it.
            '\u{2800}' => !before.is_some_and(is_braille),
            '\u{180b}'..='\u{180d}' | '\u{180f}' => {
                before.is_none_or(|c| c.script() != Script::Mongolian)
            }
            '\u{200c}' | '\u{200d}' => !joins(c, base, next),
            c if is_variation(c) => {
                variants += usize::from(c >= '\u{e0100}');
                variants > VARIANTS || !before.is_some_and(|before| varies(before, c, next))
            }
            c => is_hostile(c),
        };
        if acts {
            return Some(c);
        }
        before = Some(c);
        if !is_variation(c) && !is_mark(c) {
            base = Some(c);
        }
    }
    None
}

fn is_braille(c: char) -> bool {
    matches!(c, '\u{2800}'..='\u{28ff}')
}

/// What stands on another letter and is no letter of its own: accents, tones of skin.
fn is_mark(c: char) -> bool {
    c.script() == Script::Inherited || matches!(c, '\u{1f3fb}'..='\u{1f3ff}')
}

/// Pictographs, and signs that are drawn as such.
fn is_pictograph(c: char) -> bool {
    matches!(c,
        '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}'
        | '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}' | '\u{24c2}'
        | '\u{25a0}'..='\u{27bf}' | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}'
        | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

/// Returns whether a joiner, or what keeps letters apart, has something to do between two.
fn joins(c: char, before: Option<char>, after: Option<char>) -> bool {
    let (Some(before), Some(after)) = (before, after) else {
        return false;
    };
    if c == '\u{200d}' && is_pictograph(before) && is_pictograph(after) {
        return true;
    }
    let written = |c: char| {
        matches!(
            c.script(),
            Script::Arabic
                | Script::Syriac
                | Script::Nko
                | Script::Mandaic
                | Script::Adlam
                | Script::Hanifi_Rohingya
                | Script::Mongolian
                | Script::Phags_Pa
                | Script::Devanagari
                | Script::Bengali
                | Script::Gurmukhi
                | Script::Gujarati
                | Script::Oriya
                | Script::Tamil
                | Script::Telugu
                | Script::Kannada
                | Script::Malayalam
                | Script::Sinhala
                | Script::Khmer
                | Script::Myanmar
                | Script::Balinese
                | Script::Javanese
                | Script::Chakma
                | Script::Tai_Tham
                | Script::Kaithi
                | Script::Newa
                | Script::Grantha
        )
    };
    written(before) && (written(after) || is_mark(after))
}

/// Variation selectors: one shows a sign otherwise, others only carry data.
fn is_variation(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Returns whether a sign has that variant.
fn varies(base: char, selector: char, next: Option<char>) -> bool {
    match selector {
        '\u{fe0e}' | '\u{fe0f}' => {
            let is_key = matches!(base, '0'..='9' | '#' | '*') && next == Some('\u{20e3}');
            is_key || is_pictograph(base)
        }
        '\u{fe00}'..='\u{fe02}' => {
            let script = base.script();
            matches!(script, Script::Han | Script::Myanmar | Script::Phags_Pa)
                || matches!(base, '\u{2200}'..='\u{22ff}' | '\u{2a00}'..='\u{2aff}')
        }
        '\u{e0100}'..='\u{e01ef}' => base.script() == Script::Han,
        _ => false,
    }
}

fn deed(c: char) -> &'static str {
    match c {
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' => {
            "changes the order in which text is shown"
        }
        c if c.is_control() => "a terminal obeys",
        _ => "cannot be seen",
    }
}

/// Returns the sign of ASCII that another one is the very image of. What scripts have for
/// themselves, such as the wide forms among ideographs, is none.
fn disguised(c: char) -> Option<(char, char)> {
    let looks = match c {
        '\u{37e}' => ';',
        '\u{1fef}' => '`',
        '\u{a789}' => ':',
        '\u{a78c}' => '\'',
        _ => return None,
    };
    Some((c, looks))
}

/// Returns the first name that looks as if it were written in ASCII, and what it looks like.
fn misleading(line: &str) -> Option<(&str, String)> {
    let ends = |c: char| !(c.is_alphanumeric() || c == '_');
    let mut seen = HashSet::new();
    let mut twins = Vec::new();
    // A word of another script among words that are plainly of it is just a word.
    let mut is_prose = false;
    let mut at = 0;
    for name in line.split(ends) {
        let rest = line.get(at + name.len()..).unwrap_or_default();
        let end = rest.chars().next().map_or(0, char::len_utf8);
        at += name.len() + end;
        if name.is_ascii() || !seen.insert((name, is_code(rest))) {
            continue;
        }
        match twin(name) {
            Some(looks) => twins.push((name, looks, is_code(rest))),
            None => is_prose = true,
        }
    }
    let mixed = |name: &str| name.contains(|c: char| c.is_ascii_alphabetic());
    let tells = |(name, _, is_code): &(&str, String, bool)| mixed(name) || !is_prose || *is_code;
    let (name, looks, _) = twins.into_iter().find(tells)?;
    Some((name, looks))
}

/// Returns whether what follows a name is what follows names in programs.
fn is_code(rest: &str) -> bool {
    let member = |rest: &str| rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    rest.starts_with(['(', '['])
        || rest.strip_prefix('.').is_some_and(member)
        || rest.trim_start().starts_with('=')
}

/// Returns the ASCII name that a name looks like, if its letters are of another script.
fn twin(name: &str) -> Option<String> {
    name.contains(is_foreign).then_some(())?;
    let mut looks = String::new();
    for c in name.chars() {
        match c {
            // Its own skeleton is `rn`.
            c if c.is_ascii() => looks.push(c),
            c => looks.extend(skeleton(c.encode_utf8(&mut [0; 4]))),
        }
    }
    (looks.is_ascii() && !looks.is_empty()).then_some(looks)
}

/// Returns whether a letter is no Latin letter, or one that no name in a program is written with.
fn is_foreign(c: char) -> bool {
    let counts = matches!(c, '\u{aa}' | '\u{ba}');
    let script = c.script();
    let is_latin = matches!(script, Script::Latin | Script::Common | Script::Inherited);
    !c.is_ascii() && !counts && !(is_latin && c.identifier_allowed())
}

#[cfg(test)]
mod tests {
    use super::{HIDDEN, MIXED, Sights, is_binary, look, of_name};

    fn rules(text: &str) -> Vec<&'static str> {
        let mut seen = Sights::default();
        look(text.as_bytes(), &mut seen);
        seen.all().into_iter().map(|sight| sight.rule).collect()
    }

    #[test]
    fn what_reorders_hides_or_overwrites_is_found() {
        for text in [
            "if admin {\u{202e} \u{2066}// check\u{2069}",
            "let a\u{200b}b = 1;",
            "let a\u{200d}b = 1;",
            "ok\u{1b}[2Khidden",
            "shown\rhidden",
            "back\u{8}space",
            "let \u{3164} = 1;",
            "x\u{e0041}",
            "eval(`\u{fe01}\u{fe02}\u{e0101}`)",
            "text \u{feff} in the middle",
            "\u{200f}mark",
            "let a\u{34f}b = 1;",
            "x\u{17b4}",
            "x\u{180b}y",
            "\u{1d173}\u{1d174}",
            "a\u{2800}b",
            "\u{2800}",
            "\"admin\u{200d}\"",
            "key1\u{200d}z",
            "isAdmin\u{200d}",
            "key\u{200c}",
            "let v1\u{fe0f} = 1;",
            "caf\u{e9}\u{fe0f}",
            "1\u{fe0f}2",
            "0\u{e0100}",
            "x\u{fe0f}",
            "\u{2764}\u{fe0f}\u{fe0f}",
            &format!("{}", "\u{845b}\u{e0101}".repeat(9)),
        ] {
            assert_eq!(rules(text), [HIDDEN], "{text:?}");
        }
    }

    #[test]
    fn what_people_write_is_let_be() {
        for text in [
            "plain ascii\twith tabs\r\nand lines\n\u{c}\n",
            "\u{feff}first line",
            "größe, naïve, Ελλάδα, Привет мир, и снова а и о",
            "日本語のテキスト and text, 한국어",
            "👩\u{200d}🚀 ❤\u{fe0f} нет",
            "نمی\u{200c}خواهم",
            "5 µs, Δt, x² + ∑",
            "altı ılık",
            "let café = 1;",
            "\u{2813}\u{2811}\u{2807}\u{2800}\u{283a}",
            "\u{182d}\u{180b}",
            "1\u{fe0f}\u{20e3} \u{a9}\u{fe0f} \u{2699}\u{fe0f}",
            "\u{1f468}\u{1f3fd}\u{200d}\u{2695}\u{fe0f}",
            "\u{2764}\u{fe0f}\u{200d}\u{1f525}",
            "\u{915}\u{94d}\u{200d}\u{937}",
            "\u{845b}\u{e0100}\u{57ce}",
            "1\u{ba} piso, 2\u{aa} edi\u{e7}\u{e3}o",
            "нет, сору (мусор) и сор.",
            "3 µm, 10 Ω, 20 °C, ½, №1, ①",
        ] {
            assert_eq!(rules(text), Vec::<&str>::new(), "{text:?}");
        }
    }

    #[test]
    fn names_that_look_like_other_names_are_found() {
        for text in [
            "let \u{440}aypal = 1;",
            "if is\u{410}dmin() {",
            "\u{441}\u{43e}\u{440}\u{435} = 1",
            "\u{ff45}val(x)",
            "\u{1d41e}\u{1d42f}\u{1d41a}\u{1d425}(x)",
            "\u{3bf}pen()",
            "environment\u{1c3}=ENV",
            "let \u{251} = a;",
            "\u{261}et(x)",
            "x = 1\u{37e}",
            "сору(х) // копирует всё",
            "сору.х = 1 // меняет поле",
            "х = 1 // меняет число",
        ] {
            assert_eq!(rules(text), [MIXED], "{text:?}");
        }
        assert_eq!(of_name("src/\u{440}ay.rs".as_bytes())[0].0, MIXED);
        assert_eq!(of_name("src/a\u{202e}b.rs".as_bytes())[0].0, HIDDEN);
        assert!(of_name("src/größe.rs".as_bytes()).is_empty());
    }

    #[test]
    fn a_message_shows_no_odd_character_itself() {
        let mut seen = Sights::default();
        look("is\u{410}dmin \u{202e}".as_bytes(), &mut seen);
        let seen = seen.all();
        assert_eq!(seen.len(), 2);
        assert!(
            seen.iter().all(|sight| sight.message.is_ascii()),
            "{:?}",
            seen[1].message
        );
        assert!(seen[1].message.contains("`isAdmin`") && seen[1].message.contains("U+0410"));
    }

    #[test]
    fn git_and_we_agree_on_what_is_binary() {
        assert!(is_binary(b"\x7fELF\0"));
        assert!(!is_binary(b"text"));
        assert!(!is_binary(&[vec![b'a'; 8000], vec![0]].concat()));
    }

    /// Comparing each name of a line with each other took seconds for one line.
    #[test]
    fn many_names_on_one_line_are_looked_at_once_each() {
        use std::fmt::Write as _;

        let mut line = String::new();
        for at in 0..200_000 {
            write!(line, "\u{430}{at:x} ").unwrap();
        }
        assert_eq!(rules(&line), [MIXED]);
    }
}
