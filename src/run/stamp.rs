//! What signs work in a commit: who did it, by which rights, where that stands in the journal.

use crate::{
    git::Signature,
    name::{Role, RunId, TaskId},
};

/// Who did a piece of work, ready to sign commits.
pub(super) struct Stamp {
    pub(super) task: TaskId,
    pub(super) mates: Vec<TaskId>,
    pub(super) role: Role,
    pub(super) policy: String,
    pub(super) journal: u64,
    pub(super) time: i64,
}

impl Stamp {
    /// Returns the trailers of a commit.
    pub(super) fn sign<'a>(&'a self, run: &'a RunId) -> Signature<'a> {
        Signature {
            run,
            task: Some(&self.task),
            mates: &self.mates,
            role: &self.role,
            policy: &self.policy,
            journal: self.journal,
            time: self.time,
        }
    }
}
