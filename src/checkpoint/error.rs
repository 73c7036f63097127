//! Why a checkpoint could not be made, believed or unpacked.

use std::{io, path::Path, path::PathBuf, time::Duration};

use crate::{digest::Digest, name::CheckpointId};

use super::{admit::Refusal, entry::EntryPath};

/// Why a call came to nothing. Each leaves everything as it was.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no such checkpoint.
    #[error("there is no checkpoint `{0}` here: `loki checkpoint list` shows those there are")]
    Unknown(CheckpointId),
    /// A checkpoint is not what it was when it was made.
    #[error("checkpoint `{id}` cannot be believed: {flaw}")]
    Broken {
        /// Which.
        id: CheckpointId,
        /// The first thing that is wrong.
        #[source]
        flaw: Flaw,
    },
    /// What is to be kept, or unpacked, breaks a rule.
    #[error("`{path}` is refused: {refusal}")]
    Refused {
        /// The entry.
        path: EntryPath,
        /// The rule.
        #[source]
        refusal: Refusal,
    },
    /// An archive cannot be read to its end.
    #[error("the archive cannot be read after `{after}`: {why}")]
    Archive {
        /// The last entry that was whole.
        after: EntryPath,
        /// What is wrong.
        why: &'static str,
    },
    /// A running sandbox never held still.
    #[error(
        "`{path}` was changed while it was read, {tries} times: pause the sandbox, or try again when it is quieter"
    )]
    Restless {
        /// A file that was changed.
        path: EntryPath,
        /// How often it was tried.
        tries: u32,
    },
    /// All checkpoints together would take more room than they may.
    #[error(
        "checkpoints would take {would} bytes of {quota} they may: `loki checkpoint prune --keep N` makes room, `--quota SIZE` allows more"
    )]
    Quota {
        /// Bytes with the new one.
        would: u64,
        /// Bytes allowed.
        quota: u64,
    },
    /// It took longer than it may.
    #[error("keeping it took longer than {} s, which is all it may: `loki checkpoint create --dir DIR` takes its time", .0.as_secs())]
    Late(Duration),
    /// The place to unpack to is taken.
    #[error("`{}` exists and is not an empty directory: give one that does not exist", .0.display())]
    Taken(PathBuf),
    /// Another process is writing here.
    #[error("another `loki` is writing checkpoints in `{}`: try again when it is done", .0.display())]
    Busy(PathBuf),
}

/// The first thing found wrong with a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The manifest is not one, or not of this name.
    #[error("its manifest is malformed: {0}")]
    Malformed(&'static str),
    /// Written by a newer Loki.
    #[error("its manifest has version {0}, which a newer Loki writes: update Loki")]
    Newer(u32),
    /// The signature is not over these bytes.
    #[error("its signature does not fit: it was changed after it was signed")]
    Forged,
    /// Somebody else signed it.
    #[error("it was signed by the key {0}, which is not trusted here: `--key PUB` trusts one")]
    Stranger(String),
    /// One checkpoint stands in the place of another.
    #[error("its manifest is that of checkpoint `{0}`")]
    Swapped(CheckpointId),
    /// Contents are gone.
    #[error("a part of `{path}` is missing ({digest:.16})")]
    Missing {
        /// What it belongs to.
        path: EntryPath,
        /// The part.
        digest: Digest,
    },
    /// Contents were changed.
    #[error("a part of `{path}` was changed on the disk ({digest:.16})")]
    Damaged {
        /// What it belongs to.
        path: EntryPath,
        /// The part.
        digest: Digest,
    },
    /// The parts of a file are not as long as the file.
    #[error("the parts of `{path}` are not as long as it was")]
    Length {
        /// The file.
        path: EntryPath,
    },
    /// A signed listing breaks a rule, so no honest Loki wrote it.
    #[error("it lists `{path}`, which is refused: {refusal}")]
    Refused {
        /// The entry.
        path: EntryPath,
        /// The rule.
        refusal: Refusal,
    },
    /// The listing is not what its signed head says.
    #[error("its listing holds something else than its head says")]
    Count,
}

impl CheckpointError {
    /// Says what was tried on which file.
    pub(super) fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            doing,
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

impl Flaw {
    /// Says whose flaw it is.
    pub(super) fn of(self, id: &CheckpointId) -> CheckpointError {
        CheckpointError::Broken {
            id: id.clone(),
            flaw: self,
        }
    }
}
