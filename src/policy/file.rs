//! Reads one policy file into entries, each with its key and its place.

use super::{
    HostEntry, Layer,
    egress::hosts,
    fields::{self, Fields, Section, map, text, unknown},
    sheet::{Mark, Sheet},
    yaml::{self, Node, Value},
};
use crate::name::Role;

/// Whom an entry is about. The order is the order in which entries are laid over each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// Every role.
    Default,
    /// Every role that begins so: `eng-*` is held as its length, then `eng-`.
    Pattern(usize, String),
    /// One role.
    Exact(Role),
}

impl Key {
    pub(super) fn covers(&self, role: &Role) -> bool {
        match self {
            Self::Default => true,
            Self::Pattern(_, prefix) => role.as_str().starts_with(prefix.as_str()),
            Self::Exact(exact) => exact == role,
        }
    }
}

/// One entry of one section.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) section: Section,
    pub(super) key: Key,
    pub(super) text: String,
    pub(super) at: Mark,
    pub(super) layer: Layer,
    pub(super) fields: Fields,
}

/// What one file says.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) entries: Vec<Entry>,
    pub(super) hosts: Vec<HostEntry>,
}

/// Reads the file of `sheet`, to which every fault goes.
pub(super) fn read(sheet: &mut Sheet<'_>) -> Content {
    let mut content = Content::default();
    let Some(root) = yaml::parse(sheet).filter(|root| root.value != Value::Null) else {
        if sheet.is_clean() {
            sheet.whole(
                "the policy is empty",
                Some("begin with `version: 1`".to_owned()),
            );
        }
        return content;
    };
    let mut versioned = false;
    for (key, at, value) in map(sheet, &root, "a policy") {
        let section = Section::ALL
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, section)| *section);
        match (key, section) {
            (_, Some(section)) => content.entries.extend(entries(sheet, section, value)),
            ("version", _) => versioned = version(sheet, value),
            ("hosts", _) => content.hosts = table(sheet, at, value),
            _ => top(sheet, key, at),
        }
    }
    if !versioned && matches!(root.value, Value::Map(_)) {
        sheet.whole(
            "the policy does not say its version",
            Some("begin with `version: 1`".to_owned()),
        );
    }
    content
}

/// Returns whether a version was said at all.
fn version(sheet: &mut Sheet<'_>, node: &Node) -> bool {
    if let Some(number) = text(sheet, node, "`1`").filter(|number| *number != "1") {
        let message = format!("version `{}` is not known here", number.escape_debug());
        sheet.fault(
            node.at,
            message,
            Some("this Loki reads `version: 1`".to_owned()),
        );
    }
    true
}

fn table(sheet: &mut Sheet<'_>, at: Mark, node: &Node) -> Vec<HostEntry> {
    if sheet.source().layer == Layer::BuiltIn {
        let help = "pin names in /etc/loki/policies, ~/.config/loki/policies or a file given with --policy";
        sheet.fault(
            at,
            "`hosts` may not stand in this layer",
            Some(help.to_owned()),
        );
    }
    hosts(sheet, node)
}

/// Sections of the design that this version cannot enforce: accepting them would be a lie.
const LATER: [&str; 5] = ["rate_limits", "secrets", "agent_pool", "rotation", "expect"];

fn top(sheet: &mut Sheet<'_>, key: &str, at: Mark) {
    if LATER.contains(&key) {
        let help = "remove it: what cannot be enforced is refused".to_owned();
        return sheet.fault(
            at,
            format!("this version of Loki does not enforce `{key}` yet"),
            Some(help),
        );
    }
    unknown(
        sheet,
        (key, at),
        &[
            "version",
            "agents",
            "permissions",
            "network_policies",
            "resources",
            "hosts",
        ],
    );
}

fn entries(sheet: &mut Sheet<'_>, section: Section, node: &Node) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (text, at, value) in map(sheet, node, "a section") {
        let fields = fields::read(sheet, section, value);
        if let Some(key) = key(sheet, text, at) {
            let layer = sheet.source().layer;
            entries.push(Entry {
                section,
                key,
                text: text.to_owned(),
                at,
                layer,
                fields,
            });
        }
    }
    entries
}

fn key(sheet: &mut Sheet<'_>, text: &str, at: Mark) -> Option<Key> {
    if text == "default" {
        return Some(Key::Default);
    }
    let role = |name: &str| name.parse::<Role>();
    if let Some(swarm) = text.strip_suffix("-*").filter(|swarm| role(swarm).is_ok()) {
        return Some(Key::Pattern(swarm.len(), format!("{swarm}-")));
    }
    match role(text) {
        Ok(role) => Some(Key::Exact(role)),
        Err(error) => {
            let help =
                "keys are `default`, a role such as `eng-backend`, or a swarm such as `eng-*`";
            sheet.fault(at, error.to_string(), Some(help.to_owned()));
            None
        }
    }
}
