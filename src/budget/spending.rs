//! What was spent, by measure, and what one attempt cost.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Measure;
use crate::{
    event::{Event, Priced, SpentSoFar},
    name::TaskId,
};

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

    fn with(self, other: Self, change: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            input: change(self.input, other.input),
            cache_written: change(self.cache_written, other.cache_written),
            cache_read: change(self.cache_read, other.cache_read),
            output: change(self.output, other.output),
        }
    }
}

/// What was spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Spending {
    /// Millionths of a US dollar, as far as it is known.
    pub money_micros: u64,
    /// Tokens.
    pub tokens: Tokens,
    /// Of them those whose price nobody knows.
    pub unpriced_tokens: u64,
    /// Time, in milliseconds.
    #[serde(rename = "time_ms", serialize_with = "as_millis")]
    pub time: Duration,
    /// Agent sessions.
    pub iterations: u64,
}

impl Spending {
    /// Returns how much of one measure was used, in its unit.
    #[must_use]
    pub fn of(&self, measure: Measure) -> u64 {
        match measure {
            Measure::Money => self.money_micros,
            Measure::Tokens => self.tokens.all(),
            Measure::Time => u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX),
            Measure::Iterations => self.iterations,
        }
    }

    pub(super) fn charge(&mut self, more: &Charge) {
        self.money_micros = self.money_micros.saturating_add(more.money_micros);
        self.tokens = self.tokens.with(more.tokens, u64::saturating_add);
        self.unpriced_tokens = self.unpriced_tokens.saturating_add(more.unpriced);
    }
}

/// What one attempt cost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Charge {
    tokens: Tokens,
    money_micros: u64,
    /// Tokens whose price nobody knows.
    pub(super) unpriced: u64,
}

impl Charge {
    fn new(tokens: Tokens, (money_micros, priced): (u64, Priced)) -> Self {
        let unknown = priced == Priced::Unknown;
        Self {
            tokens,
            money_micros,
            unpriced: if unknown { tokens.all() } else { 0 },
        }
    }

    /// Joins both, number by number.
    pub(super) fn with(self, other: Self, change: impl Fn(u64, u64) -> u64 + Copy) -> Self {
        Self {
            tokens: self.tokens.with(other.tokens, change),
            money_micros: change(self.money_micros, other.money_micros),
            unpriced: change(self.unpriced, other.unpriced),
        }
    }
}

/// Returns what an event says that an attempt has cost so far, and at which task.
pub(super) fn charge(event: &Event) -> Option<(&TaskId, Charge)> {
    match event {
        Event::AgentSpent {
            task,
            input,
            cache_written,
            cache_read,
            output,
            cost_micros,
            priced,
            ..
        }
        | Event::AgentSpending(SpentSoFar {
            task,
            input,
            cache_written,
            cache_read,
            output,
            cost_micros,
            priced,
            ..
        }) => {
            let tokens = Tokens {
                input: *input,
                cache_written: *cache_written,
                cache_read: *cache_read,
                output: *output,
            };
            Some((task, Charge::new(tokens, (*cost_micros, *priced))))
        }
        _ => None,
    }
}

fn as_millis<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
