//! Tasks, the plan they form, and their queue: plain values, no I/O.
//!
//! [`plan::check`] says what is wrong with a plan before it is journalled; [`Queue`] folds the
//! journal into what is claimed, done and lost, and says what may be claimed next. Neither starts
//! anything.

mod backoff;
mod breaker;
mod decision;
pub mod intake;
pub mod plan;
mod priority;
mod queue;
mod request;

use serde::{Deserialize, Serialize};

use crate::name::{Role, TaskId};

pub use backoff::{Backoff, Chance};
pub use breaker::{Breaker, Breakers, Circuit, Fuse, Fuses};
pub use decision::{Decision, Verdict};
pub use priority::{NoPriority, Priority};
pub use queue::{
    Action, Batching, Claimable, MAX_ATTEMPTS, Queue, QueueError, Standing, State, Stopping, Terms,
};
#[expect(
    clippy::module_name_repetitions,
    reason = "read far from here, where `Request` says nothing"
)]
pub use request::{Change, TaskRequest};

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
    /// Files and directories it is about, as far as the plan says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Which of the tasks that could begin goes first.
    #[serde(default, skip_serializing_if = "Priority::is_usual")]
    pub priority: Priority,
}
