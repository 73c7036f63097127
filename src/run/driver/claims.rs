//! What begins now, what is held and until when.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::task::AbortHandle;

use super::{
    Driver, Ending, Job, RunError,
    waits::{self, Due},
};
use crate::{
    event::{Event, Record},
    name::{Role, TaskId},
    run::{
        admission::{Hold, Want},
        attempt::Claim,
        batch::session,
        failure::{Failure, Pause},
    },
    task::{Action, Chance, Claimable, Terms},
};

/// How long a timer runs at most: it stands still while the machine sleeps.
const LOOK: Duration = Duration::from_secs(300);

/// A session under way.
pub(super) struct UnderWay {
    pub(super) tasks: Vec<Claimable>,
    pub(super) abort: AbortHandle,
}

/// How far the beginning of what the queue names came.
pub(super) enum Begun {
    /// Everything was begun.
    All,
    /// Nothing more may begin now.
    Held,
    /// Nothing of this role may begin now: others are still to be asked for.
    Role(Role),
    /// The run is over.
    Over(Ending),
}

impl Driver {
    /// Begins what the queue names, but nothing of the roles that are barred.
    pub(super) fn begin_all(&mut self, barred: &BTreeSet<Role>) -> Result<Begun, RunError> {
        for action in self.actions(barred) {
            let tasks = match action {
                Action::Claim {
                    task,
                    version,
                    attempt,
                } => vec![Claimable {
                    task,
                    version,
                    attempt,
                }],
                Action::Together(tasks) => tasks,
                Action::Land {
                    task,
                    version,
                    attempt,
                    commit,
                } => {
                    self.land((&task, version, attempt), &commit);
                    continue;
                }
                Action::Finish(outcome) if self.jobs.is_empty() => {
                    return Ok(self.finish(outcome).map_or(Begun::All, Begun::Over));
                }
                Action::Finish(_) => continue,
            };
            let role = tasks.first().and_then(|one| self.queue.get(&one.task));
            let role = role.map(|standing| standing.task.role.clone());
            if let Err(hold) = self.begin(tasks)? {
                self.hold(&hold);
                return Ok(match role.filter(|_| hold.is_of_role()) {
                    Some(role) => Begun::Role(role),
                    None => Begun::Held,
                });
            }
        }
        Ok(Begun::All)
    }

    /// What the queue would have done now.
    fn actions(&self, barred: &BTreeSet<Role>) -> Vec<Action> {
        let mut room = self.breakers.room();
        room.extend(barred.iter().map(|role| (role.clone(), 0)));
        let mut free = self.parallel.saturating_sub(self.jobs.len());
        for whose in self.status.budget.used_up() {
            match whose {
                Some(role) => drop(room.insert(role.clone(), 0)),
                None => free = 0,
            }
        }
        self.queue.next_within(&Terms {
            free,
            room: &room,
            batching: self.rules.batching.as_ref(),
        })
    }

    /// Claims tasks and begins their session, unless something holds it.
    fn begin(&mut self, tasks: Vec<Claimable>) -> Result<Result<(), Hold>, RunError> {
        let Some(role) = tasks.first().and_then(|one| self.queue.get(&one.task)) else {
            return Ok(Ok(()));
        };
        let role = role.task.role.clone();
        if let Some(hold) = self.barred(&role)? {
            return Ok(Err(hold));
        }
        let rights = self.work.policy.rights(&role);
        let asked = self.seat.ask(&Want {
            role: &role,
            provider: self.work.provider.account(),
            memory: rights.map_or(0, |rights| rights.resources.memory),
        });
        let ticket = match asked {
            Ok(ticket) => ticket,
            Err(hold) => return Ok(Err(hold)),
        };
        for one in &tasks {
            self.write(Event::TaskClaimed {
                task: one.task.clone(),
                version: one.version,
                attempt: one.attempt,
            })?;
        }
        if tasks.len() > 1 {
            let tasks = tasks.iter().map(|one| one.task.clone()).collect();
            self.write(Event::Batched { tasks })?;
        }
        let claims = tasks
            .iter()
            .map(|one| self.claim_of(&one.task, one.attempt));
        let claims: Vec<Claim> = claims.collect();
        let versions: Vec<u64> = tasks.iter().map(|one| one.version).collect();
        let (work, recorder) = (Arc::clone(&self.work), self.recorder.clone());
        let abort = self.jobs.spawn(async move {
            let outcomes = session(&work, &recorder, &claims).await;
            drop(ticket);
            let ended = claims.into_iter().zip(versions).zip(outcomes);
            Job::Ended(
                ended
                    .map(|((claim, version), outcome)| (claim, version, outcome))
                    .collect(),
            )
        });
        let under_way = Arc::new(UnderWay { tasks, abort });
        for one in &under_way.tasks {
            self.under_way
                .insert(one.task.clone(), Arc::clone(&under_way));
        }
        Ok(Ok(()))
    }

    /// Remembers when to ask again for what is held.
    fn hold(&mut self, hold: &Hold) {
        self.again = [self.again, self.seat.again(hold)]
            .into_iter()
            .flatten()
            .min();
    }

    /// Writes the changes of breakers that are due, and lets tasks go on that have rested.
    pub(super) fn trip(&mut self) -> Result<(), RunError> {
        let now = self.seat.now();
        self.queue.wake(now);
        for event in self.breakers.due(now, &self.rules.fuses) {
            if let Event::Breaker { role, until, .. } = &event {
                let account = self.work.provider.account();
                self.seat.trip((role, account), *until);
            }
            self.write(event)?;
        }
        Ok(())
    }

    /// Returns how long to wait for nothing but the time, none where that changes nothing.
    pub(super) fn look_again(&self) -> Option<Duration> {
        if self.stop.is_some() {
            return None;
        }
        let times = [
            self.queue.next_wake(),
            self.breakers.next_change(),
            self.again,
        ];
        let next = times.into_iter().flatten().min()?;
        let wait = Duration::try_from(next.duration_since(self.seat.now())).unwrap_or_default();
        Some(wait.clamp(Duration::from_millis(1), LOOK))
    }

    /// Says how an attempt failed: what its provider put off is no fault of the task.
    pub(super) fn failed(
        &self,
        (task, version, attempt): (TaskId, u64, u32),
        failure: Failure,
    ) -> Event {
        let retry = failure.retry && self.queue.may_retry(&task);
        let mut reason = failure.reason;
        if let Some(pause) = failure.pause.filter(|_| failure.retry) {
            match self.put_off((&task, attempt), pause) {
                Ok(due) => {
                    self.seat.spare(self.work.provider.account(), due.provider);
                    return Event::TaskDeferred {
                        task,
                        version,
                        attempt,
                        reason,
                        until: due.task,
                        provider_until: Some(due.provider),
                    };
                }
                Err(why) => {
                    reason = format!("{reason}\n{why}");
                    return Event::TaskFailed {
                        task,
                        version,
                        attempt,
                        reason,
                        retry: false,
                    };
                }
            }
        }
        Event::TaskFailed {
            task,
            version,
            attempt,
            reason,
            retry,
        }
    }

    /// Returns when the task is tried again, and before when nothing is asked of its provider; or why
    /// it is given up.
    fn put_off(&self, (task, attempt): (&TaskId, u32), pause: Pause) -> Result<Due, String> {
        let times = self
            .queue
            .get(task)
            .map_or(0, |standing| standing.deferrals)
            + 1;
        let chance = Chance::of(&self.work.run, task, attempt);
        let now = self.seat.now();
        waits::due(&self.rules.backoff, (times, chance), pause, now)
    }

    /// Leaves the provider alone as an orchestrator before this one was told to.
    pub(super) fn spare_again(&mut self, history: &[Record]) {
        let now = self.seat.now();
        self.queue
            .wake_from(waits::latest(&self.rules.backoff, now));
        let account = self.work.provider.account();
        if let Some(until) = waits::spared(history, now) {
            self.seat.spare(account, until);
        }
        for breaker in self.breakers.tripped() {
            self.seat.trip((&breaker.role, account), breaker.until);
        }
    }

    /// Has tasks of roles done alone whose agents only look and give a verdict, and all where the
    /// agent's program takes one task at a time.
    pub(super) fn keep_apart(&mut self) {
        if !self.work.provider.joins() {
            self.rules.batching = None;
        }
        let roles: BTreeSet<Role> = self
            .queue
            .tasks()
            .map(|one| one.task.role.clone())
            .collect();
        let Some(batching) = &mut self.rules.batching else {
            return;
        };
        for role in roles {
            let rights = self.work.policy.rights(&role);
            if rights.is_none_or(|rights| rights.is_read_only()) {
                batching.apart.insert(role);
            }
        }
    }
}
