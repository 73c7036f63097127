//! Sections that are about no role: `agent_pool` and `rotation`. Both are read and checked whole;
//! nothing in this version acts on `rotation`, and every file that holds one is told so in a note.

use std::time::Duration;

use super::{
    fields::{self, map, scalar, unknown},
    sheet::{Mark, Placed, Sheet},
    units,
    yaml::Node,
};
use crate::name::Role;

/// How many sandboxes stand ready.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AgentPool {
    /// How many of a kind wait unclaimed; none switches the pool off.
    pub min_idle: u32,
    /// The most there are, claimed ones included.
    pub max_total: u32,
    /// Roles whose files are made ready, too; none is all of them.
    pub pre_warm_roles: Option<Vec<Role>>,
}

/// How secrets are renewed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Rotation {
    /// How long a value is used.
    pub interval: Duration,
    /// How long the old value stays valid beside the new one.
    pub grace_period: Duration,
    /// Who hears of it: `slack`, `email`.
    pub notify: Vec<String>,
}

/// What one file or several layers say.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    min_idle: Option<Placed<u32>>,
    max_total: Option<Placed<u32>>,
    pub(super) pre_warm_roles: Option<fields::List<Role>>,
    interval: Option<Placed<Duration>>,
    grace_period: Option<Placed<Duration>>,
    notify: Option<fields::List<String>>,
}

/// A pair of values that contradict each other: where, what, and what would be right.
pub(super) type Contradiction = (Placed<()>, String, String);

impl Settings {
    /// Reads `agent_pool`.
    pub(super) fn pool(&mut self, sheet: &mut Sheet<'_>, node: &Node) {
        for (key, at, value) in map(sheet, node, "`agent_pool`") {
            match key {
                "min_idle" => self.min_idle = count(sheet, value),
                "max_total" => self.max_total = count(sheet, value),
                "pre_warm_roles" => self.pre_warm_roles = Some(roles(sheet, value)),
                _ => unknown(
                    sheet,
                    (key, at),
                    &["min_idle", "max_total", "pre_warm_roles"],
                ),
            }
        }
    }

    /// Reads `rotation`.
    pub(super) fn rotation(&mut self, sheet: &mut Sheet<'_>, at: Mark, node: &Node) {
        for (key, at, value) in map(sheet, node, "`rotation`") {
            match key {
                "interval" => self.interval = time(sheet, value, ("1h", "365d")),
                "grace_period" => self.grace_period = time(sheet, value, ("0s", "30d")),
                "notify" => self.notify = Some(channels(sheet, value)),
                _ => unknown(sheet, (key, at), &["interval", "grace_period", "notify"]),
            }
        }
        idle(sheet, at, "rotation");
    }

    /// Replaces each field that `other` names.
    pub(super) fn overlay(&mut self, other: &Self) {
        fn put<T: Clone>(mine: &mut Option<T>, other: &Option<T>) {
            if other.is_some() {
                mine.clone_from(other);
            }
        }
        put(&mut self.min_idle, &other.min_idle);
        put(&mut self.max_total, &other.max_total);
        put(&mut self.pre_warm_roles, &other.pre_warm_roles);
        put(&mut self.interval, &other.interval);
        put(&mut self.grace_period, &other.grace_period);
        put(&mut self.notify, &other.notify);
    }

    /// Returns what the fields say together, with the documented defaults.
    pub(super) fn settled(&self) -> (AgentPool, Rotation) {
        fn values<T: Clone>(list: Option<&fields::List<T>>) -> Vec<T> {
            let items = list.map_or(&[][..], |list| &list.value);
            items.iter().map(|item| item.value.clone()).collect()
        }
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let pool = AgentPool {
            min_idle: self.min_idle.map_or(3, |count| count.value),
            max_total: self.max_total.map_or(20, |count| count.value),
            pre_warm_roles: self
                .pre_warm_roles
                .as_ref()
                .map(|roles| values(Some(roles))),
        };
        let rotation = Rotation {
            interval: self.interval.map_or(hours(7 * 24), |time| time.value),
            grace_period: self.grace_period.map_or(hours(1), |time| time.value),
            notify: values(self.notify.as_ref()),
        };
        (pool, rotation)
    }

    /// Returns the values that cannot stand together.
    pub(super) fn contradictions(&self) -> Vec<Contradiction> {
        let (pool, rotation) = self.settled();
        let mut found = Vec::new();
        let place = |place| Placed { value: (), place };
        let pooled = self.min_idle.or(self.max_total);
        if let Some(said) = pooled.filter(|_| pool.min_idle > pool.max_total) {
            let message = format!(
                "`min_idle` {} is more than `max_total` {}",
                pool.min_idle, pool.max_total
            );
            let help = "those that wait count among all".to_owned();
            found.push((place(said.place), message, help));
        }
        let rotated = self.grace_period.or(self.interval);
        if let Some(said) = rotated.filter(|_| rotation.grace_period >= rotation.interval) {
            let message = "`grace_period` is not shorter than `interval`".to_owned();
            let help = "old values would pile up: shorten it, such as `1h`".to_owned();
            found.push((place(said.place), message, help));
        }
        found
    }
}

fn idle(sheet: &mut Sheet<'_>, at: Mark, section: &str) {
    let message = format!("`{section}` is checked, but this version does not act on it yet");
    sheet.note(at, message, None);
}

fn count(sheet: &mut Sheet<'_>, node: &Node) -> Option<Placed<u32>> {
    let number = |text: &str| text.parse().ok().filter(|count| *count <= 10_000);
    let count = scalar(sheet, node, "a whole number from 0 to 10000", number)?;
    Some(sheet.placed(count, node.at))
}

fn time(
    sheet: &mut Sheet<'_>,
    node: &Node,
    (least, most): (&str, &str),
) -> Option<Placed<Duration>> {
    let wanted = format!("a duration from {least} to {most} with its unit, such as `24h`");
    let range = units::duration(least)?..=units::duration(most)?;
    let fits = |text: &str| units::duration(text).filter(|time| range.contains(time));
    let time = scalar(sheet, node, &wanted, fits)?;
    Some(sheet.placed(time, node.at))
}

fn roles(sheet: &mut Sheet<'_>, node: &Node) -> fields::List<Role> {
    fields::list(sheet, node, "[eng-backend]", fields::role)
}

fn channels(sheet: &mut Sheet<'_>, node: &Node) -> fields::List<String> {
    const KNOWN: [&str; 2] = ["slack", "email"];
    fields::list(sheet, node, "[email]", |sheet, item| {
        let known = |text: &str| KNOWN.contains(&text).then(|| text.to_owned());
        scalar(sheet, item, "`slack` or `email`", known)
    })
}
