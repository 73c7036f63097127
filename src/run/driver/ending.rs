//! How a run ends, and what a person is told then.

use crate::{event::Outcome, task::State};

use super::{Control, Driver};
use crate::run::failure::Failure;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The outcome.
    pub outcome: Outcome,
    /// Why, unless it is done.
    pub reason: Option<String>,
}

impl Ending {
    /// Returns how a run ends once the checks of the whole run came to this.
    pub(super) fn of(checked: Result<(), Failure>) -> Self {
        let outcome = match checked {
            Ok(()) => Outcome::Done,
            Err(_) => Outcome::Failed,
        };
        Self {
            outcome,
            reason: checked.err().map(|failure| failure.reason),
        }
    }
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

    pub(super) fn stopped(&self) -> Ending {
        let by = match &self.stop {
            Some(Control::Drain(by) | Control::Stop(by)) => by.clone(),
            Some(Control::Open(_) | Control::Decide(_)) | None => "nobody".to_owned(),
        };
        Ending {
            outcome: Outcome::Stopped,
            reason: Some(format!("stopped by {by}")),
        }
    }
}
