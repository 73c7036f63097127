//! How each event changes the status.

use jiff::Timestamp;

use super::{
    Agent, Check, Counts, Overran, Phase, Progress, Review, Status, elapsed_ms, notable, resources,
};
use crate::{
    event::{EgressKind, Event, Load, Record, Usage},
    name::{Role, TaskId},
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
            Event::TaskFailed { task, reason, .. } => {
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

    fn take_sandbox(&mut self, ts: Timestamp, event: &Event) {
        match event {
            Event::SandboxStarted {
                sandbox,
                task,
                role,
                container,
                image,
                isolation,
            } => {
                self.agents.push(Agent {
                    sandbox: sandbox.clone(),
                    role: role.clone(),
                    task: task.clone(),
                    container: container.clone(),
                    image: image.clone(),
                    isolation: isolation.clone(),
                    since: ts,
                    usage: Usage::default(),
                    load: Load::default(),
                });
                self.load = resources::by_role(&mut self.roles, &self.agents);
            }
            Event::Overrun {
                sandbox,
                task,
                role,
                limit,
                allowed,
                seen,
            } => self.overruns.push(Overran {
                sandbox: sandbox.clone(),
                task: task.clone(),
                role: role.clone(),
                limit: *limit,
                allowed: *allowed,
                seen: *seen,
            }),
            Event::SandboxUsed {
                sandbox,
                task,
                role,
                usage,
                load,
            } => self.take_usage(sandbox, (task.as_ref(), role), (*usage, *load)),
            Event::SandboxEnded { sandbox } => {
                self.agents.retain(|agent| agent.sandbox != *sandbox);
                self.load = resources::by_role(&mut self.roles, &self.agents);
            }
            _ => self.take_egress(event),
        }
    }

    fn take_egress(&mut self, event: &Event) {
        match event {
            // What came of it follows as a decision of its own.
            Event::Egress {
                kind: EgressKind::Ask,
                ..
            } => {}
            Event::Egress {
                allowed: true,
                count,
                ..
            } => self.egress.allowed += count,
            Event::Egress {
                allowed: false,
                count,
                ..
            } => self.egress.denied += count,
            Event::EgressClosed { sent, received, .. } => {
                self.egress.sent = self.egress.sent.saturating_add(*sent);
                self.egress.received = self.egress.received.saturating_add(*received);
            }
            _ => {}
        }
    }

    /// Adds what came since the sandbox last said it: it counts from its own start.
    fn take_usage(
        &mut self,
        sandbox: &str,
        (task, role): (Option<&TaskId>, &Role),
        (usage, load): (Usage, Load),
    ) {
        let found = self
            .agents
            .iter_mut()
            .find(|agent| agent.sandbox == sandbox);
        // One that is not known to stand counts from nothing.
        let before = found.map_or_else(Usage::default, |agent| {
            agent.load = load;
            std::mem::replace(&mut agent.usage, usage)
        });
        let more = usage.with(before, u64::saturating_sub);
        self.usage = self.usage.with(more, u64::saturating_add);
        let role = self.roles.entry(role.clone()).or_default();
        role.usage = role.usage.with(more, u64::saturating_add);
        role.load.memory_peak = role.load.memory_peak.max(load.memory_peak);
        self.load = resources::by_role(&mut self.roles, &self.agents);
        if let Some(task) = task {
            self.change(task, |task| {
                task.usage = task.usage.with(more, u64::saturating_add);
            });
        }
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

    fn change(&mut self, id: &TaskId, change: impl FnOnce(&mut Progress)) {
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
    if task.state != State::Claimed {
        task.claimed = None;
    }
    let waits = matches!(task.state, State::Waiting | State::Approved);
    let commit = standing.commit.filter(|_| waits);
    task.waiting = commit.map(str::to_owned);
    task.needs
        .retain(|need| standing.outstanding.contains(&need.digest));
    if matches!(task.state, State::Done | State::Failed) {
        task.finished.get_or_insert(ts);
    }
}
