//! `loki policy check` and `loki agents list`.

use std::path::PathBuf;

use crate::{
    git::Repository,
    policy::{Program, Rights},
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
    let rows = all.iter().map(|rights| {
        let writes: Vec<&str> = rights
            .files
            .write
            .0
            .iter()
            .map(|glob| glob.text.as_str())
            .collect();
        vec![
            rights.role.to_string(),
            rights.image.clone(),
            if writes.is_empty() {
                "nothing".to_owned()
            } else {
                writes.join(" ")
            },
            format!(
                "{}",
                rights
                    .programs
                    .iter()
                    .filter(|program| matches!(program, Program::Image(_)))
                    .count()
            ),
            format!("{} hosts", rights.egress.rules.len()),
            rights.description.clone(),
        ]
    });
    ui::table(
        &["ROLE", "IMAGE", "WRITES", "PROGRAMS", "EGRESS", "FOR"],
        rows,
    );
    Ok(Exit::Done)
}
