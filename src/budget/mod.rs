//! What a run and its roles may spend, what they have spent, and what a plan will probably need.
//!
//! ```text
//!  budget.yaml ── config ──┐                    records ── Ledger ── what is near its end or over
//!  --budget 5USD ──────────┴─► Budgets ─────────────────────┘
//!  earlier runs ── History ──┐
//!  a plan ───────────────────┴─► estimate() ─► Estimate
//! ```
//!
//! A budget has up to four measures. The smaller wins wherever two of them speak about the same.
//! It refuses to guess: money of a model whose price nobody knows is not nothing, it is unknown.

mod amount;
mod config;
mod estimate;
mod ledger;
mod prices;
mod spending;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::Role;

pub use amount::AmountError;
pub use config::{Config, read};
pub use estimate::{Estimate, History, Part, Range, Telling, estimate, waves};
pub use ledger::Ledger;
pub use prices::{Price, Prices};
pub use spending::Spending;

/// What can be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Millionths of a US dollar.
    Money,
    /// Tokens of every kind, those that a model's cache gave back too.
    Tokens,
    /// Milliseconds: of a run while an orchestrator drives it, of a role while its agents work.
    Time,
    /// Agent sessions: attempts that were begun.
    Iterations,
}

impl Measure {
    /// All of them, in the order they are shown.
    pub const ALL: [Self; 4] = [Self::Money, Self::Tokens, Self::Time, Self::Iterations];

    /// Returns its name in `budget.yaml` and in messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Money => "money",
            Self::Tokens => "tokens",
            Self::Time => "time",
            Self::Iterations => "iterations",
        }
    }

    /// Returns the option of `start` and `resume` that limits it for a run.
    #[must_use]
    pub fn option(self) -> &'static str {
        match self {
            Self::Money => "--budget",
            Self::Tokens => "--max-tokens",
            Self::Time => "--max-time",
            Self::Iterations => "--max-iterations",
        }
    }

    /// Returns whether only the agent's program can say how much was used.
    #[must_use]
    pub fn is_told(self) -> bool {
        matches!(self, Self::Money | Self::Tokens)
    }
}

/// What may be spent at most, in the units of [`Measure`]; none is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Millionths of a US dollar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money_micros: Option<u64>,
    /// Tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
    /// Agent sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iterations: Option<u64>,
}

impl Budget {
    /// Returns the limit of one measure.
    #[must_use]
    pub fn of(&self, measure: Measure) -> Option<u64> {
        match measure {
            Measure::Money => self.money_micros,
            Measure::Tokens => self.tokens,
            Measure::Time => self.time_ms,
            Measure::Iterations => self.iterations,
        }
    }

    /// Sets the limit of one measure, or lifts it.
    pub fn set(&mut self, measure: Measure, limit: Option<u64>) {
        *match measure {
            Measure::Money => &mut self.money_micros,
            Measure::Tokens => &mut self.tokens,
            Measure::Time => &mut self.time_ms,
            Measure::Iterations => &mut self.iterations,
        } = limit;
    }

    /// Returns the smaller of both in each measure.
    #[must_use]
    pub fn least(mut self, other: Self) -> Self {
        for measure in Measure::ALL {
            let both = [self.of(measure), other.of(measure)];
            self.set(measure, both.into_iter().flatten().min());
        }
        self
    }

    /// Returns this with every measure that `other` names in its place.
    #[must_use]
    pub fn overlaid(mut self, other: Self) -> Self {
        for measure in Measure::ALL {
            self.set(measure, other.of(measure).or(self.of(measure)));
        }
        self
    }

    /// Returns whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the limits as people write them, such as `5 USD, 2h`; empty without any.
    #[must_use]
    pub fn written(&self) -> String {
        let limits = Measure::ALL
            .into_iter()
            .filter_map(|measure| Some(measure.written(self.of(measure)?)));
        limits.collect::<Vec<_>>().join(", ")
    }
}

/// The budgets of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// What the person typed, for whoever goes on with the run.
    pub given: Budget,
    /// Of the whole run: the smallest of what was typed and of what the files say.
    pub run: Budget,
    /// Of roles, one map for each file that says something, by role, swarm pattern or `default`.
    pub roles: Vec<BTreeMap<String, Budget>>,
}

impl Budgets {
    /// Joins what was typed with what files say.
    #[must_use]
    pub fn of_files(given: Budget, files: &[Config]) -> Self {
        let run = files
            .iter()
            .fold(given, |least, file| least.least(file.run));
        let roles = files.iter().map(|file| file.roles.clone());
        Self {
            given,
            run,
            roles: roles.filter(|roles| !roles.is_empty()).collect(),
        }
    }

    /// Returns the budget of a role. In one file the more specific entry speaks, measure by
    /// measure; between files the smaller number wins.
    #[must_use]
    pub fn of(&self, role: &Role) -> Budget {
        let files = self.roles.iter().map(|file| in_file(file, role));
        files.fold(Budget::default(), Budget::least)
    }

    /// Returns whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.run.is_empty()
            && self
                .roles
                .iter()
                .all(|file| file.values().all(Budget::is_empty))
    }

    /// Returns whether some limit is of a measure that only agents' programs can tell.
    #[must_use]
    pub fn told(&self) -> Option<Measure> {
        let entries = self.roles.iter().flat_map(BTreeMap::values);
        let mut all = [&self.run].into_iter().chain(entries);
        all.find_map(|budget| {
            let mut measures = Measure::ALL.into_iter();
            measures.find(|measure| measure.is_told() && budget.of(*measure).is_some())
        })
    }
}

fn in_file(file: &BTreeMap<String, Budget>, role: &Role) -> Budget {
    let mut fitting: Vec<(&String, &Budget)> = file
        .iter()
        .filter(|(key, _)| covers(key, role.as_str()))
        .collect();
    fitting.sort_by_key(|(key, _)| precision(key));
    fitting
        .into_iter()
        .fold(Budget::default(), |found, (_, more)| found.overlaid(*more))
}

/// Returns whether an entry's key is about a role.
fn covers(key: &str, role: &str) -> bool {
    match key.strip_suffix('*') {
        Some(start) => role.starts_with(start),
        None => key == "default" || key == role,
    }
}

/// Orders keys from the least to the most specific.
fn precision(key: &str) -> (u8, usize) {
    match key {
        "default" => (0, 0),
        pattern if pattern.ends_with('*') => (1, pattern.len()),
        _ => (2, 0),
    }
}

/// Which line of a budget was crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Four fifths are used.
    Near,
    /// All of it is used: nothing more is spent on purpose.
    Reached,
    /// Something was spent that nobody can say in money: it counts as reached.
    Unknown,
}

/// A budget that is nearly used up, or used up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passed {
    /// Whose; none is the run's.
    pub role: Option<Role>,
    /// Of what.
    pub measure: Measure,
    /// How much there was, in the unit of the measure.
    pub allowed: u64,
    /// How much is used, as far as it is known.
    pub used: u64,
    /// How far that is.
    pub mark: Mark,
}

impl Passed {
    /// Says it in one line, a lower-case fragment.
    #[must_use]
    pub fn told(&self) -> String {
        let whose = match &self.role {
            Some(role) => format!("the budget of role `{role}`"),
            None => "the run's budget".to_owned(),
        };
        let (word, allowed) = (self.measure.word(), self.measure.written(self.allowed));
        let used = self.measure.written(self.used);
        match self.mark {
            Mark::Near => format!("{whose} of {word} is nearly used up: {used} of {allowed}"),
            Mark::Reached => format!("{whose} of {word} is used up: {used} of {allowed}"),
            Mark::Unknown => format!(
                "{whose} of {word} ({allowed}) cannot be held: a model was used whose price is not known; \
                 {used} are known of"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
