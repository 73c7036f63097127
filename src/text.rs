//! Text of unknown origin: which of its characters may act on a reader instead of being read, and
//! how it is shown.
//!
//! The one place that knows such characters. Whoever shows or stores what an agent, a file or a
//! server wrote asks here; nobody keeps a list of his own.

/// Returns whether a terminal, an editor or a line splitter may act on a character instead of
/// showing it, or shows nothing at all: control characters, line and paragraph separators, direction
/// marks, and all that Unicode has a reader ignore (invisible spaces, fillers, joiners, tags) but the
/// selectors that pictographs are made with. The blank pattern of Braille is one, too.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Returns whether a character has no place in a text that people write for agents, because what
/// it hides can pass a reviewer: every hidden one but line breaks, tabs, the joiners and variation
/// selectors that scripts and pictographs are made with, and the space of Braille.
#[must_use]
pub fn is_hostile(c: char) -> bool {
    let written = matches!(
        c,
        '\n' | '\r'
            | '\t'
            | '\u{180b}'..='\u{180d}'
            | '\u{180f}'
            | '\u{200c}'
            | '\u{200d}'
            | '\u{2800}'
            | '\u{e0080}'..='\u{e0fff}'
    );
    is_hidden(c) && !written
}

/// Returns text on one line in which every hidden character is shown as its escape, such as
/// `\u{1b}`, so that what an agent wrote cannot move the reader's cursor.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Returns JSON in which every hidden character is escaped, which is the same JSON: it is read by
/// programs and by people with `cat` alike. Line breaks are its layout: inside texts they are escaped
/// already.
#[must_use]
pub fn visible_json(plain: &str) -> String {
    let mut shown = String::with_capacity(plain.len());
    let mut units = [0; 2];
    for c in plain.chars() {
        if c != '\n' && is_hidden(c) {
            let units = c.encode_utf16(&mut units).iter();
            shown.extend(units.map(|unit| format!("\\u{unit:04x}")));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Cuts text to at most so many bytes, between two characters.
pub fn shorten(text: &mut String, most: usize) {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

/// Returns text on one line in which every hidden character is replaced by one visible character,
/// so that columns stay what they are.
#[must_use]
pub fn aligned(text: &str) -> String {
    let shown = |c: char| match c {
        '\t' => ' ',
        c if is_hidden(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_line_breaks_and_direction_marks_are_shown_as_text() {
        assert_eq!(
            visible("a\x1b[2J\n\u{202e}\u{9b}ä"),
            "a\\u{1b}[2J\\n\\u{202e}\\u{9b}ä"
        );
    }

    #[test]
    fn attack_s8_json_hides_nothing_and_stays_the_same() {
        let hostile = "\u{9b}31m\u{202e}\u{e0041}\u{feff}ä\n\t\u{1b}]0;x\u{7}\u{2028}";
        let value = serde_json::json!({ hostile: [hostile, 1] });
        for plain in [value.to_string(), format!("{value:#}")] {
            let shown = visible_json(&plain);
            assert!(
                !shown.chars().any(|c| c != '\n' && is_hidden(c)),
                "{shown:?}"
            );
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
                value
            );
        }
    }

    #[test]
    fn text_is_cut_between_characters() {
        for (most, expected) in [(0, ""), (1, "a"), (2, "a"), (3, "aä"), (9, "aäb")] {
            let mut text = "aäb".to_owned();
            shorten(&mut text, most);
            assert_eq!(text, expected, "{most}");
        }
    }

    #[test]
    fn what_is_aligned_keeps_its_columns() {
        assert_eq!(
            aligned("a\x1b[2J\tb\u{202e}\n"),
            "a\u{fffd}[2J b\u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn what_people_write_is_not_hostile() {
        assert!(!"größe\t\r\n👩\u{200d}🚀 نمی\u{200c}خواهم 葛\u{e0100}".contains(is_hostile));
        for c in [
            '\0',
            '\x1b',
            '\u{9b}',
            '\u{ad}',
            '\u{200b}',
            '\u{202e}',
            '\u{2066}',
            '\u{feff}',
            '\u{e0041}',
            '\u{34f}',
            '\u{115f}',
            '\u{17b4}',
            '\u{180e}',
            '\u{3164}',
            '\u{fff0}',
            '\u{1bca0}',
            '\u{1d173}',
        ] {
            assert!(is_hostile(c), "{c:?}");
            assert!(visible(&c.to_string()).is_ascii(), "{c:?}");
        }
        for c in ['\u{180b}', '\u{2800}', '\u{200d}'] {
            assert!(visible(&c.to_string()).is_ascii(), "{c:?}");
        }
    }
}
