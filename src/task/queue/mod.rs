//! The queue of a run: a pure value that folds events and says what may be claimed next.
//!
//! ```text
//!              TaskClaimed (version = own, attempt = last + 1, dependencies done, not stopping)
//!          ┌──────────────────────────────────────────────┐
//!   Planned│                                              ▼
//!  ──────▶ Pending ◀──────────────────────────────── Claimed ──TaskDone──▶ Done
//!          │  ▲   TaskFailed{retry} or TaskConflicted,    │
//!          │  │   attempts left: version + 1              │ TaskFailed{no retry}, or either
//!          │  └───────────────────────────────────────────┤ of them on the last attempt
//!          ▼ a dependency failed or is blocked            ▼
//!       Blocked                                         Failed
//!
//!              RunEnded, unless done or failed
//!  Claimed ◀───────────────────────────────────▶ Interrupted ──▶ Pending: Interrupted, version + 1
//!              Resumed
//! ```
//!
//! | from | event | to | refused when |
//! |---|---|---|---|
//! | none | `Planned` | Pending | the plan has faults; there is a plan already |
//! | Pending | `TaskClaimed` | Claimed | stale version, wrong attempt, a dependency open, stopping |
//! | Claimed | `TaskDone` | Done | stale version, wrong attempt |
//! | Claimed | `TaskFailed` | Pending or Failed | stale version, wrong attempt |
//! | Claimed | `TaskConflicted` | Pending or Failed | stale version, wrong attempt |
//! | Claimed | `Interrupted` | Pending, the attempt counts as none | stale version, wrong attempt |
//! | Claimed | `Waiting` | Waiting | stale version, wrong attempt, nothing asked |
//! | Waiting | `Approved` | Waiting, or Approved with the last digest | stale version, wrong attempt, not asked for |
//! | Waiting | `Rejected` | Pending or Failed | stale version, wrong attempt |
//! | Approved | `TaskDone`, `TaskFailed`, `TaskConflicted` | as from Claimed | as from Claimed |
//! | Claimed | `TaskDeferred` | Pending, rests until its time, the attempt counts as none | stale version, wrong attempt |
//! | Done | `Reverted` | Reverted; what waits for it is Blocked | it is not Done |
//! | none | `TaskAdded` | Pending, or Blocked by what is lost | the run is done; the plan would have faults |
//! | any but Done, Reverted | `TaskCancelled` | Cancelled, with all that waits for it | the run is done |
//! | Failed, Cancelled | `TaskRetried` | Pending, its attempts forgotten; what it blocked waits again | the run is done; what it waits for is lost |
//! | any | `TaskPrioritised` | unchanged, elsewhere in the order | the run is done |
//! | any | `StopRequested` | unchanged, no claims from now on | the run has ended |
//! | any | `RunEnded` | Claimed becomes Interrupted, nothing from now on but `Resumed` | ended already; `done` with open tasks |
//! | any | `Resumed` | Interrupted becomes Claimed; claims again | the run is done or failed |
//!
//! A person may decide after the end of a run, too: it can be resumed, and what landed taken back.
//! Reverted is final, Done but for a revert, and Failed, Blocked and Cancelled unless a person has
//! them tried anew. All other events pass through. A refused event changes nothing. The queue knows
//! the time only as it is told ([`Queue::wake`]) and refuses to know about slots, sandboxes and
//! reasons. Which of several tasks goes first is told in `ready`, which are done together in `batch`.

mod action;
mod batch;
mod change;
mod error;
mod moves;
mod next;
mod person;
mod ready;
mod standing;

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

use super::{Task, plan};
use crate::{
    event::{Event, Outcome},
    name::TaskId,
};

pub use action::{Action, Claimable, Terms};
pub use batch::Batching;
pub use error::QueueError;
use ready::Ready;
pub use standing::{Standing, State};

/// How often a task is tried unless the queue is told otherwise.
pub const MAX_ATTEMPTS: u32 = 5;

/// How far a request to stop goes. Only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stopping {
    /// Nobody asked.
    #[default]
    No,
    /// Running agents may finish; nothing new starts.
    Drain,
    /// Running agents are ended.
    Now,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    task: Task,
    state: State,
    version: u64,
    attempts: u32,
    /// Those of them that count as none.
    interrupted: u32,
    /// Those of the others that a person had forgotten when he had it tried anew.
    forgiven: u32,
    /// How often in a row its provider put it off.
    deferrals: u32,
    /// Before when it is not tried again.
    until: Option<Timestamp>,
    /// Dependencies that are not done yet.
    waits: usize,
    /// Tasks that wait for this one, by their place in the plan.
    dependents: Vec<usize>,
    /// The work that waits for a person, or did.
    commit: Option<String>,
    /// What the person has yet to approve.
    outstanding: BTreeSet<String>,
}

/// What names one attempt in an event.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    task: &'a TaskId,
    version: u64,
    number: u32,
}

impl<'a> Attempt<'a> {
    fn new(task: &'a TaskId, version: u64, number: u32) -> Self {
        Self {
            task,
            version,
            number,
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy)]
enum Fate {
    /// The task landed.
    Done,
    /// It goes back to the queue while it has attempts left, and fails otherwise.
    Again,
    /// It failed for good.
    Failed,
    /// It was cut off: it goes back to the queue and counts as no attempt.
    CutOff,
    /// Its provider put it off until then: it counts as no attempt.
    Deferred(Timestamp),
}

/// The queue of a run. Equal events give an equal queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    entries: Vec<Entry>,
    index: HashMap<TaskId, usize>,
    /// Pending tasks without open dependencies.
    ready: Ready,
    claimed: usize,
    /// Tasks whose work waits for a person.
    waiting: usize,
    /// Tasks whose work was approved and has not landed.
    landing: BTreeSet<usize>,
    /// Digests of everything that people approved.
    approved: BTreeSet<String>,
    /// Tasks that are neither done, failed nor blocked.
    open: usize,
    done: usize,
    /// Tasks that landed and were taken back.
    reverted: usize,
    /// Tasks that a person took out of the plan.
    cancelled: usize,
    max_attempts: u32,
    stopping: Stopping,
    ended: Option<Outcome>,
}

impl Default for Queue {
    fn default() -> Self {
        Self::with_max_attempts(MAX_ATTEMPTS)
    }
}

impl Queue {
    /// Returns an empty queue that tries each task at most `max_attempts` times, at least once.
    /// A journal must be folded with the number it was written under.
    fn with_max_attempts(max_attempts: u32) -> Self {
        Self {
            entries: Vec::new(),
            index: HashMap::new(),
            ready: Ready::default(),
            claimed: 0,
            waiting: 0,
            landing: BTreeSet::new(),
            approved: BTreeSet::new(),
            open: 0,
            done: 0,
            reverted: 0,
            cancelled: 0,
            max_attempts: max_attempts.max(1),
            stopping: Stopping::No,
            ended: None,
        }
    }

    /// Takes one event into account.
    ///
    /// # Errors
    ///
    /// Refuses what cannot have happened, and is then unchanged.
    pub fn apply(&mut self, event: &Event) -> Result<(), QueueError> {
        match event {
            Event::Planned { tasks } => self.plan(tasks),
            Event::TaskClaimed {
                task,
                version,
                attempt,
            } => self.claim(Attempt::new(task, *version, *attempt)),
            Event::TaskDone {
                task,
                version,
                attempt,
                ..
            } => self.settle(Attempt::new(task, *version, *attempt), Fate::Done),
            Event::TaskFailed {
                task,
                version,
                attempt,
                retry,
                ..
            } => {
                let fate = if *retry { Fate::Again } else { Fate::Failed };
                self.settle(Attempt::new(task, *version, *attempt), fate)
            }
            Event::TaskConflicted {
                task,
                version,
                attempt,
                ..
            } => self.settle(Attempt::new(task, *version, *attempt), Fate::Again),
            Event::Waiting { .. } | Event::Approved { .. } | Event::Rejected { .. } => {
                self.apply_persons(event)
            }
            Event::StopRequested { drain: true, .. } => self.stop(Stopping::Drain),
            Event::StopRequested { drain: false, .. } => self.stop(Stopping::Now),
            Event::RunEnded { outcome, .. } => self.end(*outcome),
            Event::Reverted { task, .. } => self.revert(task),
            Event::Interrupted {
                task,
                version,
                attempt,
                ..
            } => self.settle(Attempt::new(task, *version, *attempt), Fate::CutOff),
            Event::TaskDeferred {
                task,
                version,
                attempt,
                until,
                ..
            } => self.settle(
                Attempt::new(task, *version, *attempt),
                Fate::Deferred(*until),
            ),
            Event::Resumed { .. } => self.resume(),
            _ => self.apply_change(event),
        }
    }

    /// Returns every task in plan order.
    pub fn tasks(&self) -> impl Iterator<Item = Standing<'_>> {
        self.entries.iter().map(Entry::standing)
    }

    /// Returns one task.
    #[must_use]
    pub fn get(&self, task: &TaskId) -> Option<Standing<'_>> {
        self.index.get(task).map(|at| self.entries[*at].standing())
    }

    /// Returns whether a task that fails now may be tried again: what `retry` should say.
    #[must_use]
    pub fn may_retry(&self, task: &TaskId) -> bool {
        self.index
            .get(task)
            .is_some_and(|at| self.has_attempts_left(*at))
    }

    /// Returns the digests of everything that people approved in this run.
    #[must_use]
    pub fn approved(&self) -> &BTreeSet<String> {
        &self.approved
    }

    /// Returns whether something may still happen: the run has not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    /// Returns whether the run can be gone on with: it is under way, or ended without being over.
    #[must_use]
    pub fn may_resume(&self) -> bool {
        !matches!(self.ended, Some(Outcome::Done | Outcome::Failed))
    }

    /// Returns how far a request to stop goes.
    #[must_use]
    pub fn stopping(&self) -> Stopping {
        self.stopping
    }

    /// Returns how often a task is tried.
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    fn has_attempts_left(&self, at: usize) -> bool {
        self.entries[at].standing().tries() < self.max_attempts
    }
}

impl Entry {
    fn new(task: Task) -> Self {
        Self {
            task,
            state: State::Pending,
            version: 1,
            attempts: 0,
            interrupted: 0,
            forgiven: 0,
            deferrals: 0,
            until: None,
            waits: 0,
            dependents: Vec::new(),
            commit: None,
            outstanding: BTreeSet::new(),
        }
    }

    fn standing(&self) -> Standing<'_> {
        Standing {
            task: &self.task,
            state: self.state,
            version: self.version,
            attempts: self.attempts,
            commit: self.commit.as_deref(),
            outstanding: &self.outstanding,
            interrupted: self.interrupted,
            forgiven: self.forgiven,
            deferrals: self.deferrals,
            until: self.until,
        }
    }
}

#[cfg(test)]
mod tests;
