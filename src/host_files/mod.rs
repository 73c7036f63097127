//! Files of a worktree that a program of the host runs or obeys: which there are, and which paths
//! are of which kind.
//!
//! The kinds are data, `kinds.yaml` beside this file. It knows names only: whether a change to such
//! a file may land is for policies to grant and for people to approve. It refuses to tell two names
//! apart that some file system holds for one: names are compared without case, without invisible
//! characters, and without what Windows drops at their ends.

use std::{
    collections::{BTreeSet, HashMap},
    sync::LazyLock,
};

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use crate::text::is_hidden;

/// One kind of file that the host runs or obeys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    /// What policies and approvals call it.
    pub name: String,
    /// Globs over folded paths.
    pub paths: Vec<String>,
    /// What runs or obeys it, and when.
    pub runs: String,
    /// Only a change to one of these keys of a JSON object counts; empty is any change. A key that
    /// begins with `*` is every key that ends so; of these only what comes from no registry counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Which files of that name count; none is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Only>,
}

/// A condition on a file besides its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Only {
    /// It has its execute bit.
    Executable,
}

/// All kinds, and what finds them.
struct Table {
    kinds: Vec<Kind>,
    globs: GlobSet,
    /// Which kind each glob is of.
    owners: Vec<usize>,
    /// Directories that a kind's globs name: a link in place of one brings all that is in it.
    directories: HashMap<String, BTreeSet<usize>>,
    /// The same, of directories with names that only a pattern tells.
    patterns: GlobSet,
    pattern_owners: Vec<usize>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::new(include_str!("kinds.yaml")));

impl Table {
    fn new(text: &str) -> Self {
        let kinds: Vec<Kind> = serde_yaml::from_str(text).expect("a test reads the shipped kinds");
        let (mut globs, mut owners) = (GlobSetBuilder::new(), Vec::new());
        let (mut patterns, mut pattern_owners) = (GlobSetBuilder::new(), Vec::new());
        let mut directories = HashMap::<_, BTreeSet<usize>>::new();
        for (at, kind) in kinds.iter().enumerate() {
            for path in &kind.paths {
                globs.add(glob(path));
                owners.push(at);
                for name in directories_of(path) {
                    if name.contains(['*', '?', '[']) {
                        patterns.add(glob(&name));
                        pattern_owners.push(at);
                    } else {
                        directories.entry(name).or_default().insert(at);
                    }
                }
            }
        }
        let built = "a test builds the shipped globs";
        Self {
            kinds,
            globs: globs.build().expect(built),
            owners,
            directories,
            patterns: patterns.build().expect(built),
            pattern_owners,
        }
    }

    /// Returns the kinds that have a directory of this name.
    fn of_directory(&self, name: &str) -> BTreeSet<usize> {
        let mut found = self.directories.get(name).cloned().unwrap_or_default();
        let matched = self.patterns.matches(name).into_iter();
        found.extend(matched.map(|at| self.pattern_owners[at]));
        found
    }
}

fn glob(text: &str) -> Glob {
    let mut glob = GlobBuilder::new(text);
    let glob = glob.literal_separator(true).empty_alternates(true);
    glob.build().expect("a test builds the shipped globs")
}

/// Returns the names, or patterns of names, of the directories that a glob goes through.
fn directories_of(glob: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in alternatives(glob) {
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        let told = |name: &&str| !matches!(*name, "" | "*" | "**");
        names.extend(above.split('/').filter(told).map(str::to_owned));
    }
    names
}

/// Returns what a glob stands for when each of its braces is one of its choices.
fn alternatives(glob: &str) -> Vec<String> {
    let Some((before, rest)) = glob.split_once('{') else {
        return vec![glob.to_owned()];
    };
    let mut depth = 1;
    let mut ends = rest.char_indices().filter(|(_, c)| {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        depth == 0 || depth == 1 && *c == ','
    });
    let (mut choices, mut from) = (Vec::new(), 0);
    let close = loop {
        let Some((at, c)) = ends.next() else {
            return vec![glob.to_owned()];
        };
        choices.extend(rest.get(from..at));
        from = at + 1;
        if c == '}' {
            break from;
        }
    };
    let after = rest.get(close..).unwrap_or_default();
    let chosen = choices
        .into_iter()
        .map(|choice| format!("{before}{choice}{after}"));
    chosen.flat_map(|one| alternatives(&one)).collect()
}

/// Returns every kind, in the order of the file.
#[must_use]
pub fn kinds() -> &'static [Kind] {
    &TABLE.kinds
}

/// Returns the kind of a name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Kind> {
    kinds().iter().find(|kind| kind.name == name)
}

/// Returns the kinds that a path is of by its name, each once.
#[must_use]
pub fn of(path: &[u8]) -> Vec<&'static Kind> {
    let matched = TABLE.globs.matches(fold(path));
    let owners: BTreeSet<usize> = matched.into_iter().map(|glob| TABLE.owners[glob]).collect();
    owners.into_iter().map(|at| &TABLE.kinds[at]).collect()
}

/// Returns the kinds that a link at a path brings: those of its own name, and those whose
/// directory it stands in place of.
#[must_use]
pub fn of_link(path: &[u8]) -> Vec<&'static Kind> {
    let folded = fold(path);
    let name = folded.rsplit('/').next().unwrap_or_default();
    let mut kinds = of(path);
    for at in TABLE.of_directory(name) {
        let kind = &TABLE.kinds[at];
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

/// Returns whether a link at a path could give a name of some kind to what it leads to.
#[must_use]
pub fn is_looked_for(path: &[u8]) -> bool {
    let folded = fold(path);
    let known = |name: &str| TABLE.directories.contains_key(name) || TABLE.patterns.is_match(name);
    folded.split('/').any(known) || TABLE.globs.is_match(&folded)
}

/// Returns a path as the laxest file system reads it.
fn fold(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let kept = text.chars().filter(|c| !is_hidden(*c));
    let same: String = kept
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .map(|c| if c == '\\' { '/' } else { c })
        .collect();
    let parts = same.split('/').map(|part| {
        let stream = part.split(':').next().unwrap_or_default();
        stream.trim_end_matches(['.', ' '])
    });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests;
