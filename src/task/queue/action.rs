//! What a run should do next, and what else decides on it.

use std::collections::BTreeMap;

use super::batch::Batching;
use crate::{
    event::Outcome,
    name::{Role, TaskId},
};

/// What else decides on claims: how many sessions may begin, and of which roles.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// Sessions that may begin.
    pub free: usize,
    /// How many of a role, where that is bounded.
    pub room: &'a BTreeMap<Role, usize>,
    /// Whether small tasks are done together, and which.
    pub batching: Option<&'a Batching>,
}

/// A task as it can be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimable {
    /// The task.
    pub task: TaskId,
    /// The version to claim.
    pub version: u64,
    /// The attempt that begins, from 1.
    pub attempt: u32,
}

/// What a run should do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Claim a task, by journalling `TaskClaimed` with these values.
    Claim {
        /// The task.
        task: TaskId,
        /// The version to claim.
        version: u64,
        /// The attempt that begins, from 1.
        attempt: u32,
    },
    /// Claim these and do them in one session, by journalling `TaskClaimed` for each, then `Batched`.
    Together(Vec<Claimable>),
    /// Land work that a person approved, as the same attempt.
    Land {
        /// The task.
        task: TaskId,
        /// Its version.
        version: u64,
        /// The attempt whose work it is.
        attempt: u32,
        /// The work.
        commit: String,
    },
    /// Nothing is left to claim or to wait for.
    Finish(Outcome),
}
