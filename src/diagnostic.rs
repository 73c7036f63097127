//! What is wrong in a text a person wrote, where, and what would have been right.
//!
//! Refuses to print: the faces decide where a picture goes. Control and direction-changing
//! characters never reach a picture, so a hostile file cannot draw on the terminal.

use std::{
    fmt::{self, Write},
    path::PathBuf,
};

use crate::text::aligned;

/// The longest stretch of a line that a picture shows, in characters.
const WINDOW: usize = 120;

/// Returns an error and what caused it, down to what the system said, on one line. A cause that
/// the error already quotes is not said twice.
#[must_use]
pub fn explained(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let said = deeper.to_string();
        if !text.contains(&said) {
            push(&mut text, format_args!(": {said}"));
        }
        cause = deeper.source();
    }
    text
}

/// One fault in one file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Diagnostic {
    /// The file, as the person named it.
    pub file: PathBuf,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters are marked, at least 1.
    pub width: usize,
    /// The text of the line.
    pub picture: String,
    /// What is wrong: a lower-case fragment.
    pub message: String,
    /// What would have been right.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Returns the fault as several lines without a final line break: where, what, the line with
    /// carets under the marked part, and what would have been right.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.place();
        push(&mut text, format_args!(": {}", aligned(&self.message)));
        if self.line > 0 {
            self.draw(&mut text);
        }
        if let Some(help) = &self.help {
            push(&mut text, format_args!("\n  help: {}", aligned(help)));
        }
        text
    }

    fn place(&self) -> String {
        let file = aligned(&self.file.to_string_lossy());
        match self.line {
            0 => file,
            line => format!("{file}:{line}:{}", self.column),
        }
    }

    fn draw(&self, text: &mut String) {
        let line = aligned(&self.picture);
        let length = line.chars().count();
        let start = self.column.saturating_sub(1).min(length);
        let from = start
            .saturating_sub(WINDOW / 2)
            .min(length.saturating_sub(WINDOW));
        let shown: String = line.chars().skip(from).take(WINDOW).collect();
        let room = shown.chars().count().saturating_sub(start - from).max(1);
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let carets = "^".repeat(self.width.clamp(1, room));
        push(
            text,
            format_args!("\n {gutter} |\n {number} |{}", padded(shown.trim_end())),
        );
        push(
            text,
            format_args!("\n {gutter} | {}{carets}", " ".repeat(start - from)),
        );
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), aligned(&self.message))
    }
}

/// Returns the one of `known` that `given` was probably meant to be.
#[must_use]
pub fn closest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.len() > 64 {
        return None;
    }
    let near = |name: &str| distance(given, name);
    let limit = (given.chars().count() / 3).max(1);
    let candidates = known.into_iter().map(|name| (near(name), name));
    candidates
        .filter(|(steps, _)| *steps <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Counts the insertions, removals, replacements and swaps of neighbours between two words.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// Puts a space before a text that is not empty, so that no line ends in a space.
fn padded(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(" {text}")
    }
}

fn push(text: &mut String, part: fmt::Arguments<'_>) {
    text.write_fmt(part).expect("a String takes every text");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault() -> Diagnostic {
        Diagnostic {
            file: PathBuf::from("policies/x.yaml"),
            line: 12,
            column: 5,
            width: 4,
            picture: "    raed: [\"src/**\"]".to_owned(),
            message: "unknown key `raed`".to_owned(),
            help: Some("did you mean `read`?".to_owned()),
        }
    }

    #[test]
    fn a_fault_is_drawn_with_carets_and_help() {
        insta::assert_snapshot!(fault().render(), @r#"
        policies/x.yaml:12:5: unknown key `raed`
            |
         12 |     raed: ["src/**"]
            |     ^^^^
          help: did you mean `read`?
        "#);
    }

    #[test]
    fn a_picture_cannot_steer_the_terminal() {
        let hostile = "\u{1b}[2J\u{9b}31m\u{202e}x\r\n\u{7}\u{feff}".to_owned();
        let fault = Diagnostic {
            picture: hostile.clone(),
            message: hostile.clone(),
            help: Some(hostile),
            ..fault()
        };
        let text = fault.render();
        assert!(
            text.chars().all(|c| c == '\n' || !c.is_control()),
            "{text:?}"
        );
        assert!(!text.contains('\u{202e}') && !text.contains('\u{feff}'));
        assert!(!fault.to_string().contains('\u{1b}'));
    }

    #[test]
    fn a_long_line_is_cropped_around_the_fault() {
        let picture = format!("{}HERE{}", "a".repeat(5000), "b".repeat(5000));
        let text = Diagnostic {
            picture,
            column: 5001,
            width: 4,
            ..fault()
        }
        .render();
        assert!(text.contains("HERE") && text.len() < 600, "{text}");
    }

    #[test]
    fn a_fault_outside_its_line_is_still_drawn() {
        for (column, width) in [(0, 0), (999, 999), (usize::MAX, usize::MAX)] {
            let text = Diagnostic {
                column,
                width,
                ..fault()
            }
            .render();
            assert!(text.contains('^'), "{text}");
        }
    }

    #[test]
    fn a_fault_of_the_whole_file_has_no_picture() {
        assert_eq!(
            Diagnostic {
                line: 0,
                help: None,
                ..fault()
            }
            .render(),
            "policies/x.yaml: unknown key `raed`"
        );
    }

    #[test]
    fn the_closest_word_is_offered_only_when_it_is_close() {
        let known = ["read", "write", "execute"];
        assert_eq!(closest("raed", known), Some("read"));
        assert_eq!(closest("exceute", known), Some("execute"));
        assert_eq!(closest("network", known), None);
        assert_eq!(closest("", known), None);
        let roles = ["eng-backend", "eng-frontend", "review-code"];
        assert_eq!(closest("eng-bakend", roles), Some("eng-backend"));
        assert_eq!(closest("eng-fontent", roles), Some("eng-frontend"));
        assert_eq!(closest("accountant", roles), None);
        assert_eq!(closest("", roles), None);
    }
}
