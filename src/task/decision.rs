//! What a person decided about work that waits.

use serde::{Deserialize, Serialize};

use crate::{event::Event, name::TaskId};

/// A person's word on one attempt's work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The task.
    pub task: TaskId,
    /// The attempt whose work was looked at.
    pub attempt: u32,
    /// Who decided.
    pub by: String,
    /// What.
    pub verdict: Verdict,
}

/// Yes to some contents, or no to all of the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Verdict {
    /// The contents with these digests may land.
    Approve(Vec<String>),
    /// The attempt failed, for this reason.
    Reject(String),
}

impl Decision {
    /// Returns the event of it, about a version of the task.
    #[must_use]
    pub fn event(&self, version: u64) -> Event {
        let (task, attempt, by) = (self.task.clone(), self.attempt, self.by.clone());
        match self.verdict.clone() {
            Verdict::Approve(digests) => Event::Approved {
                task,
                version,
                attempt,
                by,
                digests,
            },
            Verdict::Reject(reason) => Event::Rejected {
                task,
                version,
                attempt,
                by,
                reason,
            },
        }
    }
}
