//! The status of a run as files in `.loki/`, for tools that read files.
//!
//! Each file is replaced at once or not at all, and only when its content changed. The owner
//! decides when, at most once a second. A field that Loki knows nothing about is left out.

use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::{error::JournalError, place::Dir};
use crate::{
    event::Outcome,
    status::{self, Phase, Progress, Status},
    task::State,
    text::visible_json,
};

/// Writes `STATUS.txt`, `session.json`, `queue/*.json` and `state/orchestrator.json`. Called by
/// the process that runs the run: `session.json` names it.
///
/// # Errors
///
/// Fails when a file cannot be replaced; those replaced before stay new.
pub fn write(home: &Path, status: &Status) -> Result<(), JournalError> {
    let home = Dir::home(home)?;
    let queue = home.within("queue", 0o755)?;
    for list in List::ALL {
        let tasks = status
            .tasks
            .iter()
            .filter(|task| List::of(task, status) == list);
        let items: Vec<Value> = tasks.map(|task| item(task, status)).collect();
        queue.replace(list.file(), &json_text(&items)?)?;
    }
    let running = status
        .tasks
        .iter()
        .find(|task| task.state == State::Claimed);
    let current = running.map_or_else(|| json!({}), |task| item(task, status));
    queue.replace("current-task.json", &json_text(&current)?)?;
    home.within("state", 0o755)?
        .replace("orchestrator.json", &json_text(&orchestrator(status))?)?;
    home.replace("session.json", &json_text(&session(status))?)?;
    home.replace("STATUS.txt", status::text(status).as_bytes())
}

/// The file a task stands in. Each task stands in one.
#[derive(Clone, Copy, PartialEq)]
enum List {
    Pending,
    InProgress,
    Completed,
    /// Failed before its last attempt, blocked by one that failed, or taken back by a person.
    Failed,
    /// Failed on its last attempt.
    DeadLetter,
}

impl List {
    const ALL: [Self; 5] = [
        Self::Pending,
        Self::InProgress,
        Self::Completed,
        Self::Failed,
        Self::DeadLetter,
    ];

    fn of(task: &Progress, status: &Status) -> Self {
        match task.state {
            State::Pending | State::Interrupted => Self::Pending,
            State::Claimed | State::Waiting | State::Approved => Self::InProgress,
            State::Done => Self::Completed,
            State::Failed if is_tried_out(task, status) => Self::DeadLetter,
            State::Failed | State::Blocked | State::Reverted | State::Cancelled => Self::Failed,
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Pending => "pending.json",
            Self::InProgress => "in-progress.json",
            Self::Completed => "completed.json",
            Self::Failed => "failed.json",
            Self::DeadLetter => "dead-letter.json",
        }
    }
}

/// Returns whether a task has had all the attempts it may have.
fn is_tried_out(task: &Progress, status: &Status) -> bool {
    let queue = status.queue();
    let standing = queue.get(&task.id);
    standing.is_some_and(|standing| standing.tries() >= queue.max_attempts())
}

/// A task with the field names other tools know.
fn item(task: &Progress, status: &Status) -> Value {
    let holder = status
        .agents
        .iter()
        .find(|agent| agent.task.as_ref() == Some(&task.id));
    let holder = holder.filter(|_| task.state == State::Claimed);
    let mut item = json!({
        "id": task.id,
        "title": task.title,
        "description": task.description,
        "status": list_status(task.state),
        "priority": task.priority,
        "source": status.spec,
        "role": task.role,
        "dependencies": task.depends_on,
        "acceptance_criteria": task.accept,
        "createdAt": status.planned,
        "startedAt": task.started,
        "completedAt": task.finished.filter(|_| task.state == State::Done),
        "claimedBy": holder.map(|agent| &agent.sandbox),
        "claimedAt": task.claimed,
        "version": task.version,
        "retries": task.attempt.saturating_sub(1),
        "maxRetries": status.queue().max_attempts() - 1,
        "lastError": task.last_error,
        "result": task.commit.as_ref().map(|commit| json!({ "commit": commit })),
    });
    leave_out_unknown(&mut item);
    item
}

fn list_status(state: State) -> &'static str {
    match state {
        State::Pending => "pending",
        State::Claimed => "in-progress",
        State::Done => "completed",
        State::Failed => "failed",
        State::Blocked => "blocked",
        State::Reverted => "reverted",
        State::Waiting => "waiting",
        State::Approved => "approved",
        State::Interrupted => "interrupted",
        State::Cancelled => "cancelled",
    }
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
    let mut state = json!({
        "version": status.loki,
        "currentPhase": status.phase,
        "startedAt": status.started,
        "agents": agents,
        "metrics": {
            "tasksCompleted": status.counts.completed,
            "tasksFailed": status.counts.failed,
            "retries": status.counts.retries,
        },
    });
    leave_out_unknown(&mut state);
    state
}

fn session(status: &Status) -> Value {
    let state = match (status.outcome, status.phase) {
        (Some(Outcome::Done), _) => "completed",
        (Some(Outcome::Failed), _) => "failed",
        (Some(Outcome::Stopped), _) => "stopped",
        (Some(Outcome::Waiting), _) => "waiting",
        (None, Phase::Stopping) => "stopping",
        (None, _) => "running",
    };
    let mut session = json!({
        "pid": std::process::id(),
        "startedAt": status.started,
        "provider": status.provider,
        "status": state,
        "updatedAt": status.updated,
    });
    leave_out_unknown(&mut session);
    session
}

fn leave_out_unknown(object: &mut Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
}

/// Indented JSON in which hidden characters are escaped, for these files are read with `cat`.
fn json_text(value: &impl Serialize) -> Result<Vec<u8>, JournalError> {
    let plain = serde_json::to_string_pretty(value).map_err(JournalError::Unwritable)?;
    let mut text = visible_json(&plain);
    text.push('\n');
    Ok(text.into_bytes())
}
