//! The gate that work passes to leave a sandbox.
//!
//! Names first, by our own walk; then what git would take, against the caps; only then git reads
//! contents, into an index of the host's; last the changes, against the role's write globs. Files
//! that the tree's own `.gitignore` names are build output: they are not taken, and not judged.
//!
//! It assumes that nothing runs in the sandbox any more.

mod keep;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    GitError, ObjectId, Repository, Signature, Slot,
    command::{Answer, Place},
    inspect::{self, Difference, Remark},
    modules, pointers,
    refs::quarantine_ref,
    repository::printable,
    spelling,
    tree::{self, Entry, Walk},
};
use crate::{event::Breach, policy::Files, redact::Redactor};

/// Most breaches that are listed, and bytes of them.
const LISTED: usize = 1000;
const LISTED_BYTES: usize = 1 << 20;

/// How many files become an object file each; git's own bound for what it fetches.
const LOOSE: usize = 100;

/// How much may leave a sandbox at once. Ignored files do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of all changed files.
    pub total_bytes: u64,
    /// How many files may change.
    pub files: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            file_bytes: 50 << 20,
            total_bytes: 500 << 20,
            files: 100_000,
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
    /// Why it may not leave; empty is a pass.
    pub breaches: Vec<Breach>,
}

impl HandOver {
    /// Returns whether the work holds the value of a secret. Such work is not to be kept.
    #[must_use]
    pub fn holds_secret(&self) -> bool {
        let mut rules = self.breaches.iter().map(|breach| &breach.rule);
        rules.any(|rule| rule == values::RULE)
    }

    /// Returns the tree to commit, none when anything speaks against that.
    #[must_use]
    pub fn passed(&self) -> Option<&ObjectId> {
        if self.breaches.is_empty() {
            self.tree.as_ref()
        } else {
            None
        }
    }
}

impl Repository {
    /// Judges what an agent left in a slot. Repeatable.
    ///
    /// # Errors
    /// When git or the file system fails. A breach is no error.
    pub fn hand_over(
        &self,
        slot: &Slot,
        rules: &Files,
        caps: &Caps,
        secrets: &Redactor,
    ) -> Result<HandOver, GitError> {
        let gate = Gate {
            place: slot.files.place(self),
            slot,
        };
        let walk = tree::walk(slot.work())?;
        let mut remarks = gate.unless_ignored(inspect::names(&walk, &slot.absent))?;
        remarks.extend(modules::entered(&walk.entries, &slot.modules));
        let mut count = 0;
        if !remarks.iter().any(Remark::stops_git) {
            let candidates = gate.candidates(&walk)?;
            count = candidates.len();
            remarks.extend(inspect::sizes(&candidates, caps));
            if !remarks.iter().any(Remark::stops_git) {
                remarks.extend(values::shown(slot, &candidates, secrets)?);
            }
        }
        if remarks.iter().any(Remark::stops_git) {
            return Ok(HandOver {
                tree: None,
                changes: Vec::new(),
                breaches: breaches(&remarks),
            });
        }
        let tree = gate.take(count)?;
        let differences = gate.differences(&tree)?;
        remarks.extend(inspect::changes(&differences, &walk.entries, &rules.write));
        remarks.extend(spelling::twins(&differences, &walk.entries, &slot.absent));
        remarks.extend(pointers::replaced(self, slot, &differences)?);
        let changes = differences.iter().map(Change::from).collect();
        Ok(HandOver {
            tree: Some(tree),
            changes,
            breaches: breaches(&remarks),
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

/// Lists what was found, as far as a line of the journal holds it: a journal that refuses the line
/// ends the whole run, and an agent makes as many breaches as it likes.
fn breaches(remarks: &[Remark]) -> Vec<Breach> {
    let mut bytes = 0;
    let mut listed: Vec<Breach> = Vec::new();
    for remark in remarks {
        let breach = remark.breach();
        bytes += breach.path.len() + breach.message.len();
        if listed.len() >= LISTED || (bytes > LISTED_BYTES && !listed.is_empty()) {
            let rest = remarks.len() - listed.len();
            let message = format!("and {rest} further ones, which are not listed");
            listed.push(Remark::new(remark.rule, b".", message).breach());
            break;
        }
        listed.push(breach);
    }
    listed
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

/// A slot under judgement.
struct Gate<'a> {
    place: Place,
    slot: &'a Slot,
}

impl Gate<'_> {
    /// Leaves out what the tree's `.gitignore` names, unless the base tracks files below it: these
    /// git would look at all the same.
    fn unless_ignored(&self, remarks: Vec<Remark>) -> Result<Vec<Remark>, GitError> {
        if remarks.is_empty() {
            return Ok(remarks);
        }
        let index = &self.slot.files.index;
        let tracked = self
            .place
            .reading("ls-files")
            .index(index)
            .arg("-z")
            .run()?;
        let tracked: BTreeSet<&[u8]> = tracked.records().flat_map(ancestors).collect();
        // This command knows no literal paths; behind `./` nothing in a name means anything.
        let input: Vec<u8> = remarks
            .iter()
            .flat_map(|remark| [b"./", &remark.path[..], b"\0"].concat())
            .collect();
        let call = self
            .place
            .reading("check-ignore")
            .index(index)
            .args(["-z", "--stdin"]);
        let call = call.env("GIT_LITERAL_PATHSPECS", "0");
        // 128: git cannot tell, as for a path behind a link. Then nothing is ignored.
        let answer = call.accept(&[0, 1, 128]).input(input).run()?;
        let ignored: BTreeSet<&[u8]> = if answer.code == 0 {
            answer
                .records()
                .filter_map(|path| path.strip_prefix(b"./"))
                .collect()
        } else {
            BTreeSet::new()
        };
        let judged = |remark: &Remark| {
            let path = remark.path.as_slice();
            !ignored.contains(path) || tracked.contains(path)
        };
        Ok(remarks.into_iter().filter(judged).collect())
    }

    /// Returns what git would read: untracked files that are not ignored, and changed ones.
    fn candidates<'w>(&self, walk: &'w Walk) -> Result<Vec<&'w Entry>, GitError> {
        let call = self.place.reading("ls-files").index(&self.slot.files.index);
        let listed = call
            .args(["-z", "--others", "--modified", "--exclude-standard"])
            .run()?;
        let entries: BTreeMap<&[u8], &Entry> = walk
            .entries
            .iter()
            .map(|entry| (entry.path.as_slice(), entry))
            .collect();
        let paths: BTreeSet<&[u8]> = listed.records().collect();
        Ok(paths
            .into_iter()
            .filter_map(|path| entries.get(path).copied())
            .collect())
    }

    /// Puts the work into the object store: many files into one pack, not into a file each.
    fn take(&self, count: usize) -> Result<ObjectId, GitError> {
        let index = &self.slot.files.index;
        let mut add = self.place.git("add");
        if count > LOOSE {
            add = add.setting("core.bigFileThreshold", "1");
            add = add.setting("pack.compression", "1");
        }
        add.index(index).args(["--all", "--", "."]).run()?;
        self.place.git("write-tree").index(index).run()?.id()
    }

    fn differences(&self, tree: &ObjectId) -> Result<Vec<Difference>, GitError> {
        let call = self.place.reading("diff-tree");
        let call = call.args([
            "-r",
            "-z",
            "--raw",
            "--no-renames",
            "--no-ext-diff",
            "--no-textconv",
        ]);
        let call = call.arg("--ignore-submodules=none");
        let answer = call.args([self.slot.base.as_str(), tree.as_str()]).run()?;
        raw_differences(&answer)
    }
}

/// Returns a path and every directory above it.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
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
