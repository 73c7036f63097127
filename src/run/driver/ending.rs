//! How a run ends, and what a person is told then.

use super::{Control, Driver};
use crate::{event::Outcome, run::failure::Failure, task::State};

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The outcome.
    pub outcome: Outcome,
    /// Why, unless it is done.
    pub reason: Option<String>,
}

/// Failed tasks that the end of a run names; the others stand in its events.
const FAILURES: usize = 20;

impl Driver {
    /// Says which tasks failed, and why each did.
    pub(super) fn failures(&self) -> String {
        let failed = self
            .status
            .tasks
            .iter()
            .filter(|task| task.state == State::Failed)
            .take(FAILURES);
        let lines = failed.map(|task| {
            format!(
                "task `{}`: {}",
                task.id,
                task.last_error.as_deref().unwrap_or("no reason")
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Returns how the run ends once the checks of the whole run came to this.
    pub(super) fn concluded(&self, checked: Result<(), Failure>) -> Ending {
        let Err(failure) = checked else {
            return Ending {
                outcome: Outcome::Done,
                reason: None,
            };
        };
        self.lacking(&failure).unwrap_or(Ending {
            outcome: Outcome::Failed,
            reason: Some(failure.reason),
        })
    }

    /// Where the run lacks what only a person can give it stops, and can be taken up again.
    pub(super) fn lacking(&self, failure: &Failure) -> Option<Ending> {
        let what = failure.lacks?;
        let (run, reason) = (&self.work.run, &failure.reason);
        Some(Ending {
            outcome: Outcome::Stopped,
            reason: Some(format!("{reason}; {what}, then `loki resume {run}`")),
        })
    }

    /// Everything is done but what waits for a person.
    pub(super) fn waiting(&self) -> Ending {
        let run = &self.work.run;
        let mut lines: Vec<String> = self
            .held
            .iter()
            .map(|(task, outside)| {
                format!(
                    "task `{task}` was cut off and may have changed something outside ({}): look there, then `loki resume {run} --repeat {task}`",
                    outside.join(", ")
                )
            })
            .collect();
        let (asks, failures) = (self.asks(), self.failures());
        lines.extend([asks, failures].into_iter().filter(|text| !text.is_empty()));
        Ending {
            outcome: Outcome::Waiting,
            reason: Some(lines.join("\n")),
        }
    }

    pub(super) fn stopped(&self) -> Ending {
        let by = match &self.stop {
            Some(Control::Drain(by) | Control::Stop(by)) => by.clone(),
            Some(Control::Open(_) | Control::Decide(_) | Control::Change(..)) | None => {
                "nobody".to_owned()
            }
        };
        Ending {
            outcome: Outcome::Stopped,
            reason: Some(format!("asked to end by {by}")),
        }
    }
}
