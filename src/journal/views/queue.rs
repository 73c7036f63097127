//! `queue/*.json`: each task in one list, under the names that other tools know.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{LISTED, cut};
use crate::{
    name::TaskId,
    status::{Agent, Progress, Status},
    task::State,
};

/// Characters of a description.
const DESCRIPTION: usize = 2000;
/// Characters of any other text.
const TEXT: usize = 500;
/// Items of a list inside an item.
const FEW: usize = 100;

/// The file a task stands in. Each task stands in one.
#[derive(Clone, Copy, PartialEq)]
enum List {
    Pending,
    InProgress,
    Completed,
    /// Failed before its last attempt, blocked by one that failed, or taken back or cancelled by a
    /// person.
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

/// Returns how many tasks failed on their last attempt.
pub(super) fn dead_letters(status: &Status) -> usize {
    let dead = |task: &&Progress| List::of(task, status) == List::DeadLetter;
    status.tasks.iter().filter(dead).count()
}

/// Returns every list with its file. Of very many tasks the first of each list stand in it, of
/// completed ones those that completed last.
pub(super) fn lists(status: &Status) -> Vec<(&'static str, Vec<Value>)> {
    let holders = holders(status);
    let list = |list: List| {
        let of_list = status
            .tasks
            .iter()
            .filter(|task| List::of(task, status) == list);
        let mut tasks: Vec<&Progress> = of_list.collect();
        if list == List::Completed && tasks.len() > LISTED {
            tasks.sort_by_key(|task| task.finished);
            tasks.drain(..tasks.len() - LISTED);
        }
        tasks.truncate(LISTED);
        let items = tasks.into_iter().map(|task| item(task, (status, &holders)));
        (list.file(), items.collect())
    };
    List::ALL.map(list).into()
}

/// Returns the first task that is worked on, an empty object when there is none.
pub(super) fn current(status: &Status) -> Value {
    let mut tasks = status.tasks.iter();
    let running = tasks.find(|task| task.state == State::Claimed);
    running.map_or_else(|| json!({}), |task| item(task, (status, &holders(status))))
}

type Holders<'a> = HashMap<&'a TaskId, &'a Agent>;

fn holders(status: &Status) -> Holders<'_> {
    let agents = status.agents.iter().rev();
    agents
        .filter_map(|agent| Some((agent.task.as_ref()?, agent)))
        .collect()
}

/// A task with the field names other tools know.
fn item(task: &Progress, (status, holders): (&Status, &Holders<'_>)) -> Value {
    let holder = holders.get(&task.id);
    let holder = holder.filter(|_| task.state == State::Claimed);
    let accept = task.accept.iter().take(FEW).map(|text| cut(text, TEXT));
    json!({
        "id": task.id,
        "type": if task.role.as_str().starts_with("review-") { "review" } else { "task" },
        "title": cut(&task.title, TEXT),
        "description": cut(&task.description, DESCRIPTION),
        "status": list_status(task.state),
        "priority": task.priority,
        "source": cut(&status.spec, TEXT),
        "role": task.role,
        "dependencies": task.depends_on.iter().take(FEW).collect::<Vec<_>>(),
        "acceptance_criteria": accept.collect::<Vec<_>>(),
        "createdAt": status.planned,
        "startedAt": task.started,
        "completedAt": task.finished.filter(|_| task.state == State::Done),
        "claimedBy": holder.map(|agent| &agent.sandbox),
        "claimedAt": task.claimed,
        "version": task.version,
        "retries": task.attempt.saturating_sub(1),
        "maxRetries": status.queue().max_attempts() - 1,
        "lastError": task.last_error.as_deref().map(|text| cut(text, DESCRIPTION)),
        "result": task.commit.as_ref().map(|commit| json!({ "commit": commit })),
    })
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
