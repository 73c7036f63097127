//! Reads `host_executable` lists: kinds of files that the host runs which a role may change without
//! being asked.

use std::collections::HashSet;

use serde::Serialize;

use super::{
    Origin,
    cover::{Cover, Written},
    fields::{self, List, text},
    sheet::{Placed, Sheet},
    yaml::Node,
};
use crate::{diagnostic::closest, host_files};

/// The word for every kind.
const ALL: &str = "all";
const WANTED: &str = "a kind of file that the host runs, such as `makefile`";

/// The name of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Granted(pub(super) String);

/// A kind of files that the host runs which a role may change without being asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostKind {
    /// Its name: `loki gate kinds` lists them.
    pub kind: String,
    /// Where it was granted.
    pub origin: Origin,
}

impl Cover<Self> for Granted {
    fn covers(&self, other: &Self) -> bool {
        self == other
    }
}

impl Written for Granted {
    fn written(&self) -> String {
        self.0.clone()
    }
}

/// Returns the kinds of a list, `all` expanded, each once.
pub(super) fn list(sheet: &mut Sheet<'_>, node: &Node) -> List<Granted> {
    let mut list = fields::list(sheet, node, "[makefile, package-scripts]", |sheet, item| {
        text(sheet, item, WANTED).map_or_else(Vec::new, |text| kinds(sheet, text, item))
    });
    let mut seen = HashSet::new();
    list.value.retain(|kind| seen.insert(kind.value.0.clone()));
    list
}

fn kinds(sheet: &mut Sheet<'_>, text: &str, node: &Node) -> Vec<Granted> {
    let names = || host_files::kinds().iter().map(|kind| kind.name.as_str());
    if text == ALL {
        return names().map(|name| Granted(name.to_owned())).collect();
    }
    if host_files::named(text).is_some() {
        return vec![Granted(text.to_owned())];
    }
    let help = match closest(text, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`loki gate kinds` lists them; `all` is every one".to_owned(),
    };
    sheet.fault(
        node.at,
        format!("no kind of files is called `{}`", text.escape_debug()),
        Some(help),
    );
    Vec::new()
}

/// Returns the kinds that denials leave.
pub(super) fn left(
    granted: Vec<Placed<Granted>>,
    denied: &[Placed<Granted>],
) -> Vec<Placed<Granted>> {
    let open = |kind: &Placed<Granted>| !denied.iter().any(|one| one.value == kind.value);
    granted.into_iter().filter(open).collect()
}

/// Returns the list that says what these say.
#[must_use]
pub fn written(kinds: &[HostKind]) -> Vec<String> {
    if kinds.len() == host_files::kinds().len() {
        return vec![ALL.to_owned()];
    }
    kinds.iter().map(|kind| kind.kind.clone()).collect()
}
