//! `budget.yaml`: what a file says about budgets and prices.
//!
//! ```yaml
//! version: 1
//! run: { money: 5USD, tokens: 2M, time: 2h, iterations: 50 }
//! roles:
//!   default: { iterations: 10 }
//!   eng-*: { money: 2USD }
//! prices:
//!   my-model: { input: 3USD, cache_write: 3.75USD, cache_read: 0.30USD, output: 15USD }
//! ```

use std::{collections::BTreeMap, path::Path};

use super::{Budget, Measure, Price, amount};
use crate::{
    diagnostic::Diagnostic,
    name::Role,
    policy::plain::{self, Node, Reading},
};

/// What one file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Of the whole run.
    pub run: Budget,
    /// By role, swarm pattern or `default`.
    pub roles: BTreeMap<String, Budget>,
    /// Prices of models by their exact name, for a million tokens.
    pub prices: BTreeMap<String, Price>,
}

const TOP: [&str; 4] = ["version", "run", "roles", "prices"];
const MEASURES: [&str; 4] = ["money", "tokens", "time", "iterations"];
const KINDS: [&str; 4] = ["input", "cache_write", "cache_read", "output"];

/// Reads a file.
///
/// # Errors
/// Every fault of it, with its place.
pub fn read(file: &Path, text: &str) -> Result<Config, Vec<Diagnostic>> {
    plain::read(file, text, |reading, root| {
        let mut config = Config::default();
        let pairs = reading.map(root, "the file", &TOP);
        if !pairs.iter().any(|(key, _)| *key == "version") {
            let help = "begin the file with `version: 1`";
            reading.fault(root.spot(), "the version is missing", Some(help));
        }
        for (key, value) in pairs {
            match key {
                "version" => version(reading, value),
                "run" => config.run = budget(reading, value, "`run`"),
                "roles" => config.roles = roles(reading, value),
                _ => config.prices = prices(reading, value),
            }
        }
        config
    })
}

fn version(reading: &mut Reading<'_>, node: Node<'_>) {
    let number = reading.text(node, "`version`");
    if let Some(other) = number.filter(|number| *number != "1") {
        let message = format!("there is no version `{}`", other.escape_debug());
        reading.fault(node.spot(), message, Some("write `version: 1`"));
    }
}

fn budget(reading: &mut Reading<'_>, node: Node<'_>, what: &str) -> Budget {
    let mut budget = Budget::default();
    for (key, value) in reading.map(node, what, &MEASURES) {
        let named = Measure::ALL.into_iter().find(|one| one.word() == key);
        let text = reading.text(value, &format!("a budget of {key}"));
        let Some((measure, text)) = named.zip(text) else {
            continue;
        };
        match measure.read(text) {
            Ok(amount) => budget.set(measure, Some(amount)),
            Err(wrong) => {
                let message = format!("`{}` is no budget of {key}", text.escape_debug());
                reading.fault(value.spot(), message, Some(&wrong.to_string()));
            }
        }
    }
    budget
}

fn roles(reading: &mut Reading<'_>, node: Node<'_>) -> BTreeMap<String, Budget> {
    let mut roles = BTreeMap::new();
    for (name, spot, value) in reading.named(node, "`roles`") {
        if !is_role(name) {
            let message = format!("`{}` names no role", name.escape_debug());
            let help = "write a role, a pattern such as `eng-*`, or `default`";
            reading.fault(spot, message, Some(help));
        }
        let budget = budget(reading, value, "the budget of a role");
        roles.insert(name.to_owned(), budget);
    }
    roles
}

fn is_role(key: &str) -> bool {
    let stem = key
        .strip_suffix('*')
        .map_or(key, |stem| stem.trim_end_matches('-'));
    key != "*" && stem.parse::<Role>().is_ok()
}

fn prices(reading: &mut Reading<'_>, node: Node<'_>) -> BTreeMap<String, Price> {
    let models = reading.named(node, "`prices`").into_iter();
    models
        .map(|(model, spot, value)| {
            let pairs = reading.map(value, "a price", &KINDS);
            // What is left out would cost nothing, and a budget hold nothing.
            let missing = |kind: &&str| !pairs.iter().any(|(key, _)| key == kind);
            if let Some(kind) = KINDS.iter().find(|kind| missing(kind)) {
                let help =
                    "write all of input, cache_write, cache_read and output, 0USD for what is free";
                reading.fault(spot, format!("the price lacks `{kind}`"), Some(help));
            }
            (model.to_owned(), price(reading, &pairs))
        })
        .collect()
}

fn price(reading: &mut Reading<'_>, pairs: &[(&str, Node<'_>)]) -> Price {
    let mut price = Price::default();
    for (kind, value) in pairs {
        let Some(text) = reading.text(*value, "a price") else {
            continue;
        };
        let place = match *kind {
            "input" => &mut price.input,
            "cache_write" => &mut price.cache_write,
            "cache_read" => &mut price.cache_read,
            _ => &mut price.output,
        };
        match amount::money(text) {
            Ok(money) => *place = money,
            Err(wrong) => {
                let message = format!("`{}` is no price", text.escape_debug());
                let help = format!("{wrong}, for a million tokens");
                reading.fault(value.spot(), message, Some(&help));
            }
        }
    }
    price
}
