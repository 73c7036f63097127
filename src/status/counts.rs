//! Numbers of a run.

use serde::Serialize;

use crate::task::State;

/// Numbers of tasks and attempts. Those of tasks add up to `total`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All tasks.
    pub total: usize,
    /// Tasks that wait.
    pub pending: usize,
    /// Tasks being worked on, or about to land after an approval.
    pub in_progress: usize,
    /// Tasks whose attempt was cut off, for `loki resume` to decide about.
    pub interrupted: usize,
    /// Tasks that landed.
    pub completed: usize,
    /// Tasks that failed for good.
    pub failed: usize,
    /// Tasks that will never start, for one they depend on failed.
    pub blocked: usize,
    /// Attempts after a task's first.
    pub retries: u64,
    /// Landings that met a conflict.
    pub conflicts: u64,
    /// Hand-overs that the gate refused, or would only let through with an approval.
    pub breaches: u64,
    /// Tasks that landed and were taken back.
    pub reverted: usize,
    /// Tasks whose work waits for a person.
    pub waiting: usize,
    /// Tasks that a person took out of the plan.
    pub cancelled: usize,
}

/// Decisions of the gateways and the bytes they carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct EgressCounts {
    /// Names and connections allowed.
    pub allowed: u64,
    /// Names and connections denied.
    pub denied: u64,
    /// Bytes from sandboxes, of connections that ended.
    pub sent: u64,
    /// Bytes to sandboxes, of connections that ended.
    pub received: u64,
}

impl Counts {
    /// Returns the number of tasks in a state.
    pub(super) fn of(&mut self, state: State) -> &mut usize {
        match state {
            State::Pending => &mut self.pending,
            State::Claimed | State::Approved => &mut self.in_progress,
            State::Waiting => &mut self.waiting,
            State::Interrupted => &mut self.interrupted,
            State::Done => &mut self.completed,
            State::Failed => &mut self.failed,
            State::Blocked => &mut self.blocked,
            State::Reverted => &mut self.reverted,
            State::Cancelled => &mut self.cancelled,
        }
    }
}
