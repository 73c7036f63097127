//! Why a journal cannot be written or believed.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{digest::Digest, name::RunId};

use super::{line::FORMAT, seal::SealFault};

/// Why a journal, or a file beside it, cannot be written, read or believed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was tried, such as `append to`.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A record is not what was written.
    #[error("record {record} of `{}` is not what was written", path.display())]
    Broken {
        /// The journal.
        path: PathBuf,
        /// The number of the line, from 1, which is the number its record should have.
        record: u64,
        /// What is wrong with it.
        #[source]
        fault: Fault,
    },
    /// The journal was begun by an older Loki, which could not read what this one adds.
    #[error("`{}` has format {found}, this program continues only format {FORMAT}; start the run anew with `loki start`", path.display())]
    Older {
        /// The journal.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The journal was written by a newer Loki.
    #[error("`{}` has format {found}, this program knows up to {FORMAT}; use the newer loki", path.display())]
    Newer {
        /// The journal.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The journal of another run stands under this name.
    #[error("`{}` is the journal of run `{found}`", path.display())]
    OtherRun {
        /// The journal.
        path: PathBuf,
        /// The run in its first record.
        found: RunId,
    },
    /// A directory that must be this user's alone is another's.
    #[error("`{}` is another user's; remove it, or ask them to", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// Another process writes to the journal.
    #[error("`{}` is being written by another process; `loki status` shows it", path.display())]
    Held {
        /// The journal.
        path: PathBuf,
    },
    /// An earlier write failed, so nothing more is written.
    #[error("`{}` takes no more events, for an earlier write failed", path.display())]
    Closed {
        /// The journal.
        path: PathBuf,
    },
    /// The first event is not `run_started`, or a later one is.
    #[error("a journal begins with `run_started` and holds it once, but record {record} of `{}` would be another", path.display())]
    Order {
        /// The journal.
        path: PathBuf,
        /// The number the record would have had.
        record: u64,
    },
    /// The event is longer than a record may be.
    #[error("an event of {bytes} bytes is too long for `{}`", path.display())]
    TooLong {
        /// The journal.
        path: PathBuf,
        /// The length of its line.
        bytes: usize,
    },
    /// The event cannot be written as JSON.
    #[error("an event cannot be written as JSON")]
    Unwritable(#[source] serde_json::Error),
    /// A seal is not one that was made for this journal.
    #[error("line {line} of `{}` is not a seal of this journal", path.display())]
    Seal {
        /// The seals.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        #[source]
        fault: SealFault,
    },
    /// The journal does not hold what a seal says it held, so it is not written on.
    #[error("record {record} of `{}` is not there as it was sealed; `loki audit verify` says more", path.display())]
    Lost {
        /// The journal.
        path: PathBuf,
        /// The record that is missing or another.
        record: u64,
    },
    /// Changes in a directory cannot be watched.
    #[error("cannot watch `{}`", path.display())]
    Watch {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: notify::Error,
    },
}

impl JournalError {
    pub(super) fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            doing,
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The line does not have the layout of a record.
    #[error("it does not end with a hash")]
    Layout,
    /// The line is longer than a record may be.
    #[error("it is longer than a record may be")]
    TooLong,
    /// The first line says no format, another one does, or the format never existed.
    #[error("the format must stand in the first record, and only there")]
    Format,
    /// The bytes do not hash to what the record says: it was edited.
    #[error("its bytes hash to {actual}, not to the hash it carries")]
    Hash {
        /// What its bytes hash to.
        actual: Digest,
    },
    /// The record is well formed but stands in the wrong place: cut, moved or inserted.
    #[error("it is number {found}")]
    Sequence {
        /// The number it carries.
        found: u64,
    },
    /// The record does not follow the one before it.
    #[error("it follows {found}, but the record before it has the hash {expected}")]
    Chain {
        /// The hash it says it follows.
        found: Digest,
        /// The hash of the record before it.
        expected: Digest,
    },
    /// The first event is not `run_started`, or another one is.
    #[error("`run_started` must be the first event, and only the first")]
    Order,
    /// It is not a record of this format.
    #[error("it is not a record of this format")]
    Json(#[source] serde_json::Error),
}
