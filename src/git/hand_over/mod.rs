//! The gate that work passes to leave a sandbox.
//!
//! Names first, by our own walk; then what git would take, against the caps, and its contents; only
//! then git reads it, into an index of the host's; last the changes, against the role's write globs
//! and against the files that programs of the host run. Files that the tree's own `.gitignore` names
//! are build output: they are not taken, and not judged.
//!
//! What is found is a breach, which refuses the work, or a need: a person may approve that, for
//! exactly the contents that were found.
//!
//! It assumes that nothing runs in the sandbox any more.

mod gate;
mod keep;
mod merged;
mod needs;
mod report;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub use self::merged::Sides;
pub(super) use self::needs::blobs;
use self::{
    gate::Gate,
    report::{LISTED, LISTED_BYTES, breaches},
};
use super::{
    GitError, ObjectId, Repository, Signature, Slot,
    command::{Answer, Place},
    inspect::{self, Difference, Remark, contents},
    modules, pointers,
    refs::quarantine_ref,
    repository::printable,
    spelling, tree,
};
use crate::{
    event::{Breach, Need},
    policy::Files,
    redact::Redactor,
};

/// How much may leave a sandbox at once. Ignored files do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of all changed files.
    pub total_bytes: u64,
    /// How many files may change.
    pub files: usize,
    /// How long contents may be looked at.
    pub time: Duration,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            file_bytes: 50 << 20,
            total_bytes: 500 << 20,
            files: 100_000,
            time: Duration::from_secs(300),
        }
    }
}

/// What happened to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its path, control characters escaped.
    pub path: String,
    /// `A` added, `D` deleted, `M` changed. A rename is a deletion and an addition.
    pub status: char,
}

/// What an agent left, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandOver {
    /// The work as a tree; none when a breach kept git from reading it.
    pub tree: Option<ObjectId>,
    /// What differs from the base.
    pub changes: Vec<Change>,
    /// Why it may not leave.
    pub breaches: Vec<Breach>,
    /// What a person must approve before it lands.
    pub needs: Vec<Need>,
}

/// What work is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// Which files the role may see and change.
    pub files: &'a Files,
    /// How much may leave.
    pub caps: &'a Caps,
    /// The values that must not.
    pub secrets: &'a Redactor,
    /// Kinds of files that the host runs which the role may change unasked.
    pub granted: &'a BTreeSet<String>,
    /// Digests of what people have approved in this run.
    pub approved: &'a BTreeSet<String>,
}

/// Returns whether a person may approve what breaks a rule.
#[must_use]
pub fn is_approvable(rule: &str) -> bool {
    needs::RULES.contains(&rule)
}

impl HandOver {
    /// Returns whether the work holds the value of a secret. Such work is not to be kept.
    #[must_use]
    pub fn holds_secret(&self) -> bool {
        let mut rules = self.breaches.iter().map(|breach| &breach.rule);
        rules.any(|rule| rule == contents::VALUE)
    }

    /// Returns everything that was found: why it may not leave, and what a person must approve.
    #[must_use]
    pub fn remarks(&self) -> Vec<Breach> {
        let needs = self.needs.iter().map(|need| Breach {
            rule: need.rule.clone(),
            path: need.path.clone(),
            message: format!("{}: a person must approve it", need.message),
        });
        self.breaches.iter().cloned().chain(needs).collect()
    }

    /// Returns the tree to keep for a person, none when nothing or more than an approval is
    /// missing.
    #[must_use]
    pub fn waits(&self) -> Option<&ObjectId> {
        let only = self.breaches.is_empty() && !self.needs.is_empty();
        self.tree.as_ref().filter(|_| only)
    }

    /// Returns the tree to commit, none when anything speaks against that.
    #[must_use]
    pub fn passed(&self) -> Option<&ObjectId> {
        let clean = self.breaches.is_empty() && self.needs.is_empty();
        self.tree.as_ref().filter(|_| clean)
    }
}

impl Repository {
    /// Judges what an agent left in a slot, where nothing is granted or approved. Repeatable.
    ///
    /// # Errors
    /// Those of [`Repository::judge`].
    pub fn hand_over(
        &self,
        slot: &Slot,
        rules: &Files,
        caps: &Caps,
        secrets: &Redactor,
    ) -> Result<HandOver, GitError> {
        let nothing = BTreeSet::new();
        let terms = Terms {
            files: rules,
            caps,
            secrets,
            granted: &nothing,
            approved: &nothing,
        };
        self.judge(slot, &terms)
    }

    /// Judges what an agent left in a slot. Repeatable.
    ///
    /// # Errors
    /// When git or the file system fails. A breach is no error.
    pub fn judge(&self, slot: &Slot, terms: &Terms<'_>) -> Result<HandOver, GitError> {
        let gate = Gate {
            place: slot.files.place(self),
            slot,
        };
        let walk = tree::walk(slot.work())?;
        let beginning = |path: &[u8]| contents::beginning(slot, path);
        let names = inspect::names(&walk, &slot.absent, &beginning);
        let mut remarks = gate.unless_old(gate.unless_ignored(names)?)?;
        remarks.extend(modules::entered(&walk.entries, &slot.modules));
        let mut sights = BTreeMap::new();
        let mut count = 0;
        if !remarks.iter().any(Remark::stops_git) {
            let candidates = gate.candidates(&walk)?;
            count = candidates.len();
            remarks.extend(inspect::sizes(&candidates, terms.caps));
            if !remarks.iter().any(Remark::stops_git) {
                let deadline = contents::Deadline::after(terms.caps.time);
                let seen = contents::look(slot, &candidates, (terms.secrets, deadline))?;
                remarks.extend(seen.values);
                sights = seen.sights;
            }
        }
        if remarks.iter().any(Remark::stops_git) {
            return Ok(HandOver {
                tree: None,
                changes: Vec::new(),
                breaches: breaches(&remarks),
                needs: Vec::new(),
            });
        }
        let tree = gate.take(count)?;
        let differences = differences(&gate.place, &slot.base, &tree)?;
        let write = &terms.files.write;
        let mut changed = inspect::changes(&differences, &walk.entries, write);
        gate.pardon(&mut changed, &differences)?;
        remarks.extend(changed);
        remarks.extend(spelling::twins(&differences, &walk.entries, &slot.absent));
        remarks.extend(pointers::replaced(self, slot, &differences)?);
        let found = needs::Found {
            absent: needs::absent_links(&gate.place, slot)?,
            landed: None,
            changes: &differences,
            entries: &walk.entries,
            sights: &sights,
        };
        let needs = needs::needs(&gate.place, &found, terms)?;
        let needs = needs.unwrap_or_else(|breach| {
            remarks.push(breach);
            Vec::new()
        });
        Ok(HandOver {
            tree: Some(tree),
            changes: differences.iter().map(Change::from).collect(),
            breaches: breaches(&remarks),
            needs,
        })
    }

    /// Keeps refused work for people to look at, and returns the ref it is under: none when the
    /// gate could not even read it.
    ///
    /// # Errors
    /// When git fails.
    pub fn quarantine(
        &self,
        slot: &Slot,
        attempt: u32,
        work: &HandOver,
        signature: &Signature<'_>,
    ) -> Result<Option<String>, GitError> {
        let Some(tree) = &work.tree else {
            return Ok(None);
        };
        let message = format!("Refused work of {}, attempt {attempt}", slot.task);
        let commit = self.write_commit(tree, &[&slot.base], &message, signature)?;
        let name = quarantine_ref(&slot.run, &slot.task, attempt);
        let old = self.commit_of(&name)?;
        self.move_ref(&name, old.as_ref(), &commit)?;
        Ok(Some(name))
    }
}

impl From<&Difference> for Change {
    fn from(difference: &Difference) -> Self {
        let status = match (
            difference.old_mode.as_slice(),
            difference.new_mode.as_slice(),
        ) {
            (b"000000", _) => 'A',
            (_, b"000000") => 'D',
            _ => 'M',
        };
        Self {
            path: printable(&difference.path),
            status,
        }
    }
}

/// Returns what differs between two trees or commits, a rename as a removal and a creation.
pub(super) fn differences(
    place: &Place,
    from: &ObjectId,
    to: &ObjectId,
) -> Result<Vec<Difference>, GitError> {
    let call = place.reading("diff-tree");
    let call = call.args([
        "-r",
        "-z",
        "--raw",
        "--no-renames",
        "--no-ext-diff",
        "--no-textconv",
    ]);
    let call = call.arg("--ignore-submodules=none");
    let answer = call.args([from.as_str(), to.as_str()]).run()?;
    raw_differences(&answer)
}

/// Returns a path and every directory above it.
pub(super) fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| at);
    slashes
        .chain([path.len()])
        .filter_map(|end| path.get(..end))
}

/// Reads `:oldmode newmode oldid newid status NUL path NUL`, repeated.
fn raw_differences(answer: &Answer) -> Result<Vec<Difference>, GitError> {
    let mut differences = Vec::new();
    let mut records = answer.records();
    while let Some(meta) = records.next() {
        let mut words = meta
            .strip_prefix(b":")
            .unwrap_or_default()
            .split(|byte| *byte == b' ');
        let (modes, ids) = ((words.next(), words.next()), (words.next(), words.next()));
        let ((Some(old_mode), Some(new_mode)), (Some(old_id), Some(new_id)), Some(path)) =
            (modes, ids, records.next())
        else {
            return Err(answer.odd());
        };
        differences.push(Difference {
            path: path.to_vec(),
            old_mode: old_mode.to_vec(),
            new_mode: new_mode.to_vec(),
            old_id: old_id.to_vec(),
            new_id: new_id.to_vec(),
        });
    }
    Ok(differences)
}

#[cfg(test)]
mod tests;
