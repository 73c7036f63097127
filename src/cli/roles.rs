//! `loki policy check` and `loki agents list`.

use std::path::PathBuf;

use crate::{
    git::Repository,
    policy::{HostPattern, Rights},
};

use super::{
    args::{Json, PolicyCheck},
    env::Environment,
    exit::{Exit, Fault, OrExit},
    setup, ui,
};

/// Reports every fault of all layers and of the files given.
pub(super) fn check(env: &Environment, check: &PolicyCheck) -> Result<Exit, Fault> {
    let gathered = setup::gather(env, &check.files, root()?.as_deref())?;
    match gathered.check() {
        Ok(policy) if check.json => ui::json(&serde_json::json!({
            "schema": 1, "valid": true, "sha256": policy.sha256(), "faults": [],
            "notes": policy.notes(),
        }))?,
        Ok(policy) => {
            setup::say_notes(&gathered, &policy);
            ui::data(format!(
                "{} files, {} roles: valid",
                gathered.sources.len(),
                policy.roles().count()
            ));
        }
        Err(faults) if check.json => {
            ui::json(&serde_json::json!({ "schema": 1, "valid": false, "faults": faults }))?;
            return Ok(Exit::Invalid);
        }
        Err(faults) => return Err(setup::diagnostics(&faults)),
    }
    Ok(Exit::Done)
}

/// Returns the root of the repository around the current directory, none outside of one.
fn root() -> Result<Option<PathBuf>, Fault> {
    let here = std::env::current_dir().or_exit(Exit::Usage)?;
    let repository = Repository::open(&here).ok();
    Ok(repository.map(|repository| repository.root().to_owned()))
}

/// Lists the roles.
pub(super) fn list(env: &Environment, json: &Json) -> Result<Exit, Fault> {
    let policy = setup::policy(env, &[], root()?.as_deref())?;
    let all: Vec<Rights> = policy
        .roles()
        .filter_map(|role| policy.rights(role))
        .collect();
    if json.json {
        ui::json(&serde_json::json!({ "schema": 1, "agents": all }))?;
        return Ok(Exit::Done);
    }
    ui::table(
        &["ROLE", "IMAGE", "WRITES", "REACHES", "FOR"],
        all.iter().map(row),
    );
    Ok(Exit::Done)
}

/// One line of the list; what is too long for one is in `--json`.
fn row(rights: &Rights) -> Vec<String> {
    let globs = rights.files.write.0.iter().map(|glob| glob.text.as_str());
    let hosts = rights.egress.rules.iter().map(|rule| match &rule.host {
        HostPattern::Exact(name) => name.to_string(),
        HostPattern::Wildcard(name) => format!("*.{name}"),
    });
    vec![
        rights.role.to_string(),
        rights.image.clone(),
        some(globs.map(str::to_owned)),
        some(hosts),
        rights.description.clone(),
    ]
}

/// Returns the first, and how many more there are.
fn some(mut all: impl ExactSizeIterator<Item = String>) -> String {
    match all.next() {
        None => "nothing".to_owned(),
        Some(first) if all.len() == 0 => first,
        Some(first) => format!("{first} +{}", all.len()),
    }
}
