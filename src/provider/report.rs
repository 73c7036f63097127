//! What a program says about its own work while it runs. It is told to people and counted; of the
//! work itself only the gate and the checks judge.

use std::time::Duration;

use jiff::Timestamp;

use crate::event::Tokens;

/// Reads a program's standard output as it comes, in constant memory.
pub trait Reader: Send {
    /// Takes the next bytes, which may begin and end anywhere.
    fn read(&mut self, bytes: &[u8]);

    /// Says what the program has used so far, at least; nothing where only its end tells.
    fn so_far(&self) -> Spent {
        Spent::default()
    }

    /// Says what was heard, once the program has ended with this exit code.
    fn report(self: Box<Self>, code: i32) -> Report;
}

/// What a program said of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Its last words: a reviewer's verdict stands in their last line.
    pub answer: String,
    /// Why it did not do its work, as far as it says; none is a success.
    pub trouble: Option<Trouble>,
    /// What it used.
    pub spent: Spent,
}

/// Why a program could not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// One sentence for people and for the next attempt, a lower-case fragment.
    pub reason: String,
    /// What another attempt could do about it.
    pub remedy: Remedy,
}

/// What helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Another attempt.
    Again,
    /// Another attempt, not earlier than this: whoever was asked is busy.
    Wait(Duration),
    /// Another attempt once this time has come, which whoever was asked has named.
    Until(Timestamp),
    /// Only a person.
    Person,
}

/// What a program says it used of its model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spent {
    /// The model, empty when it does not say.
    pub model: String,
    /// Rounds of asking the model.
    pub turns: u64,
    /// Tokens that were sent and came back.
    pub tokens: Tokens,
    /// Its own estimate in millionths of a US dollar, by list prices.
    pub cost_micros: u64,
}
