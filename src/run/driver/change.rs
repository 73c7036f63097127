//! Changes of a plan that has begun: what a person or a file in the inbox asks for.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{Driver, Job, RunError, UnderWay};
use crate::{
    event::Event,
    git::Slot,
    name::TaskId,
    policy::is_internal,
    run::{attempt::room_name, checks, masked::masked},
    task::{Change, State, Task, TaskRequest},
};

/// How soon it is looked whether a session that is being ended has ended.
const SOON: Duration = Duration::from_millis(10);

/// Told what became of a request: nothing, or why it was refused.
#[derive(Debug, Clone)]
pub struct Answer(mpsc::UnboundedSender<Result<(), String>>);

impl Answer {
    /// Makes an answer and where it is heard.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Result<(), String>>) {
        let (tell, told) = mpsc::unbounded_channel();
        (Self(tell), told)
    }

    pub(super) fn tell(self, became: Result<(), String>) {
        // Nobody needs to listen.
        self.0.send(became).ok();
    }
}

impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        self.0.same_channel(&other.0)
    }
}

impl Eq for Answer {}

impl Driver {
    /// Makes a change, or says why not: then nothing has changed.
    pub(super) fn change(&mut self, request: &TaskRequest) -> Result<Result<(), String>, RunError> {
        if self.is_made(request) {
            return Ok(Ok(()));
        }
        if let Err(why) = self.may_change(request) {
            return Ok(Err(why));
        }
        self.write(request.event())?;
        self.writer.sync()?;
        match &request.change {
            Change::Add(_) => self.keep_apart(),
            Change::Cancel { .. } => self.end_cancelled()?,
            Change::Retry { .. } | Change::Prioritise { .. } => {}
        }
        Ok(Ok(()))
    }

    /// Returns whether a task was added already, by the same file: its orchestrator died before it
    /// had dealt with the rest.
    fn is_made(&self, request: &TaskRequest) -> bool {
        let run = &self.work.run;
        if request.run.as_ref().is_some_and(|other| other != run) {
            return false;
        }
        let event = masked(&self.work.launcher.redactor, request.event());
        match event {
            Ok(Event::TaskAdded { task, by }) => self.queue.has_added(&task, &by),
            _ => false,
        }
    }

    fn may_change(&self, request: &TaskRequest) -> Result<(), String> {
        let run = &self.work.run;
        if let Some(other) = request.run.as_ref().filter(|other| *other != run) {
            return Err(format!("it is for run {other}, and this is run {run}"));
        }
        let task = request.change.task();
        match &request.change {
            Change::Add(task) => self.may_add(task)?,
            Change::Cancel { .. } if self.is_landing(task) => {
                return Err(format!(
                    "the work of task `{task}` is landing just now; `loki revert {task}` takes it back"
                ));
            }
            _ => {}
        }
        // A secret in a name cannot be kept out of the journal, and ends the run there.
        let event = masked(&self.work.launcher.redactor, request.event());
        let event = event.map_err(|cause| cause.to_string())?;
        let applied = self.queue.clone().apply(&event);
        applied.map_err(|refused| refused.to_string())
    }

    fn is_landing(&self, task: &TaskId) -> bool {
        self.landing.contains(task) || self.work.landings().announced(task).is_some()
    }

    fn may_add(&self, task: &Task) -> Result<(), String> {
        let role = &task.role;
        let rights = self.work.policy.rights(role).filter(|_| !is_internal(role));
        let rights = rights.ok_or_else(|| {
            format!("no policy knows role `{role}`; `loki agents list` shows the roles")
        })?;
        if self.work.images.contains_key(&rights.image) {
            return Ok(());
        }
        Err(format!(
            "role `{role}` needs image `{}`, which this run did not make ready; `loki stop`, add the task, then `loki resume {}`",
            rights.image, self.work.run
        ))
    }

    /// Ends the sessions of tasks that were cancelled. What else was done in them goes back to the
    /// queue and counts as no attempt.
    fn end_cancelled(&mut self) -> Result<(), RunError> {
        let cancelled = |task: &TaskId| {
            let state = self.queue.get(task).map(|standing| standing.state);
            state == Some(State::Cancelled)
        };
        let ended: Vec<_> = self
            .under_way
            .iter()
            .filter(|(task, _)| cancelled(task))
            .map(|(_, session)| Arc::clone(session))
            .collect();
        for session in ended {
            session.abort.abort();
            let mut tasks = BTreeSet::new();
            for one in &session.tasks {
                self.under_way.remove(&one.task);
                tasks.insert(one.task.clone());
                let state = self.queue.get(&one.task).map(|standing| standing.state);
                if state == Some(State::Claimed) {
                    self.write(Event::Interrupted {
                        task: one.task.clone(),
                        version: one.version,
                        attempt: one.attempt,
                        reason: "a task that was done together with it was cancelled".to_owned(),
                        outside: Vec::new(),
                        by: None,
                    })?;
                }
            }
            let gone = self.tell_gone(&tasks)?;
            self.clear(&session, gone);
        }
        Ok(())
    }

    /// Removes the rooms of a session that is being ended, once it has ended. What cannot be removed
    /// goes with the run.
    fn clear(&mut self, session: &UnderWay, sandboxes: Vec<String>) {
        let (work, abort) = (Arc::clone(&self.work), session.abort.clone());
        let tasks: Vec<(TaskId, u32)> = session
            .tasks
            .iter()
            .map(|one| (one.task.clone(), one.attempt))
            .collect();
        self.jobs.spawn(async move {
            while !abort.is_finished() {
                tokio::time::sleep(SOON).await;
            }
            let own = tasks.iter().flat_map(|(task, attempt)| {
                let mut rooms = work.names.left(&checks::room_name(task));
                rooms.push(room_name(task, *attempt));
                rooms
            });
            let rooms: BTreeSet<String> = own.chain(sandboxes).collect();
            for room in rooms {
                let place = work.slots().join(room);
                let removed = work.git(move |repository, _| Slot::remove_dir(repository, &place));
                removed.await.ok();
            }
            Job::Ended(Vec::new())
        });
    }

    /// Says of the sandboxes of some tasks that they are gone, and which: dropping a session kills
    /// them.
    fn tell_gone(&mut self, tasks: &BTreeSet<TaskId>) -> Result<Vec<String>, RunError> {
        let of = |task: &Option<TaskId>| task.as_ref().is_some_and(|task| tasks.contains(task));
        let gone = self.status.agents.iter().filter(|agent| of(&agent.task));
        let gone: Vec<String> = gone.map(|agent| agent.sandbox.clone()).collect();
        for sandbox in &gone {
            let sandbox = sandbox.clone();
            self.write(Event::SandboxEnded { sandbox })?;
        }
        Ok(gone)
    }
}
