//! The transitions of the queue, each refused before it changes anything.

use std::collections::BTreeSet;

use super::{Attempt, Entry, Fate, Queue, QueueError, State, Stopping, Task, plan};
use crate::{event::Outcome, name::TaskId};

impl Queue {
    pub(super) fn plan(&mut self, tasks: &[Task]) -> Result<(), QueueError> {
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
                self.ready.insert(at, &self.entries[at]);
            }
            for dependency in dependencies {
                self.entries[dependency].dependents.push(at);
            }
        }
        Ok(())
    }

    pub(super) fn claim(&mut self, attempt: Attempt<'_>) -> Result<(), QueueError> {
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
        self.ready.remove(at, &self.entries[at]);
        self.ready.charge(self.entries[at].task.priority);
        let entry = &mut self.entries[at];
        entry.state = State::Claimed;
        entry.attempts = current;
        entry.until = None;
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

    /// Ends the current attempt at a task that is claimed, or whose approved work was to land.
    pub(super) fn settle(&mut self, attempt: Attempt<'_>, fate: Fate) -> Result<(), QueueError> {
        let at = self.find(attempt)?;
        let Entry {
            state,
            attempts: current,
            ..
        } = self.entries[at];
        let task = || attempt.task.clone();
        if !matches!(state, State::Claimed | State::Approved) {
            return Err(QueueError::State {
                task: task(),
                state,
                wanted: "settled",
            });
        }
        if attempt.number != current {
            return Err(QueueError::Attempt {
                task: task(),
                given: attempt.number,
                current,
            });
        }
        match fate {
            Fate::Done => self.finish(at),
            Fate::Again if self.has_attempts_left(at) => {
                self.entries[at].deferrals = 0;
                self.put_back(at);
            }
            Fate::Deferred(until) => {
                let entry = &mut self.entries[at];
                entry.interrupted += 1;
                entry.deferrals += 1;
                entry.until = Some(until);
                self.put_back(at);
            }
            Fate::CutOff => {
                self.entries[at].interrupted += 1;
                self.put_back(at);
            }
            Fate::Again | Fate::Failed => self.fail(at),
        }
        Ok(())
    }

    fn find(&self, attempt: Attempt<'_>) -> Result<usize, QueueError> {
        self.alive()?;
        self.locate(attempt)
    }

    /// Finds a task at the version that is meant.
    pub(super) fn locate(&self, attempt: Attempt<'_>) -> Result<usize, QueueError> {
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
        self.leave(at);
        self.entries[at].state = State::Done;
        self.open -= 1;
        self.done += 1;
        for dependent in self.entries[at].dependents.clone() {
            let entry = &mut self.entries[dependent];
            entry.waits -= 1;
            if entry.waits == 0 && entry.state == State::Pending {
                self.ready.insert(dependent, &self.entries[dependent]);
            }
        }
    }

    pub(super) fn put_back(&mut self, at: usize) {
        self.leave(at);
        let entry = &mut self.entries[at];
        entry.state = State::Pending;
        entry.version += 1;
        self.ready.insert(at, &self.entries[at]);
    }

    /// Fails a task, and blocks everything that waits for it, near or far.
    pub(super) fn fail(&mut self, at: usize) {
        self.leave(at);
        self.entries[at].state = State::Failed;
        self.open -= 1;
        self.block_after(at);
    }

    /// Blocks everything that waits for a task, near or far.
    fn block_after(&mut self, at: usize) {
        let mut lost = self.entries[at].dependents.clone();
        while let Some(next) = lost.pop() {
            if self.entries[next].state == State::Pending {
                self.ready.remove(next, &self.entries[next]);
                self.entries[next].state = State::Blocked;
                self.open -= 1;
                lost.extend(&self.entries[next].dependents);
            }
        }
    }

    /// Takes back a task that landed, which may be long after the end.
    pub(super) fn revert(&mut self, task: &TaskId) -> Result<(), QueueError> {
        let unknown = || QueueError::Unknown { task: task.clone() };
        let at = *self.index.get(task).ok_or_else(unknown)?;
        let state = self.entries[at].state;
        if state != State::Done {
            return Err(QueueError::State {
                task: task.clone(),
                state,
                wanted: "reverted",
            });
        }
        self.entries[at].state = State::Reverted;
        self.done -= 1;
        self.reverted += 1;
        self.block_after(at);
        Ok(())
    }

    pub(super) fn stop(&mut self, asked: Stopping) -> Result<(), QueueError> {
        self.alive()?;
        self.stopping = self.stopping.max(asked);
        Ok(())
    }

    pub(super) fn end(&mut self, outcome: Outcome) -> Result<(), QueueError> {
        self.alive()?;
        if outcome == Outcome::Done {
            if self.entries.is_empty() {
                return Err(QueueError::NoPlan);
            }
            let ended = [State::Done, State::Reverted, State::Cancelled];
            if let Some(open) = self.tasks().find(|one| !ended.contains(&one.state)) {
                return Err(QueueError::Unfinished {
                    task: open.task.id.clone(),
                    state: open.state,
                });
            }
        }
        self.ended = Some(outcome);
        self.turn(State::Claimed, State::Interrupted);
        self.claimed = 0;
        Ok(())
    }

    /// Takes a run up again: what was asked of the orchestrator before is forgotten, and an attempt
    /// that was cut off is one under way until its own end is told.
    pub(super) fn resume(&mut self) -> Result<(), QueueError> {
        if matches!(self.ended, Some(Outcome::Done | Outcome::Failed)) {
            return Err(QueueError::Ended);
        }
        self.ended = None;
        self.stopping = Stopping::No;
        self.claimed += self.turn(State::Interrupted, State::Claimed);
        Ok(())
    }

    fn turn(&mut self, from: State, to: State) -> usize {
        let turned = self.entries.iter_mut().filter(|entry| entry.state == from);
        turned.map(|entry| entry.state = to).count()
    }

    pub(super) fn alive(&self) -> Result<(), QueueError> {
        if self.ended.is_some() {
            Err(QueueError::Ended)
        } else {
            Ok(())
        }
    }
}
