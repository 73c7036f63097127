//! Cuts a stream of bytes into lines of a bounded length.

use super::{
    super::{Reader, Report, Spent},
    heard::Heard,
    said::Said,
};

/// Longest line that is read, in bytes. The program repeats there what its tools printed; what
/// decides about an attempt is far shorter.
pub(super) const LINE_MAX: usize = 1024 * 1024;

/// Lines of JSON that come in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    /// The line that is being read is too long: its rest is left out.
    skipping: bool,
    heard: Heard,
}

impl Lines {
    /// Returns how many bytes of a line are held.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.line.len()
    }

    fn take(&mut self, piece: &[u8]) {
        if self.skipping || self.line.len() + piece.len() > LINE_MAX {
            self.skipping = true;
            self.line.clear();
        } else {
            self.line.extend_from_slice(piece);
        }
    }

    fn end(&mut self) {
        let said = if self.skipping {
            Said::TooLong
        } else {
            Said::parse(self.line.trim_ascii())
        };
        self.line.clear();
        self.skipping = false;
        self.heard.hear(said);
    }
}

impl Reader for Lines {
    fn read(&mut self, bytes: &[u8]) {
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            self.take(piece);
            if pieces.peek().is_some() {
                self.end();
            }
        }
    }

    fn so_far(&self) -> Spent {
        self.heard.so_far()
    }

    fn report(mut self: Box<Self>, code: i32) -> Report {
        if self.skipping || !self.line.is_empty() {
            self.end();
        }
        self.heard.report(code)
    }
}
