//! Changes of a plan that has begun: what a person or a file in the inbox asks for.

use std::collections::BTreeSet;

use tokio::sync::mpsc;

use super::{Driver, RunError};
use crate::{
    event::Event,
    name::TaskId,
    policy::is_internal,
    run::masked::masked,
    task::{Change, State, Task, TaskRequest},
};

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
            .map(|(_, session)| std::sync::Arc::clone(session))
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
            self.tell_gone(&tasks)?;
        }
        Ok(())
    }

    /// Says of the sandboxes of some tasks that they are gone: dropping a session kills them.
    fn tell_gone(&mut self, tasks: &BTreeSet<TaskId>) -> Result<(), RunError> {
        let of = |task: &Option<TaskId>| task.as_ref().is_some_and(|task| tasks.contains(task));
        let gone = self.status.agents.iter().filter(|agent| of(&agent.task));
        let gone: Vec<String> = gone.map(|agent| agent.sandbox.clone()).collect();
        for sandbox in gone {
            self.write(Event::SandboxEnded { sandbox })?;
        }
        Ok(())
    }
}
