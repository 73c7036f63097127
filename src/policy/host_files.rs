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

/// Returns the shape of a list of kinds of files that the host runs.
pub(super) fn shape() -> serde_json::Value {
    let names = host_files::kinds().iter().map(|kind| kind.name.as_str());
    let names: Vec<&str> = [ALL].into_iter().chain(names).collect();
    serde_json::json!({ "type": "array", "maxItems": 1000, "items": { "enum": names } })
}

#[cfg(test)]
mod tests {
    use crate::policy::{Layer, Policy, Rights, Source};

    fn rights(texts: &[(Layer, &str)]) -> Rights {
        let mut sources = Policy::builtin_sources();
        let given = texts.iter().map(|(layer, text)| Source {
            layer: *layer,
            file: format!("{layer:?}.yaml").into(),
            text: format!("version: 1\npermissions:\n{text}\n"),
        });
        sources.extend(given);
        let policy = Policy::check(&sources).unwrap();
        policy.rights(&"eng-backend".parse().unwrap()).unwrap()
    }

    fn kinds(texts: &[(Layer, &str)]) -> Vec<String> {
        super::written(&rights(texts).host_executable)
    }

    const MAKE: &str = "  eng-backend: { host_executable: [makefile, makefile, direnv] }";

    #[test]
    fn no_shipped_role_is_granted_any() {
        let policy = Policy::check(&Policy::builtin_sources()).unwrap();
        for role in policy.roles() {
            let granted = policy.rights(role).unwrap().host_executable;
            assert_eq!(granted, [], "{role}");
        }
    }

    #[test]
    fn kinds_are_granted_by_name_with_their_place() {
        assert_eq!(kinds(&[(Layer::User, MAKE)]), ["makefile", "direnv"]);
        let granted = rights(&[(Layer::User, MAKE)]).host_executable;
        assert_eq!(
            (granted[0].origin.line, granted[0].origin.layer),
            (3, Layer::User)
        );
        let all = (Layer::User, "  eng-backend: { host_executable: [all] }");
        assert_eq!(kinds(&[all]), ["all"]);
        assert!(rights(&[all]).host_kinds().contains("claude"));
    }

    #[test]
    fn a_denial_takes_kinds_away_whoever_grants_them() {
        let deny = "  deny: { host_executable: [makefile] }";
        let left = kinds(&[
            (Layer::Organisation, deny),
            (Layer::User, "  eng-backend: { host_executable: [all] }"),
        ]);
        assert!(left.len() > 40 && !left.contains(&"makefile".to_owned()));
    }

    #[test]
    fn a_project_that_is_not_trusted_grants_nothing() {
        assert_eq!(kinds(&[(Layer::Project, MAKE)]), Vec::<String>::new());
        let less = "  eng-backend: { host_executable: [direnv, claude] }";
        assert_eq!(
            kinds(&[(Layer::User, MAKE), (Layer::Project, less)]),
            ["direnv"]
        );
    }
}
