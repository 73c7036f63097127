//! How a run ends.

use serde::{Deserialize, Serialize};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every task landed and every check passed.
    Done,
    /// Something failed.
    Failed,
    /// A person stopped it, or it lacked something that the machine must give.
    Stopped,
    /// What is left waits for a person.
    Waiting,
    /// A budget was used up.
    Limited,
}

impl Outcome {
    /// Says it in words, a lower-case fragment.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Waiting => "waiting for a person",
            Self::Limited => "stopped by a limit",
        }
    }
}
