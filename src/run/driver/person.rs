//! Work that waits for a person: what he decides, and how approved work lands.

use std::sync::Arc;

use crate::{
    git::ObjectId,
    name::TaskId,
    task::{Decision, State, Verdict},
};

use super::{Driver, Job, RunError};
use crate::run::{
    attempt::{Claim, land_approved},
    failure::Failure,
    resume::lesson,
};

/// Things of one task that the end of a run names; the others stand in its status.
const NEEDS: usize = 5;

impl Driver {
    /// Lands work that was approved, once: the queue names it until it has.
    pub(super) fn land(&mut self, of: (&TaskId, u64, u32), commit: &str) {
        let (task, version, attempt) = of;
        if !self.landing.insert(task.clone()) {
            return;
        }
        let claim = self.claim_of(task, attempt);
        let (work, recorder) = (Arc::clone(&self.work), self.recorder.clone());
        let commit = commit.parse::<ObjectId>();
        self.jobs.spawn(async move {
            let outcome = match commit {
                Ok(commit) => land_approved(&work, &recorder, &claim, commit).await,
                Err(cause) => Err(Failure::from(cause)),
            };
            Job::Ended(vec![(claim, version, outcome)])
        });
    }

    /// Makes a claim of a task as it stands.
    pub(super) fn claim_of(&self, task: &TaskId, attempt: u32) -> Claim {
        let standing = self.queue.get(task);
        let standing = standing.expect("the queue names only its own tasks");
        Claim {
            task: standing.task.clone(),
            attempt,
            tries: standing.tries(),
            evidence: self.evidence.get(task).cloned().unwrap_or_default(),
            approved: Arc::new(self.queue.approved().clone()),
            mates: Vec::new(),
        }
    }

    /// Takes a person's decision, if there is anything that it can be about: he is told by the
    /// journal.
    pub(super) fn decide(&mut self, decision: &Decision) -> Result<(), RunError> {
        let Some(standing) = self.queue.get(&decision.task) else {
            return Ok(());
        };
        let event = decision.event(standing.version);
        if self.queue.clone().apply(&event).is_err() {
            return Ok(());
        }
        if let Some((task, lesson)) = lesson(&event) {
            self.evidence.entry(task).or_default().push(lesson);
        }
        self.write(event)?;
        self.writer.sync()?;
        if let Verdict::Reject(_) = &decision.verdict {
            let (work, task, attempt) = (
                Arc::clone(&self.work),
                decision.task.clone(),
                decision.attempt,
            );
            // The journal has it: where the ref stands is only for people who look.
            drop(tokio::task::spawn_blocking(move || {
                let moved = work
                    .repository
                    .quarantine_waiting(&work.run, &task, attempt);
                moved.ok()
            }));
        }
        Ok(())
    }

    /// Says what waits for a person, and what to type.
    pub(super) fn asks(&self) -> String {
        let mut lines = Vec::new();
        for task in &self.status.tasks {
            if task.state != State::Waiting {
                continue;
            }
            let paths = task.needs.iter().take(NEEDS).map(|need| {
                let kind = need.kind.as_ref().unwrap_or(&need.rule);
                format!("`{}` ({kind})", need.path)
            });
            let more = task.needs.len().saturating_sub(NEEDS);
            let more = if more == 0 {
                String::new()
            } else {
                format!(" and {more} more")
            };
            let paths: Vec<String> = paths.collect();
            lines.push(format!(
                "task `{0}` waits for a person to approve {1}{more}: `loki approve {2}/{0}`, or `loki reject {2}/{0} --reason TEXT`; then `loki resume {2}`",
                task.id,
                paths.join(", "),
                self.work.run,
            ));
        }
        lines.join("\n")
    }
}
