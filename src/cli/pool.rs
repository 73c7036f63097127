//! `loki pool status`: what the orchestrators that run here hold ready.

use clap::Subcommand;

use crate::sandbox::{
    alive,
    pool::{SCHEMA, Shelf, Standing},
};

use super::{
    args::Json,
    exit::{Exit, Fault, OrExit},
    ui, views,
};

/// `loki pool …`.
#[derive(Debug, Subcommand)]
pub(super) enum PoolVerb {
    /// Show the sandboxes that stand ready, and why there are no more
    Status(Json),
}

/// Runs the verb.
pub(super) fn run(verb: &PoolVerb) -> Result<Exit, Fault> {
    let PoolVerb::Status(json) = verb;
    let state = views::state_to_read()?;
    let pools = Standing::read(&state, alive).or_exit(Exit::Failed)?;
    if json.json {
        ui::json(&serde_json::json!({ "schema": SCHEMA, "pools": pools }))?;
        return Ok(Exit::Done);
    }
    if pools.is_empty() {
        ui::note("no orchestrator runs here that keeps a pool; `loki start SPEC.md` starts one");
    }
    for pool in &pools {
        show(pool);
    }
    Ok(Exit::Done)
}

fn show(pool: &Standing) {
    ui::data(format!("run {} at {}", pool.run, pool.at));
    ui::table(
        &[
            "KEY",
            "FILES",
            "ROLES",
            "IDLE",
            "WANTED",
            "PREPARING",
            "CLAIMED",
            "SINCE",
        ],
        pool.kinds.iter().map(row),
    );
    ui::data(format!(
        "{} warm and {} cold so far, {} claimed; at most {} idle of a kind and {} in all",
        pool.warm, pool.cold, pool.claimed, pool.min_idle, pool.max_total
    ));
    if let Some(room) = pool.room {
        ui::data(format!(
            "memory had room for {room} more when it was last asked"
        ));
    }
    if let Some(failure) = &pool.failure {
        ui::data(format!(
            "preparing failed {} times in a row, next try at {}: {}",
            failure.times,
            failure.again,
            ui::visible_lines(&failure.reason)
        ));
    }
}

fn row(kind: &Shelf) -> Vec<String> {
    let roles: Vec<&str> = kind.roles.iter().map(|role| role.as_str()).collect();
    vec![
        kind.key
            .chars()
            .take(12)
            .map(|c| if c.is_ascii_hexdigit() { c } else { '?' })
            .collect(),
        ui::visible(&kind.files).to_string(),
        roles.join(", "),
        kind.idle.to_string(),
        kind.wanted.to_string(),
        kind.preparing.to_string(),
        kind.claimed.to_string(),
        kind.since
            .map_or_else(String::new, |since| since.to_string()),
    ]
}
