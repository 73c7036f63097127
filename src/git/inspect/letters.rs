//! Finds text that a reviewer reads otherwise than a compiler: characters that reorder, hide or
//! overwrite what stands around them, and names whose letters look like other letters.
//!
//! It judges lines, and does not know languages: a comment counts like code.

use std::collections::HashSet;

use unicode_script::{Script, UnicodeScript};
use unicode_security::confusable_detection::skeleton;

use super::contents::{Mark, Sight, Sights};
use crate::text::is_hostile;

/// The rule that hidden characters break.
pub(in crate::git) const HIDDEN: &str = "hidden-text";
/// The rule that letters of several scripts in one name break.
pub(in crate::git) const MIXED: &str = "mixed-scripts";
/// How much of a file is looked at to tell whether it is text, as git does.
const PROBE: usize = 8000;

/// Returns whether git would call the beginning of a file binary.
pub(super) fn is_binary(beginning: &[u8]) -> bool {
    beginning.iter().take(PROBE).any(|byte| *byte == 0)
}

/// Adds what is odd about the letters of a piece of a text file.
pub(super) fn look(text: &[u8], seen: &mut Sights) {
    for line in text.split(|byte| *byte == b'\n') {
        if seen.is_full() {
            return;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if is_plain(line) {
            continue;
        }
        let shown = String::from_utf8_lossy(line);
        for (rule, message) in odd(&shown) {
            seen.add(Sight {
                rule,
                message,
                mark: Mark::Line(line.to_vec()),
            });
        }
    }
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
    if let Some((name, looks)) = misleading(line) {
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
    let mut before = None;
    let mut letters = line.chars().peekable();
    while let Some(c) = letters.next() {
        let first = before.is_none();
        let acts = match c {
            '\u{c}' => false,
            // A mark of the byte order.
            '\u{feff}' => !first,
            '\r' => true,
            // Spaces and selectors of a script, beside letters of it.
            '\u{2800}' => !before.is_some_and(is_braille),
            '\u{180b}'..='\u{180d}' | '\u{180f}' => {
                before.is_none_or(|c| c.script() != Script::Mongolian)
            }
            '\u{200c}' | '\u{200d}' => is_word(before) && is_word(letters.peek().copied()),
            c if is_variation(c) => before.is_none_or(|c| is_variation(c) || is_word(Some(c))),
            c => is_hostile(c),
        };
        if acts {
            return Some(c);
        }
        before = Some(c);
    }
    None
}

fn is_braille(c: char) -> bool {
    matches!(c, '\u{2800}'..='\u{28ff}')
}

fn is_word(c: Option<char>) -> bool {
    c.is_some_and(|c| c.is_ascii_alphanumeric() && !c.is_ascii_digit() || c == '_')
}

/// Variation selectors: one shows a pictograph otherwise, several in a row only carry data.
fn is_variation(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
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

/// Returns the first name that looks as if it were written in ASCII, and what it looks like.
fn misleading(line: &str) -> Option<(&str, String)> {
    let ends = |c: char| !(c.is_alphanumeric() || c == '_');
    let names = || line.split(ends).filter(|name| !name.is_ascii());
    let mut seen = HashSet::new();
    let mut twins: Vec<(&str, String)> = Vec::new();
    // A word of another script among words that are plainly of it is just a word.
    let mut is_prose = false;
    for name in names().filter(|name| seen.insert(*name)) {
        match twin(name) {
            Some(looks) => twins.push((name, looks)),
            None => is_prose = true,
        }
    }
    let mixed = |name: &str| name.contains(|c: char| c.is_ascii_alphabetic());
    let tells = |(name, _): &(&str, String)| mixed(name) || !is_prose;
    twins.into_iter().find(tells)
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

/// Returns whether a letter is no Latin letter, or a dressed-up one.
fn is_foreign(c: char) -> bool {
    let dressed =
        matches!(c, '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}' | '\u{1d400}'..='\u{1d7ff}');
    let script = c.script();
    dressed || !matches!(script, Script::Latin | Script::Common | Script::Inherited)
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
