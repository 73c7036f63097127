//! Lays the entries of all files over each other and makes each role's rights of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use sha2::{Digest as _, Sha256};

use super::{
    Egress, Files, HostEntry, Minimum, Policy, Rates, Resources, Rights, Source,
    fields::{Fields, Section},
    file::{self, Content, Entry, Key},
    sheet::Sheet,
};
use crate::{
    diagnostic::{Diagnostic, closest},
    digest::Digest,
    name::Role,
};

/// Builds the policy, or returns every fault.
pub(super) fn check(sources: &[Source]) -> Result<Policy, Vec<Diagnostic>> {
    let mut sheets: Vec<Sheet<'_>> = sources.iter().map(Sheet::new).collect();
    let contents: Vec<Content> = sheets.iter_mut().map(file::read).collect();
    let whole = sheets.iter().all(Sheet::is_clean);
    let roles = roles(&contents);
    twice(&mut sheets, &contents);
    strangers(&mut sheets, &contents, (&roles, whole));
    let faults: Vec<Diagnostic> = sheets.into_iter().flat_map(Sheet::into_faults).collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let hosts = hosts(sources, &contents);
    let mut entries: Vec<&Entry> = contents
        .iter()
        .flat_map(|content| &content.entries)
        .collect();
    // Stable: within one key the layers keep their order, the later one last.
    entries.sort_by_key(|entry| (rank(&entry.key), entry.layer));
    let resolve = |role: Role| (role.clone(), rights(role, &entries, &hosts));
    Ok(Policy {
        roles: roles.into_iter().map(resolve).collect(),
        sha256: hash(sources),
    })
}

/// Returns how specific a key is: `default`, then patterns by length, then roles.
fn rank(key: &Key) -> (u8, usize) {
    match key {
        Key::Default => (0, 0),
        Key::Pattern(length, _) => (1, *length),
        Key::Exact(_) => (2, 0),
    }
}

/// Returns the roles there are: those that some `agents` section names.
fn roles(contents: &[Content]) -> BTreeSet<Role> {
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
/// decide who is right.
fn twice(sheets: &mut [Sheet<'_>], contents: &[Content]) {
    let mut seen = HashMap::new();
    for (index, content) in contents.iter().enumerate() {
        for entry in &content.entries {
            let origin = sheets[index].origin(entry.at);
            let id = (entry.layer, entry.section as u8, entry.text.clone());
            let first = seen.entry(id).or_insert_with(|| (index, origin));
            if first.0 != index {
                let help = format!(
                    "the first is {}:{}: join them, or move one to a later layer",
                    first.1.file, first.1.line
                );
                let message = format!("`{}` stands in two files of one layer", entry.text);
                sheets[index].fault(entry.at, message, Some(help));
            }
        }
    }
}

/// An entry that covers no role does nothing, which is never what was meant. While some file is
/// faulty the list of roles may be short, so then nothing is said.
fn strangers(
    sheets: &mut [Sheet<'_>],
    contents: &[Content],
    (roles, whole): (&BTreeSet<Role>, bool),
) {
    for (sheet, content) in sheets.iter_mut().zip(contents) {
        for entry in &content.entries {
            let covered =
                entry.key == Key::Default || roles.iter().any(|role| entry.key.covers(role));
            let near = closest(&entry.text, roles.iter().map(Role::as_str));
            if covered || !(whole || near.is_some()) {
                continue;
            }
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "a role exists when an `agents` section names it: add `agents: {{ {}: {{}} }}`",
                    entry.text
                ),
            };
            sheet.fault(
                entry.at,
                format!("no role is called `{}`", entry.text),
                Some(help),
            );
        }
    }
}

/// Returns the pinned names; a later layer's entry replaces an earlier one of the same name.
fn hosts(sources: &[Source], contents: &[Content]) -> Vec<HostEntry> {
    let mut layers: Vec<_> = sources.iter().zip(contents).collect();
    layers.sort_by_key(|(source, _)| source.layer);
    let entries = layers
        .into_iter()
        .flat_map(|(_, content)| content.hosts.iter().cloned());
    let by_name: BTreeMap<_, _> = entries.map(|entry| (entry.name.clone(), entry)).collect();
    by_name.into_values().collect()
}

fn rights(role: Role, entries: &[&Entry], hosts: &[HostEntry]) -> (Rights, Option<super::Tier>) {
    let mut fields = Fields::default();
    for entry in entries.iter().filter(|entry| entry.key.covers(&role)) {
        fields.overlay(&entry.fields);
    }
    let resources = resources(&fields);
    let rights = Rights {
        role,
        description: fields.description.unwrap_or_default(),
        image: fields.image.unwrap_or_else(|| "base".to_owned()),
        files: Files {
            read: fields.read.unwrap_or_default(),
            write: fields.write.unwrap_or_default(),
        },
        programs: fields.execute.unwrap_or_default(),
        program_origins: BTreeMap::new(),
        egress: Egress {
            rules: fields.egress.unwrap_or_default(),
            hosts: hosts.to_vec(),
            denied: Vec::new(),
        },
        resources,
        rates: Rates::default(),
        minimum: Minimum::default(),
        secrets: Vec::new(),
        origins: BTreeMap::new(),
    };
    (rights, fields.tier)
}

/// Fills in the documented defaults.
fn resources(fields: &Fields) -> Resources {
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    Resources {
        cpus: fields.cpus.unwrap_or(2.0),
        memory: fields.memory.unwrap_or(2 << 30),
        pids: fields.pids.unwrap_or(256),
        disk: fields.disk.unwrap_or(4 << 30),
        timeout: fields.timeout.unwrap_or(minutes(30)),
        idle_timeout: fields.idle_timeout.unwrap_or(minutes(10)),
        log: fields.log.unwrap_or(32 << 20),
    }
}

fn hash(sources: &[Source]) -> String {
    let mut sha = Sha256::new();
    for source in sources {
        sha.update(format!("{:?} {}\n", source.layer, source.text.len()));
        sha.update(&source.text);
    }
    Digest(sha.finalize().into()).to_string()
}
