//! What one group of rows came to. Each group runs in a process of its own, so that one that fails
//! takes no other with it, and none measures what another left in memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sheet::{
    goals::GOALS,
    row::{Better, Measured, Other, Part, Spread},
};

/// Rows that were measured, and why others were not: by a row's id, or the beginning of several.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) measured: Vec<Measured>,
    pub(crate) missing: BTreeMap<String, String>,
}

fn better(id: &str) -> Better {
    let goal = GOALS.iter().find(|goal| goal.id == id);
    Better::of(
        goal.unwrap_or_else(|| panic!("no goal is called `{id}`"))
            .unit,
    )
}

impl Group {
    /// Adds a row whose other side was measured too; says so when either has no rounds.
    pub(crate) fn beside(&mut self, id: &str, ours: &[f64], (name, theirs): (&str, &Vec<f64>)) {
        let better = better(id);
        let spread = |all: &[f64]| Spread::of(all.to_vec(), better);
        let other = spread(theirs).map(|took| Other {
            name: name.to_owned(),
            took,
        });
        match spread(ours).zip(other) {
            Some((loki, other)) => self.take(id, loki, Some(other)),
            None => self.lacks(id, &format!("nothing was measured of {name}")),
        }
    }

    /// Adds a row of our own numbers.
    pub(crate) fn alone(&mut self, id: &str, ours: &[f64]) {
        match Spread::of(ours.to_vec(), better(id)) {
            Some(loki) => self.take(id, loki, None),
            None => self.lacks(id, "nothing was measured"),
        }
    }

    pub(crate) fn take(&mut self, id: &str, loki: Spread, other: Option<Other>) {
        self.measured.push(Measured {
            id: id.to_owned(),
            loki,
            other,
            spent: Vec::new(),
            note: None,
        });
    }

    /// Says why a row is missing; the first reason stays.
    pub(crate) fn lacks(&mut self, id: &str, why: &str) {
        self.missing
            .entry(id.to_owned())
            .or_insert_with(|| why.to_owned());
    }

    /// Says what a row's time is spent on.
    pub(crate) fn spent(&mut self, id: &str, parts: Vec<Part>) {
        for row in self.measured.iter_mut().filter(|row| row.id == id) {
            row.spent.extend(parts.clone());
        }
    }

    /// Says what a reader must know of a row.
    pub(crate) fn note(&mut self, id: &str, note: String) {
        for row in self.measured.iter_mut().filter(|row| row.id == id) {
            row.note = Some(note.clone());
        }
    }
}

/// The medians of what something is made of.
pub(crate) fn parts(unit: &str, all: &[(&str, &Vec<f64>)]) -> Vec<Part> {
    let part = |(what, took): &(&str, &Vec<f64>)| {
        Some(Part {
            what: (*what).to_owned(),
            took: Spread::of(took.to_vec(), Better::Less)?.median,
            unit: unit.to_owned(),
        })
    };
    all.iter().filter_map(part).collect()
}
