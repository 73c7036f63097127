//! How each event changes the status.

use jiff::Timestamp;

use super::{Check, Counts, Phase, Progress, Review, Status, elapsed_ms, notable, resources};
use crate::{
    event::{Event, Outcome, Record},
    name::TaskId,
    task::{Standing, State, Stopping},
};

impl Status {
    pub(super) fn take(&mut self, record: &Record) {
        self.started.get_or_insert(record.ts);
        self.updated = Some(record.ts);
        self.seq = record.seq;
        let refused = self.queue.apply(&record.event).err();
        self.faults
            .extend(refused.map(|error| format!("record {}: {error}", record.seq)));
        self.fuses.apply(&record.event);
        self.breakers = self.fuses.tripped().collect();
        self.take_run(&record.event);
        self.take_task(record.ts, &record.event);
        self.take_sandbox(record.ts, &record.event);
        self.take_verdict(&record.event);
        let queue = &self.queue;
        self.budget
            .apply(record, |task| Some(&queue.get(task)?.task.role));
        notable::note(&mut self.decisions, record.ts, &record.event);
    }

    fn take_run(&mut self, event: &Event) {
        match event {
            Event::RunStarted {
                run,
                loki,
                spec,
                title,
                provider,
                base,
                branch,
                engine,
                ..
            } => {
                self.run = Some(run.clone());
                self.loki.clone_from(loki);
                self.spec.clone_from(spec);
                self.title.clone_from(title);
                self.provider.clone_from(provider);
                self.base.clone_from(base);
                self.branch.clone_from(branch);
                self.engine.clone_from(engine);
            }
            Event::RunEnded { outcome, reason } => {
                self.outcome = Some(*outcome);
                // Those that were ended at once had no time to say so.
                self.agents.clear();
                self.load = resources::by_role(&mut self.roles, &self.agents);
                self.reason.clone_from(reason);
            }
            Event::Shipped { url, .. } => self.shipped = Some(url.clone()),
            Event::TaskDeferred { provider_until, .. } => {
                self.spared = self.spared.max(*provider_until);
            }
            // The queue says whether it can be gone on with now.
            Event::TaskAdded { .. } | Event::TaskCancelled { .. } | Event::TaskRetried { .. }
                if self.outcome == Some(Outcome::Failed) && self.queue.may_resume() =>
            {
                self.outcome = Some(Outcome::Stopped);
                self.reason = Some("its plan has changed since it failed".to_owned());
            }
            Event::Resumed { engine, .. } if self.queue.is_open() => {
                self.resumed += 1;
                self.outcome = None;
                self.reason = None;
                self.agents.clear();
                self.load = resources::by_role(&mut self.roles, &self.agents);
                self.engine.clone_from(engine);
            }
            _ => {}
        }
    }

    fn take_task(&mut self, ts: Timestamp, event: &Event) {
        match event {
            Event::Planned { .. } => {
                self.planned.get_or_insert(ts);
                self.tasks = self.queue.tasks().map(|s| Progress::new(s.task)).collect();
            }
            Event::TaskClaimed { task, attempt, .. } => {
                self.counts.retries += u64::from(*attempt > 1);
                self.change(task, |task| {
                    task.started.get_or_insert(ts);
                    task.claimed = Some(ts);
                });
            }
            Event::TaskDone { task, commit, .. } => {
                self.change(task, |task| task.commit.clone_from(commit));
            }
            Event::TaskAdded { .. } => {
                let known = self.tasks.len();
                let added = self.queue.tasks().skip(known);
                self.tasks.extend(added.map(|one| Progress::new(one.task)));
            }
            Event::TaskRetried { task, .. } => self.change(task, |task| task.finished = None),
            Event::TaskCancelled { .. } | Event::TaskPrioritised { .. } => {}
            Event::TaskDeferred { task, reason, .. } | Event::TaskFailed { task, reason, .. } => {
                self.change(task, |task| task.last_error = Some(reason.clone()));
            }
            Event::TaskConflicted { task, files, .. } => {
                self.counts.conflicts += 1;
                let reason = format!("conflict in {}", files.join(", "));
                self.change(task, |task| task.last_error = Some(reason));
            }
            Event::Reverted { task, commit, .. } => {
                self.change(task, |task| task.reverted = Some(commit.clone()));
            }
            Event::Waiting { task, needs, .. } => {
                self.change(task, |task| task.needs.clone_from(needs));
            }
            Event::Rejected {
                task, by, reason, ..
            } => {
                let reason = format!("rejected by {by}: {reason}");
                self.change(task, |task| task.last_error = Some(reason));
            }
            Event::Approved { .. } => {}
            Event::Interrupted { task, reason, .. } => {
                self.change(task, |task| task.last_error = Some(reason.clone()));
            }
            // What they mean for each task is the queue's to say.
            Event::RunEnded { .. } | Event::Resumed { .. } => {}
            Event::Gated { breaches, .. } => {
                self.counts.breaches += u64::from(!breaches.is_empty());
            }
            _ => return,
        }
        self.follow_queue(ts, event);
    }

    fn take_verdict(&mut self, event: &Event) {
        match event {
            Event::Checked {
                task,
                command,
                passed,
                tests,
                elapsed_ms,
                ..
            } => {
                self.checks.push(Check {
                    task: task.clone(),
                    command: command.clone(),
                    passed: *passed,
                    tests: *tests,
                    elapsed_ms: *elapsed_ms,
                });
            }
            Event::Reviewed {
                task,
                role,
                passed,
                findings,
            } => self.reviews.push(Review {
                task: task.clone(),
                role: role.clone(),
                passed: *passed,
                findings: findings.clone(),
            }),
            _ => {}
        }
    }

    pub(super) fn change(&mut self, id: &TaskId, change: impl FnOnce(&mut Progress)) {
        let found = self.place(id).and_then(|at| self.tasks.get_mut(at));
        if let Some(task) = found {
            change(task);
        }
    }

    /// Returns where a task stands in plan order.
    fn place(&mut self, id: &TaskId) -> Option<usize> {
        if self.places.len() != self.tasks.len() {
            let names = self.tasks.iter().map(|task| task.id.clone());
            self.places = names.zip(0..).collect();
        }
        self.places.get(id).copied()
    }

    /// Copies what the queue decided about the one task of an event, or about all where others may
    /// have followed it.
    fn follow_queue(&mut self, ts: Timestamp, event: &Event) {
        self.moved = true;
        let alone = match event {
            Event::TaskClaimed { task, .. }
            | Event::TaskDone { task, .. }
            | Event::TaskDeferred { task, .. }
            | Event::TaskPrioritised { task, .. }
            | Event::Waiting { task, .. }
            | Event::Gated { task, .. } => self.place(task),
            _ => None,
        };
        if let Some(task) = alone.and_then(|at| self.tasks.get_mut(at)) {
            if let Some(standing) = self.queue.get(&task.id) {
                follow(task, &standing, ts);
            }
            return;
        }
        for (task, standing) in self.tasks.iter_mut().zip(self.queue.tasks()) {
            follow(task, &standing, ts);
        }
    }

    /// Works out what follows from everything taken so far. What costs a look at every task is done
    /// only after one of them moved.
    pub(super) fn settle(&mut self) {
        if std::mem::take(&mut self.moved) {
            self.recount();
        }
        self.phase = self.phase_now();
        for at in &self.running {
            if let Some(task) = self.tasks.get_mut(*at) {
                let span = task.started.zip(self.updated);
                task.elapsed_ms = span.map_or(0, |(from, to)| elapsed_ms(from, to));
            }
        }
    }

    pub(super) fn recount(&mut self) {
        let kept = self.counts;
        self.counts = Counts {
            total: self.tasks.len(),
            retries: kept.retries,
            conflicts: kept.conflicts,
            breaches: kept.breaches,
            ..Counts::default()
        };
        let mut running = Vec::new();
        for (at, task) in self.tasks.iter_mut().enumerate() {
            *self.counts.of(task.state) += 1;
            let until = task.finished.or(self.updated);
            let span = task.started.zip(until);
            task.elapsed_ms = span.map_or(0, |(from, to)| elapsed_ms(from, to));
            if task.started.is_some() && task.finished.is_none() {
                running.push(at);
            }
        }
        self.running = running;
    }

    fn phase_now(&self) -> Phase {
        if self.outcome.is_some() {
            Phase::Ended
        } else if self.queue.stopping() != Stopping::No {
            Phase::Stopping
        } else if self.tasks.is_empty() {
            Phase::Planning
        } else if self.counts.pending
            + self.counts.in_progress
            + self.counts.waiting
            + self.counts.interrupted
            > 0
        {
            Phase::Building
        } else {
            Phase::Verifying
        }
    }
}

/// Copies what the queue says of one task.
fn follow(task: &mut Progress, standing: &Standing<'_>, ts: Timestamp) {
    task.state = standing.state;
    task.attempt = standing.attempts;
    task.interrupted = standing.interrupted;
    task.version = standing.version;
    task.priority = standing.task.priority;
    task.deferrals = standing.deferrals;
    task.until = standing.until;
    if task.state != State::Claimed {
        task.claimed = None;
    }
    let waits = matches!(task.state, State::Waiting | State::Approved);
    let commit = standing.commit.filter(|_| waits);
    task.waiting = commit.map(str::to_owned);
    task.needs
        .retain(|need| standing.outstanding.contains(&need.digest));
    if matches!(task.state, State::Done | State::Failed | State::Cancelled) {
        task.finished.get_or_insert(ts);
    }
}
