//! Why an event cannot have happened.

use super::{State, plan::Fault};
use crate::name::TaskId;

/// Why an event cannot have happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The plan cannot run.
    #[error("the plan cannot run: {}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Unplannable {
        /// Everything wrong with it.
        faults: Vec<Fault>,
    },
    /// There is a plan already.
    #[error("the run has a plan already")]
    PlannedTwice,
    /// The task is not in the plan.
    #[error("task `{task}` is not in the plan")]
    Unknown {
        /// The task.
        task: TaskId,
    },
    /// The event speaks of another version of the task: somebody was faster.
    #[error("task `{task}` is at version {current}, not {given}")]
    Stale {
        /// The task.
        task: TaskId,
        /// The version of the event.
        given: u64,
        /// The version of the task.
        current: u64,
    },
    /// The task is in a state in which this cannot happen to it.
    #[error("task `{task}` is {state:?}, so it cannot be {wanted}")]
    State {
        /// The task.
        task: TaskId,
        /// Where it stands.
        state: State,
        /// What the event would have done, such as `claimed`.
        wanted: &'static str,
    },
    /// The event speaks of an attempt that is not the task's next or current one.
    #[error("task `{task}` is at attempt {current}, not {given}")]
    Attempt {
        /// The task.
        task: TaskId,
        /// The attempt of the event.
        given: u32,
        /// The attempt it should have named.
        current: u32,
    },
    /// A dependency is not done.
    #[error("task `{task}` waits for `{on}`")]
    Waits {
        /// The task.
        task: TaskId,
        /// The first dependency that is not done.
        on: TaskId,
    },
    /// A stop was requested, so nothing is claimed any more.
    #[error("task `{task}` cannot be claimed: the run is stopping")]
    Stops {
        /// The task.
        task: TaskId,
    },
    /// The run cannot be done while a task is not.
    #[error("the run cannot be done: task `{task}` is {state:?}")]
    Unfinished {
        /// The first task that is not done.
        task: TaskId,
        /// Where it stands.
        state: State,
    },
    /// An approval of what was not asked for, or work that waits for nothing.
    #[error("nothing like that of task `{task}` waits for a person")]
    NothingAsked {
        /// The task.
        task: TaskId,
    },
    /// A run that never had a plan did nothing, which is not done.
    #[error("the run cannot be done: it has no plan")]
    NoPlan,
    /// Nothing can be added to a plan that is not there.
    #[error("the run has no plan yet")]
    Unplanned,
    /// Nothing happens after the end.
    #[error("the run has ended")]
    Ended,
}
