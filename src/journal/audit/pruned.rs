//! What is left of a journal that was pruned: one signed line that says what it was.
//!
//! `<run>.pruned` holds the first and the last record by number, hash and time, how many there
//! were, how the run ended, and the newest seal. A journal goes as a whole or stays as a whole; one
//! that is not what was written stays, for it is evidence, and so does one whose run may go on.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rustix::fs::{AtFlags, FlockOperation, OFlags};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        JournalError,
        check::check,
        key::{Key, PublicKey, Signature},
        place::Dir,
        seal::{Seal, SealFault},
    },
    Against, Audit, AuditError, audit, believe, seals,
};
use crate::{digest::Digest, event::Outcome, name::RunId};

/// What a signature of what is left begins with.
const PURPOSE: &str = "loki journal tombstone 1";
/// The most that is read of one.
const LARGEST: u64 = 8192;

/// One end of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The record's number.
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
    /// When it was written.
    pub ts: Timestamp,
}

/// What is left of a pruned journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tombstone {
    /// Of this file: 1.
    format: u64,
    /// The run.
    pub run: RunId,
    /// The format of its journal.
    pub journal_format: u64,
    /// The first record.
    pub first: Kept,
    /// The last record.
    pub last: Kept,
    /// Bytes that the journal had.
    pub bytes: u64,
    /// Seals that it had.
    pub seals: u64,
    /// How the run ended.
    pub outcome: Outcome,
    /// When it was pruned.
    pub pruned: Timestamp,
    /// The newest seal, as its line.
    seal: String,
    /// Whose key signed this.
    key: String,
    signature: Option<String>,
}

/// Why a journal stays.
#[derive(Debug, thiserror::Error)]
pub enum NotPruned {
    /// Its run goes on, may go on, or waits for a person.
    #[error("its run has not ended")]
    Goes,
    /// Some process writes to it.
    #[error("it is being written")]
    Held,
    /// Not every record is covered by a seal.
    #[error("no seal covers its end: `loki audit verify --run {run}` says more")]
    Unsealed {
        /// The run.
        run: RunId,
    },
    /// It is not what was written.
    #[error(transparent)]
    Unsound(#[from] AuditError),
}

impl From<JournalError> for NotPruned {
    fn from(error: JournalError) -> Self {
        Self::Unsound(error.into())
    }
}

/// Where what is left of a run's journal stands.
pub(super) fn path(home: &Path, run: &RunId) -> PathBuf {
    home.join("journal").join(format!("{run}.pruned"))
}

/// Returns what would be left of a journal, and changes nothing.
///
/// # Errors
/// Says why the journal stays.
pub fn tombstone(
    home: &Path,
    run: &RunId,
    against: Against<'_>,
    (key, now): (&Key, Timestamp),
) -> Result<Tombstone, NotPruned> {
    let audited = audit(home, run, against)?;
    let is_end = |outcome: &Outcome| !matches!(outcome, Outcome::Waiting);
    let outcome = audited.outcome.filter(is_end).ok_or(NotPruned::Goes)?;
    let seal = super::newest(home, run)?;
    let (Some(seal), 0, None) = (seal, audited.unsealed, audited.torn) else {
        return Err(NotPruned::Unsealed { run: run.clone() });
    };
    let journal = super::path(home, run);
    let checked = check(&journal, &[])?;
    let kept = |record: Option<crate::event::Record>| {
        record.map(|record| Kept {
            seq: record.seq,
            hash: record.hash,
            ts: record.ts,
        })
    };
    let (Some(first), Some(last)) = (kept(checked.first), kept(checked.last)) else {
        return Err(NotPruned::Goes);
    };
    let last_written = last.ts;
    let bytes = std::fs::metadata(&journal)
        .map_err(|source| JournalError::io("look at", &journal, source))?
        .len();
    let mut tombstone = Tombstone {
        format: 1,
        run: run.clone(),
        journal_format: checked.format,
        first,
        last,
        bytes,
        seals: audited.seals,
        outcome,
        // A clock may have been put back since.
        pruned: now.max(last_written),
        seal: seal.to_string(),
        key: key.public().to_string(),
        signature: None,
    };
    let signature = key.sign(PURPOSE, &tombstone.signed());
    tombstone.signature = Some(signature.to_string());
    Ok(tombstone)
}

/// Replaces a journal and its seals by what is left of it.
///
/// # Errors
/// Says why the journal stays, or what the system refused.
pub fn prune(
    home: &Path,
    run: &RunId,
    against: Against<'_>,
    signer: (&Key, Timestamp),
) -> Result<Tombstone, NotPruned> {
    let dir = Dir::home(home)?.within("journal", 0o700)?;
    let name = format!("{run}.jsonl");
    let file = dir.open(&name, OFlags::RDWR | OFlags::NONBLOCK, 0)?;
    // Held until it is gone: nobody goes on writing meanwhile.
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| NotPruned::Held)?;
    let tombstone = tombstone(home, run, against, signer)?;
    let mut line = serde_json::to_vec(&tombstone).map_err(JournalError::Unwritable)?;
    line.push(b'\n');
    dir.replace(&format!("{run}.pruned"), &line)?;
    dir.sync()?;
    for name in [name, format!("{run}.seals")] {
        let path = dir.path().join(&name);
        rustix::fs::unlinkat(dir.fd(), &name, AtFlags::empty())
            .map_err(|errno| JournalError::io("remove", &path, errno))?;
    }
    dir.sync()?;
    Ok(tombstone)
}

/// Reads what is left of a journal, if that is all there is, and checks who signed it.
pub(super) fn read(
    home: &Path,
    run: &RunId,
    keys: &super::Trusted,
) -> Result<Option<Tombstone>, AuditError> {
    let path = path(home, run);
    let Some(file) = seals::open_if_there(&path)? else {
        return Ok(None);
    };
    let mut text = String::new();
    file.take(LARGEST)
        .read_to_string(&mut text)
        .map_err(|source| JournalError::io("read", &path, source))?;
    let judged = Tombstone::judge(text.trim_end(), run, keys);
    judged
        .map(Some)
        .map_err(|fault| AuditError::Tombstone { path, fault })
}

impl Tombstone {
    /// The bytes that are signed: all but the signature.
    fn signed(&self) -> Vec<u8> {
        let bare = Self {
            signature: None,
            ..self.clone()
        };
        serde_json::to_vec(&bare).expect("plain fields are JSON")
    }

    fn judge(text: &str, run: &RunId, keys: &super::Trusted) -> Result<Self, SealFault> {
        let form = |_| SealFault::Form;
        let found: Self = serde_json::from_str(text).map_err(|_| SealFault::Form)?;
        if found.format != 1 {
            return Err(SealFault::Form);
        }
        if found.run != *run {
            return Err(SealFault::OtherRun { found: found.run });
        }
        let key: PublicKey = found.key.parse().map_err(form)?;
        let signature = found.signature.as_deref().unwrap_or_default();
        let signature: Signature = signature.parse().map_err(form)?;
        key.verify(PURPOSE, &found.signed(), &signature)
            .map_err(|_| SealFault::Forged)?;
        let seal: Seal = found.seal.parse()?;
        believe(&seal, run, keys)?;
        // Whoever got hold of a key that was changed prunes nothing that a later one sealed.
        if !keys.follows(&key, &seal.key) {
            return Err(SealFault::OtherKey { found: key });
        }
        let is_early = found.pruned < found.last.ts;
        if is_early || (seal.facts.seq, seal.facts.hash) != (found.last.seq, found.last.hash) {
            return Err(SealFault::Forged);
        }
        Ok(found)
    }

    /// Says of a pruned journal what can still be said.
    pub(super) fn audit(self, path: &Path, anchors: &[Seal]) -> Result<Audit, AuditError> {
        let seal: Seal = self.seal.parse().map_err(|fault| AuditError::Tombstone {
            path: path.to_owned(),
            fault,
        })?;
        for anchor in anchors {
            let facts = &anchor.facts;
            let is_past = facts.seq > self.last.seq;
            if is_past || (facts.seq == self.last.seq && facts.hash != self.last.hash) {
                return Err(AuditError::Rewritten {
                    path: path.to_owned(),
                    first: 1,
                    last: facts.seq,
                    found: self.last.hash,
                    sealed: facts.hash,
                    when: facts.ts,
                });
            }
        }
        Ok(Audit {
            run: self.run,
            format: self.journal_format,
            records: self.last.seq,
            last_hash: self.last.hash,
            torn: None,
            outcome: Some(self.outcome),
            seals: self.seals,
            sealed: seal.facts.seq,
            sealed_at: Some(seal.facts.ts),
            torn_seal: None,
            loose: 0,
            unsealed: 0,
            taken_over: Vec::new(),
            anchored: anchors.iter().map(|seal| seal.facts.seq).max(),
            pruned: Some(self.pruned),
        })
    }
}
