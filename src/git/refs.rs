//! The refs that Loki owns.
//!
//! | ref | what |
//! |---|---|
//! | `refs/heads/loki/<run>` | what has landed in a run |
//! | `refs/heads/loki-tasks/<run>/<task>` | one task's work |
//! | `refs/loki/quarantine/<run>/<task>/<attempt>` | work that the gate refused |
//! | `refs/loki/waiting/<run>/<task>/<attempt>` | work that waits for a person |
//!
//! Tasks have a root of their own, for git holds either a branch `loki/r` or branches below
//! `loki/r/`, never both. Every change names the old value, so a ref that somebody else moved is
//! left where it is.

use super::{GitError, ObjectId, Repository};
use crate::name::{RunId, TaskId};

/// Returns the branch of a run, without `refs/heads/`.
#[must_use]
pub fn run_branch(run: &RunId) -> String {
    format!("loki/{run}")
}

/// Returns the branch of a task, without `refs/heads/`.
#[must_use]
pub fn task_branch(run: &RunId, task: &TaskId) -> String {
    format!("loki-tasks/{run}/{task}")
}

/// Returns the full name of the ref that keeps refused work.
pub(super) fn quarantine_ref(run: &RunId, task: &TaskId, attempt: u32) -> String {
    format!("refs/loki/quarantine/{run}/{task}/{attempt}")
}

/// Refuses a ref that is not one of Loki's own: whatever asks for it, no other is ever written.
fn refuse_foreign(name: &str) -> Result<(), GitError> {
    const OWN: [&str; 3] = ["refs/heads/loki/", "refs/heads/loki-tasks/", "refs/loki/"];
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
    let is_own = OWN.iter().any(|own| name.starts_with(own));
    if is_own && name.chars().all(plain) && !name.contains("..") {
        return Ok(());
    }
    Err(GitError::ForeignRef {
        name: name.chars().take(200).collect(),
    })
}

impl Repository {
    /// Creates the branch of a run at `base`.
    ///
    /// # Errors
    /// When it exists, or when a branch of the user's stands in its way.
    pub fn create_run_branch(&self, run: &RunId, base: &ObjectId) -> Result<(), GitError> {
        for taken in ["loki", "loki-tasks"] {
            if self.commit_of(&format!("refs/heads/{taken}"))?.is_some() {
                let wanted = format!("{taken}/{run}");
                return Err(GitError::BranchInTheWay {
                    taken: taken.into(),
                    wanted,
                });
            }
        }
        self.move_ref(&format!("refs/heads/{}", run_branch(run)), None, base)
    }

    /// Returns the head of a run's branch, none when there is no such branch.
    ///
    /// # Errors
    /// When git fails.
    pub fn run_head(&self, run: &RunId) -> Result<Option<ObjectId>, GitError> {
        self.commit_of(&format!("refs/heads/{}", run_branch(run)))
    }

    /// Returns the checkout that the branch of a run is checked out in, none when in none: where it
    /// is, moving the branch would make the person's own files look changed.
    ///
    /// # Errors
    /// When git fails.
    pub fn checked_out(&self, run: &RunId) -> Result<Option<String>, GitError> {
        let call = self.place.reading("for-each-ref");
        let call = call.args(["--format=%(worktreepath)", "--"]);
        let answer = call.arg(format!("refs/heads/{}", run_branch(run))).run()?;
        let place = answer.path();
        let place = place.to_string_lossy();
        Ok((!place.is_empty()).then(|| crate::text::visible(&place)))
    }

    /// Returns the full names of every ref of a run, landed work and refused work included.
    ///
    /// # Errors
    /// When git fails.
    pub fn run_refs(&self, run: &RunId) -> Result<Vec<String>, GitError> {
        self.refs_under(&[
            format!("refs/heads/{}", run_branch(run)),
            format!("refs/heads/loki-tasks/{run}"),
            format!("refs/loki/quarantine/{run}"),
            format!("refs/loki/waiting/{run}"),
        ])
    }

    /// Deletes refs by their full names, as [`Repository::run_refs`] gives them.
    ///
    /// # Errors
    /// When git fails, or one of them is not Loki's; then none is deleted.
    pub fn delete_refs(&self, names: &[String]) -> Result<(), GitError> {
        names.iter().try_for_each(|name| refuse_foreign(name))?;
        let input: String = names
            .iter()
            .map(|name| format!("delete {name}\0\0"))
            .collect();
        self.place
            .git("update-ref")
            .args(["--stdin", "-z"])
            .input(input)
            .run()?;
        Ok(())
    }

    /// Moves a ref from `old` (none: it does not exist yet) to `new`.
    pub(super) fn move_ref(
        &self,
        name: &str,
        old: Option<&ObjectId>,
        new: &ObjectId,
    ) -> Result<(), GitError> {
        refuse_foreign(name)?;
        let from = old.map_or_else(|| new.zero(), ObjectId::clone);
        let call =
            self.place
                .git("update-ref")
                .args(["--no-deref", "-m", "loki", "--end-of-options"]);
        let done = call.args([name, new.as_str(), from.as_str()]).run();
        match done {
            Err(GitError::Command { .. }) if self.commit_of(name)?.as_ref() != old => {
                Err(GitError::Moved {
                    branch: name.trim_start_matches("refs/heads/").to_owned(),
                    expected: old.map_or_else(|| "nothing".to_owned(), ToString::to_string),
                })
            }
            other => other.map(drop),
        }
    }

    /// Returns the commit a full ref name stands for, none when there is no such ref.
    pub(super) fn commit_of(&self, name: &str) -> Result<Option<ObjectId>, GitError> {
        let call =
            self.place
                .reading("rev-parse")
                .args(["--verify", "--quiet", "--end-of-options"]);
        let answer = call
            .arg(format!("{name}^{{commit}}"))
            .accept(&[0, 1, 128])
            .run()?;
        if answer.code == 0 {
            answer.id().map(Some)
        } else {
            Ok(None)
        }
    }

    fn refs_under(&self, prefixes: &[String]) -> Result<Vec<String>, GitError> {
        let call = self
            .place
            .reading("for-each-ref")
            .args(["--format=%(refname)", "--"]);
        let answer = call.args(prefixes).run()?;
        let names = String::from_utf8(answer.stdout.clone()).map_err(|_| answer.odd())?;
        Ok(names.lines().map(str::to_owned).collect())
    }
}
