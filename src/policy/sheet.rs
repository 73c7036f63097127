//! A policy file while it is read: its lines, and the faults found so far.

use super::{Facts, Layer, Origin, Source};
use crate::diagnostic::Diagnostic;

/// A place in a file: line and column from 1, and how many characters are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) width: usize,
}

/// A place in one of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Which file: its number among the sources.
    pub(super) sheet: usize,
    pub(super) layer: Layer,
    pub(super) at: Mark,
}

/// A value and who said it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// One file and its faults. The most that are kept is [`Sheet::MOST`]: a hostile file must not
/// fill the terminal.
pub(super) struct Sheet<'a> {
    number: usize,
    source: &'a Source,
    facts: &'a Facts,
    lines: Vec<&'a str>,
    faults: Vec<Diagnostic>,
    notes: Vec<Diagnostic>,
}

impl<'a> Sheet<'a> {
    /// The most faults kept of one file.
    pub(super) const MOST: usize = 200;

    pub(super) fn new((number, source): (usize, &'a Source), facts: &'a Facts) -> Self {
        Self {
            number,
            source,
            facts,
            lines: source.text.lines().collect(),
            faults: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn text(&self) -> &'a str {
        &self.source.text
    }

    pub(super) fn source(&self) -> &'a Source {
        self.source
    }

    /// Returns what is known besides the texts.
    pub(super) fn facts(&self) -> &'a Facts {
        self.facts
    }

    /// Returns how many faults were found so far.
    pub(super) fn faults(&self) -> usize {
        self.faults.len()
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

    /// Returns a value with its place in this file.
    pub(super) fn placed<T>(&self, value: T, at: Mark) -> Placed<T> {
        let place = Place {
            sheet: self.number,
            layer: self.source.layer,
            at,
        };
        Placed { value, place }
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

    /// Adds a fault at a place. The same fault is kept once: many roles may meet one value.
    pub(super) fn fault(&mut self, at: Mark, message: impl Into<String>, help: Option<String>) {
        let fault = self.diagnostic(at, message, help);
        if self.faults.len() < Self::MOST && !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// Adds a note at a place: what a person should know although nothing is wrong.
    pub(super) fn note(&mut self, at: Mark, message: impl Into<String>, help: Option<String>) {
        let note = self.diagnostic(at, message, help);
        if self.notes.len() < Self::MOST && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn diagnostic(&self, at: Mark, message: impl Into<String>, help: Option<String>) -> Diagnostic {
        Diagnostic {
            file: self.source.file.clone(),
            line: at.line,
            column: at.column,
            width: at.width,
            picture: self.line(at.line).chars().take(2000).collect(),
            message: message.into(),
            help,
        }
    }

    /// Returns the faults in the order of their lines.
    pub(super) fn into_faults(mut self) -> Vec<Diagnostic> {
        self.faults.sort_by_key(|fault| (fault.line, fault.column));
        self.faults
    }

    /// Returns the notes in the order of their lines.
    pub(super) fn into_notes(mut self) -> Vec<Diagnostic> {
        self.notes.sort_by_key(|note| (note.line, note.column));
        self.notes
    }
}
