//! The hash-chained list of events of a run, on disk, and what stands beside it in `.loki/`.
//!
//! One [`Writer`] per run appends JSON lines to `.loki/journal/<run>.jsonl`; the format is in
//! `docs/journal.md`. [`read`] and [`verify`] check the whole chain, [`Follow`] waits for more.
//! [`Lock`] keeps a repository to one orchestrator, [`Signals`] watches `STOP` and `PAUSE`,
//! [`Door`] lets other programs of this user talk to it, [`Requests`] what a person asks of a running
//! one, [`Inbox`] files that come, and [`views`] writes the files other tools read; what a process tells
//! of itself for a look is [`publish`]ed.
//!
//! A writer that was given a [`Sealing`] signs what it wrote; [`audit`] holds a journal against its
//! seals and against the newest one, which is kept outside of the repository. [`export`] turns
//! records into what other tools read, [`ring`] lets one key follow another.
//!
//! It refuses to write after a failed write, to write anything but a run's own events in order,
//! to follow a symlink that a repository brought along as one of its directories, and to read a
//! format newer than its own. It does not decide what happens next. The chain alone does not show
//! a journal that was rewritten from some record to its end: that takes the seals.
//!
//! Everything here takes `home`, the repository's `.loki` directory.

pub mod audit;
mod chain;
mod check;
mod door;
mod durable;
mod error;
pub mod export;
mod follow;
mod inbox;
mod key;
#[cfg(debug_assertions)]
mod kill;
mod line;
mod lock;
mod log;
mod place;
mod published;
pub mod requests;
pub mod ring;
mod seal;
mod sealer;
mod signals;
mod syncer;
mod unbegun;
pub mod views;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    io::BufRead,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use crate::{digest::Digest, event::Record, name::RunId};

use chain::{Chain, Step};

pub use door::{Door, DoorError, Talk, TalkError, knock};
#[expect(
    clippy::module_name_repetitions,
    reason = "an error is named after what failed"
)]
pub use error::{Fault, JournalError};
pub use follow::{Follow, From};
pub use inbox::{Dropped, Inbox};
pub use key::{Forged, Key, KeyError, NotHex, PublicKey, Signature};
#[cfg(debug_assertions)]
pub use kill::{Fate, KillPoint, NoKillPoint};
pub use line::FORMAT;
pub use lock::{Holder, Lock, LockError};
pub use log::{log_path, open_log};
pub use published::{publish, published, withdraw};
pub use requests::{Requests, Unbelieved};
pub use seal::{Facts, Link, PURPOSE as SEAL_PURPOSE, Seal, SealFault};
pub use sealer::Sealing;
pub use signals::{Signal, Signals};
pub use unbegun::{Unbegun, forget, forget_unbegun};
pub use writer::{Reopened, Writer};

/// What [`verify`] found in a sound journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// Complete records.
    pub records: u64,
    /// The hash of the last one, zeros when there is none.
    pub last_hash: Digest,
    /// Bytes after the last complete record, which a dying writer left; none is the usual case.
    pub torn: Option<u64>,
}

/// Returns where the journal of a run stands.
#[must_use]
pub fn path(home: &Path, run: &RunId) -> PathBuf {
    home.join("journal").join(format!("{run}.jsonl"))
}

/// Returns all complete records of a journal. A torn last line is left out.
///
/// # Errors
///
/// Names the first record that is not what was written.
pub fn read(path: &Path) -> Result<Vec<Record>, JournalError> {
    let mut chain = Chain::open(path)?;
    let mut records = Vec::new();
    while let Step::Record(record) = chain.step()? {
        records.push(*record);
    }
    Ok(records)
}

/// Checks every record of a journal, on all processors and in constant memory.
///
/// # Errors
///
/// Names the first record that is not what was written.
pub fn verify(path: &Path) -> Result<Verified, JournalError> {
    let checked = check::check(path, &[])?;
    Ok(Verified {
        records: checked.records,
        last_hash: checked.last_hash,
        torn: (checked.torn > 0).then_some(checked.torn),
    })
}

/// Calls `take` with each complete record in order, and its line, in constant memory.
///
/// # Errors
///
/// Names the first record that is not what was written; those before it were taken. Ends early,
/// without an error, when `take` breaks.
pub fn each(
    path: &Path,
    mut take: impl FnMut(&Record, &[u8]) -> std::ops::ControlFlow<()>,
) -> Result<(), JournalError> {
    let mut chain = Chain::open(path)?;
    while let Step::Record(record) = chain.step()? {
        if take(&record, chain.line()).is_break() {
            break;
        }
    }
    Ok(())
}

/// Returns the runs that have a journal, newest last, by the time of their first record. One that
/// has none, or an unreadable one, stands where its name says that it began: a journal does not
/// become an old one by being destroyed.
///
/// # Errors
///
/// Fails when the directory exists and cannot be read.
pub fn runs(home: &Path) -> Result<Vec<RunId>, JournalError> {
    let found = listed(home)?.into_iter();
    Ok(found.map(|(_, _, run)| run).collect())
}

/// Returns the runs whose journal does not begin with a whole record, in the order of [`runs`].
///
/// # Errors
///
/// Fails when the directory exists and cannot be read.
pub fn without_beginning(home: &Path) -> Result<Vec<RunId>, JournalError> {
    let found = listed(home)?.into_iter();
    let headless = found.filter(|(_, began, _)| *began == Began::Unknown);
    Ok(headless.map(|(_, _, run)| run).collect())
}

/// Whether a journal says when its run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Began {
    /// Its first record cannot be read, or is not there.
    Unknown,
    /// Its first record says so.
    Said,
}

/// All journals by the time that they began.
fn listed(home: &Path) -> Result<Vec<(Option<Timestamp>, Began, RunId)>, JournalError> {
    let dir = home.join("journal");
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(JournalError::io("list", &dir, source)),
    };
    let mut runs = Vec::new();
    for entry in entries {
        let name = entry
            .map_err(|source| JournalError::io("list", &dir, source))?
            .file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
        if let Some(run) = stem.and_then(|stem| stem.parse().ok()) {
            let (began, said) = match started(&path(home, &run)) {
                Some(time) => (Some(time), Began::Said),
                None => (run.time(), Began::Unknown),
            };
            runs.push((began, said, run));
        }
    }
    runs.sort();
    Ok(runs)
}

/// When the first record of a journal was written.
fn started(path: &Path) -> Option<Timestamp> {
    match Chain::open(path).and_then(|mut chain| chain.step()) {
        Ok(Step::Record(record)) => Some(record.ts),
        Ok(Step::End { .. }) | Err(_) => None,
    }
}

/// Reads on to the next line break, at most `most` bytes in all, and returns whether it came.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>, most: usize) -> std::io::Result<bool> {
    use std::io::Read;
    let room = u64::try_from(most.saturating_sub(line.len())).unwrap_or(u64::MAX);
    reader.by_ref().take(room).read_until(b'\n', line)?;
    Ok(line.ends_with(b"\n"))
}
