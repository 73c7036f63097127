//! The status of a run as files in `.loki/`, for tools that read files.
//!
//! Each file is replaced at once or not at all, and only when its content changed. The owner
//! decides when, at most once a second. A field that Loki knows nothing about is `null`. However
//! large a plan is, the files stay small: long texts are cut, and a list holds its first
//! [`LISTED`] items.

mod continuity;
mod dashboard;
mod queue;

use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::{error::JournalError, place::Dir};
use crate::{
    event::Outcome,
    status::{self, Phase, Status},
    text::visible_json,
};

/// Items that a list of tasks holds at most.
pub const LISTED: usize = 1000;

/// Writes `STATUS.txt`, `session.json`, `dashboard-state.json`, `queue/*.json`,
/// `state/orchestrator.json` and `CONTINUITY.md`. Called by the process that runs the run:
/// `session.json` names it while the run goes on.
///
/// # Errors
///
/// Fails when a file cannot be replaced; those replaced before stay new.
pub fn write(home: &Path, status: &Status) -> Result<(), JournalError> {
    let home = Dir::home(home)?;
    let queue = home.within("queue", 0o755)?;
    for (name, items) in queue::lists(status) {
        queue.replace(name, &json_text(&items)?)?;
    }
    queue.replace("current-task.json", &json_text(&queue::current(status))?)?;
    home.within("state", 0o755)?
        .replace("orchestrator.json", &json_text(&orchestrator(status))?)?;
    home.replace("session.json", &json_text(&session(status))?)?;
    let dashboard = dashboard::state(status);
    home.replace("dashboard-state.json", &json_text(&dashboard)?)?;
    home.replace("CONTINUITY.md", continuity::page(status).as_bytes())?;
    home.replace("STATUS.txt", status::text(status).as_bytes())
}

fn orchestrator(status: &Status) -> Value {
    let agents: Vec<Value> = status
        .agents
        .iter()
        .map(|agent| {
            json!({
                "id": agent.sandbox, "role": agent.role, "task": agent.task,
                "startedAt": agent.since,
            })
        })
        .collect();
    json!({
        "version": status.loki,
        "currentPhase": status.phase,
        "startedAt": status.started,
        "agents": agents,
        "metrics": {
            "tasksCompleted": status.counts.completed,
            "tasksFailed": status.counts.failed,
            "retries": status.counts.retries,
        },
    })
}

fn session(status: &Status) -> Value {
    let state = match (status.outcome, status.phase) {
        (Some(Outcome::Done), _) => "completed",
        (Some(Outcome::Failed), _) => "failed",
        (Some(Outcome::Stopped), _) => "stopped",
        (Some(Outcome::Waiting), _) => "waiting",
        (Some(Outcome::Limited), _) => "limited",
        (None, Phase::Stopping) => "stopping",
        (None, Phase::Interrupted) => "interrupted",
        (None, _) => "running",
    };
    // Nobody runs a run that has ended, or whose orchestrator is gone.
    let goes_on = status.outcome.is_none() && status.phase != Phase::Interrupted;
    let pid = goes_on.then(std::process::id);
    let verb = if status.resumed > 0 {
        "resume"
    } else {
        "start"
    };
    json!({
        "pid": pid,
        "startedAt": status.started,
        "provider": status.provider,
        "invokedVia": format!("loki {verb}"),
        "status": state,
        "updatedAt": status.updated,
    })
}

/// Text of at most so many characters; what is cut off is shown by `…`.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned() + "…",
    }
}

/// Indented JSON in which hidden characters are escaped, for these files are read with `cat`.
fn json_text(value: &impl Serialize) -> Result<Vec<u8>, JournalError> {
    let plain = serde_json::to_string_pretty(value).map_err(JournalError::Unwritable)?;
    let mut text = visible_json(&plain);
    text.push('\n');
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests;
