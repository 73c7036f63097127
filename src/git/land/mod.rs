//! Commits and how they land: serially, without a worktree, and only forward.
//!
//! [`Repository::join`] says what landing would give, so that checks can run on exactly that
//! tree; [`Repository::seal`] makes the commit; [`Repository::advance`] moves the run's branch, if
//! it still is where it was. [`Repository::conflict`] says what stands against what,
//! [`Repository::undo`] what taking a landing back would give, and [`moved`] what became of a
//! landing whose process died.

mod conflict;
mod outcome;
mod placed;
mod undo;

use super::{GitError, ObjectId, Repository, Slot, refs, repository::printable};
use crate::name::{Role, RunId, TaskId};

pub use conflict::{Conflict, Conflicted};
pub use outcome::{Holds, Moved, moved};
pub use undo::Undone;

/// Who did a piece of work, by which rights and when: the trailers of its commit.
#[derive(Debug, Clone, Copy)]
pub struct Signature<'a> {
    /// The run.
    pub run: &'a RunId,
    /// The task; none for work of the run itself.
    pub task: Option<&'a TaskId>,
    /// Other tasks that were done with it, in one session.
    pub mates: &'a [TaskId],
    /// The role that did the work.
    pub role: &'a Role,
    /// The hash of the policy in force.
    pub policy: &'a str,
    /// The position in the journal, and the time in seconds since 1970.
    pub journal: u64,
    /// Seconds since 1970.
    pub time: i64,
}

/// What landing a commit on a head would give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Join {
    /// The head holds the commit already.
    Landed,
    /// The commit stands on the head: the head moves to it. Its tree.
    Forward(ObjectId),
    /// Both sides have moved: a merge commit with this tree joins them.
    Merge(ObjectId),
    /// Both sides changed these files differently, names made printable.
    Conflict(Vec<String>),
}

impl Join {
    /// Returns the tree that would be the run's, none when nothing would change or a person or an
    /// agent must decide.
    #[must_use]
    pub fn tree(&self) -> Option<&ObjectId> {
        match self {
            Self::Forward(tree) | Self::Merge(tree) => Some(tree),
            Self::Landed | Self::Conflict(_) => None,
        }
    }
}

/// What a merge gave: where it conflicts, the tree holds both sides between markers.
struct Merged {
    tree: ObjectId,
    /// The names of what conflicts, as they are.
    names: Vec<Vec<u8>>,
    is_clean: bool,
}

impl Repository {
    /// Commits a tree that passed the gate on the slot's base, and moves the task's branch to it.
    ///
    /// # Errors
    /// When git fails, or the task's branch was moved by somebody else.
    pub fn commit(
        &self,
        slot: &Slot,
        tree: &ObjectId,
        message: &str,
        signature: &Signature<'_>,
    ) -> Result<ObjectId, GitError> {
        let commit = self.write_commit(tree, &[&slot.base], message, signature)?;
        let branch = format!("refs/heads/{}", refs::task_branch(&slot.run, &slot.task));
        self.move_ref(&branch, Some(&slot.base), &commit)?;
        Ok(commit)
    }

    /// Says what landing `commit` on `head` would give. Moves nothing.
    ///
    /// # Errors
    /// When git fails.
    pub fn join(&self, head: &ObjectId, commit: &ObjectId) -> Result<Join, GitError> {
        let common = self
            .place
            .reading("merge-base")
            .args([head.as_str(), commit.as_str()]);
        let common = common.accept(&[0, 1]).run()?;
        if common.code == 0 && common.id()? == *commit {
            return Ok(Join::Landed);
        }
        if common.code == 0 && common.id()? == *head {
            return self.tree_of(commit).map(Join::Forward);
        }
        let merged = self.merge(head, commit)?;
        if merged.is_clean {
            return Ok(Join::Merge(merged.tree));
        }
        let names = merged.names.iter().map(|name| printable(name));
        Ok(Join::Conflict(names.collect()))
    }

    /// Merges two commits into a tree, without a worktree and without attributes.
    fn merge(&self, ours: &ObjectId, theirs: &ObjectId) -> Result<Merged, GitError> {
        let place = self.place.over(self.root(), self.head().empty_tree());
        let call = place
            .git("merge-tree")
            .args(["--write-tree", "-z", "--name-only"]);
        let call = call.args(["--no-messages", "--allow-unrelated-histories"]);
        let answer = call
            .args([ours.as_str(), theirs.as_str()])
            .accept(&[0, 1])
            .run()?;
        let mut records = answer.records();
        let tree = records.next().and_then(|id| std::str::from_utf8(id).ok());
        let tree = tree
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| answer.odd())?;
        let mut merged = Merged {
            names: records.map(<[u8]>::to_vec).collect(),
            is_clean: answer.code == 0,
            tree,
        };
        if merged.is_clean {
            merged.names = self.misplaced((ours, theirs), &merged.tree)?;
            merged.is_clean = merged.names.is_empty();
        }
        Ok(merged)
    }

    /// Makes the commit that the run's branch moves to: the task's own when it stands on the head,
    /// else a merge.
    ///
    /// # Errors
    /// When git fails.
    pub fn seal(
        &self,
        tree: &ObjectId,
        sides: (&ObjectId, &ObjectId),
        message: &str,
        signature: &Signature<'_>,
    ) -> Result<ObjectId, GitError> {
        self.write_commit(tree, &[sides.0, sides.1], message, signature)
    }

    /// Makes the commit with which a person takes back a landing: it stands on `head`.
    ///
    /// # Errors
    /// When git fails.
    pub fn seal_undone(
        &self,
        tree: &ObjectId,
        head: &ObjectId,
        message: &str,
        signature: &Signature<'_>,
    ) -> Result<ObjectId, GitError> {
        self.write_commit(tree, &[head], message, signature)
    }

    /// Moves the branch of a run from `old` to `new`. What it moves to is on the disk before, and
    /// the branch itself on return.
    ///
    /// # Errors
    /// When it is not at `old` any more, or is protected.
    pub fn advance(&self, run: &RunId, old: &ObjectId, new: &ObjectId) -> Result<(), GitError> {
        let branch = refs::run_branch(run);
        self.protected()?.refuse(&branch)?;
        self.settle()?;
        self.move_ref(&format!("refs/heads/{branch}"), Some(old), new)?;
        self.settle()
    }

    /// Returns the tree of a commit.
    ///
    /// # Errors
    /// When there is no such commit.
    pub fn tree_of(&self, commit: &ObjectId) -> Result<ObjectId, GitError> {
        let call =
            self.place
                .reading("rev-parse")
                .args(["--verify", "--quiet", "--end-of-options"]);
        call.arg(format!("{commit}^{{tree}}")).run()?.id()
    }

    /// Writes a commit with a fixed committer and our trailers.
    pub(super) fn write_commit(
        &self,
        tree: &ObjectId,
        parents: &[&ObjectId],
        message: &str,
        signature: &Signature<'_>,
    ) -> Result<ObjectId, GitError> {
        let date = format!("{} +0000", signature.time);
        let call = self.place.git("commit-tree").arg("--no-gpg-sign");
        let call = call.args(parents.iter().flat_map(|parent| ["-p", parent.as_str()]));
        call.args(["-F", "-", tree.as_str()])
            .env("GIT_AUTHOR_NAME", format!("{} (Loki)", signature.role))
            .env("GIT_AUTHOR_EMAIL", "loki@localhost")
            .env("GIT_AUTHOR_DATE", &date)
            .env("GIT_COMMITTER_NAME", "Loki")
            .env("GIT_COMMITTER_EMAIL", "loki@localhost")
            .env("GIT_COMMITTER_DATE", &date)
            .input(signed(message, signature))
            .run()?
            .id()
    }
}

/// Puts our trailers below a message as its last paragraph, where they are the only ones.
fn signed(message: &str, signature: &Signature<'_>) -> String {
    let plain = |letter: &char| *letter == '\n' || !letter.is_control();
    let message: String = message.chars().filter(plain).collect();
    let message = message.trim();
    let message = if message.is_empty() {
        "Work of an agent"
    } else {
        message
    };
    let task = signature
        .task
        .map(|task| format!("Loki-Task: {task}\n"))
        .unwrap_or_default();
    let mates: String = signature
        .mates
        .iter()
        .map(|mate| format!("Loki-With: {mate}\n"))
        .collect();
    let Signature {
        run,
        role,
        policy,
        journal,
        ..
    } = signature;
    format!(
        "{message}\n\nLoki-Run: {run}\n{task}{mates}Loki-Role: {role}\nLoki-Policy: {policy}\nLoki-Journal: {journal}\n"
    )
}

#[cfg(test)]
mod tests;
