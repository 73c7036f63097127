//! Whether a journal is what was written: its chain, its seals, and the newest seal that is kept
//! outside of the repository, held against one another.
//!
//! The chain finds a changed record. A seal finds a journal that was written anew, and one that
//! lost its end; the seal outside finds that the seals were cut off with it, or that all of it was
//! put back to how it once stood. Only public keys are needed. What it cannot find is what happened
//! to records that no seal covers yet: it says which those are.

mod believed;
mod error;
mod pruned;
pub(super) mod seals;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    JournalError,
    check::{Checked, check},
    path,
    ring::Trusted,
    seal::Seal,
};
use crate::{
    digest::Digest,
    event::{Event, Outcome},
    name::RunId,
};

use believed::{Sealed, believe, outside, read_seals};

#[expect(
    clippy::module_name_repetitions,
    reason = "an error is named after what failed"
)]
pub use error::AuditError;
pub use pruned::{Kept, NotPruned, Tombstone, prune, tombstone};

/// What a journal is held against.
#[derive(Debug, Clone, Copy)]
pub struct Against<'a> {
    /// The keys whose seals count.
    pub keys: &'a Trusted,
    /// Where the newest seals of this repository are kept outside of it; none skips that.
    pub anchors: Option<&'a Path>,
    /// A seal that a person kept.
    pub anchor: Option<&'a Seal>,
}

/// What was found of a journal that holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Audit {
    /// The run.
    pub run: RunId,
    /// The format of its journal.
    pub format: u64,
    /// Complete records.
    pub records: u64,
    /// The hash of the last one, zeros when there is none.
    pub last_hash: Digest,
    /// Bytes after the last complete record, which a dying writer left; none is the usual case.
    pub torn: Option<u64>,
    /// How the run ended; none while it goes on, and where it was killed.
    pub outcome: Option<Outcome>,
    /// Seals.
    pub seals: u64,
    /// The last record that a seal covers, 0 where there is none.
    pub sealed: u64,
    /// When that seal was made.
    pub sealed_at: Option<Timestamp>,
    /// Bytes of a seal that was never completed; none is the usual case.
    pub torn_seal: Option<u64>,
    /// Records after it, whose changes would not be seen.
    pub unsealed: u64,
    /// Records that were sealed only when the journal was opened again after a crash, as first and
    /// last number.
    pub taken_over: Vec<(u64, u64)>,
    /// Seals of the older form, which do not name the one before: one of them that was removed would
    /// not be missed.
    pub loose: u64,
    /// The record that the seal outside of the repository says; none where there is none.
    pub anchored: Option<u64>,
    /// When it was pruned: then only its first and last record are known.
    pub pruned: Option<Timestamp>,
}

/// Holds the journal of a run against its seals.
///
/// # Errors
/// Names the first thing that is not what was written.
pub fn audit(home: &Path, run: &RunId, against: Against<'_>) -> Result<Audit, AuditError> {
    let journal = path(home, run);
    let anchors = outside(run, against)?;
    if seals::open_if_there(&journal)?.is_none() {
        return match pruned::read(home, run, against.keys)? {
            Some(tombstone) => tombstone.audit(&pruned::path(home, run), &anchors),
            None => Err(gone(run, &anchors, against, &journal)),
        };
    }
    let read = read_seals(home, run, against.keys)?;
    let mut wanted: BTreeMap<u64, Sealed> = read.places;
    for seal in &anchors {
        let facts = &seal.facts;
        if let Some(known) = wanted.get(&facts.seq)
            && known.hash != facts.hash
        {
            return Err(contradicted(&journal, facts.seq, known, seal));
        }
        wanted.insert(facts.seq, Sealed::of(seal));
    }
    let checked = check(&journal, &wanted.keys().copied().collect::<Vec<_>>())?;
    refuse_another_run(run, &journal, &checked)?;
    hold(&journal, &checked, &wanted)?;
    let newest = anchors.iter().map(|seal| seal.facts.seq).max();
    if let Some(sealed) = newest.filter(|sealed| *sealed > read.sealed) {
        let here = read.sealed;
        let path = journal;
        return Err(AuditError::SealsCut { path, here, sealed });
    }
    Ok(Audit {
        run: run.clone(),
        format: checked.format,
        records: checked.records,
        last_hash: checked.last_hash,
        torn: (checked.torn > 0).then_some(checked.torn),
        outcome: outcome(&checked),
        seals: read.count,
        sealed: read.sealed,
        sealed_at: read.when,
        torn_seal: (read.torn > 0).then_some(read.torn),
        unsealed: checked.records - read.sealed,
        taken_over: read.taken_over,
        loose: read.loose,
        anchored: newest,
        pruned: None,
    })
}

/// Returns the runs of which a seal is kept outside, but neither a journal nor what pruning leaves
/// of one is here.
///
/// # Errors
/// Fails when a directory cannot be read.
pub fn missing(home: &Path, anchors: &Path) -> Result<Vec<RunId>, JournalError> {
    let is_here = |path: PathBuf| path.symlink_metadata().is_ok();
    let mut missing = named(anchors, ".seal")?;
    missing.retain(|run| !is_here(path(home, run)) && !is_here(pruned::path(home, run)));
    Ok(missing)
}

/// Returns the runs that a directory has a file of this ending of, in the order of their names.
fn named(dir: &Path, ending: &str) -> Result<Vec<RunId>, JournalError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(JournalError::io("list", dir, source)),
    };
    let mut runs: Vec<RunId> = Vec::new();
    for entry in entries {
        let name = entry
            .map_err(|source| JournalError::io("list", dir, source))?
            .file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(ending));
        runs.extend(stem.and_then(|stem| stem.parse().ok()));
    }
    runs.sort();
    Ok(runs)
}

/// Returns the runs of which only what pruning leaves is here.
///
/// # Errors
/// Fails when the directory cannot be read.
pub fn pruned_runs(home: &Path) -> Result<Vec<RunId>, JournalError> {
    named(&home.join("journal"), ".pruned")
}

/// Returns the newest seal of a run; none when it has none. Its signature is not checked.
///
/// # Errors
/// Fails when the seals cannot be read, or one is none.
pub fn newest(home: &Path, run: &RunId) -> Result<Option<Seal>, JournalError> {
    let path = seals::path(home, run);
    let Some(file) = seals::open_if_there(&path)? else {
        return Ok(None);
    };
    Ok(seals::newest(&file, &path)?.last)
}

/// Reads a seal that a person kept in a file.
///
/// # Errors
/// Fails when the file cannot be read or holds none.
pub fn read_anchor(path: &Path) -> Result<Option<Seal>, JournalError> {
    seals::read_anchor(path)
}

/// Holds the records that are there against what seals say of them.
fn hold(
    journal: &Path,
    checked: &Checked,
    wanted: &BTreeMap<u64, Sealed>,
) -> Result<(), AuditError> {
    let mut good = 0;
    for (seq, sealed) in wanted {
        match checked.hashes.get(seq) {
            Some(found) if *found == sealed.hash => good = *seq,
            Some(found) => {
                return Err(AuditError::Rewritten {
                    path: journal.to_owned(),
                    first: good + 1,
                    last: *seq,
                    found: *found,
                    sealed: sealed.hash,
                    when: sealed.when,
                });
            }
            None => break,
        }
    }
    match wanted.last_key_value() {
        Some((seq, sealed)) if *seq > checked.records => Err(AuditError::Cut {
            path: journal.to_owned(),
            first: checked.records + 1,
            records: checked.records,
            sealed: *seq,
            when: sealed.when,
        }),
        _ => Ok(()),
    }
}

fn contradicted(journal: &Path, seq: u64, here: &Sealed, outside: &Seal) -> AuditError {
    AuditError::Rewritten {
        path: journal.to_owned(),
        first: 1,
        last: seq,
        found: here.hash,
        sealed: outside.facts.hash,
        when: outside.facts.ts,
    }
}

fn refuse_another_run(run: &RunId, journal: &Path, checked: &Checked) -> Result<(), JournalError> {
    match checked.first.as_ref().map(|record| &record.event) {
        Some(Event::RunStarted { run: found, .. }) if found != run => Err(JournalError::OtherRun {
            path: journal.to_owned(),
            found: found.clone(),
        }),
        _ => Ok(()),
    }
}

fn outcome(checked: &Checked) -> Option<Outcome> {
    match checked.last.as_ref()?.event {
        Event::RunEnded { outcome, .. } => Some(outcome),
        _ => None,
    }
}

fn gone(run: &RunId, anchors: &[Seal], against: Against<'_>, journal: &Path) -> AuditError {
    let newest = anchors.iter().max_by_key(|seal| seal.facts.seq);
    match newest {
        Some(seal) => AuditError::Gone {
            run: run.clone(),
            sealed: seal.facts.seq,
            when: seal.facts.ts,
            kept: against
                .anchors
                .map_or_else(PathBuf::new, |dir| dir.join(seals::anchor_name(run))),
        },
        None => AuditError::Journal(JournalError::io(
            "open",
            journal,
            std::io::Error::from(std::io::ErrorKind::NotFound),
        )),
    }
}
