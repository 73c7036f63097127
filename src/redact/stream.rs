//! Masks a stream of bytes that comes in parts of any size.

use std::{borrow::Cow, sync::Arc};

use aho_corasick::automaton::StateID;

use super::{
    joined::Trace,
    machine::{Machine, Mark},
};

/// Masks what passes through it. It holds back no more than what may yet turn out to begin a
/// value, at most 31 bytes, besides values that it is about to mask.
pub struct Stream(Option<Running>);

/// Looks for values in bytes that come in parts of any size, also where a program broke a form into
/// lines.
pub struct Search(Option<(Arc<Machine>, Trace)>);

impl Search {
    pub(super) fn new(machine: Option<Arc<Machine>>) -> Self {
        Self(machine.map(|machine| {
            let trace = Trace::new(machine.start());
            (machine, trace)
        }))
    }

    /// Takes the next bytes and returns whether a value ends in them.
    pub fn finds(&mut self, bytes: &[u8]) -> bool {
        let Some((machine, trace)) = &mut self.0 else {
            return false;
        };
        bytes.iter().any(|byte| trace.step(machine, *byte))
    }
}

struct Running {
    machine: Arc<Machine>,
    state: StateID,
    /// Bytes seen since the beginning.
    seen: u64,
    /// The last of them, which were not passed on.
    held: Vec<u8>,
    /// Found in what is held, in order, apart from each other.
    marks: Vec<Mark>,
    /// What was masked last, and where that ends.
    last: Option<Mark>,
}

impl Stream {
    pub(super) fn new(machine: Option<Arc<Machine>>) -> Self {
        Self(machine.map(|machine| Running {
            state: machine.start(),
            machine,
            seen: 0,
            held: Vec::new(),
            marks: Vec::new(),
            last: None,
        }))
    }

    /// Takes the next bytes and returns those that may be shown.
    pub fn push<'b>(&mut self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        match &mut self.0 {
            None => Cow::Borrowed(bytes),
            Some(running) => running.push(bytes),
        }
    }

    /// Returns how many bytes are held back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.as_ref().map_or(0, |running| running.held.len())
    }

    /// Returns what is held back as it is, where nothing was found in it yet. Should it turn out to
    /// begin a value, only the rest of that is masked.
    pub fn release(&mut self) -> Vec<u8> {
        match &mut self.0 {
            Some(running) if running.marks.is_empty() => std::mem::take(&mut running.held),
            _ => Vec::new(),
        }
    }

    /// Returns what was held back, masked. The next bytes begin a new stream.
    pub fn finish(&mut self) -> Vec<u8> {
        let Some(running) = &mut self.0 else {
            return Vec::new();
        };
        running.state = running.machine.start();
        let mut shown = Vec::new();
        running.show(running.seen, &mut shown);
        running.last = None;
        shown
    }
}

impl Running {
    fn push<'b>(&mut self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        self.state = self
            .machine
            .scan(self.state, bytes, self.seen, &mut self.marks);
        self.seen += bytes.len() as u64;
        let open = self.machine.open(self.state);
        if self.held.is_empty() && self.marks.is_empty() && open == 0 {
            return Cow::Borrowed(bytes);
        }
        self.held.extend_from_slice(bytes);
        let mut shown = Vec::with_capacity(self.held.len());
        self.show(self.seen - open, &mut shown);
        Cow::Owned(shown)
    }

    /// Passes on what lies before `until`, marks masked. What is found later begins at `until` or
    /// after it.
    fn show(&mut self, until: u64, shown: &mut Vec<u8>) {
        let mut at = self.seen - self.held.len() as u64;
        let mut marks = std::mem::take(&mut self.marks);
        let later = marks.partition_point(|mark| mark.start < until);
        self.marks = marks.split_off(later);
        for mark in marks {
            shown.extend_from_slice(self.between(at, mark.start));
            let joins = self.last.is_some_and(|last| last.joins(&mark));
            if !joins {
                shown.extend_from_slice(self.machine.label(mark.owner).as_bytes());
            }
            at = mark.end;
            self.last = Some(mark);
        }
        if at < until {
            shown.extend_from_slice(self.between(at, until));
            at = until;
        }
        self.forget(at.min(self.seen));
    }

    /// Returns what is held from one position to another; where they cross, nothing.
    fn between(&self, from: u64, to: u64) -> &[u8] {
        let first = self.seen - self.held.len() as u64;
        let index = |at: u64| usize::try_from(at.saturating_sub(first)).unwrap_or(usize::MAX);
        self.held.get(index(from)..index(to)).unwrap_or_default()
    }

    fn forget(&mut self, before: u64) {
        let gone = self.held.len() - self.between(before, self.seen).len();
        self.held.drain(..gone);
    }
}
