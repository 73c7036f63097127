//! One number of a report, beside what it is compared with.

use serde::{Deserialize, Serialize};

use super::goals::{Form, GOALS, Goal, Reach};

/// What was measured in some rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    /// What 95 of 100 rounds were at least as good as. None where only a median was kept.
    pub(crate) p95: Option<f64>,
    pub(crate) rounds: usize,
}

/// Which way a number is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Less,
    More,
}

impl Better {
    /// Times and sizes are better small; what ends in a second is a rate.
    pub(crate) fn of(unit: &str) -> Self {
        let rate = unit.ends_with("/s") || unit.ends_with("a second") || unit == "speed";
        if rate { Self::More } else { Self::Less }
    }
}

impl Spread {
    /// Returns none of nothing.
    pub(crate) fn of(mut all: Vec<f64>, better: Better) -> Option<Self> {
        all.sort_by(f64::total_cmp);
        if better == Better::More {
            all.reverse();
        }
        let worst = (all.len() * 95).div_ceil(100).checked_sub(1)?;
        Some(Self {
            median: rounded(all[all.len() / 2]),
            p95: Some(rounded(all[worst])),
            rounds: all.len(),
        })
    }

    /// One number whose rounds were counted elsewhere.
    pub(crate) fn median(median: f64, rounds: usize) -> Self {
        Self {
            median: rounded(median),
            p95: None,
            rounds,
        }
    }
}

/// Four digits that count: more than any of these numbers is good for.
pub(crate) fn rounded(number: f64) -> f64 {
    if number == 0.0 || !number.is_finite() {
        return number;
    }
    let digits = 3 - number.abs().log10().floor() as i32;
    let scale = 10f64.powi(digits);
    (number * scale).round() / scale
}

/// The other side, measured in the same run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Other {
    pub(crate) name: String,
    pub(crate) took: Spread,
}

/// A part of what something took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) what: String,
    pub(crate) took: f64,
    pub(crate) unit: String,
}

/// What a group hands in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) id: String,
    pub(crate) loki: Spread,
    pub(crate) other: Option<Other>,
    /// What it is spent on, where that was looked at.
    #[serde(default)]
    pub(crate) spent: Vec<Part>,
    #[serde(default)]
    pub(crate) note: Option<String>,
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) what: String,
    pub(crate) unit: String,
    pub(crate) form: Form,
    pub(crate) reach: Reach,
    pub(crate) measured: Option<Measured>,
    /// What is held against the goal: a ratio, or the number itself.
    pub(crate) got: Option<f64>,
    pub(crate) got_p95: Option<f64>,
    /// None without a goal, or without a number.
    pub(crate) reached: Option<bool>,
    /// Why there is no number.
    pub(crate) missing: Option<String>,
}

impl Row {
    pub(crate) fn group(&self) -> &str {
        self.id.split('/').next().unwrap_or_default()
    }

    pub(crate) fn measured(goal: &Goal, measured: Measured) -> Self {
        let (got, got_p95) = got(goal.form, &measured);
        let mut row = Self::missing(goal, "");
        row.missing = got.is_none().then(|| match goal.form {
            Form::Itself => "it is no number".to_owned(),
            _ => "the other side was not measured".to_owned(),
        });
        row.reached = got.and_then(|got| goal.reach.is_reached(got));
        (row.got, row.got_p95, row.measured) = (got, got_p95, Some(measured));
        row
    }

    pub(crate) fn missing(goal: &Goal, why: &str) -> Self {
        Self {
            id: goal.id.to_owned(),
            what: goal.what.to_owned(),
            unit: goal.unit.to_owned(),
            form: goal.form,
            reach: goal.reach,
            measured: None,
            got: None,
            got_p95: None,
            reached: None,
            missing: Some(why.to_owned()),
        }
    }
}

fn got(form: Form, measured: &Measured) -> (Option<f64>, Option<f64>) {
    let number = |ratio: f64| ratio.is_finite().then(|| rounded(ratio));
    let ours = measured.loki;
    if form == Form::Itself {
        return (number(ours.median), ours.p95.and_then(number));
    }
    let Some(Other { took: theirs, .. }) = &measured.other else {
        return (None, None);
    };
    let ratio = |ours: f64, theirs: f64| match form {
        Form::Times => number(theirs / ours),
        _ => number(ours / theirs),
    };
    let tail = ours.p95.zip(theirs.p95);
    (
        ratio(ours.median, theirs.median),
        tail.and_then(|(ours, theirs)| ratio(ours, theirs)),
    )
}

/// All numbers of a run, and where it ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) schema: u32,
    pub(crate) effort: String,
    pub(crate) seconds: u64,
    pub(crate) machine: serde_json::Value,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// Joins what was measured with the table of goals: each of its rows is in the report, measured
    /// or not. `why` says why one is not.
    pub(crate) fn rows(measured: Vec<Measured>, why: &dyn Fn(&Goal) -> String) -> Vec<Row> {
        let unknown: Vec<&str> = measured
            .iter()
            .map(|one| one.id.as_str())
            .filter(|id| GOALS.iter().all(|goal| goal.id != *id))
            .collect();
        assert!(unknown.is_empty(), "no goal is called so: {unknown:?}");
        let row = |goal: &Goal| {
            let one = measured.iter().find(|one| one.id == goal.id);
            match one {
                Some(one) => Row::measured(goal, one.clone()),
                None => Row::missing(goal, &why(goal)),
            }
        };
        GOALS.iter().map(row).collect()
    }
}
