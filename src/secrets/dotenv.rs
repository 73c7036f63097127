//! The text inside a store: `NAME=value` lines, as other tools read them, but strictly.
//!
//! ```text
//! # a comment
//! PLAIN=letters-digits/and.other:safe+characters
//! LITERAL='anything, line breaks too, but no single quote'
//! ESCAPED="\" and \\ and \n and \t, and line breaks as they are"
//! ```
//!
//! Nothing is expanded: `$` is a character like others. Names have no default, values no second
//! chance: what another tool could read differently is a fault. Faults show where they are and
//! never what stands there.

use std::{ops::Range, path::Path};

use zeroize::Zeroizing;

use crate::{diagnostic::Diagnostic, redact};

/// Bytes of the longest value.
const LONGEST: usize = 16 * 1024;
/// Characters of the longest name.
const LONGEST_NAME: usize = 64;

/// One secret, and where it stands in the text.
#[derive(Debug)]
struct Entry {
    name: String,
    value: Zeroizing<String>,
    /// From its name to behind its line break.
    span: Range<usize>,
}

/// A text whose every line was understood.
#[derive(Debug)]
pub(super) struct Dotenv {
    text: Zeroizing<String>,
    entries: Vec<Entry>,
}

/// Returns whether a text may name a secret: capital letters, digits and `_`, not a digit first.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=LONGEST_NAME).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// Returns why a text can be no secret's value, as the end of a sentence; none when it can.
#[must_use]
pub fn unfit(value: &str) -> Option<String> {
    if value.len() < redact::SHORTEST {
        return Some(format!(
            "is shorter than {} bytes: it could not be masked, for ordinary words hold it too",
            redact::SHORTEST
        ));
    }
    if value.len() > LONGEST {
        return Some("is longer than 16 KiB".to_owned());
    }
    if value.contains('\0') {
        return Some("holds a NUL, which no environment and no program takes".to_owned());
    }
    let same = value.bytes().all(|byte| Some(byte) == value.bytes().next());
    same.then(|| "is one character over and over: masking it would hide ordinary text".to_owned())
}

impl Dotenv {
    /// Reads a text, every line of it.
    ///
    /// # Errors
    /// Every fault, without the values.
    pub(super) fn parse(file: &Path, text: Zeroizing<String>) -> Result<Self, Vec<Diagnostic>> {
        let mut reader = Reader {
            file,
            text: &text,
            at: 0,
            faults: Vec::new(),
        };
        let mut entries: Vec<Entry> = Vec::new();
        while reader.at < text.len() {
            let Some(entry) = reader.entry() else {
                continue;
            };
            if entries.iter().any(|other| other.name == entry.name) {
                let message = format!("`{}` stands here twice", entry.name);
                reader.fault(entry.span.start, message, "keep one of them");
            } else {
                entries.push(entry);
            }
        }
        let faults = reader.faults;
        if faults.is_empty() {
            Ok(Self { text, entries })
        } else {
            Err(faults)
        }
    }

    /// Returns the text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns names and values.
    pub(super) fn into_values(self) -> redact::Values {
        let pairs = self.entries.into_iter();
        pairs.map(|entry| (entry.name, entry.value)).collect()
    }

    /// Returns the text with a value changed, or added at its end. The rest stays as it is.
    pub(super) fn with(&self, name: &str, value: &str) -> Zeroizing<String> {
        let line = Zeroizing::new(format!("{name}={}\n", *quoted(value)));
        self.spliced(name, &line)
    }

    /// Returns the text without a secret; none where there is none of that name.
    pub(super) fn without(&self, name: &str) -> Option<Zeroizing<String>> {
        let there = self.entries.iter().any(|entry| entry.name == name);
        there.then(|| self.spliced(name, ""))
    }

    fn spliced(&self, name: &str, line: &str) -> Zeroizing<String> {
        let found = self.entries.iter().find(|entry| entry.name == name);
        let end = self.text.len()..self.text.len();
        let Range { start, end } = found.map_or(end, |entry| entry.span.clone());
        let (before, after) = (self.text.get(..start), self.text.get(end..));
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        let broken = before.is_empty() || before.ends_with('\n');
        let between = if broken { "" } else { "\n" };
        Zeroizing::new([before, between, line, after].concat())
    }
}

/// Returns a value as it may stand behind `=`.
fn quoted(value: &str) -> Zeroizing<String> {
    let escaped = || {
        value
            .chars()
            .fold(Zeroizing::new(String::new()), |mut text, c| {
                match c {
                    '"' | '\\' => text.extend(['\\', c]),
                    '\r' => text.push_str("\\r"),
                    _ => text.push(c),
                }
                text
            })
    };
    if value.chars().all(is_plain) {
        Zeroizing::new(value.to_owned())
    } else if !value.contains(['\'', '\r']) {
        Zeroizing::new(format!("'{value}'"))
    } else {
        Zeroizing::new(format!("\"{}\"", *escaped()))
    }
}

/// Characters that every reader of such files takes for themselves, without quotes.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.:/+=@,%^~".contains(c)
}

struct Reader<'t> {
    file: &'t Path,
    text: &'t str,
    at: usize,
    faults: Vec<Diagnostic>,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Reads a line, or more where a quoted value goes on. None is a comment, or a fault.
    fn entry(&mut self) -> Option<Entry> {
        let start = self.at;
        let line = self.rest().lines().next().unwrap_or_default();
        if line.trim().is_empty() || line.starts_with('#') {
            self.skip_line();
            return None;
        }
        let named = line.split_once('=').filter(|(name, _)| is_name(name));
        let Some((name, _)) = named else {
            self.unnamed(line);
            self.skip_line();
            return None;
        };
        self.at += name.len() + 1;
        let value = self.value(name);
        self.skip_line();
        let value = value?;
        if let Some(why) = unfit(&value) {
            let message = format!("the value of `{name}` {why}");
            self.fault(start, message, "keep a longer one, or none");
            return None;
        }
        Some(Entry {
            name: name.to_owned(),
            value,
            span: start..self.at,
        })
    }

    fn unnamed(&mut self, line: &str) {
        let at = self.at;
        let help = if line.starts_with("export ") {
            "remove `export`"
        } else if line.starts_with([' ', '\t']) {
            "begin the line with the name"
        } else {
            "write NAME=value; names are capital letters, digits and `_`"
        };
        self.fault(at, "this line is no `NAME=value`".to_owned(), help);
    }

    fn value(&mut self, name: &str) -> Option<Zeroizing<String>> {
        match self.rest().chars().next() {
            Some(quote @ ('\'' | '"')) => self.quoted(name, quote),
            _ => self.plain(name),
        }
    }

    fn plain(&mut self, name: &str) -> Option<Zeroizing<String>> {
        let line = self.rest().lines().next().unwrap_or_default();
        let odd = line.char_indices().find(|(_, c)| !is_plain(*c));
        if let Some((inside, _)) = odd {
            let message = format!("the value of `{name}` holds a character that needs quotes");
            self.fault(self.at + inside, message, "put the value into '…' or \"…\"");
            return None;
        }
        self.at += line.len();
        Some(Zeroizing::new(line.to_owned()))
    }

    fn quoted(&mut self, name: &str, quote: char) -> Option<Zeroizing<String>> {
        let open = self.at;
        let mut value = Zeroizing::new(String::new());
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((inside, c)) = chars.next() {
            if c == quote {
                self.at = open + inside + 1;
                return self.ended(name).then_some(value);
            }
            if c != '\\' || quote == '\'' {
                value.push(c);
                continue;
            }
            match chars.next().and_then(|(_, c)| unescaped(c)) {
                Some(c) => value.push(c),
                None => {
                    let message = format!("the value of `{name}` has an escape that is none");
                    let help = r#"known are \\ \" \$ \n \r \t; nothing is escaped within '…'"#;
                    self.fault(open + inside, message, help);
                    self.at = open + inside;
                    return None;
                }
            }
        }
        self.fault(
            open,
            format!("the quote of `{name}` is never closed"),
            "close it",
        );
        self.at = self.text.len();
        None
    }

    /// Returns whether nothing but the end of the line follows a quoted value.
    fn ended(&mut self, name: &str) -> bool {
        let line = self.rest().lines().next().unwrap_or_default();
        let ended = line.trim().is_empty();
        if !ended {
            let message = format!("something follows the value of `{name}`");
            self.fault(
                self.at,
                message,
                "end the line there; comments have lines of their own",
            );
        }
        ended
    }

    fn skip_line(&mut self) {
        let line = self.rest().split_inclusive('\n').next();
        self.at += line.map_or(0, str::len);
    }

    fn fault(&mut self, at: usize, message: String, help: &str) {
        let before = self.text.get(..at).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text.get(start..).unwrap_or_default();
        let line = line.lines().next().unwrap_or_default();
        self.faults.push(Diagnostic {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: self.text.get(start..at).unwrap_or_default().chars().count() + 1,
            width: 1,
            picture: hidden(line),
            message,
            help: Some(help.to_owned()),
        });
    }
}

fn unescaped(c: char) -> Option<char> {
    Some(match c {
        '\\' | '"' | '$' => c,
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        _ => return None,
    })
}

/// Returns a line with everything but a name hidden.
fn hidden(line: &str) -> String {
    let named = line.split_once('=').filter(|(name, _)| is_name(name));
    let shown = named.map_or(0, |(name, _)| name.len() + 1);
    let hide = |(at, c): (usize, char)| if at < shown || c == ' ' { c } else { '*' };
    line.char_indices().map(hide).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    fn parse(text: &str) -> Result<Dotenv, Vec<Diagnostic>> {
        Dotenv::parse(Path::new("secrets.env"), Zeroizing::new(text.to_owned()))
    }

    fn value(text: &str) -> String {
        let values = parse(text).unwrap().into_values();
        values.get("KEY").unwrap().to_owned()
    }

    #[test]
    fn values_are_read_as_they_are_written() {
        for (text, expected) in [
            ("KEY=sk-0123456789", "sk-0123456789"),
            ("KEY=a/b+c=d:e@f\r\n", "a/b+c=d:e@f"),
            ("KEY='$HOME \"x\" \\n #'", "$HOME \"x\" \\n #"),
            (
                "# x\n\nKEY=\"a\\\"b\\\\c\\n\\t\\$d e\"  \n",
                "a\"b\\c\n\t$d e",
            ),
            (
                "KEY='line one\nline two\n'\nB=12345679",
                "line one\nline two\n",
            ),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
        assert!(parse("").unwrap().into_values().is_empty());
    }

    #[test]
    fn what_could_be_read_two_ways_is_a_fault_with_its_place_and_without_the_value() {
        for (text, place, said) in [
            ("KEY=hunter22 hunter22", (1, 13), "needs quotes"),
            ("KEY=hunter22#x", (1, 13), "needs quotes"),
            ("KEY=hunter$22", (1, 11), "needs quotes"),
            ("#\nKEY='hunter22", (2, 5), "never closed"),
            ("KEY='hunter22' # x", (1, 15), "something follows"),
            ("KEY=\"hunter\\x22\"", (1, 12), "escape that is none"),
            ("export KEY=hunter22", (1, 1), "no `NAME=value`"),
            (" KEY=hunter22", (1, 1), "no `NAME=value`"),
            ("key=hunter22", (1, 1), "no `NAME=value`"),
            ("1KEY=hunter22", (1, 1), "no `NAME=value`"),
            ("hunter22", (1, 1), "no `NAME=value`"),
            ("KEY=short", (1, 1), "shorter than 8 bytes"),
            ("KEY=", (1, 1), "shorter than 8 bytes"),
            ("KEY='********'", (1, 1), "one character"),
            ("KEY=hunter22\nKEY=hunter23", (2, 1), "stands here twice"),
        ] {
            let faults = parse(text).unwrap_err();
            let shown = faults[0].render();
            assert!(shown.contains(said), "{text}: {shown}");
            assert_eq!((faults[0].line, faults[0].column), place, "{text}");
            assert!(
                !shown.contains("hunter") && !shown.contains("22"),
                "{shown}"
            );
            assert_eq!(faults.len(), 1, "{text}");
        }
    }

    #[test]
    fn changing_one_value_keeps_the_rest_as_it_is() {
        let text = "# mine\nA=12345678\nKEY='two\nlines of it'\n# end\nB=\"12345679\"";
        let both = parse(text).unwrap();
        let changed = both.with("KEY", "it's new");
        assert_eq!(
            *changed,
            "# mine\nA=12345678\nKEY=\"it's new\"\n# end\nB=\"12345679\""
        );
        let gone = both.without("A").unwrap();
        assert_eq!(
            *gone,
            "# mine\nKEY='two\nlines of it'\n# end\nB=\"12345679\""
        );
        assert!(both.without("C").is_none());
        let more = both.with("C", "new-value");
        assert!(more.ends_with("B=\"12345679\"\nC=new-value\n"), "{}", *more);
    }

    proptest! {
        #[test]
        fn whatever_is_set_is_read_back(text in "[ -~\n\t\réß]{8,60}", before in "(A=12345678\n)?") {
            if unfit(&text).is_none() {
                let written = parse(&before).unwrap().with("KEY", &text);
                assert_eq!(value(&written), text);
            }
        }

        #[test]
        fn no_text_panics_or_shows_a_value(text in "[A-C='\"\\\\\n #$é0-9]{0,60}") {
            let shown = parse(&text).map_err(|faults| faults.iter().map(Diagnostic::render).collect::<String>());
            if let Err(shown) = shown {
                assert!(!shown.contains('é'), "{shown}");
            }
        }
    }
}
