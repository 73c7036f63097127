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
    diagnostic::{Diagnostic, closest},
    name::Role,
    policy::config::{Leaf, Part, Wrong, judge},
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
    let mut config = Config::default();
    let mut version = false;
    judge(file, text, |leaf| {
        version |= leaf.path.first().is_some_and(|key| key == "version");
        config.take(leaf)
    })?;
    if version {
        return Ok(config);
    }
    Err(vec![Diagnostic {
        file: file.to_owned(),
        line: 0,
        column: 1,
        width: 1,
        picture: String::new(),
        message: "the version is missing".to_owned(),
        help: Some("begin the file with `version: 1`".to_owned()),
    }])
}

impl Config {
    fn take(&mut self, leaf: &Leaf) -> Result<(), Wrong> {
        let path: Vec<&str> = leaf.path.iter().map(String::as_str).collect();
        match path[..] {
            ["version"] if leaf.value == "1" => Ok(()),
            ["version"] => Err(value(
                format!("there is no version `{}`", leaf.value.escape_debug()),
                "write `version: 1`",
            )),
            ["run", measure] => limit(&mut self.run, (measure, 1), &leaf.value),
            ["roles", role, measure] => {
                role_key(role)?;
                let budget = self.roles.entry(role.to_owned()).or_default();
                limit(budget, (measure, 2), &leaf.value)
            }
            ["prices", model, kind] => {
                let price = self.prices.entry(model.to_owned()).or_default();
                set_price(price, kind, &leaf.value)
            }
            [top @ ("version" | "run" | "roles" | "prices"), ..] => Err(value(
                format!("`{top}` is not written so"),
                "write as in docs/budgets.md: `run: { money: 5USD }`, `roles: { eng-*: { tokens: 2M } }`",
            )),
            [other, ..] => Err(unknown((other, 0), &TOP)),
            [] => Err(value(
                "the file is one value".to_owned(),
                "write as in docs/budgets.md: `version: 1`, then `run: { money: 5USD }`",
            )),
        }
    }
}

fn limit(budget: &mut Budget, key: (&str, usize), text: &str) -> Result<(), Wrong> {
    let measure = Measure::ALL
        .into_iter()
        .find(|measure| measure.word() == key.0)
        .ok_or_else(|| unknown(key, &MEASURES))?;
    let amount = measure.read(text).map_err(|wrong| {
        value(
            format!("`{}` is no budget of {}", text.escape_debug(), key.0),
            &wrong.to_string(),
        )
    })?;
    budget.set(measure, Some(amount));
    Ok(())
}

fn set_price(price: &mut Price, kind: &str, text: &str) -> Result<(), Wrong> {
    let place = match kind {
        "input" => &mut price.input,
        "cache_write" => &mut price.cache_write,
        "cache_read" => &mut price.cache_read,
        "output" => &mut price.output,
        other => return Err(unknown((other, 2), &KINDS)),
    };
    *place = amount::money(text).map_err(|wrong| {
        let message = format!("`{}` is no price", text.escape_debug());
        value(message, &format!("{wrong}, for a million tokens"))
    })?;
    Ok(())
}

fn role_key(key: &str) -> Result<(), Wrong> {
    let stem = key
        .strip_suffix('*')
        .map_or(key, |stem| stem.trim_end_matches('-'));
    if key == "*" || stem.parse::<Role>().is_err() {
        return Err(Wrong {
            part: Part::Key(1),
            message: format!("`{}` names no role", key.escape_debug()),
            help: "write a role, a pattern such as `eng-*`, or `default`".to_owned(),
        });
    }
    Ok(())
}

fn value(message: String, help: &str) -> Wrong {
    Wrong {
        part: Part::Value,
        message,
        help: help.to_owned(),
    }
}

fn unknown((key, at): (&str, usize), known: &[&str]) -> Wrong {
    let help = match closest(key, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", known.join(", ")),
    };
    Wrong {
        part: Part::Key(at),
        message: format!("there is no key `{}`", key.escape_debug()),
        help,
    }
}
