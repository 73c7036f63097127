//! Reads a text twice at once: as it is, and as it would be without its line breaks.
//!
//! `base64` breaks its lines after 76 digits, and a value may stand across the break. So behind each
//! break a second reading goes on where the first one was before it, until both stand at the same
//! place again: mostly at once. A break is a line's end, as it is or written `\n`, with the blanks
//! around it and the backslash that continues a line.

use aho_corasick::automaton::StateID;

use super::machine::Machine;

/// Where the two readings are.
pub(super) struct Trace {
    plain: StateID,
    /// Where the text without breaks leads; none where that is the same.
    joined: Option<StateID>,
    behind: Behind,
}

/// What was read last.
#[derive(Clone, Copy)]
enum Behind {
    Text,
    Break,
    /// Blanks, and where the joined text was before them: they may end a line.
    Blanks(StateID),
    /// A backslash, which may be the beginning of a break.
    Backslash(StateID),
}

impl Trace {
    pub(super) fn new(start: StateID) -> Self {
        Self {
            plain: start,
            joined: None,
            behind: Behind::Text,
        }
    }

    /// Takes the next byte and returns whether a value ends with it.
    pub(super) fn step(&mut self, machine: &Machine, byte: u8) -> bool {
        let before = self.joined.unwrap_or(self.plain);
        self.plain = machine.step(self.plain, byte);
        let rejoins = match (self.behind, byte) {
            (Behind::Break, b' ' | b'\t' | b'\r' | b'\n') => Some(before),
            (Behind::Backslash(at), b'n' | b'r' | b'\r' | b'\n') => Some(at),
            (Behind::Blanks(at), b'\r' | b'\n') => Some(at),
            (_, b'\r' | b'\n') => Some(before),
            _ => None,
        };
        if let Some(at) = rejoins {
            self.joined = Some(at);
            self.behind = Behind::Break;
            return machine.is_end(self.plain);
        }
        self.behind = match (self.behind, byte) {
            (Behind::Blanks(at), b' ' | b'\t') => Behind::Blanks(at),
            (_, b' ' | b'\t') => Behind::Blanks(before),
            (Behind::Blanks(at), b'\\') => Behind::Backslash(at),
            (_, b'\\') => Behind::Backslash(before),
            _ => Behind::Text,
        };
        let Some(joined) = self.joined else {
            return machine.is_end(self.plain);
        };
        let joined = machine.step(joined, byte);
        self.joined = (joined != self.plain).then_some(joined);
        machine.is_end(self.plain) || machine.is_end(joined)
    }
}
