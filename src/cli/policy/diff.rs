//! `loki policy diff`: what each role gains and loses from one policy to another.

use std::path::{Path, PathBuf};

use crate::{
    policy::{
        Policy,
        diff::{RoleChange, Standing, changes},
    },
    text::visible,
};

use super::{
    super::{
        env::Environment,
        exit::{Exit, Fault},
        setup::stranger,
        ui,
    },
    args::Diff,
    load, placed,
};

/// Compares; exits 0 when every role may do the same under both.
pub(in crate::cli) fn diff(env: &Environment, diff: &Diff) -> Result<Exit, Fault> {
    let before = named(env, &diff.asked.policy, &diff.before)?;
    let after = named(env, &diff.asked.policy, &diff.after)?;
    let mut changes = changes(&before, &after);
    if let Some(role) = &diff.role {
        let known = |policy: &Policy| policy.roles().any(|known| known.as_str() == role);
        if !known(&before) && !known(&after) {
            return Err(stranger(&after, role));
        }
        changes.retain(|change| change.role.as_str() == role);
    }
    if diff.asked.json {
        let equal = changes.is_empty();
        ui::json(&serde_json::json!({ "schema": 1, "equal": equal, "roles": changes }))?;
    } else {
        changes.iter().for_each(print);
        if changes.is_empty() {
            ui::note("no role may do more or less");
        }
    }
    Ok(if changes.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// Returns the policy that a person named: a file on top of all layers, or what is in force.
fn named(env: &Environment, below: &[PathBuf], file: &Path) -> Result<Policy, Fault> {
    if file == Path::new("-") || file == Path::new("current") {
        return load(env, below);
    }
    let files: Vec<PathBuf> = below.iter().cloned().chain([file.to_owned()]).collect();
    load(env, &files)
}

fn print(change: &RoleChange) {
    let only = match change.status {
        Standing::Added => " (only in the later)",
        Standing::Removed => " (only in the earlier)",
        Standing::Kept => "",
    };
    ui::data(format!("{}{only}", change.role));
    for (sign, rights) in [('+', &change.gained), ('-', &change.lost)] {
        for right in rights {
            let line = format!(
                "  {sign} {:<8} {}  {}",
                right.kind,
                visible(&right.item),
                placed(right.origin.as_ref())
            );
            ui::data(line.trim_end());
        }
    }
    for value in &change.changed {
        ui::data(format!(
            "  ~ {} {} -> {}",
            value.name,
            visible(&value.before),
            visible(&value.after)
        ));
    }
}
