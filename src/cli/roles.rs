//! `loki agents list`.

use crate::policy::{HostPattern, Rights};

use super::{
    args::Json,
    env::Environment,
    exit::{Exit, Fault},
    setup, ui,
};

/// Lists the roles.
pub(super) fn list(env: &Environment, json: &Json) -> Result<Exit, Fault> {
    let policy = setup::policy(env, &[], setup::root()?.as_deref())?;
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
