//! By when work must have been judged: one deadline for all that is looked at.

use std::time::{Duration, Instant};

use super::Remark;

/// The rule that work breaks which takes too long to judge.
const LATE: &str = "time";

/// By when work must have been judged.
#[derive(Debug, Clone, Copy)]
pub(in crate::git) struct Deadline {
    begun: Instant,
    limit: Duration,
}

impl Deadline {
    /// Begins to wait.
    #[expect(
        clippy::disallowed_methods,
        reason = "a duration is measured, no time is told"
    )]
    pub(in crate::git) fn after(limit: Duration) -> Self {
        Self {
            begun: Instant::now(),
            limit,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.begun.elapsed() >= self.limit
    }

    /// Asks whether there is time to look at something.
    ///
    /// # Errors
    /// The breach, when there is none.
    pub(in crate::git) fn check(&self, path: &[u8]) -> Result<(), Remark> {
        match self.is_over() {
            true => Err(self.remark(path)),
            false => Ok(()),
        }
    }

    pub(super) fn remark(&self, path: &[u8]) -> Remark {
        let seconds = self.limit.as_secs();
        let message = format!(
            "was not looked at within the {seconds} s that a hand-over may take: hand over less"
        );
        Remark::new(LATE, path, message)
    }
}
