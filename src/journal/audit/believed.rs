//! Which seals can be believed: of this run, unchanged, by a key that counts, in order.

use std::{collections::BTreeMap, path::Path};

use jiff::Timestamp;

use super::{
    super::{
        JournalError, named as began,
        ring::Trusted,
        seal::{Seal, SealFault},
    },
    Against, AuditError, seals,
};
use crate::{digest::Digest, name::RunId};

/// Seals that are checked at once.
const BATCH: usize = 4096;

/// A place that some seal says.
pub(super) struct Sealed {
    pub(super) hash: Digest,
    pub(super) when: Timestamp,
}

impl Sealed {
    pub(super) fn of(seal: &Seal) -> Self {
        Self {
            hash: seal.facts.hash,
            when: seal.facts.ts,
        }
    }
}

/// Returns the seals from outside of the repository, checked.
pub(super) fn outside(run: &RunId, against: Against<'_>) -> Result<Vec<Seal>, AuditError> {
    let mut found = Vec::new();
    if let Some(seal) = against.anchor {
        believe(seal, run, against.keys).map_err(|fault| AuditError::Given {
            run: run.clone(),
            fault,
        })?;
        found.push(seal.clone());
    }
    let Some(dir) = against.anchors else {
        return Ok(found);
    };
    if let Some(seal) = seals::anchor(dir, run)? {
        believe(&seal, run, against.keys).map_err(|fault| JournalError::Seal {
            path: dir.join(seals::anchor_name(run)),
            line: 1,
            fault,
        })?;
        found.push(seal);
    }
    Ok(found)
}

/// Checks that a seal is of this run, by a key that counts.
pub(super) fn believe(seal: &Seal, run: &RunId, keys: &Trusted) -> Result<(), SealFault> {
    if seal.facts.run != *run {
        return Err(SealFault::OtherRun {
            found: seal.facts.run.clone(),
        });
    }
    seal.check().map_err(|_| SealFault::Forged)?;
    // Whoever got hold of a key that was changed seals no run that began afterwards.
    let ended = keys.ended(&seal.key);
    let is_late = ended.is_some_and(|ended| began(run).is_some_and(|began| began > ended));
    if keys.holds(&seal.key) && !is_late {
        Ok(())
    } else {
        Err(SealFault::OtherKey { found: seal.key })
    }
}

/// The seals of a run, all of them checked.
#[derive(Default)]
pub(super) struct ReadSeals {
    pub(super) places: BTreeMap<u64, Sealed>,
    pub(super) count: u64,
    pub(super) sealed: u64,
    pub(super) when: Option<Timestamp>,
    pub(super) torn: u64,
    pub(super) taken_over: Vec<(u64, u64)>,
    /// Seals of the older form, which do not name the one before.
    pub(super) loose: u64,
    last: Digest,
}

pub(super) fn read_seals(
    home: &Path,
    run: &RunId,
    keys: &Trusted,
) -> Result<ReadSeals, AuditError> {
    let path = seals::path(home, run);
    let mut read = ReadSeals::default();
    let Some(file) = seals::open_if_there(&path)? else {
        return Ok(read);
    };
    let mut lines = seals::Lines::new(file, &path);
    loop {
        let first = lines.number() + 1;
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some(seal) = lines.next()?
        {
            batch.push(seal);
        }
        if let Some((at, fault)) = first_unbelieved(&batch, run, keys) {
            return Err(lines.broken(first + at, fault).into());
        }
        for (seal, line) in batch.iter().zip(first..) {
            read.take(seal).map_err(|fault| lines.broken(line, fault))?;
        }
        if batch.len() < BATCH {
            read.torn = lines.torn();
            return Ok(read);
        }
    }
}

/// Checks many signatures on all processors and returns the first that cannot be believed.
fn first_unbelieved(batch: &[Seal], run: &RunId, keys: &Trusted) -> Option<(u64, SealFault)> {
    let check = |part: &[Seal], from: usize| {
        let mut part = part.iter().zip(from as u64..);
        part.find_map(|(seal, at)| Some((at, believe(seal, run, keys).err()?)))
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let share = batch.len().div_ceil(workers).max(16);
    if batch.len() <= share {
        return check(batch, 0);
    }
    std::thread::scope(|scope| {
        let parts = batch.chunks(share).enumerate();
        let threads: Vec<_> = parts
            .map(|(at, part)| scope.spawn(move || check(part, at * share)))
            .collect();
        let found = threads
            .into_iter()
            .filter_map(|thread| thread.join().expect("checking a signature does not panic"));
        found.min_by_key(|(at, _)| *at)
    })
}

impl ReadSeals {
    fn take(&mut self, seal: &Seal) -> Result<(), SealFault> {
        let facts = &seal.facts;
        if facts.seq <= self.sealed {
            return Err(SealFault::Order {
                seq: facts.seq,
                before: self.sealed,
            });
        }
        match facts.link {
            Some(link) if link.seal == self.count + 1 && link.before == self.last => {}
            None if self.loose == self.count => self.loose += 1,
            Some(_) | None => return Err(SealFault::Chain),
        }
        self.last = seal.digest();
        if let Some(first) = facts.taken_over {
            self.taken_over.push((first, facts.seq));
        }
        self.places.insert(facts.seq, Sealed::of(seal));
        self.count += 1;
        self.sealed = facts.seq;
        self.when = Some(facts.ts);
        Ok(())
    }
}
