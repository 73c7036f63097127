//! The shipped table of tools. It is part of the program, so that it never depends on where it stands.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::{Deserialize, Serialize};

use crate::policy::RegistryKind;

const TABLE: &str = include_str!("table.yaml");

/// A tool that installs what a lock file names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The names of its lock files.
    pub locks: Vec<String>,
    /// Where its packages come from, as policies name it.
    pub registry: String,
    /// The package of an image that holds it.
    pub package: String,
    /// What was installed is given to roles that may run this program of the image.
    pub program: String,
    /// What installs, a line for a shell.
    pub command: String,
    /// What the command makes, below the directory of the lock file.
    pub makes: String,
    /// Where programs find it.
    pub place: Place,
    /// The environment of the command.
    #[serde(default)]
    pub during: BTreeMap<String, String>,
    /// Files of the home directory while the command runs.
    #[serde(default)]
    pub during_files: BTreeMap<String, String>,
    /// The environment of programs that are given what was installed.
    #[serde(default)]
    pub after: BTreeMap<String, String>,
    /// Files of their home directory.
    #[serde(default)]
    pub after_files: BTreeMap<String, String>,
}

/// Where programs find what was installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Beside the lock file, where the command makes it.
    Beside,
    /// Out of the worktree.
    Apart,
}

/// A lock file that nothing is installed from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unknown {
    pub(super) lock: String,
    #[serde(default)]
    pub(super) besides: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    tools: Vec<Tool>,
    unknown: Vec<Unknown>,
}

static READ: LazyLock<Table> =
    LazyLock::new(|| serde_yaml::from_str(TABLE).expect("a test reads the shipped table"));

/// Lists the tools there are.
#[must_use]
pub fn tools() -> &'static [Tool] {
    &READ.tools
}

pub(super) fn unknown() -> &'static [Unknown] {
    &READ.unknown
}

impl Tool {
    /// Returns the registry that its packages come from.
    ///
    /// # Panics
    /// Never: a test holds the shipped table.
    #[must_use]
    pub fn registry(&self) -> RegistryKind {
        let kinds = [RegistryKind::Npm, RegistryKind::Pypi, RegistryKind::Crates];
        let named = kinds.into_iter().find(|kind| kind.name() == self.registry);
        named.expect("the shipped table names registries of policies")
    }
}

/// Fills in what is written in braces; none where it needs an index and there is none.
pub(super) fn filled(text: &str, (makes, at, index): (&str, &str, Option<&str>)) -> Option<String> {
    let text = text.replace("{makes}", makes).replace("{at}", at);
    match index {
        Some(index) => Some(text.replace("{index}", index)),
        None if text.contains("{index}") => None,
        None => Some(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_table_reads_and_says_nothing_twice() {
        let mut locks: Vec<&String> = tools().iter().flat_map(|tool| &tool.locks).collect();
        locks.extend(unknown().iter().map(|one| &one.lock));
        let all = locks.len();
        locks.sort();
        locks.dedup();
        assert_eq!(locks.len(), all);
        for tool in tools() {
            assert_eq!(tool.registry().name(), tool.registry, "{}", tool.name);
            assert!(!tool.makes.contains('/'), "{}", tool.name);
        }
        for one in unknown() {
            let besides = one.besides.as_deref();
            assert!(besides.is_none_or(|name| tools().iter().any(|tool| tool.name == name)));
        }
    }

    #[test]
    fn what_needs_an_index_is_left_out_without_one() {
        assert_eq!(filled("a {at} {makes}", ("m", "x", None)).unwrap(), "a x m");
        assert_eq!(filled("{index}", ("", "", None)), None);
        assert_eq!(filled("+{index}", ("", "", Some("u"))).unwrap(), "+u");
    }
}
