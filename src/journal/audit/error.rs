//! Why a journal cannot be believed.

use std::path::PathBuf;

use jiff::Timestamp;

use super::super::{JournalError, seal::SealFault};
use crate::{digest::Digest, name::RunId};

/// Why a journal is not what was written, beyond what its chain shows.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The chain, a seal, or the system.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal was written anew from some record on.
    #[error("records {first} to {last} of `{}` are not what was sealed: record {last} has the hash {found}, its seal of {when} says {sealed}", path.display())]
    Rewritten {
        /// The journal.
        path: PathBuf,
        /// The first record that may be wrong: those before are covered by a seal that fits.
        first: u64,
        /// The record whose hash is wrong.
        last: u64,
        /// Its hash.
        found: Digest,
        /// What the seal says.
        sealed: Digest,
        /// When the seal was made.
        when: Timestamp,
    },
    /// The journal lost its end.
    #[error("record {first} of `{}` and what came after it are gone: {sealed} records were sealed at {when}, {records} are there", path.display())]
    Cut {
        /// The journal.
        path: PathBuf,
        /// The first record that is missing.
        first: u64,
        /// Records that are there.
        records: u64,
        /// Records that a seal says there were.
        sealed: u64,
        /// When.
        when: Timestamp,
    },
    /// The seals were cut off.
    #[error("seals of `{}` are gone: the newest one here says record {here}, the one that is kept outside says record {sealed}", path.display())]
    SealsCut {
        /// The journal.
        path: PathBuf,
        /// The last record that the seals here cover.
        here: u64,
        /// The last that was sealed.
        sealed: u64,
    },
    /// The journal is gone.
    #[error("the journal of run `{run}` is gone: {sealed} records were sealed at {when}, as `{}` says", kept.display())]
    Gone {
        /// The run.
        run: RunId,
        /// Records that were sealed.
        sealed: u64,
        /// When.
        when: Timestamp,
        /// Where that is kept.
        kept: PathBuf,
    },
    /// What is left of a pruned journal is not what was signed.
    #[error("`{}` is not what pruning left: {fault}", path.display())]
    Tombstone {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        fault: SealFault,
    },
    /// The seal that was given belongs to something else.
    #[error("the seal given is not one of run `{run}` that can be trusted")]
    Given {
        /// The run.
        run: RunId,
        /// What is wrong with it.
        #[source]
        fault: SealFault,
    },
}
