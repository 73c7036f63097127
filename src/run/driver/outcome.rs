//! What comes of a job: each end of an attempt as an event, and the end of the run.

use std::sync::Arc;

use tokio::task::JoinError;

use super::{Driver, Ending, Job, RunError};
use crate::{
    event::{Event, Outcome},
    run::{
        attempt::{Claim, Finished},
        checks,
        failure::Failure,
        recorder::Recorder,
        resume::lesson,
        work::Work,
    },
    task::{Action, State},
};

impl Driver {
    /// All tasks ended: the checks of the whole run decide, unless a task already failed.
    pub(super) fn finish(&mut self, outcome: Outcome) -> Option<Ending> {
        let reason = match outcome {
            Outcome::Done => None,
            Outcome::Waiting => return Some(self.waiting()),
            Outcome::Stopped => Some("every task was cancelled".to_owned()),
            Outcome::Failed | Outcome::Limited => Some(self.failures()),
        };
        if reason.is_some() {
            return Some(Ending { outcome, reason });
        }
        let (work, recorder) = (Arc::clone(&self.work), self.recorder.clone());
        self.jobs
            .spawn(async move { Job::Final(finally(&work, &recorder).await) });
        None
    }

    /// Takes the end of a job into account; one that was ended from here says nothing.
    pub(super) fn ended(
        &mut self,
        job: Result<Job, JoinError>,
    ) -> Result<Option<Ending>, RunError> {
        match job {
            Ok(job) => self.settle(job),
            Err(cause) if cause.is_cancelled() => Ok(None),
            Err(cause) => Err(cause.into()),
        }
    }

    fn settle(&mut self, job: Job) -> Result<Option<Ending>, RunError> {
        let ended = match job {
            // A task that came meanwhile is part of the whole run, too.
            Job::Final(_) if self.queue.next(0) != [Action::Finish(Outcome::Done)] => Vec::new(),
            Job::Final(checked) => return Ok(Some(self.concluded(checked))),
            Job::Ended(ended) => ended,
        };
        let mut lacking = None;
        for (claim, version, outcome) in ended {
            let task = &claim.task.id;
            self.under_way.remove(task);
            self.landing.remove(task);
            if !self.is_under_way(&claim, version) {
                continue;
            }
            if let Err(failure) = &outcome
                && let Some(ending) = self.lacking(failure)
            {
                lacking = Some(ending);
                continue;
            }
            let event = self.told(claim, version, outcome);
            if let Some((task, lesson)) = lesson(&event) {
                self.evidence.entry(task).or_default().push(lesson);
            }
            self.write(event)?;
        }
        Ok(lacking)
    }

    /// Returns whether the queue still waits for the end of an attempt: it may have been cancelled.
    fn is_under_way(&self, claim: &Claim, version: u64) -> bool {
        self.queue.get(&claim.task.id).is_some_and(|standing| {
            matches!(standing.state, State::Claimed | State::Approved)
                && (standing.version, standing.attempts) == (version, claim.attempt)
        })
    }

    /// Says how an attempt ended.
    fn told(&self, claim: Claim, version: u64, outcome: Result<Finished, Failure>) -> Event {
        let (task, attempt) = (claim.task.id, claim.attempt);
        match outcome {
            Ok(Finished::Waiting(commit, needs)) => Event::Waiting {
                task,
                version,
                attempt,
                commit: commit.to_string(),
                needs,
            },
            Ok(Finished::Done(commit)) => Event::TaskDone {
                task,
                version,
                attempt,
                commit: commit.map(|commit| commit.to_string()),
            },
            Ok(Finished::Conflicted(files)) => Event::TaskConflicted {
                task,
                version,
                attempt,
                files,
            },
            Ok(Finished::Apart(reason)) => Event::Interrupted {
                task,
                version,
                attempt,
                reason,
                outside: Vec::new(),
                by: None,
            },
            Err(failure) => self.failed((task, version, attempt), failure),
        }
    }
}

/// Checks of the whole run on the run's branch.
async fn finally(work: &Arc<Work>, recorder: &Recorder) -> Result<(), Failure> {
    let head = work.head().await?;
    checks::run(work, recorder, None, &head, &checks::of_run(&work.spec)).await
}
