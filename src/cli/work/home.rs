//! `loki apply` and `loki drop`: landed work comes home, or what was kept goes.

use std::fs;

use crate::{
    event::Outcome,
    git::{Brought, ObjectId, remove_tree, run_branch},
    journal::Lock,
    status::Phase,
    task::State,
};

use super::{
    super::{
        exit::{Exit, Fault, OrExit},
        landing::at_tip,
        start::now,
        ui,
    },
    Chosen,
    args::{Apply, Drop},
};

/// Moves the user's checkout, or a branch of his, forward to what has landed in a run.
pub(in crate::cli) fn apply(asked: &Apply) -> Result<Exit, Fault> {
    let chosen = Chosen::run(asked.run.as_deref())?;
    let run = &chosen.run;
    let head = chosen.repository.run_head(run).or_exit(Exit::Failed)?;
    let head: ObjectId = head.ok_or_else(|| {
        let message = format!("branch `{}` is not there", run_branch(run));
        Fault::new(Exit::Failed, message).hint("`loki status` shows how the run ended")
    })?;
    let base = chosen.status.base.as_str();
    // While it lands, the branch may be ahead of the records that were read.
    if chosen.status.phase == Phase::Ended {
        at_tip(&chosen.repository, (run, base), &chosen.records, &head)?;
    }
    if chosen.status.outcome != Some(Outcome::Done) {
        ui::warning(format!(
            "run {run} is not done: this is what has landed so far"
        ));
    }
    let (brought, place) = match &asked.to {
        Some(branch) => (
            chosen.repository.bring_to(branch, &head),
            format!("branch `{}`", ui::visible(branch)),
        ),
        None => (
            chosen.repository.bring_here(&head),
            "your checkout".to_owned(),
        ),
    };
    ui::note(match brought.or_exit(Exit::Failed)? {
        Brought::Already => format!("{place} has all of run {run} already"),
        Brought::Forward(commit) => format!("{place} is at {commit} now, with all of run {run}"),
    });
    Ok(Exit::Done)
}

/// Deletes the refs and the quarantine of a run or a task. Its journal and logs stay.
pub(in crate::cli) fn drop(asked: &Drop) -> Result<Exit, Fault> {
    let chosen = Chosen::work(&asked.work, asked.run.as_deref())?;
    let (run, state) = (&chosen.run, chosen.state());
    if let Some(holder) = Lock::holder(&state).or_exit(Exit::Failed)?
        && holder.holds(run)
    {
        let message = format!("run {run} (process {}) is at work", holder.pid);
        return Err(Fault::new(Exit::Failed, message).hint(format!("`loki stop {run}` ends it")));
    }
    let waits = |one: &&crate::status::Progress| {
        let meant = chosen.task.as_ref().is_none_or(|task| one.id == *task);
        meant && matches!(one.state, State::Waiting | State::Approved)
    };
    if let Some(waiting) = chosen.status.tasks.iter().find(waits) {
        let id = &waiting.id;
        if chosen.task.is_some() {
            let message = format!("work of task `{id}` waits for you");
            let hint =
                format!("`loki reject {run}/{id} --reason TEXT` first, or `loki drop {run}`");
            return Err(Fault::new(Exit::Failed, message).hint(hint));
        }
        ui::warning(format!("work of task `{id}` waits for you, and goes, too"));
    }
    let refs = match &chosen.task {
        Some(task) => chosen.repository.task_refs(run, task),
        None => chosen.repository.run_refs(run),
    };
    let refs = refs.or_exit(Exit::Failed)?;
    let quarantine = state.join("quarantine").join(run.as_str());
    let kept = match &chosen.task {
        Some(task) => quarantine.join(format!("{task}.tar")),
        None => quarantine,
    };
    let is_kept = fs::symlink_metadata(&kept).is_ok();
    if refs.is_empty() && !is_kept {
        ui::note("there is nothing to drop");
        return Ok(Exit::Done);
    }
    refs.iter().for_each(|name| ui::data(ui::visible(name)));
    if is_kept {
        ui::data(ui::visible(&kept.to_string_lossy()));
    }
    if !asked.yes && !ui::ask("Delete all of it? Work that is on no other branch is lost.") {
        ui::note("nothing was deleted; `--yes` deletes it");
        return Ok(Exit::Failed);
    }
    // A run may have begun while the question stood.
    let lock = Lock::acquire(&state, run, now()).or_exit(Exit::Failed)?;
    chosen.repository.delete_refs(&refs).or_exit(Exit::Failed)?;
    if is_kept {
        remove_tree(&kept).or_exit(Exit::Failed)?;
    }
    std::mem::drop(lock);
    ui::note("deleted; the journal and the logs of the run stay: `loki clean` removes them");
    Ok(Exit::Done)
}
