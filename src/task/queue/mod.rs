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
//! ```
//!
//! | from | event | to | refused when |
//! |---|---|---|---|
//! | none | `Planned` | Pending | the plan has faults; there is a plan already |
//! | Pending | `TaskClaimed` | Claimed | stale version, wrong attempt, a dependency open, stopping |
//! | Claimed | `TaskDone` | Done | stale version, wrong attempt |
//! | Claimed | `TaskFailed` | Pending or Failed | stale version, wrong attempt |
//! | Claimed | `TaskConflicted` | Pending or Failed | stale version, wrong attempt |
//! | any | `StopRequested` | unchanged, no claims from now on | the run has ended |
//! | any | `RunEnded` | unchanged, nothing from now on | ended already; `done` with open tasks |
//!
//! Done, Failed and Blocked are final. All other events pass through. A refused event changes
//! nothing. The queue refuses to know about time, slots, sandboxes and reasons.

use std::collections::{BTreeSet, HashMap};

use super::{
    Task,
    plan::{self, PlanFault},
};
use crate::{
    event::{Event, Outcome},
    name::TaskId,
};

/// How often a task is tried unless the queue is told otherwise.
pub const MAX_ATTEMPTS: u32 = 5;

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
    /// A task it depends on failed, so it will never start.
    Blocked,
}

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
    /// Nothing is left to claim or to wait for.
    Finish(Outcome),
}

/// Why an event cannot have happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The plan cannot run.
    #[error("the plan cannot run: {}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Unplannable {
        /// Everything wrong with it.
        faults: Vec<PlanFault>,
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
    /// A run that never had a plan did nothing, which is not done.
    #[error("the run cannot be done: it has no plan")]
    NoPlan,
    /// Nothing happens after the end.
    #[error("the run has ended")]
    Ended,
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
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    task: Task,
    state: State,
    version: u64,
    attempts: u32,
    /// Dependencies that are not done yet.
    waits: usize,
    /// Tasks that wait for this one, by their place in the plan.
    dependents: Vec<usize>,
}

/// What names one attempt in an event.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    task: &'a TaskId,
    version: u64,
    number: u32,
}

/// The queue of a run. Equal events give an equal queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    entries: Vec<Entry>,
    index: HashMap<TaskId, usize>,
    /// Pending tasks without open dependencies, in plan order.
    ready: BTreeSet<usize>,
    claimed: usize,
    /// Tasks that are neither done, failed nor blocked.
    open: usize,
    done: usize,
    max_attempts: u32,
    stopping: Stopping,
    ended: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self::with_max_attempts(MAX_ATTEMPTS)
    }
}

impl Queue {
    /// Returns an empty queue that tries each task at most `max_attempts` times, at least once.
    /// A journal must be folded with the number it was written under.
    #[must_use]
    pub fn with_max_attempts(max_attempts: u32) -> Self {
        Self {
            entries: Vec::new(),
            index: HashMap::new(),
            ready: BTreeSet::new(),
            claimed: 0,
            open: 0,
            done: 0,
            max_attempts: max_attempts.max(1),
            stopping: Stopping::No,
            ended: false,
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
            } => self.claim(Attempt {
                task,
                version: *version,
                number: *attempt,
            }),
            Event::TaskDone {
                task,
                version,
                attempt,
                ..
            } => {
                let at = self.current(
                    Attempt {
                        task,
                        version: *version,
                        number: *attempt,
                    },
                    "done",
                )?;
                self.finish(at);
                Ok(())
            }
            Event::TaskFailed {
                task,
                version,
                attempt,
                retry,
                ..
            } => {
                let at = self.current(
                    Attempt {
                        task,
                        version: *version,
                        number: *attempt,
                    },
                    "failed",
                )?;
                if *retry && self.has_attempts_left(at) {
                    self.put_back(at)
                } else {
                    self.fail(at)
                }
                Ok(())
            }
            Event::TaskConflicted {
                task,
                version,
                attempt,
                ..
            } => {
                let at = self.current(
                    Attempt {
                        task,
                        version: *version,
                        number: *attempt,
                    },
                    "in conflict",
                )?;
                if self.has_attempts_left(at) {
                    self.put_back(at)
                } else {
                    self.fail(at)
                }
                Ok(())
            }
            Event::StopRequested { drain, .. } => self.stop(*drain),
            Event::RunEnded { outcome, .. } => self.end(*outcome),
            _ => Ok(()),
        }
    }

    /// Returns what to do now that `free` slots are free: claims in plan order, or the end, or
    /// nothing while there is something to wait for.
    #[must_use]
    pub fn next(&self, free: usize) -> Vec<Action> {
        if self.ended {
            return Vec::new();
        }
        if self.stopping == Stopping::No && !self.ready.is_empty() {
            return self
                .ready
                .iter()
                .take(free)
                .map(|at| self.claim_of(*at))
                .collect();
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
            (self.stopping != Stopping::No).then_some(Outcome::Stopped)
        } else if self.done == self.entries.len() {
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

    fn has_attempts_left(&self, at: usize) -> bool {
        self.entries[at].attempts < self.max_attempts
    }

    fn plan(&mut self, tasks: &[Task]) -> Result<(), QueueError> {
        self.alive()?;
        if !self.entries.is_empty() {
            return Err(QueueError::PlannedTwice);
        }
        let faults = plan::check(tasks, &|_| true, &[]);
        if !faults.is_empty() {
            return Err(QueueError::Unplannable { faults });
        }
        self.entries = tasks.iter().cloned().map(Entry::new).collect();
        self.index = tasks
            .iter()
            .enumerate()
            .map(|(at, task)| (task.id.clone(), at))
            .collect();
        self.open = tasks.len();
        for (at, task) in tasks.iter().enumerate() {
            let dependencies: BTreeSet<usize> =
                task.depends_on.iter().map(|id| self.index[id]).collect();
            self.entries[at].waits = dependencies.len();
            if dependencies.is_empty() {
                self.ready.insert(at);
            }
            for dependency in dependencies {
                self.entries[dependency].dependents.push(at);
            }
        }
        Ok(())
    }

    fn claim(&mut self, attempt: Attempt<'_>) -> Result<(), QueueError> {
        let at = self.find(attempt)?;
        let entry = &self.entries[at];
        let task = || attempt.task.clone();
        if entry.state != State::Pending {
            return Err(QueueError::State {
                task: task(),
                state: entry.state,
                wanted: "claimed",
            });
        }
        let current = entry.attempts + 1;
        if attempt.number != current {
            return Err(QueueError::Attempt {
                task: task(),
                given: attempt.number,
                current,
            });
        }
        if let Some(on) = self.first_open_dependency(at) {
            return Err(QueueError::Waits { task: task(), on });
        }
        if self.stopping != Stopping::No {
            return Err(QueueError::Stops { task: task() });
        }
        let entry = &mut self.entries[at];
        entry.state = State::Claimed;
        entry.attempts = current;
        self.ready.remove(&at);
        self.claimed += 1;
        Ok(())
    }

    fn first_open_dependency(&self, at: usize) -> Option<TaskId> {
        let entry = &self.entries[at];
        if entry.waits == 0 {
            return None;
        }
        let open = |id: &&TaskId| self.entries[self.index[*id]].state != State::Done;
        entry.task.depends_on.iter().find(open).cloned()
    }

    /// Finds the claimed task whose current attempt an event speaks of.
    fn current(&self, attempt: Attempt<'_>, wanted: &'static str) -> Result<usize, QueueError> {
        let at = self.find(attempt)?;
        let Entry {
            state,
            attempts: current,
            ..
        } = self.entries[at];
        let task = || attempt.task.clone();
        if state != State::Claimed {
            return Err(QueueError::State {
                task: task(),
                state,
                wanted,
            });
        }
        if attempt.number != current {
            return Err(QueueError::Attempt {
                task: task(),
                given: attempt.number,
                current,
            });
        }
        Ok(at)
    }

    fn find(&self, attempt: Attempt<'_>) -> Result<usize, QueueError> {
        self.alive()?;
        let task = attempt.task;
        let at = *self
            .index
            .get(task)
            .ok_or_else(|| QueueError::Unknown { task: task.clone() })?;
        let current = self.entries[at].version;
        if attempt.version != current {
            return Err(QueueError::Stale {
                task: task.clone(),
                given: attempt.version,
                current,
            });
        }
        Ok(at)
    }

    fn finish(&mut self, at: usize) {
        self.entries[at].state = State::Done;
        self.claimed -= 1;
        self.open -= 1;
        self.done += 1;
        for dependent in self.entries[at].dependents.clone() {
            let entry = &mut self.entries[dependent];
            entry.waits -= 1;
            if entry.waits == 0 && entry.state == State::Pending {
                self.ready.insert(dependent);
            }
        }
    }

    fn put_back(&mut self, at: usize) {
        let entry = &mut self.entries[at];
        entry.state = State::Pending;
        entry.version += 1;
        self.claimed -= 1;
        self.ready.insert(at);
    }

    /// Fails a task, and blocks everything that waits for it, near or far.
    fn fail(&mut self, at: usize) {
        self.entries[at].state = State::Failed;
        self.claimed -= 1;
        self.open -= 1;
        let mut lost = self.entries[at].dependents.clone();
        while let Some(next) = lost.pop() {
            if self.entries[next].state == State::Pending {
                self.entries[next].state = State::Blocked;
                self.open -= 1;
                lost.extend(&self.entries[next].dependents);
            }
        }
    }

    fn stop(&mut self, drain: bool) -> Result<(), QueueError> {
        self.alive()?;
        let asked = if drain {
            Stopping::Drain
        } else {
            Stopping::Now
        };
        self.stopping = self.stopping.max(asked);
        Ok(())
    }

    fn end(&mut self, outcome: Outcome) -> Result<(), QueueError> {
        self.alive()?;
        if outcome == Outcome::Done {
            if self.entries.is_empty() {
                return Err(QueueError::NoPlan);
            }
            if let Some(open) = self.tasks().find(|standing| standing.state != State::Done) {
                return Err(QueueError::Unfinished {
                    task: open.task.id.clone(),
                    state: open.state,
                });
            }
        }
        self.ended = true;
        Ok(())
    }

    fn alive(&self) -> Result<(), QueueError> {
        if self.ended {
            Err(QueueError::Ended)
        } else {
            Ok(())
        }
    }
}

impl Entry {
    fn new(task: Task) -> Self {
        Self {
            task,
            state: State::Pending,
            version: 1,
            attempts: 0,
            waits: 0,
            dependents: Vec::new(),
        }
    }

    fn standing(&self) -> Standing<'_> {
        Standing {
            task: &self.task,
            state: self.state,
            version: self.version,
            attempts: self.attempts,
        }
    }
}

#[cfg(test)]
mod tests;
