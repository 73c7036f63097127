//! `loki pool status`: what the orchestrators that run here hold ready.

use std::path::Path;

use clap::Subcommand;

use crate::{
    journal::Lock,
    sandbox::{
        alive,
        pool::{Failure, SCHEMA, Shelf, Standing},
    },
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
    let pools = Standing::read(&state, alive)
        .or_exit(Exit::Failed)
        .map_err(|fault| {
            fault.hint("if a link stands there in place of a directory, look at it, then `rm` it")
        })?;
    if json.json {
        ui::json(&serde_json::json!({ "schema": SCHEMA, "pools": pools }))?;
        return Ok(Exit::Done);
    }
    pools.iter().for_each(show);
    say_none(&state, &pools)
}

/// Says which runs go on without anything that stands ready, and why.
fn say_none(state: &Path, pools: &[Standing]) -> Result<Exit, Fault> {
    let Some(holder) = Lock::holder(state).or_exit(Exit::Failed)? else {
        ui::note("no orchestrator runs here that keeps a pool; `loki start SPEC.md` starts one");
        return Ok(Exit::Done);
    };
    for run in holder.runs() {
        if !pools.iter().any(|pool| pool.run == *run) {
            ui::note(format!(
                "run {run} keeps none ready: it has nothing to claim soon, or `agent_pool: {{ min_idle: 0 }}` of its policy switches the pool off"
            ));
        }
    }
    Ok(Exit::Done)
}

fn show(pool: &Standing) {
    ui::data(format!("run {} at {:.0}", pool.run, pool.at));
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
        ui::data(failed(failure));
    }
}

fn failed(failure: &Failure) -> String {
    let in_a_row = if failure.times == 1 { "" } else { " in a row" };
    format!(
        "preparing failed {}{in_a_row}, next try at {:.0}: {}",
        ui::counted(failure.times as usize, "time"),
        failure.again,
        ui::visible_lines(&failure.reason)
    )
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
            .map_or_else(String::new, |since| format!("{since:.0}")),
    ]
}
