//! Makes each role's rights of what the files say, or says what is wrong with them.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::{
    Facts, HostEntry, Layer, Policy, Source, Trust,
    assemble::{Bench, Roles, TRUST},
    denials,
    fields::Bounds,
    file::{self, Content},
    layers::Stack,
    names,
    settings::Settings,
    sheet::{Place, Sheet},
};
use crate::{diagnostic::Diagnostic, digest::Digest};

/// Builds the policy, or returns every fault.
pub(super) fn check(sources: &[Source], facts: &Facts) -> Result<Policy, Vec<Diagnostic>> {
    let sheet = |source| Sheet::new(source, facts);
    let mut sheets: Vec<Sheet<'_>> = sources.iter().enumerate().map(sheet).collect();
    let contents: Vec<Content> = sheets.iter_mut().map(file::read).collect();
    let whole = sheets.iter().all(Sheet::is_clean);
    let roles = names::roles(&contents);
    let stack = Stack::new(&contents);
    names::twice(&mut sheets, &contents);
    names::strangers(&mut sheets, &contents, (&roles, whole));
    names::circles(&mut sheets, &roles, &stack);
    names::secrets(&mut sheets, &contents, facts);
    dead(&mut sheets, &stack);
    let settings = settings(&mut sheets, &contents, facts);
    let mut made = Roles::new();
    if sheets.iter().all(Sheet::is_clean) {
        let mut bench = Bench {
            sheets: &mut sheets,
            stack: &stack,
            hosts: hosts(sources, &contents),
            provider: facts.provider.clone(),
            widenings: Vec::new(),
        };
        made = bench.roles(&roles, facts.trust);
        bench.expect(&contents, &roles, (&made, facts.trust));
        bench.say_widenings();
    }
    if !sheets.iter().all(Sheet::is_clean) {
        return Err(sheets.into_iter().flat_map(Sheet::into_faults).collect());
    }
    let (pool, rotation) = settings.settled();
    Ok(Policy {
        roles: made,
        pool,
        rotation,
        notes: sheets.into_iter().flat_map(Sheet::into_notes).collect(),
        sha256: hash(sources, facts),
    })
}

/// A rule that a denial of its own or an earlier layer covers for every role it is about can never
/// match: somebody is mistaken.
fn dead(sheets: &mut [Sheet<'_>], stack: &Stack<'_>) {
    for entry in stack.entries() {
        let mut bounds = Bounds::default();
        for other in stack.entries() {
            if other.key.contains(&entry.key) {
                bounds.extend(&other.fields.bounds);
            }
        }
        for dead in denials::dead(&entry.fields, &bounds) {
            let Place { sheet, at, .. } = dead.denial;
            let help = format!(
                "`deny` at {} covers it: remove one of them",
                sheets[sheet].origin(at)
            );
            let message = format!("`{}` can never match", dead.rule);
            sheets[dead.place.sheet].fault(dead.place.at, message, Some(help));
        }
    }
}

/// Lays the settings of all layers over each other.
fn settings(sheets: &mut [Sheet<'_>], contents: &[Content], facts: &Facts) -> Settings {
    let mut order: Vec<usize> = (0..contents.len()).collect();
    order.sort_by_key(|&index| sheets[index].source().layer);
    let mut settings = Settings::default();
    for index in order {
        let is_project = sheets[index].source().layer == Layer::Project;
        if !is_project || facts.trust == Trust::Pinned {
            settings.overlay(&contents[index].settings);
            continue;
        }
        for (name, at) in &contents[index].set {
            let message = format!("`{name}` is ignored: the project is not trusted");
            sheets[index].note(*at, message, Some(TRUST.to_owned()));
        }
    }
    for (at, message, help) in settings.contradictions() {
        sheets[at.place.sheet].fault(at.place.at, message, Some(help));
    }
    settings
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

fn hash(sources: &[Source], facts: &Facts) -> String {
    let mut sha = Sha256::new();
    if let Some(provider) = &facts.provider {
        sha.update(format!("{provider}\n"));
    }
    if sources
        .iter()
        .any(|source| source.text.contains("registry:"))
    {
        // The same text opens other hosts on another machine.
        sha.update(format!("{:?}\n", facts.registries));
    }
    for source in sources {
        // The same files of a project say less while they are not trusted.
        let trust = (source.layer == Layer::Project).then_some(facts.trust);
        sha.update(format!(
            "{:?} {trust:?} {}\n",
            source.layer,
            source.text.len()
        ));
        sha.update(&source.text);
    }
    Digest(sha.finalize().into()).to_string()
}
