//! `loki task list` and `loki task show`: where tasks stand and what each waits for.

use serde_json::{Value, json};

use crate::{
    journal::{Holder, Lock},
    name::{Role, TaskId},
    status::{Progress, Status, Waits},
    task::State,
};

use super::{
    super::{
        args::Shown,
        exit::{Exit, Fault, OrExit},
        resume,
        start::now,
        ui,
        views::{self, Chosen},
    },
    args::One,
};

/// A run to look at, as it stands.
pub(super) struct Look {
    pub(super) chosen: Chosen,
    pub(super) status: Status,
    /// Whether its orchestrator lives.
    pub(super) lives: bool,
    /// Whether others go on here, too.
    pub(super) beside: bool,
}

/// Looks at the run that is meant; none when no run was ever made here.
pub(super) fn look(run: Option<&crate::name::RunId>) -> Result<Option<Look>, Fault> {
    let Some(chosen) = views::choose(run)? else {
        return Ok(None);
    };
    let held = Lock::holder(chosen.state()).or_exit(Exit::Failed)?;
    let (mut lives, mut beside) = (false, false);
    for run in held.iter().flat_map(Holder::runs) {
        match *run == chosen.run {
            true => lives = true,
            false => beside = true,
        }
    }
    let status = Status::fold(&chosen.records()?);
    Ok(Some(Look {
        chosen,
        status,
        lives,
        beside,
    }))
}

/// Lists every task.
pub(super) fn list(shown: &Shown) -> Result<Exit, Fault> {
    let Some(look) = look(shown.run.as_ref())? else {
        if shown.json {
            ui::json(&json!({ "schema": 1, "run": null, "tasks": [], "breakers": [] }))?;
        }
        return Ok(Exit::Done);
    };
    let run = look.chosen.run.clone();
    let status = shown_status(look);
    if shown.json {
        let tasks: Vec<Value> = status
            .tasks
            .iter()
            .map(|task| item(&status, task))
            .collect();
        ui::json(&json!({
            "schema": 1, "run": run, "tasks": tasks, "breakers": status.breakers,
        }))?;
        return Ok(Exit::Done);
    }
    let rows = status.tasks.iter().map(|task| {
        vec![
            task.id.to_string(),
            task.role.to_string(),
            task.priority.to_string(),
            word(task.state),
            task.attempt.to_string(),
            waits(&status, task),
            ui::visible(&task.title),
        ]
    });
    ui::table(
        &[
            "TASK",
            "ROLE",
            "PRIORITY",
            "STATE",
            "ATTEMPT",
            "WAITS FOR",
            "TITLE",
        ],
        rows,
    );
    Ok(Exit::Done)
}

/// Shows one task.
pub(super) fn show(one: &One) -> Result<Exit, Fault> {
    let Some(look) = look(one.shown.run.as_ref())? else {
        return Ok(Exit::Usage);
    };
    let run = look.chosen.run.clone();
    let status = shown_status(look);
    let task = find(&status, &one.task)?;
    if one.shown.json {
        ui::json(&json!({ "schema": 1, "run": run, "task": item(&status, task) }))?;
        return Ok(Exit::Done);
    }
    ui::data(format!(
        "{} ({}): {}",
        task.id,
        task.role,
        ui::visible(&task.title)
    ));
    ui::data(format!("run       {run}"));
    ui::data(format!(
        "state     {}, attempt {}",
        word(task.state),
        task.attempt
    ));
    ui::data(format!("priority  {}", task.priority));
    let list = |name: &str, items: Vec<String>| {
        if !items.is_empty() {
            ui::data(format!("{name:9} {}", items.join(", ")));
        }
    };
    let waits = waits(&status, task);
    list(
        "waits for",
        Some(waits).filter(|text| text != "-").into_iter().collect(),
    );
    list(
        "after",
        task.depends_on.iter().map(TaskId::to_string).collect(),
    );
    list(
        "files",
        task.files.iter().map(|file| ui::visible(file)).collect(),
    );
    list(
        "checks",
        task.accept.iter().map(|check| ui::visible(check)).collect(),
    );
    list("commit", task.commit.clone().into_iter().collect());
    if let Some(error) = &task.last_error {
        ui::data(format!("reason    {}", ui::visible_lines(error)));
    }
    next(task);
    Ok(Exit::Done)
}

fn next(task: &Progress) {
    let id = &task.id;
    match task.state {
        State::Failed => ui::note(format!(
            "`loki task retry {id}` tries it anew; look: `loki logs {id}`, `loki show {id}`"
        )),
        State::Cancelled => ui::note(format!("`loki task retry {id}` brings it back")),
        State::Waiting => ui::note(format!(
            "look: `loki show {id}`, then `loki approve {id}` or `loki reject {id}`"
        )),
        State::Pending | State::Blocked => ui::note(format!(
            "`loki task priority {id} high` or `loki task cancel {id}` changes that"
        )),
        _ => {}
    }
}

fn shown_status(look: Look) -> Status {
    match look.lives {
        true => look.status,
        false => resume::orphaned(look.status, &look.chosen.run),
    }
}

/// Finds a task of a run.
pub(super) fn find<'s>(status: &'s Status, task: &TaskId) -> Result<&'s Progress, Fault> {
    let found = status.tasks.iter().find(|one| one.id == *task);
    found.ok_or_else(|| {
        let known = status.tasks.iter().map(|one| one.id.as_str());
        let hint = match crate::diagnostic::closest(task.as_str(), known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`loki task list` shows the tasks".to_owned(),
        };
        Fault::new(Exit::Usage, format!("the run has no task `{task}`")).hint(hint)
    })
}

fn item(status: &Status, task: &Progress) -> Value {
    json!({
        "id": task.id,
        "role": task.role,
        "title": task.title,
        "description": task.description,
        "priority": task.priority,
        "state": task.state,
        "attempt": task.attempt,
        "version": task.version,
        "depends_on": task.depends_on,
        "accept": task.accept,
        "files": task.files,
        "waits": status.waits(task, now()),
        "until": task.until,
        "deferrals": task.deferrals,
        "commit": task.commit,
        "last_error": task.last_error,
    })
}

/// Says what a task waits for, `-` where it waits for nothing.
fn waits(status: &Status, task: &Progress) -> String {
    let names = |tasks: &[TaskId]| {
        let names: Vec<&str> = tasks.iter().take(3).map(TaskId::as_str).collect();
        let more = tasks.len().saturating_sub(3);
        match more {
            0 => names.join(", "),
            more => format!("{} and {more} more", names.join(", ")),
        }
    };
    match status.waits(task, now()) {
        None => "-".to_owned(),
        Some(Waits::Dependencies { tasks }) => names(&tasks),
        Some(Waits::Lost { tasks }) => format!("{}, which will not land", names(&tasks)),
        Some(Waits::Rest { until }) => format!("its provider, until {until:.0}"),
        Some(Waits::Breaker { until: Some(until) }) => {
            format!("its role's breaker, until {until:.0}")
        }
        Some(Waits::Breaker { until: None }) => {
            "its role's breaker: another attempt decides".to_owned()
        }
        Some(Waits::Budget { passed }) => {
            let whose = passed.role.as_ref().map_or("the run", Role::as_str);
            format!("a larger budget: {} of {whose}", passed.measure.word())
        }
        Some(Waits::Person) => format!("you: loki approve {}", task.id),
        Some(Waits::Resume) => "loki resume".to_owned(),
        Some(Waits::Slot) => "a slot, or memory".to_owned(),
    }
}

/// Says a state as `loki status --json` does.
pub(super) fn word(state: State) -> String {
    let value = serde_json::to_value(state).unwrap_or_default();
    value.as_str().unwrap_or("unknown").to_owned()
}
