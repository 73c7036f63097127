//! What may be claimed next, and how the run would end.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Action, Claimable, Queue, Stopping, Terms};
use crate::event::Outcome;

impl Queue {
    /// Returns what to do now that `free` slots are free, with nothing else to mind.
    #[must_use]
    pub fn next(&self, free: usize) -> Vec<Action> {
        self.next_within(&Terms {
            free,
            room: &BTreeMap::new(),
            batching: None,
        })
    }

    /// Returns what to do now: approved work to land, named until it has, and claims, the first to
    /// go first; or the end, or nothing while there is something to wait for.
    #[must_use]
    pub fn next_within(&self, terms: &Terms<'_>) -> Vec<Action> {
        if self.ended.is_some() {
            return Vec::new();
        }
        if self.stopping == Stopping::No && !(self.ready.is_empty() && self.landing.is_empty()) {
            let mut actions: Vec<Action> =
                self.landing.iter().map(|at| self.landing_of(*at)).collect();
            actions.extend(self.claims(terms));
            return actions;
        }
        self.outcome().map(Action::Finish).into_iter().collect()
    }

    fn claims(&self, terms: &Terms<'_>) -> Vec<Action> {
        let mut claims = Vec::new();
        if terms.free == 0 {
            return claims;
        }
        let mut order = self.ready.order(terms.room);
        while claims.len() < terms.free
            && let Some(at) = order.next()
        {
            let mut tasks = match terms.batching {
                Some(batching) => self.together(at, &mut order, batching),
                None => vec![self.claimable(at)],
            };
            claims.push(match tasks.pop() {
                Some(only) if tasks.is_empty() => Action::Claim {
                    task: only.task,
                    version: only.version,
                    attempt: only.attempt,
                },
                last => {
                    tasks.extend(last);
                    Action::Together(tasks)
                }
            });
        }
        claims
    }

    /// Lets tasks be claimed that had to rest and have: the queue does not know the time by itself.
    pub fn wake(&mut self, now: Timestamp) {
        self.ready.wake(now, &self.entries);
    }

    /// Returns when a task that rests may be claimed next, none when none rests.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.ready.next_wake()
    }

    /// Returns whether a task could begin now or after a rest: the run is not at its end.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
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
        } else if self.done + self.reverted + self.cancelled == self.entries.len() {
            let idle = self.cancelled == self.entries.len();
            Some(if idle {
                Outcome::Stopped
            } else {
                Outcome::Done
            })
        } else {
            Some(Outcome::Failed)
        }
    }

    pub(super) fn claimable(&self, at: usize) -> Claimable {
        let entry = &self.entries[at];
        Claimable {
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
}
