//! Tasks, the plan they form, and their queue: plain values, no I/O.
//!
//! [`plan::check`] says what is wrong with a plan before it is journalled; [`Queue`] folds the
//! journal into what is claimed, done and lost, and says what may be claimed next. Neither starts
//! anything.

mod decision;
pub mod plan;
mod queue;

use serde::{Deserialize, Serialize};

use crate::name::{Role, TaskId};

pub use decision::{Decision, Verdict};
pub use queue::{Action, MAX_ATTEMPTS, Queue, QueueError, Standing, State, Stopping};

/// One unit of work for one role, as planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its name within the run.
    pub id: TaskId,
    /// Who does it.
    pub role: Role,
    /// One line.
    pub title: String,
    /// The whole text given to the agent.
    #[serde(default)]
    pub description: String,
    /// Tasks that must have landed first.
    #[serde(default)]
    pub depends_on: Vec<TaskId>,
    /// Shell commands that must exit 0 on the merged tree before it lands.
    #[serde(default)]
    pub accept: Vec<String>,
}
