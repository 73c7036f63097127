//! Names that files use of each other: roles, their bases, secrets. Every one must exist, and no
//! two files of one layer may both decide.

use std::collections::{BTreeSet, HashMap};

use super::{
    Facts,
    fields::Section,
    file::{Content, Key},
    layers::{Stack, View},
    sheet::{Place, Sheet},
};
use crate::{diagnostic::closest, name::Role};

/// Returns the roles there are: those that some `agents` section names.
pub(super) fn roles(contents: &[Content]) -> BTreeSet<Role> {
    let entries = contents.iter().flat_map(|content| &content.entries);
    let named = entries
        .filter(|entry| entry.section == Section::Agents)
        .filter_map(|entry| match &entry.key {
            Key::Exact(role) => Some(role.clone()),
            _ => None,
        });
    named.collect()
}

/// Two files of one layer may not speak about the same key of a section: the order of files would
/// decide who is right. Bounds add up, so they may stand in any number of files.
pub(super) fn twice(sheets: &mut [Sheet<'_>], contents: &[Content]) {
    let mut seen = HashMap::new();
    for (index, content) in contents.iter().enumerate() {
        let entries = content.entries.iter();
        let entries = entries.filter(|entry| entry.section.bound() != Some(entry.text.as_str()));
        let keyed = entries.map(|entry| (Some(entry.section), entry.text.as_str(), entry.at));
        let settings = content.set.iter().map(|(name, at)| (None, *name, *at));
        for (section, text, at) in keyed.chain(settings) {
            let origin = sheets[index].origin(at);
            let id = (origin.layer, section, text);
            let first = seen.entry(id).or_insert_with(|| (index, origin));
            if first.0 != index {
                let help = format!(
                    "the first is {}: join them, or move one to a later layer",
                    first.1
                );
                let message = format!("`{text}` stands in two files of one layer");
                sheets[index].fault(at, message, Some(help));
            }
        }
    }
}

/// An entry that covers no role does nothing, which is never what was meant. While some file is
/// faulty (`whole` is false) the list of roles may be short, and the help says so.
pub(super) fn strangers(
    sheets: &mut [Sheet<'_>],
    contents: &[Content],
    (roles, whole): (&BTreeSet<Role>, bool),
) {
    for (sheet, content) in sheets.iter_mut().zip(contents) {
        let entries = content.entries.iter();
        let uncovered =
            |key: &Key| *key != Key::Default && !roles.iter().any(|role| key.covers(role));
        let keys = entries.filter(|entry| uncovered(&entry.key));
        let mut named: Vec<_> = keys.map(|entry| (entry.text.as_str(), entry.at)).collect();
        let bases = content
            .entries
            .iter()
            .filter_map(|entry| entry.fields.extends.as_ref());
        let warm = content
            .settings
            .pre_warm_roles
            .iter()
            .flat_map(|list| &list.value);
        let placed = bases.chain(warm).map(|role| (&role.value, role.place.at));
        let cases = content
            .cases
            .iter()
            .map(|case| (&case.role, case.act.place.at));
        let values = placed
            .chain(cases)
            .filter(|(role, _)| !roles.contains(*role));
        named.extend(values.map(|(role, at)| (role.as_str(), at)));
        for (text, at) in named {
            stranger(sheet, (text, at), (roles, whole));
        }
    }
}

fn stranger(
    sheet: &mut Sheet<'_>,
    (text, at): (&str, super::sheet::Mark),
    (roles, whole): (&BTreeSet<Role>, bool),
) {
    let near = closest(text, roles.iter().map(Role::as_str));
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if !whole => format!(
            "a role exists when an `agents` section names it: a faulty file may hide `{text}`, else add `agents: {{ {text}: {{}} }}`"
        ),
        None => format!(
            "a role exists when an `agents` section names it: add `agents: {{ {text}: {{}} }}`"
        ),
    };
    sheet.fault(at, format!("no role is called `{text}`"), Some(help));
}

/// A role cannot start from itself, however long the way round.
pub(super) fn circles(sheets: &mut [Sheet<'_>], roles: &BTreeSet<Role>, stack: &Stack<'_>) {
    for role in roles {
        let line = stack.lineage(role, View::Whole);
        let last = line.last().unwrap_or(role);
        let Some(base) = stack
            .base(last, View::Whole)
            .filter(|base| base.value == *role)
        else {
            continue;
        };
        let Some(own) = stack.base(role, View::Whole) else {
            continue;
        };
        let way: Vec<&str> = line.iter().chain([&base.value]).map(Role::as_str).collect();
        let message = format!("`{role}` extends itself: {}", way.join(" → "));
        let help = "remove one `extends` of the circle".to_owned();
        sheets[own.place.sheet].fault(own.place.at, message, Some(help));
    }
}

/// A secret that nobody keeps cannot be given.
pub(super) fn secrets(sheets: &mut [Sheet<'_>], contents: &[Content], facts: &Facts) {
    let entries = contents.iter().flat_map(|content| &content.entries);
    let lists = entries.filter_map(|entry| entry.fields.secrets.as_ref());
    for name in lists.flat_map(|list| &list.value) {
        if let Some((message, help)) = no_secret(&name.value.name, facts) {
            let Place { sheet, at, .. } = name.place;
            sheets[sheet].fault(at, message, Some(help));
        }
    }
}

/// Returns what is wrong with the name of a secret that nobody keeps, and what would be right.
pub(super) fn no_secret(name: &str, facts: &Facts) -> Option<(String, String)> {
    if facts.secrets.contains(name) {
        return None;
    }
    let help = match closest(name, facts.secrets.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if facts.secrets.is_empty() => {
            "keep it first: `loki secrets set NAME` (`loki secrets init` makes the store)"
                .to_owned()
        }
        None => "name one of the secrets that are kept".to_owned(),
    };
    Some((format!("no secret is called `{name}`"), help))
}
