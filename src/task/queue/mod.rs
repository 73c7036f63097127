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
//! | Done | `Reverted` | Reverted; what waits for it is Blocked | it is not Done |
//! | any | `StopRequested` | unchanged, no claims from now on | the run has ended |
//! | any | `RunEnded` | Claimed becomes Interrupted, nothing from now on but `Resumed` | ended already; `done` with open tasks |
//! | any | `Resumed` | Interrupted becomes Claimed; claims again | the run is done or failed |
//!
//! A person may decide after the end of a run, too: it can be resumed, and what landed taken back.
//! Failed, Blocked and Reverted are final, and Done but for a revert. All other events pass
//! through. A refused event changes nothing. The queue refuses to know about time, slots, sandboxes and reasons.

mod error;
mod moves;
mod person;
mod standing;

use std::collections::{BTreeSet, HashMap};

use super::{Task, plan};
use crate::{
    event::{Event, Outcome},
    name::TaskId,
};

pub use error::QueueError;
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

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    task: Task,
    state: State,
    version: u64,
    attempts: u32,
    /// Those of them that count as none.
    interrupted: u32,
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
}

/// The queue of a run. Equal events give an equal queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    entries: Vec<Entry>,
    index: HashMap<TaskId, usize>,
    /// Pending tasks without open dependencies, in plan order.
    ready: BTreeSet<usize>,
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
            ready: BTreeSet::new(),
            claimed: 0,
            waiting: 0,
            landing: BTreeSet::new(),
            approved: BTreeSet::new(),
            open: 0,
            done: 0,
            reverted: 0,
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
            Event::Resumed { .. } => self.resume(),
            _ => Ok(()),
        }
    }

    /// Returns what to do now that `free` slots are free: approved work to land, named until it has,
    /// and claims in plan order; or the end, or nothing while there is something to wait for.
    #[must_use]
    pub fn next(&self, free: usize) -> Vec<Action> {
        self.next_of(free, |_| true)
    }

    /// Returns the same, with claims only of tasks that `may` begin now. There is no end while one
    /// that may not could still begin later: whoever keeps it from that must say so.
    #[must_use]
    pub fn next_of(&self, free: usize, may: impl Fn(&Task) -> bool) -> Vec<Action> {
        if self.ended.is_some() {
            return Vec::new();
        }
        if self.stopping == Stopping::No && !(self.ready.is_empty() && self.landing.is_empty()) {
            let landings = self.landing.iter().map(|at| self.landing_of(*at));
            let ready = self.ready.iter();
            let ready = ready.filter(|at| may(&self.entries[**at].task));
            let claims = ready.take(free).map(|at| self.claim_of(*at));
            return landings.chain(claims).collect();
        }
        self.outcome().map(Action::Finish).into_iter().collect()
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

    /// How the run would end now, none while something is under way or to come.
    fn outcome(&self) -> Option<Outcome> {
        if self.claimed > 0 {
            None
        } else if self.open > 0 || self.entries.is_empty() {
            match self.stopping {
                Stopping::No => (self.waiting > 0).then_some(Outcome::Waiting),
                Stopping::Drain | Stopping::Now => Some(Outcome::Stopped),
            }
        } else if self.done + self.reverted == self.entries.len() {
            Some(Outcome::Done)
        } else {
            Some(Outcome::Failed)
        }
    }

    fn claim_of(&self, at: usize) -> Action {
        let entry = &self.entries[at];
        Action::Claim {
            task: entry.task.id.clone(),
            version: entry.version,
            attempt: entry.attempts + 1,
        }
    }

    fn landing_of(&self, at: usize) -> Action {
        let entry = &self.entries[at];
        Action::Land {
            task: entry.task.id.clone(),
            version: entry.version,
            attempt: entry.attempts,
            commit: entry.commit.clone().unwrap_or_default(),
        }
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
        }
    }
}

#[cfg(test)]
mod tests;
