//! What a task waits for.

use jiff::Timestamp;
use serde::Serialize;

use super::{Phase, Progress, Status};
use crate::{
    budget::Passed,
    name::TaskId,
    task::{Circuit, State},
};

/// What a task waits for that is not over and not being worked on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "on", rename_all = "snake_case")]
pub enum Waits {
    /// Tasks that must have landed first.
    Dependencies {
        /// Those of them that have not.
        tasks: Vec<TaskId>,
    },
    /// For ever: a task that it depends on failed, was cancelled or was taken back.
    Lost {
        /// Those of them.
        tasks: Vec<TaskId>,
    },
    /// A time, for the provider was busy.
    Rest {
        /// When it is tried again.
        until: Timestamp,
    },
    /// A circuit breaker of its role.
    Breaker {
        /// When it is tried, none while an attempt decides.
        until: Option<Timestamp>,
    },
    /// A larger budget: that of its role, or the run's, is used up.
    Budget {
        /// Whose, of what, how much of it.
        passed: Passed,
    },
    /// A person who looks at its work.
    Person,
    /// Somebody who goes on with the run.
    Resume,
    /// A slot, or memory for one more: the machine says which is free.
    Slot,
}

impl Status {
    /// Returns what a task waits for now, none when it is over or being worked on.
    #[must_use]
    pub fn waits(&self, task: &Progress, now: Timestamp) -> Option<Waits> {
        let stands = matches!(self.phase, Phase::Ended | Phase::Interrupted);
        let others = |states: &[State]| -> Vec<TaskId> {
            let of = |id: &&TaskId| {
                self.tasks
                    .iter()
                    .any(|one| one.id == **id && states.contains(&one.state))
            };
            task.depends_on.iter().filter(of).cloned().collect()
        };
        Some(match task.state {
            State::Claimed | State::Done | State::Failed | State::Reverted | State::Cancelled => {
                return None;
            }
            State::Blocked => Waits::Lost {
                tasks: others(&[
                    State::Failed,
                    State::Blocked,
                    State::Reverted,
                    State::Cancelled,
                ]),
            },
            State::Waiting => Waits::Person,
            State::Interrupted => Waits::Resume,
            State::Approved | State::Pending if stands => Waits::Resume,
            State::Approved => Waits::Slot,
            State::Pending => {
                let open = others(&[
                    State::Pending,
                    State::Claimed,
                    State::Waiting,
                    State::Approved,
                    State::Interrupted,
                ]);
                self.pending(task, open, now)
            }
        })
    }

    fn pending(&self, task: &Progress, open: Vec<TaskId>, now: Timestamp) -> Waits {
        if !open.is_empty() {
            return Waits::Dependencies { tasks: open };
        }
        if let Some(passed) = self.budget.barred(&task.role) {
            let passed = passed.clone();
            return Waits::Budget { passed };
        }
        let rest = task.until.max(self.spared);
        if let Some(until) = rest.filter(|until| *until > now) {
            return Waits::Rest { until };
        }
        let breaker = self.breakers.iter().find(|one| one.role == task.role);
        match breaker.filter(|one| one.state != Circuit::Closed) {
            Some(breaker) => Waits::Breaker {
                until: breaker.until,
            },
            None => Waits::Slot,
        }
    }
}
