//! `loki diff` and `loki show`: what a task or a run made.

use std::collections::BTreeSet;

use serde_json::json;

use crate::{git::ObjectId, task::State};

use super::{
    super::{
        exit::{Exit, Fault, OrExit},
        ui,
    },
    Chosen,
    args::{Diff, Show},
    print_patch,
};

/// Prints the newest work of a task, or all that landed in a run, as a patch.
pub(in crate::cli) fn diff(asked: &Diff) -> Result<Exit, Fault> {
    let run = asked.run.as_deref();
    let chosen = match &asked.work {
        Some(work) => Chosen::work(work, run)?,
        None => Chosen::run(run)?,
    };
    let sides = match &chosen.task {
        Some(task) => {
            let newest = chosen.newest(task)?;
            let newest = newest.ok_or_else(|| {
                Fault::new(Exit::Failed, format!("task `{task}` has made nothing yet"))
                    .hint("`loki status` shows how far it is")
            })?;
            chosen.sides(newest)?
        }
        None => landed(&chosen)?,
    };
    let patch = chosen
        .repository
        .patch((&sides.0, &sides.1), &BTreeSet::new());
    print_patch(&patch.or_exit(Exit::Failed)?);
    Ok(Exit::Done)
}

/// Returns where a run began and where its branch is.
fn landed(chosen: &Chosen) -> Result<(ObjectId, ObjectId), Fault> {
    let base = chosen.status.base.parse().or_exit(Exit::Failed)?;
    let head = chosen
        .repository
        .run_head(&chosen.run)
        .or_exit(Exit::Failed)?;
    let head = head.ok_or_else(|| {
        let message = format!("the branch of run {} is not there", chosen.run);
        Fault::new(Exit::Failed, message).hint("`loki status` shows how the run ended")
    })?;
    Ok((base, head))
}

/// Shows a task: where it stands, what was kept, what waits.
pub(in crate::cli) fn show(asked: &Show) -> Result<Exit, Fault> {
    let (chosen, task) = Chosen::task(&asked.work, asked.run.as_deref())?;
    let progress = chosen.progress(&task)?;
    let kept = chosen.repository.task_refs(&chosen.run, &task);
    let kept = kept.or_exit(Exit::Failed)?;
    if asked.json {
        ui::json(&json!({ "schema": 1, "run": chosen.run, "task": progress, "refs": kept }))?;
        return Ok(Exit::Done);
    }
    ui::data(format!(
        "{task} ({}): {}",
        progress.role,
        ui::visible(&progress.title)
    ));
    ui::data(format!("run      {}", chosen.run));
    ui::data(format!(
        "state    {}, attempt {}",
        word(progress.state),
        progress.attempt
    ));
    let commit = progress.commit.as_ref().or(progress.waiting.as_ref());
    if let Some(commit) = commit {
        ui::data(format!("commit   {commit}"));
    }
    for name in &kept {
        ui::data(format!("kept     {}", ui::visible(name)));
    }
    if let Some(error) = &progress.last_error {
        ui::data(format!("error    {}", ui::visible_lines(error)));
    }
    for need in &progress.needs {
        let kind = need.kind.as_ref().unwrap_or(&need.rule);
        ui::data(format!(
            "waits    {} ({kind}) {:.12}",
            ui::visible(&need.path),
            need.digest
        ));
        ui::data(format!("         {}", ui::visible(&need.message)));
    }
    next(&chosen, &task.to_string(), progress.state);
    Ok(Exit::Done)
}

fn next(chosen: &Chosen, task: &str, state: State) {
    let work = format!("{}/{task}", chosen.run);
    match state {
        State::Waiting => ui::note(format!(
            "look: `loki diff {work}`; then `loki approve {work}` or `loki reject {work} --reason TEXT`"
        )),
        State::Approved => ui::note(format!("approved: `loki resume {}` lands it", chosen.run)),
        _ => ui::note(format!("look: `loki diff {work}`, `loki logs {task}`")),
    }
}

/// Says a state as `loki status --json` does.
pub(super) fn word(state: State) -> String {
    let value = serde_json::to_value(state).unwrap_or_default();
    value.as_str().unwrap_or("unknown").to_owned()
}
