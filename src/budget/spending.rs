//! What was spent, by measure, and what one attempt cost.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Measure;
use crate::event::{Tokens, Told};

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
    }
}

/// What one attempt cost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Charge {
    tokens: Tokens,
    money_micros: u64,
}

impl Charge {
    pub(super) fn of(told: &Told<'_>) -> Self {
        Self {
            tokens: told.tokens,
            money_micros: told.cost_micros,
        }
    }

    /// What tokens cost that are charged already, now that their price is known.
    pub(super) fn of_price(money_micros: u64) -> Self {
        Self {
            money_micros,
            ..Self::default()
        }
    }

    /// Joins both, number by number.
    pub(super) fn with(self, other: Self, change: impl Fn(u64, u64) -> u64 + Copy) -> Self {
        Self {
            tokens: self.tokens.with(other.tokens, change),
            money_micros: change(self.money_micros, other.money_micros),
        }
    }
}

fn as_millis<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
