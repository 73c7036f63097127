//! `loki policy check`: every fault of every file, and what a person should know.

use super::{
    super::{
        env::Environment,
        exit::{Exit, Fault},
        setup, ui,
    },
    args::Check,
    gather,
};

/// Reports every fault of all layers and of the files given.
pub(in crate::cli) fn check(env: &Environment, check: &Check) -> Result<Exit, Fault> {
    let gathered = gather(env, &check.files)?;
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
