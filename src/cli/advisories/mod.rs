//! `loki advisories …`: what packages are vetted with, from files that a person brought here. No
//! verb asks a network for anything.

pub(super) mod args;

use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    advisories::{Export, Store, StoreError},
    policy::{RegistryKind, RegistryRule, Rights},
    vetting::{Advisory, Database, Event, Summary, Unusable},
};

use super::{
    args::Json,
    env::Environment,
    exit::{Exit, Fault, OrExit},
    ui,
};
use args::{AdvisoriesVerb, Import, List};

/// Days after which a start says how old the advisories are.
const OLD: i64 = 30;

/// Runs a verb.
pub(super) fn run(env: &Environment, verb: &AdvisoriesVerb) -> Result<Exit, Fault> {
    let store = Store::new(env.data()?);
    match verb {
        AdvisoriesVerb::Import(asked) => import(&store, asked),
        AdvisoriesVerb::List(asked) => list(&store, asked),
        AdvisoriesVerb::Status(asked) => status(&store, asked),
        AdvisoriesVerb::Remove => remove(&store),
    }
}

fn import(store: &Store, asked: &Import) -> Result<Exit, Fault> {
    let export = Export::find(&asked.directories).or_exit(Exit::Failed)?;
    let bar = ui::is_watched().then(bar);
    let read = export.read(&mut |progress| {
        if let Some(bar) = &bar {
            bar.set_length(progress.of);
            bar.set_position(progress.read);
        }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let import = read.map_err(|error| {
        if let StoreError::Faulty { faults, .. } = &error {
            faults.iter().for_each(|fault| ui::note(fault.render()));
        }
        let kept = "what was imported before stays as it was";
        Fault::new(Exit::Invalid, crate::diagnostic::explained(&error)).hint(kept)
    })?;
    let from = asked.directories.iter();
    let from = from.map(|path| absolute(path)).collect();
    let (records, others) = (import.records, import.others);
    let kept = store.replace(import.collection, Timestamp::now(), from);
    let summary = kept.or_exit(Exit::Failed)?;
    ui::note(format!("imported {}", said(&summary, Timestamp::now())));
    let left = [
        (summary.withdrawn, "withdrawn"),
        (
            summary.elsewhere,
            "about other packages than those of npm, pip, cargo and Debian",
        ),
        (others, "files that are not named *.json"),
    ];
    for (count, what) in left.into_iter().filter(|(count, _)| *count > 0) {
        ui::note(format!("left out of {records} records: {count} {what}"));
    }
    ui::note("runs that go on keep what they began with");
    Ok(Exit::Done)
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    bar.set_style(
        ProgressStyle::with_template("reading {bar:40} {pos}/{len} records, {eta} left")
            .expect("the template is right"),
    );
    bar
}

fn absolute(path: &Path) -> String {
    let whole = std::path::absolute(path);
    whole.as_deref().unwrap_or(path).display().to_string()
}

/// Says what is kept, in one line.
fn said(summary: &Summary, now: Timestamp) -> String {
    let by: Vec<String> = summary
        .advisories
        .iter()
        .map(|(registry, count)| format!("{registry} {count}"))
        .collect();
    let newest = summary.newest.map_or_else(String::new, |newest| {
        format!(", the newest of {}", newest.strftime("%Y-%m-%d"))
    });
    format!(
        "advisories ({}) about {} packages{newest}; imported {} from {}",
        by.join(", "),
        summary.packages,
        ago(summary.imported, now),
        ui::visible(&summary.from.join(", "))
    )
}

fn days(then: Timestamp, now: Timestamp) -> i64 {
    now.duration_since(then).as_secs() / 86_400
}

fn ago(then: Timestamp, now: Timestamp) -> String {
    match days(then, now) {
        ..=0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    }
}

fn status(store: &Store, asked: &Json) -> Result<Exit, Fault> {
    let database = opened(store)?;
    let summary = database.as_ref().map(Database::summary);
    if asked.json {
        let file = store.file();
        ui::json(&serde_json::json!({ "schema": 1, "file": file, "advisories": summary }))?;
        return Ok(Exit::Done);
    }
    match summary {
        Some(summary) => ui::data(said(summary, Timestamp::now())),
        None => {
            ui::data("no advisories were imported: `loki advisories import DIR` takes OSV records");
        }
    }
    Ok(Exit::Done)
}

fn remove(store: &Store) -> Result<Exit, Fault> {
    let was = store.remove().or_exit(Exit::Failed)?;
    ui::note(if was {
        "removed: no rule vets packages by advisories any more, and those that demand it refuse all"
    } else {
        "there were none"
    });
    Ok(Exit::Done)
}

/// One advisory on one package, as it is listed.
#[derive(Serialize)]
struct Row {
    registry: &'static str,
    package: String,
    id: String,
    aliases: Vec<String>,
    severity: Option<String>,
    release: Option<String>,
    fixed: Vec<String>,
}

impl Row {
    fn new(kind: RegistryKind, package: &str, advisory: Advisory) -> Self {
        let events = advisory.ranges.iter().flat_map(|range| &range.0);
        let fixed = events.filter_map(|event| match event {
            Event::Fixed(version) => Some(version.clone()),
            _ => None,
        });
        Self {
            registry: kind.name(),
            package: package.to_owned(),
            fixed: fixed.collect(),
            id: advisory.id,
            aliases: advisory.aliases,
            severity: advisory.severity,
            release: advisory.release,
        }
    }
}

fn list(store: &Store, asked: &List) -> Result<Exit, Fault> {
    let Some(database) = opened(store)? else {
        return status(store, &Json { json: asked.json });
    };
    let unusable = |source: Unusable| {
        let path = store.file();
        Fault::new(Exit::Failed, StoreError::Unusable { path, source })
    };
    let mut rows = Vec::new();
    for package in database.packages() {
        let (kind, name, advisories) = package.map_err(unusable)?;
        if is_asked(&asked.packages, kind, &name) {
            rows.extend(advisories.into_iter().map(|one| Row::new(kind, &name, one)));
        }
    }
    if asked.json {
        let summary = database.summary();
        ui::json(&serde_json::json!({ "schema": 1, "imported": summary, "advisories": rows }))?;
        return Ok(Exit::Done);
    }
    ui::note(said(database.summary(), Timestamp::now()));
    let heading = ["REGISTRY", "PACKAGE", "ADVISORY", "SEVERITY", "FIXED IN"];
    let cells = rows.into_iter().map(|row| {
        let also = row
            .aliases
            .first()
            .map_or_else(String::new, |also| format!(" ({also})"));
        let release = row
            .release
            .map_or_else(String::new, |release| format!(":{release}"));
        vec![
            format!("{}{release}", row.registry),
            row.package,
            format!("{}{also}", row.id),
            row.severity.unwrap_or_default(),
            row.fixed.join(", "),
        ]
    });
    ui::table(&heading, cells);
    Ok(Exit::Done)
}

fn is_asked(asked: &[String], kind: RegistryKind, name: &str) -> bool {
    let kind = kind.name();
    let is = |one: &String| one == kind || one == name || one.split_once('/') == Some((kind, name));
    asked.is_empty() || asked.iter().any(is)
}

fn opened(store: &Store) -> Result<Option<Database>, Fault> {
    store.open().or_exit(Exit::Failed)
}

/// Says which advisories were imported, if any were.
pub(super) fn known(env: &Environment) -> Result<Option<Summary>, Fault> {
    let found = opened(&Store::new(env.data()?))?;
    Ok(found.map(|database| database.summary().clone()))
}

/// Returns the advisories of this machine, if some rule of these roles heeds them, and says what a
/// person should know of them before packages are vetted.
pub(super) fn for_roles(env: &Environment, roles: &[&Rights]) -> Result<Option<Database>, Fault> {
    let heeds = |rule: &&RegistryRule| rule.advisories != Some(false);
    let rules = roles.iter().flat_map(|rights| &rights.egress.rules);
    let rules = rules.filter_map(|rule| rule.request.as_ref()?.registry.as_ref());
    let rules: Vec<&RegistryRule> = rules.filter(heeds).collect();
    if rules.is_empty() {
        return Ok(None);
    }
    let found = Store::new(env.data()?).open().or_exit(Exit::NoSandbox)?;
    match &found {
        Some(database) => {
            let summary = database.summary();
            let now = Timestamp::now();
            let newest = summary.newest.unwrap_or(summary.imported);
            if days(newest, now) > OLD {
                let days = days(newest, now);
                ui::warning(format!(
                    "the newest advisory is {days} days old: `loki advisories import DIR` takes newer ones"
                ));
            }
        }
        None if rules.iter().any(|rule| rule.advisories == Some(true)) => ui::warning(
            "a rule demands advisories and none were imported, so it lets no package in: type `loki advisories import DIR`",
        ),
        None => {}
    }
    Ok(found)
}
