//! What an agent has spent while it works.

use serde::{Deserialize, Serialize};

use crate::name::TaskId;

/// Who says what tokens cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priced {
    /// The agent's program.
    #[default]
    Told,
    /// A list of prices: the shipped one, or a person's own.
    Listed,
    /// Nobody: the cost stands as 0 and is not known.
    Unknown,
}

impl Priced {
    /// Returns whether it is what every journal before said.
    #[must_use]
    pub fn is_told(&self) -> bool {
        *self == Self::Told
    }
}

/// What an agent's program has said of its model so far, from the begin of its attempt: less than
/// it will say at its end, and all that is known where it is cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpentSoFar {
    /// The task.
    pub task: TaskId,
    /// Which attempt.
    pub attempt: u32,
    /// The model, empty when it does not say.
    pub model: String,
    /// Tokens read anew.
    pub input: u64,
    /// Tokens kept for later.
    pub cache_written: u64,
    /// Tokens kept from earlier.
    pub cache_read: u64,
    /// Tokens that came back: often far fewer than there were.
    pub output: u64,
    /// By a list of prices, in millionths of a US dollar.
    pub cost_micros: u64,
    /// Who says so.
    pub priced: Priced,
}
