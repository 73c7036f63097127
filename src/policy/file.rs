//! Reads one policy file into entries, each with its key and its place.

use super::{
    HostEntry, Layer, denials,
    egress::hosts,
    expect::{self, Case},
    fields::{self, Fields, Section, map, text, unknown},
    settings::Settings,
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
    /// Returns whether every role that `other` covers is covered by this key.
    pub(super) fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Default, _) => true,
            (Self::Pattern(_, mine), Self::Pattern(_, other)) => other.starts_with(mine),
            (_, Self::Exact(role)) => self.covers(role),
            _ => false,
        }
    }

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
    pub(super) settings: Settings,
    /// Where `agent_pool` and `rotation` stand.
    pub(super) set: Vec<(&'static str, Mark)>,
    pub(super) cases: Vec<Case>,
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
            ("expect", _) => content.cases = expect::read(sheet, value),
            ("agent_pool", _) => {
                content.settings.pool(sheet, value);
                content.set.push(("agent_pool", at));
            }
            ("rotation", _) => {
                content.settings.rotation(sheet, at, value);
                content.set.push(("rotation", at));
            }
            _ => unknown(sheet, (key, at), &known()),
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
    if matches!(sheet.source().layer, Layer::BuiltIn | Layer::Project) {
        let help = "pin names in /etc/loki/policies, ~/.config/loki/policies or a file given with --policy";
        sheet.fault(
            at,
            "`hosts` may not stand in this layer",
            Some(help.to_owned()),
        );
    }
    hosts(sheet, node)
}

/// Returns the keys of a policy.
fn known() -> Vec<&'static str> {
    let sections = Section::ALL.iter().map(|(name, _)| *name);
    let others = ["hosts", "agent_pool", "rotation", "expect"];
    ["version"]
        .into_iter()
        .chain(sections)
        .chain(others)
        .collect()
}

fn entries(sheet: &mut Sheet<'_>, section: Section, node: &Node) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (text, at, value) in map(sheet, node, "a section") {
        let (key, fields) = if section.bound() == Some(text) {
            let mut fields = Fields::default();
            denials::bound(sheet, &mut fields.bounds, section, value);
            (Some(Key::Default), fields)
        } else {
            let fields = fields::read(sheet, section, value);
            (key(sheet, text, at), fields)
        };
        let Some(key) = key else { continue };
        if let Some(base) = fields
            .extends
            .as_ref()
            .filter(|_| !matches!(key, Key::Exact(_)))
        {
            let message = format!("`extends` stands at `{text}`, which is no single role");
            let help = format!(
                "write it at each role that is to start from `{}`",
                base.value
            );
            sheet.fault(base.place.at, message, Some(help));
        }
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
    entries
}

fn key(sheet: &mut Sheet<'_>, text: &str, at: Mark) -> Option<Key> {
    match text {
        "default" => return Some(Key::Default),
        "deny" | "maximum" => {
            let help = "`deny` stands in `permissions` and `network_policies`, `maximum` in `resources` and `rate_limits`";
            let message = format!("`{text}` is a word of policies and no role");
            sheet.fault(at, message, Some(help.to_owned()));
            return None;
        }
        _ => {}
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
