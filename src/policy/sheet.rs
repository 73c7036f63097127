//! A policy file while it is read: its lines, and the faults found so far.

use super::{Origin, Source};
use crate::diagnostic::Diagnostic;

/// A place in a file: line and column from 1, and how many characters are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) width: usize,
}

/// One file and its faults. The most that are kept is [`Sheet::MOST`]: a hostile file must not
/// fill the terminal.
pub(super) struct Sheet<'a> {
    source: &'a Source,
    lines: Vec<&'a str>,
    faults: Vec<Diagnostic>,
}

impl<'a> Sheet<'a> {
    /// The most faults kept of one file.
    pub(super) const MOST: usize = 200;

    pub(super) fn new(source: &'a Source) -> Self {
        Self {
            source,
            lines: source.text.lines().collect(),
            faults: Vec::new(),
        }
    }

    pub(super) fn text(&self) -> &'a str {
        &self.source.text
    }

    pub(super) fn source(&self) -> &'a Source {
        self.source
    }

    /// Returns whether no fault was found so far.
    pub(super) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// Returns the text of a line, empty when there is none.
    pub(super) fn line(&self, line: usize) -> &'a str {
        self.lines
            .get(line.wrapping_sub(1))
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn origin(&self, at: Mark) -> Origin {
        Origin {
            file: self.source.file.display().to_string(),
            line: at.line,
            layer: self.source.layer,
        }
    }

    /// Adds a fault of the whole file.
    pub(super) fn whole(&mut self, message: impl Into<String>, help: Option<String>) {
        self.fault(
            Mark {
                line: 0,
                column: 1,
                width: 1,
            },
            message,
            help,
        );
    }

    /// Adds a fault at a place.
    pub(super) fn fault(&mut self, at: Mark, message: impl Into<String>, help: Option<String>) {
        if self.faults.len() >= Self::MOST {
            return;
        }
        self.faults.push(Diagnostic {
            file: self.source.file.clone(),
            line: at.line,
            column: at.column,
            width: at.width,
            picture: self.line(at.line).chars().take(2000).collect(),
            message: message.into(),
            help,
        });
    }

    /// Returns the faults in the order of their lines.
    pub(super) fn into_faults(mut self) -> Vec<Diagnostic> {
        self.faults.sort_by_key(|fault| (fault.line, fault.column));
        self.faults
    }
}
