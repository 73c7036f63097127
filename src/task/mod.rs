//! Tasks and their queue: a pure value, `apply(&Event)` and `next(free)`.

use serde::{Deserialize, Serialize};

use crate::name::{Role, TaskId};

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
