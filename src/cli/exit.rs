//! Exit codes, and the one error type that people see.

use std::{fmt, process::ExitCode};

use crate::diagnostic::explained;

/// How the program ends. Documented in `docs/cli.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for was done.
    Done,
    /// Something failed.
    Failed,
    /// The command line was wrong.
    Usage,
    /// The specification or a policy is invalid.
    Invalid,
    /// No engine, or isolation below the minimum.
    NoSandbox,
    /// Finished, but something waits for a person.
    Waiting,
    /// A limit stopped it: a budget is used up.
    Limited,
    /// A bug of ours.
    Bug,
    /// `loki sandbox run`: Loki itself failed.
    RunFailed,
    /// Ended by this signal.
    Signal(u8),
    /// The exit code of a program run by `loki sandbox run`.
    Program(u8),
    /// The exit code that another process of Loki's said.
    Told(u8),
}

impl Exit {
    /// Returns its number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Invalid => 3,
            Self::NoSandbox => 4,
            Self::Waiting => 5,
            Self::Limited => 20,
            Self::Bug => 70,
            Self::RunFailed => 125,
            Self::Signal(number) => 128 + number,
            Self::Program(code) | Self::Told(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A command that could not do its work.
#[derive(Debug)]
pub(super) struct Fault {
    /// How the program ends.
    pub(super) exit: Exit,
    /// What is wrong: a lower-case fragment.
    pub(super) message: String,
    /// What to type next.
    pub(super) hint: Option<String>,
}

impl Fault {
    /// Makes a fault without a hint.
    pub(super) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            hint: None,
        }
    }

    /// Adds what to type next.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Turns any error into a fault with a given exit.
pub(super) trait OrExit<T> {
    /// Names the exit of a failure.
    fn or_exit(self, exit: Exit) -> Result<T, Fault>;
}

impl<T, E: std::error::Error> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Fault> {
        self.map_err(|cause| Fault::new(exit, explained(&cause)))
    }
}
