//! Finds what looks like somebody's token or key, by a well-kept set of rules.
//!
//! The rules are data, `rules.json` beside this file, taken from another project under the licence
//! beside it. A rule is tried only where one of its words stands; what it finds must look random
//! enough and must be no placeholder. A message names the rule and never what was found.

use std::sync::{LazyLock, OnceLock};

use aho_corasick::AhoCorasick;
use regex::bytes::{Captures, Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use serde::Deserialize;

use super::contents::{Mark, Sight, Sights};

/// The rule that such work breaks.
pub(in crate::git) const RULE: &str = "secret-pattern";
/// What a rule's compiled form may take.
const COMPILED: usize = 64 << 20;

/// The file of rules.
#[derive(Deserialize)]
struct Book {
    allow: Vec<String>,
    rules: Vec<Rule>,
}

/// One rule of the set.
#[derive(Deserialize)]
struct Rule {
    id: String,
    regex: String,
    keywords: Vec<String>,
    /// Which group of the expression is the secret; else the first there is.
    group: Option<usize>,
    /// The bits a byte that it must exceed.
    entropy: Option<f64>,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    require: Vec<String>,
}

/// The set, ready to search with.
struct Patterns {
    rules: Vec<(Rule, OnceLock<Compiled>)>,
    words: AhoCorasick,
    /// Which rule each word is of.
    owners: Vec<usize>,
    allow: RegexSet,
}

struct Compiled {
    regex: Regex,
    allow: RegexSet,
    require: RegexSet,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(Patterns::new);

impl Patterns {
    fn new() -> Self {
        let book: Book = serde_json::from_str(include_str!("rules.json"))
            .expect("a test reads the shipped rules");
        let words: Vec<(usize, &str)> = book
            .rules
            .iter()
            .enumerate()
            .flat_map(|(at, rule)| rule.keywords.iter().map(move |word| (at, word.as_str())))
            .collect();
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(words.iter().map(|(_, word)| word))
            .expect("the words of the shipped rules are few and short");
        Self {
            owners: words.iter().map(|(at, _)| *at).collect(),
            words: automaton,
            allow: set(&book.allow),
            rules: book
                .rules
                .into_iter()
                .map(|rule| (rule, OnceLock::new()))
                .collect(),
        }
    }

    /// Returns the rules of which a word stands in the text.
    fn candidates(&self, text: &[u8]) -> Vec<usize> {
        let mut named = vec![false; self.rules.len()];
        for found in self.words.find_overlapping_iter(text) {
            named[self.owners[found.pattern().as_usize()]] = true;
        }
        let named = named.iter().enumerate().filter(|(_, named)| **named);
        named.map(|(at, _)| at).collect()
    }
}

impl Rule {
    fn compile(&self) -> Compiled {
        let regex = RegexBuilder::new(&self.regex)
            .unicode(false)
            .size_limit(COMPILED)
            .build();
        Compiled {
            regex: regex.expect("a test builds the shipped rules"),
            allow: set(&self.allow),
            require: set(&self.require),
        }
    }
}

fn set(texts: &[String]) -> RegexSet {
    RegexSetBuilder::new(texts)
        .unicode(false)
        .build()
        .expect("a test builds the shipped rules")
}

/// Returns how many rules there are.
#[cfg(test)]
fn count() -> usize {
    PATTERNS.rules.len()
}

/// Returns the ids of the rules by which texts are told to look like secrets.
pub fn ids() -> impl Iterator<Item = &'static str> {
    PATTERNS.rules.iter().map(|(rule, _)| rule.id.as_str())
}

/// Adds what the rules find in a piece of a file.
pub(super) fn look(text: &[u8], seen: &mut Sights) {
    let patterns = &*PATTERNS;
    for at in patterns.candidates(text) {
        let (rule, compiled) = &patterns.rules[at];
        let compiled = compiled.get_or_init(|| rule.compile());
        let secrets = compiled.regex.captures_iter(text);
        for secret in secrets.filter_map(|found| secret(&found, rule)) {
            if seen.is_full() {
                return;
            }
            let plausible = rule.entropy.is_none_or(|least| entropy(secret) > least)
                && !patterns.allow.is_match(secret)
                && !compiled.allow.is_match(secret)
                && (compiled.require.is_empty() || compiled.require.is_match(secret));
            if plausible {
                seen.add(Sight {
                    rule: RULE,
                    message: format!("holds what looks like a secret (`{}`)", rule.id),
                    mark: Mark::Token(secret.to_vec()),
                });
            }
        }
    }
}

/// Returns the part of a match that is the secret.
fn secret<'t>(found: &Captures<'t>, rule: &Rule) -> Option<&'t [u8]> {
    let group = match rule.group {
        Some(number) => found.get(number),
        None => (1..found.len()).find_map(|number| found.get(number)),
    };
    group.or_else(|| found.get(0)).map(|found| found.as_bytes())
}

/// Returns how many bits a byte of the text tells.
fn entropy(text: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text {
        counts[usize::from(*byte)] += 1;
    }
    let all = text.len() as f64;
    let shares = counts.into_iter().filter(|count| *count > 0);
    shares
        .map(|count| f64::from(count) / all)
        .map(|share| -share * share.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::{PATTERNS, Sights, count, entropy, ids, look};

    fn found(text: &str) -> Vec<String> {
        let mut seen = Sights::default();
        look(text.as_bytes(), &mut seen);
        seen.all().into_iter().map(|sight| sight.message).collect()
    }

    /// Joined at run time, so that no scanner takes this file for a leak.
    fn made(prefix: &str, rest: &str) -> String {
        format!("{prefix}{rest}")
    }

    #[test]
    fn every_shipped_rule_can_be_built() {
        assert!(count() > 250, "{}", count());
        for (rule, _) in &PATTERNS.rules {
            let compiled = rule.compile();
            assert!(
                !compiled.regex.is_match(b""),
                "{} finds nothing at all",
                rule.id
            );
            let words = rule.keywords.iter();
            assert!(
                words.clone().count() > 0 && words.clone().all(|word| word.len() >= 2),
                "{}",
                rule.id
            );
        }
        assert!(ids().any(|id| id == "github-pat"));
    }

    #[test]
    fn tokens_in_use_are_found_and_never_told() {
        let random = "Zk3vQ9xLm2RtY7bNc5HwPs8dFgJ4aEuV6oTi";
        for (id, token) in [
            ("aws-access-token", made("AKIA", "QYLPMN5HHHFPZAM2")),
            ("github-pat", made("ghp_", random)),
            (
                "slack-bot-token",
                made(
                    "xoxb-",
                    "263594206564-2343594206574-FGqddMF8t08v8N7Oq4i57vs1",
                ),
            ),
            ("npm-access-token", made("npm_", random)),
            (
                "stripe-access-token",
                made("sk_live_", "51OuEMLAlTWGaDypq4P5cuDHbuKeG4tA"),
            ),
            (
                "private-key",
                format!(
                    "-----BEGIN OPENSSH {}-----\n{}\n-----END OPENSSH PRIVATE KEY-----",
                    "PRIVATE KEY",
                    format!("{random}\n").repeat(4)
                ),
            ),
        ] {
            let messages = found(&format!("let key = \"{token}\";\n"));
            assert!(
                messages.iter().any(|one| one.contains(&format!("`{id}`"))),
                "{id}: {messages:?}"
            );
            assert!(
                messages
                    .iter()
                    .all(|one| !one.contains(token.get(8..20).unwrap())),
                "{messages:?}"
            );
        }
    }

    #[test]
    fn placeholders_and_ordinary_text_are_not_found() {
        for text in [
            "the words akia and ghp_ alone are no token",
            "key = \"AKIAIOSFODNN7EXAMPLE\"",
            "token: ghp_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "export GITHUB_TOKEN=${GITHUB_TOKEN}",
            "password = input()",
            "fn sk_live_keys() {}",
        ] {
            assert_eq!(found(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn randomness_is_bits_a_byte() {
        assert!((entropy(b"aaaa") - 0.0).abs() < 1e-9);
        assert!((entropy(b"abcd") - 2.0).abs() < 1e-9);
        assert!((entropy(b"aabb") - 1.0).abs() < 1e-9);
    }
}
