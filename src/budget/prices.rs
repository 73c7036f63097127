//! What tokens cost by list price, where a program tells tokens and no money.
//!
//! The list is data, `prices.json`, with its source and its date. A model that is not in it, nor in
//! a person's `budget.yaml`, has no price: it is not priced like one with a similar name. What comes
//! with a project can make a model dearer, never cheaper, and prices none that nobody else does.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::{Deserialize, Serialize};

use super::config::Config;
use crate::event::Tokens;

/// Millionths of a US dollar for a million tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Tokens read anew.
    pub input: u64,
    /// Tokens kept for later.
    pub cache_write: u64,
    /// Tokens kept from earlier.
    pub cache_read: u64,
    /// Tokens that came back.
    pub output: u64,
}

impl Price {
    /// Returns what tokens cost, rounded up to a millionth of a dollar.
    #[must_use]
    pub fn cost(&self, tokens: &Tokens) -> u64 {
        let parts = [
            (self.input, tokens.input),
            (self.cache_write, tokens.cache_written),
            (self.cache_read, tokens.cache_read),
            (self.output, tokens.output),
        ];
        let sum: u128 = parts
            .iter()
            .map(|(price, count)| u128::from(*price) * u128::from(*count))
            .sum();
        u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    /// Returns the higher of both for each kind.
    fn highest(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            cache_write: self.cache_write.max(other.cache_write),
            cache_read: self.cache_read.max(other.cache_read),
            output: self.output.max(other.output),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(rename = "source")]
    _source: String,
    #[serde(rename = "checked")]
    _checked: String,
    #[serde(rename = "unit")]
    _unit: String,
    models: BTreeMap<String, Listed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    input: String,
    cache_write: String,
    cache_read: String,
    output: String,
}

static LIST: LazyLock<List> = LazyLock::new(|| {
    serde_json::from_str(include_str!("prices.json")).expect("a test reads the list")
});

/// The shipped list and a person's own prices, which come first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prices {
    own: BTreeMap<String, Price>,
    /// Of the project: they count where they are higher.
    raised: BTreeMap<String, Price>,
}

impl Prices {
    /// Takes the own prices of files, and those of a project's file; of two for one model the
    /// higher counts.
    #[must_use]
    pub fn of_files(own: &[Config], project: Option<&Config>) -> Self {
        Self {
            own: highest(own),
            raised: highest(project),
        }
    }

    /// Returns the price of a model, none when nobody knows it.
    #[must_use]
    pub fn of(&self, model: &str) -> Option<Price> {
        let raised = self.raised.get(model).copied().unwrap_or_default();
        self.known(model).map(|price| price.highest(raised))
    }

    /// Returns the models that a project's file alone names a price of, which none of them has.
    pub fn left_out(&self) -> impl Iterator<Item = &str> {
        let named = self.raised.keys().map(String::as_str);
        named.filter(move |model| self.known(model).is_none())
    }

    fn known(&self, model: &str) -> Option<Price> {
        if let Some(own) = self.own.get(model) {
            return Some(*own);
        }
        let bare = model.rsplit('/').next().unwrap_or(model);
        let listed = LIST.models.iter().find(|(name, _)| names(name, bare));
        listed.map(|(_, listed)| listed.price())
    }
}

fn highest<'c>(files: impl IntoIterator<Item = &'c Config>) -> BTreeMap<String, Price> {
    let mut found: BTreeMap<String, Price> = BTreeMap::new();
    for (model, price) in files.into_iter().flat_map(|file| &file.prices) {
        let known = found.entry(model.clone()).or_default();
        *known = known.highest(*price);
    }
    found
}

impl Listed {
    fn price(&self) -> Price {
        let micros = |text: &String| super::amount::money(text).expect("a test reads the list");
        Price {
            input: micros(&self.input),
            cache_write: micros(&self.cache_write),
            cache_read: micros(&self.cache_read),
            output: micros(&self.output),
        }
    }
}

/// Returns whether a model is the listed one: by name, or by name and the date of its making.
fn names(listed: &str, model: &str) -> bool {
    let Some(rest) = model.strip_prefix(listed) else {
        return false;
    };
    let date = rest.strip_prefix(['-', '@']).unwrap_or_default();
    rest.is_empty()
        || date == "latest"
        || (date.len() >= 8 && date.bytes().all(|b| b.is_ascii_digit() || b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_list_can_be_read_and_says_where_it_is_from() {
        assert!(!LIST._source.is_empty() && !LIST._unit.is_empty());
        assert!(LIST._checked.parse::<jiff::civil::Date>().is_ok());
        for (model, listed) in &LIST.models {
            let price = listed.price();
            assert!(
                price.output > price.input && price.input > price.cache_read,
                "{model}"
            );
        }
    }

    #[test]
    fn a_model_has_the_price_of_its_own_name_only() {
        let prices = Prices::default();
        let sonnet = prices.of("claude-sonnet-4-5").unwrap();
        assert_eq!((sonnet.input, sonnet.output), (3_000_000, 15_000_000));
        for model in [
            "claude-sonnet-4-5-20250929",
            "claude-sonnet-4-5@20250929",
            "anthropic/claude-sonnet-4-5",
        ] {
            assert_eq!(prices.of(model), Some(sonnet), "{model}");
        }
        for stranger in ["", "claude", "claude-sonnet-4-5-pro", "gpt-5-pro", "sonnet"] {
            assert_eq!(prices.of(stranger), None, "{stranger}");
        }
    }

    /// A file with one price, all of it for what comes back.
    fn file(model: &str, output: u64) -> Config {
        let price = Price {
            output,
            ..Price::default()
        };
        Config {
            prices: [(model.to_owned(), price)].into(),
            ..Config::default()
        }
    }

    #[test]
    fn own_prices_come_first_and_the_higher_of_two_counts() {
        let own = [file("claude-sonnet-4-5", 7), file("claude-sonnet-4-5", 5)];
        let prices = Prices::of_files(&own, None);
        assert_eq!(prices.of("claude-sonnet-4-5").unwrap().output, 7);
    }

    #[test]
    fn attack_a_projects_prices_make_a_model_dearer_and_never_cheaper_or_known() {
        let listed = Prices::default().of("claude-sonnet-4-5").unwrap();
        let free = file("claude-sonnet-4-5", 0);
        let with = |own: &[Config], project: &Config| Prices::of_files(own, Some(project));
        assert_eq!(with(&[], &free).of("claude-sonnet-4-5"), Some(listed));
        let own = [file("mine", 7)];
        assert_eq!(with(&own, &file("mine", 0)).of("mine").unwrap().output, 7);
        assert_eq!(with(&own, &file("mine", 9)).of("mine").unwrap().output, 9);
        let dearer = with(&[], &file("claude-sonnet-4-5", u64::MAX));
        let price = dearer.of("claude-sonnet-4-5").unwrap();
        assert_eq!((price.output, price.input), (u64::MAX, listed.input));
        // What nobody knows the price of is not made known by whoever wrote the code.
        let unknown = with(&own, &file("theirs", 5));
        assert_eq!(unknown.of("theirs"), None);
        assert_eq!(unknown.left_out().collect::<Vec<_>>(), ["theirs"]);
        assert_eq!(dearer.left_out().count(), 0);
    }

    #[test]
    fn a_cost_is_rounded_up_and_never_overflows() {
        let price = Price {
            input: 3_000_000,
            output: u64::MAX,
            ..Price::default()
        };
        let one = Tokens {
            input: 1,
            ..Tokens::default()
        };
        assert_eq!(price.cost(&one), 3);
        let cheap = Price {
            input: 1,
            ..Price::default()
        };
        assert_eq!(cheap.cost(&one), 1);
        let many = Tokens {
            output: u64::MAX,
            ..Tokens::default()
        };
        assert_eq!(price.cost(&many), u64::MAX);
    }
}
