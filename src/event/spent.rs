//! What an agent's program says that it has used of its model: while it works, and at its end.

use serde::{Deserialize, Serialize};

use super::Event;
use crate::name::TaskId;

/// The most tokens of one kind that one attempt is believed to have used.
const MOST_TOKENS: u64 = 1_000_000_000_000;

/// Tokens by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Read anew.
    pub input: u64,
    /// Kept for later.
    pub cache_written: u64,
    /// Kept from earlier.
    pub cache_read: u64,
    /// Came back.
    pub output: u64,
}

impl Tokens {
    /// Returns all of them together.
    #[must_use]
    pub fn all(&self) -> u64 {
        let parts = [self.cache_written, self.cache_read, self.output];
        parts.into_iter().fold(self.input, u64::saturating_add)
    }

    /// Returns this with each number that `change` makes of it and the other's.
    #[must_use]
    pub fn with(self, other: Self, change: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            input: change(self.input, other.input),
            cache_written: change(self.cache_written, other.cache_written),
            cache_read: change(self.cache_read, other.cache_read),
            output: change(self.output, other.output),
        }
    }
}

/// What an event says that an attempt has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told<'a> {
    /// The task.
    pub task: &'a TaskId,
    /// Which attempt.
    pub attempt: u32,
    /// The model, empty when it does not say.
    pub model: &'a str,
    /// Tokens.
    pub tokens: Tokens,
    /// What they cost, in millionths of a US dollar.
    pub cost_micros: u64,
    /// Who says so.
    pub priced: Priced,
}

impl Told<'_> {
    /// The most money, in millionths of a US dollar, that one attempt is believed to have cost.
    pub const MOST_MICROS: u64 = 10_000 * 1_000_000;

    /// Returns this with no number beyond what one attempt can have used. The numbers are a
    /// program's own: one lie must not use up every budget that there can be.
    #[must_use]
    pub fn believed(self) -> Self {
        let most = Tokens {
            input: MOST_TOKENS,
            cache_written: MOST_TOKENS,
            cache_read: MOST_TOKENS,
            output: MOST_TOKENS,
        };
        Self {
            tokens: self.tokens.with(most, u64::min),
            cost_micros: self.cost_micros.min(Self::MOST_MICROS),
            ..self
        }
    }
}

impl Event {
    /// Returns what this says that an attempt has used of its model, none when it is about
    /// something else.
    #[must_use]
    pub fn told(&self) -> Option<Told<'_>> {
        match self {
            &Self::AgentSpent {
                ref task,
                attempt,
                ref model,
                input,
                cache_written,
                cache_read,
                output,
                cost_micros,
                priced,
                ..
            }
            | &Self::AgentSpending(SpentSoFar {
                ref task,
                attempt,
                ref model,
                input,
                cache_written,
                cache_read,
                output,
                cost_micros,
                priced,
            }) => Some(Told {
                task,
                attempt,
                model,
                tokens: Tokens {
                    input,
                    cache_written,
                    cache_read,
                    output,
                },
                cost_micros,
                priced,
            }),
            _ => None,
        }
    }

    /// Says what tokens cost and who says so, where this tells of tokens.
    pub fn price(&mut self, cost: u64, by: Priced) {
        if let Self::AgentSpent {
            cost_micros,
            priced,
            ..
        }
        | Self::AgentSpending(SpentSoFar {
            cost_micros,
            priced,
            ..
        }) = self
        {
            (*cost_micros, *priced) = (cost, by);
        }
    }
}

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
