//! What becomes of the attempts that a run was cut off in, when it is taken up again.

use std::sync::Arc;

use super::{
    super::resume::{Came, Cut, go_on},
    Driver, Job, RunError,
};
use crate::event::Event;

impl Driver {
    /// Decides what becomes of an attempt that was cut off.
    pub(super) fn take_up(&mut self, cut: Cut) -> Result<(), RunError> {
        let Cut { of, outside, by } = cut;
        if of.came == Came::Working {
            if by.is_none() && !outside.is_empty() {
                self.held.insert(of.task, outside);
                return Ok(());
            }
            self.write(Event::Interrupted {
                task: of.task,
                version: of.version,
                attempt: of.attempt,
                reason: "its orchestrator ended before it did".to_owned(),
                outside,
                by,
            })?;
            return Ok(());
        }
        let claim = self.claim_of(&of.task, of.attempt);
        let (work, recorder) = (Arc::clone(&self.work), self.recorder.clone());
        self.jobs.spawn(async move {
            let outcome = go_on(&work, &recorder, (&claim, &of.came)).await;
            Job::Ended(vec![(claim, of.version, outcome)])
        });
        Ok(())
    }
}
