//! The text of a specification and how faults point into it.

use std::{ops::Range, path::Path};

use crate::{diagnostic::Diagnostic, text::aligned};

/// Longest picture of a line, in characters.
const PICTURE_MAX: usize = 400;

/// A decoded text that can point at its own parts.
#[derive(Debug)]
pub(super) struct Source<'a> {
    file: &'a Path,
    pub(super) text: &'a str,
    /// Byte offset at which each line starts.
    starts: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        let after_breaks = text
            .bytes()
            .enumerate()
            .filter(|(_, b)| *b == b'\n')
            .map(|(at, _)| at + 1);
        Self {
            file,
            text,
            starts: std::iter::once(0).chain(after_breaks).collect(),
        }
    }

    /// Returns the text of a byte range, empty when the range does not lie on characters.
    pub(super) fn part(&self, range: Range<usize>) -> &'a str {
        self.text.get(range).unwrap_or_default()
    }

    /// Returns the line of a byte offset, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    /// Returns where `needle` stands within `range`, or the whole range when it does not or
    /// `needle` is empty.
    pub(super) fn locate(&self, range: Range<usize>, needle: &str) -> Range<usize> {
        let found = self
            .part(range.clone())
            .find(needle)
            .map(|at| range.start + at);
        match found {
            Some(start) if !needle.is_empty() => start..start + needle.len(),
            _ => range,
        }
    }

    /// Builds a fault that marks `range`, on its first line only.
    pub(super) fn fault(&self, range: &Range<usize>, message: String, help: &str) -> Diagnostic {
        let line = self.line(range.start);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        let rest = self.part(start..self.text.len());
        let row = rest.split(['\n', '\r']).next().unwrap_or_default();
        let before = self.part(start..range.start).chars().count();
        let end = range.end.min(start + row.len()).max(range.start);
        Diagnostic {
            file: self.file.to_owned(),
            line,
            column: before + 1,
            width: self
                .part(range.start..end)
                .trim_end()
                .chars()
                .count()
                .max(1),
            picture: picture(row),
            message,
            help: Some(help.to_owned()),
        }
    }
}

/// Builds a fault that means the whole file.
pub(super) fn whole(file: &Path, message: String, help: &str) -> Diagnostic {
    Diagnostic {
        file: file.to_owned(),
        line: 0,
        column: 1,
        width: 1,
        picture: String::new(),
        message,
        help: Some(help.to_owned()),
    }
}

/// Returns a line fit for a terminal; columns stay what they are.
fn picture(row: &str) -> String {
    aligned(row).chars().take(PICTURE_MAX).collect()
}

/// Decodes the bytes of a specification.
pub(super) fn decode<'a>(file: &Path, bytes: &'a [u8]) -> Result<&'a str, Diagnostic> {
    if let Some(at) = bytes.iter().position(|b| *b == 0) {
        let line = line_of(bytes.get(..at).unwrap_or_default());
        let message = format!("not a text file: byte {at} (line {line}) is NUL");
        return Err(whole(file, message, "give a Markdown file"));
    }
    let text =
        std::str::from_utf8(bytes).map_err(|error| not_utf8(file, bytes, error.valid_up_to()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        let help = "write a title, `# What is to be built`, and what it must do";
        return Err(whole(file, "the specification is empty".to_owned(), help));
    }
    Ok(text)
}

/// Describes the first byte that is not UTF-8; everything before `at` is.
fn not_utf8(file: &Path, bytes: &[u8], at: usize) -> Diagnostic {
    let before = bytes.get(..at).unwrap_or_default();
    let start = before
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |found| found + 1);
    let row = bytes
        .get(start..)
        .unwrap_or_default()
        .split(|b| *b == b'\n')
        .next()
        .unwrap_or_default();
    let row = row
        .get(..row.len().min(4 * PICTURE_MAX))
        .unwrap_or_default();
    let column = String::from_utf8_lossy(before.get(start..).unwrap_or_default())
        .chars()
        .count()
        + 1;
    Diagnostic {
        file: file.to_owned(),
        line: line_of(before),
        column,
        width: 1,
        picture: picture(&String::from_utf8_lossy(row)),
        message: format!(
            "byte 0x{:02x} is not UTF-8",
            bytes.get(at).copied().unwrap_or_default()
        ),
        help: Some("save the file as UTF-8".to_owned()),
    }
}

fn line_of(before: &[u8]) -> usize {
    before.iter().filter(|b| **b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_count_characters_not_bytes() {
        let source = Source::new(Path::new("s.md"), "eins\nzwei üü drei\nvier");
        let start = source.text.find("drei").expect("it is there");
        let fault = source.fault(&(start..start + 4), "x".to_owned(), "y");
        assert_eq!((fault.line, fault.column, fault.width), (2, 9, 4));
        assert_eq!(fault.picture, "zwei üü drei");
    }

    #[test]
    fn a_fault_over_lines_marks_the_first() {
        let source = Source::new(Path::new("s.md"), "ab\ncd");
        let fault = source.fault(&(1..5), "x".to_owned(), "y");
        assert_eq!((fault.line, fault.column, fault.width), (1, 2, 1));
    }

    #[test]
    fn hostile_characters_do_not_reach_a_picture() {
        let source = Source::new(Path::new("s.md"), "a\u{1b}[2J\tb\u{202e}");
        let fault = source.fault(&(0..1), "x".to_owned(), "y");
        assert_eq!(fault.picture, "a\u{fffd}[2J b\u{fffd}");
    }

    #[test]
    fn a_byte_order_mark_is_not_text() {
        assert_eq!(decode(Path::new("s.md"), b"\xef\xbb\xbf# T"), Ok("# T"));
    }

    #[test]
    fn bad_utf8_names_line_and_column() {
        let fault =
            decode(Path::new("s.md"), b"# T\n\xc3\xbcb\xff!\n").expect_err("0xff is not UTF-8");
        assert_eq!((fault.line, fault.column), (2, 3));
        assert_eq!(fault.message, "byte 0xff is not UTF-8");
        assert_eq!(fault.picture, "üb\u{fffd}!");
    }
}
