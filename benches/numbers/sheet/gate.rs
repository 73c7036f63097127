//! Holds a report against what was reached before: ratios alone, for times belong to one machine,
//! each with a width of its own, for some rows are noisier than others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    goals::{GOALS, Goal},
    row::{Report, Row},
};

/// How much worse than its baseline a row may be unless it says otherwise.
const WITHIN: f64 = 2.0;

/// What was reached, by row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Baseline {
    /// Where and when it was measured.
    pub(crate) of: String,
    pub(crate) rows: BTreeMap<String, Held>,
}

/// A ratio, and how many times worse it may become.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Held {
    pub(crate) got: f64,
    pub(crate) within: f64,
}

impl Baseline {
    /// Takes the ratios of a report; rows that were held before keep their width.
    pub(crate) fn of(report: &Report, before: &Self, of: String) -> Self {
        let ratio = |row: &Row| goal(&row.id).is_some_and(Goal::is_ratio);
        let held = |row: &Row| {
            let before = before.rows.get(&row.id);
            let within = before.map_or(WITHIN, |held| held.within);
            row.got.map(|got| (row.id.clone(), Held { got, within }))
        };
        let rows = report.rows.iter().filter(|row| ratio(row));
        Self {
            of,
            rows: rows.filter_map(held).collect(),
        }
    }

    /// Returns what is wrong with the baseline itself.
    pub(crate) fn faults(&self) -> Vec<String> {
        let fault = |(id, held): (&String, &Held)| match goal(id) {
            None => Some(format!("`{id}`: the report has no such row")),
            Some(goal) if !goal.is_ratio() => {
                Some(format!("`{id}`: only ratios are held, and this is none"))
            }
            Some(_) if !(held.got.is_finite() && held.got > 0.0) => {
                Some(format!("`{id}`: {} is no ratio", held.got))
            }
            Some(_) if !(held.within.is_finite() && held.within > 1.0) => {
                Some(format!("`{id}`: a width of {} leaves no room", held.within))
            }
            Some(_) => None,
        };
        self.rows.iter().filter_map(fault).collect()
    }
}

fn goal(id: &str) -> Option<&'static Goal> {
    GOALS.iter().find(|goal| goal.id == id)
}

/// Returns every row of the baseline that the report has worse than it may be, or lacks.
pub(crate) fn compare(report: &Report, baseline: &Baseline) -> Vec<String> {
    let mut faults = baseline.faults();
    for (id, held) in &baseline.rows {
        let row = report.rows.iter().find(|row| &row.id == id);
        let Some(row) = row else {
            faults.push(format!("`{id}`: the report lacks the row"));
            continue;
        };
        let Some(got) = row.got.filter(|got| got.is_finite()) else {
            let why = row.missing.as_deref().unwrap_or("no reason is given");
            faults.push(format!("`{id}`: not measured: {why}"));
            continue;
        };
        let more = row.reach.is_more() || goal(id).is_some_and(|goal| goal.reach.is_more());
        let (worst, worse) = if more {
            (held.got / held.within, got < held.got / held.within)
        } else {
            (held.got * held.within, got > held.got * held.within)
        };
        if worse {
            let side = if more { "least" } else { "most" };
            faults.push(format!(
                "`{id}`: {got} now and {} before; at {side} {worst:.3} passes ({})",
                held.got, row.what
            ));
        }
    }
    faults
}
