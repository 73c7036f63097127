//! Where a task stands, as whoever asks the queue is told.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Task;

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for its dependencies or for a slot.
    Pending,
    /// Its current attempt is under way.
    Claimed,
    /// It landed.
    Done,
    /// It failed for good.
    Failed,
    /// A task it depends on failed or was taken back, so it will never start.
    Blocked,
    /// It landed, and a person took it back.
    Reverted,
    /// Its work is done and waits for a person's approval.
    Waiting,
    /// A person approved its work, which is to land.
    Approved,
    /// Its attempt was cut off by the end of the run: who goes on with the run decides.
    Interrupted,
    /// A person took it out of the plan, or one that it waits for.
    Cancelled,
}

/// What the queue knows of one task.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The task as planned.
    pub task: &'a Task,
    /// Where it stands.
    pub state: State,
    /// Its version, from 1, one more after every attempt that goes back to the queue.
    pub version: u64,
    /// Attempts begun so far.
    pub attempts: u32,
    /// Those of them that were cut off and count as none.
    pub interrupted: u32,
    /// Those that count and were forgotten when a person had it tried anew.
    pub forgiven: u32,
    /// How often in a row its provider put it off.
    pub deferrals: u32,
    /// Before when it is not tried again, none where it does not rest.
    pub until: Option<Timestamp>,
    /// The work that waits or was approved last, none when none ever waited.
    pub commit: Option<&'a str>,
    /// Digests of what a person has yet to approve.
    pub outstanding: &'a BTreeSet<String>,
}

impl Standing<'_> {
    /// Returns how many attempts count.
    #[must_use]
    pub fn tries(&self) -> u32 {
        self.attempts - self.interrupted - self.forgiven
    }
}
