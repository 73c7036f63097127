//! Files of a worktree that a program of the host runs or obeys: which there are, and which paths
//! are of which kind.
//!
//! The kinds are data, `kinds.yaml` beside this file. It knows names only: whether a change to such
//! a file may land is for policies to grant and for people to approve. It refuses to tell two names
//! apart that some file system holds for one: names are compared without case, without invisible
//! characters, and without what Windows drops at their ends.

use std::{collections::BTreeSet, sync::LazyLock};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
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
    /// Only a change to one of these keys of a JSON object counts; empty is any change.
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
    directories: BTreeSet<(String, usize)>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::new(include_str!("kinds.yaml")));

impl Table {
    fn new(text: &str) -> Self {
        let kinds: Vec<Kind> = serde_yaml::from_str(text).expect("a test reads the shipped kinds");
        let mut globs = GlobSetBuilder::new();
        let mut owners = Vec::new();
        let mut directories = BTreeSet::new();
        for (at, kind) in kinds.iter().enumerate() {
            for path in &kind.paths {
                let mut glob = GlobBuilder::new(path);
                let glob = glob.literal_separator(true).empty_alternates(true);
                globs.add(glob.build().expect("a test builds the shipped globs"));
                owners.push(at);
                let above = path.rsplit_once('/').map_or("", |(above, _)| above);
                let named = above.split('/').filter(|name| is_plain(name));
                directories.extend(named.map(|name| (name.to_owned(), at)));
            }
        }
        let globs = globs.build().expect("a test builds the shipped globs");
        Self {
            kinds,
            globs,
            owners,
            directories,
        }
    }
}

/// Returns whether a part of a glob is a name and no pattern.
fn is_plain(part: &str) -> bool {
    !part.is_empty() && !part.contains(['*', '?', '{', '['])
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
    let brought = TABLE.directories.iter().filter(|(known, _)| known == name);
    let mut kinds = of(path);
    for (_, at) in brought {
        let kind = &TABLE.kinds[*at];
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
    let known = |name: &str| TABLE.directories.iter().any(|(known, _)| known == name);
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
