//! What a person wants changed about the tasks of a run.

use serde::{Deserialize, Serialize};

use super::{Priority, Task};
use crate::{
    event::Event,
    name::{RunId, TaskId},
};

/// A change of a plan that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    /// The run; none where whoever asks does not know it, as a file in the inbox.
    pub run: Option<RunId>,
    /// Who asks.
    pub by: String,
    /// What.
    pub change: Change,
}

/// What is to be different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// One task more.
    Add(Box<Task>),
    /// One task less, and all that waits for it.
    Cancel {
        /// The task.
        task: TaskId,
        /// Why, in the words of whoever asks.
        reason: Option<String>,
    },
    /// A task that failed for good or was cancelled is tried anew.
    Retry {
        /// The task.
        task: TaskId,
    },
    /// A task goes earlier or later.
    Prioritise {
        /// The task.
        task: TaskId,
        /// Its new priority.
        priority: Priority,
    },
}

impl Change {
    /// Returns the task that it is about.
    #[must_use]
    pub fn task(&self) -> &TaskId {
        match self {
            Self::Add(task) => &task.id,
            Self::Cancel { task, .. } | Self::Retry { task } | Self::Prioritise { task, .. } => {
                task
            }
        }
    }
}

impl TaskRequest {
    /// Returns the event of it.
    #[must_use]
    pub fn event(&self) -> Event {
        let by = self.by.clone();
        match self.change.clone() {
            Change::Add(task) => Event::TaskAdded { task: *task, by },
            Change::Cancel { task, reason } => Event::TaskCancelled { task, by, reason },
            Change::Retry { task } => Event::TaskRetried { task, by },
            Change::Prioritise { task, priority } => Event::TaskPrioritised { task, by, priority },
        }
    }
}
