//! Work that waits for a person: kept beside all branches, shown, and brought home.
//!
//! | ref | what |
//! |---|---|
//! | `refs/loki/waiting/<run>/<task>/<attempt>` | work that lands once a person has approved it |
//!
//! It decides nothing: who may approve, and what that means, is the journal's.

use super::{
    GitError, ObjectId, Repository, Signature, Slot,
    refs::{quarantine_ref, task_branch},
};
use crate::name::{RunId, TaskId};

/// Returns the full name of the ref that keeps work for a person.
fn waiting_ref(run: &RunId, task: &TaskId, attempt: u32) -> String {
    format!("refs/loki/waiting/{run}/{task}/{attempt}")
}

impl Repository {
    /// Commits a tree on the slot's base for a person to look at, as it will land.
    ///
    /// # Errors
    /// When git fails.
    pub fn lay_aside(
        &self,
        slot: &Slot,
        (tree, attempt): (&ObjectId, u32),
        message: &str,
        signature: &Signature<'_>,
    ) -> Result<ObjectId, GitError> {
        let commit = self.write_commit(tree, &[&slot.base], message, signature)?;
        let name = waiting_ref(&slot.run, &slot.task, attempt);
        let old = self.commit_of(&name)?;
        self.move_ref(&name, old.as_ref(), &commit)?;
        Ok(commit)
    }

    /// Returns the full names of every ref of one task, its work that was refused or waits included.
    ///
    /// # Errors
    /// When git fails.
    pub fn task_refs(&self, run: &RunId, task: &TaskId) -> Result<Vec<String>, GitError> {
        let branch = format!("refs/heads/{}", task_branch(run, task));
        let below = ["quarantine", "waiting"].map(|kept| format!("refs/loki/{kept}/{run}/{task}/"));
        let mut refs = self.run_refs(run)?;
        refs.retain(|name| {
            *name == branch || below.iter().any(|prefix| name.starts_with(prefix.as_str()))
        });
        Ok(refs)
    }

    /// Moves work that a person refused to the quarantine. Repeatable.
    ///
    /// # Errors
    /// When git fails.
    pub fn quarantine_waiting(
        &self,
        run: &RunId,
        task: &TaskId,
        attempt: u32,
    ) -> Result<(), GitError> {
        let Some(commit) = self.commit_of(&waiting_ref(run, task, attempt))? else {
            return Ok(());
        };
        let kept = quarantine_ref(run, task, attempt);
        let old = self.commit_of(&kept)?;
        self.move_ref(&kept, old.as_ref(), &commit)?;
        self.forget_waiting(run, task, attempt)
    }

    /// Removes the ref of work that has landed. Repeatable.
    ///
    /// # Errors
    /// When git fails.
    pub fn forget_waiting(&self, run: &RunId, task: &TaskId, attempt: u32) -> Result<(), GitError> {
        let name = waiting_ref(run, task, attempt);
        match self.commit_of(&name)? {
            Some(_) => self.delete_refs(&[name]),
            None => Ok(()),
        }
    }
}
