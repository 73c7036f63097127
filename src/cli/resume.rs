//! `loki resume`: goes on with a run that is not over. Everything is looked at before anything is
//! done: the journal, what has changed since, what the last attempts may have done outside.

use std::{path::Path, sync::Arc};

use crate::{
    event::{Event, Outcome},
    git::{Join, ObjectId, Repository, run_branch},
    journal::{self, Lock, Reopened},
    name::RunId,
    sandbox,
    status::{Phase, Status},
    task::Batching,
};

use super::{
    answers, args, audit,
    begun::Begun,
    budget,
    course::{self, Begins, Course},
    env::Environment,
    exit::{Exit, Fault, OrExit},
    restart, setup,
    start::{Planned, described, new_run, now, roles},
    task, ui,
};

/// Runs the verb.
pub(super) async fn resume(env: &Environment, args: &args::Resume) -> Result<Exit, Fault> {
    let repository = setup::repository()?;
    repository.refuse_tracked_state().or_exit(Exit::Usage)?;
    let state = repository.root().join(".loki");
    let Some(run) = pick(&state, args.run.as_ref())? else {
        ui::note("no run of this repository is left unfinished");
        if !state.join("journal").is_dir() {
            return Ok(Exit::Done);
        }
        let lock = Lock::acquire(&state, &new_run()?, now()).or_exit(Exit::Failed)?;
        tidy_unheard(env, &repository, &lock)?;
        if lock.abandoned().is_some() {
            remove_leftovers(env, &repository).await?;
        }
        return Ok(Exit::Done);
    };
    let lock = Lock::acquire(&state, &run, now()).or_exit(Exit::Failed)?;
    tidy_unheard(env, &repository, &lock)?;
    let records = journal::read(&journal::path(&state, &run)).or_exit(Exit::Failed)?;
    let status = Status::fold(&records);
    if let Some(outcome @ (Outcome::Done | Outcome::Failed)) = status.outcome {
        return over(env, &repository, (&run, outcome)).await;
    }
    let begun = Begun::of(&records)?;
    let planned = begun.again(env, (&repository, args))?;
    let exit = go_on(env, planned, (args, &begun, run)).await;
    drop(lock);
    exit
}

/// Makes everything ready and drives the run on.
async fn go_on(
    env: &Environment,
    planned: Planned,
    (args, begun, run): (&args::Resume, &Begun<'_>, RunId),
) -> Result<Exit, Fault> {
    let tasks = begun.tasks().unwrap_or_else(|| planned.tasks.clone());
    let repository = &planned.repository;
    let state = repository.root().join(".loki");
    let batching = (!args.no_batch).then(Batching::default);
    let rules = task::rules(env, repository.root(), batching)?;
    let cut = begun.cut(&planned, args)?;
    let launcher = planned.launcher(env, &tasks).await?;
    let keeper = course::keeper(env, &state)?;
    answers::keep(env, &launcher, &state)?;
    restart::charge(&launcher.threads, (&state, &planned.policy), now());
    let mut kept = course::sweep(repository, &launcher, &keeper).await?;
    let engine = launcher.engine.as_ref();
    let images = setup::images_of(env, engine, &planned.policy, roles(&tasks)).await?;
    let reopened = audit::reopen(env, &state, &run)?;
    let Reopened {
        mut writer,
        records,
        torn,
    } = reopened;
    course::may_die(env, &mut writer)?;
    mend_branch(repository, (&run, begun))?;
    let resumed = Event::Resumed {
        loki: env!("CARGO_PKG_VERSION").to_owned(),
        engine: described(engine.report()),
        spec_sha256: planned.intake.sha256.clone(),
        policy_sha256: planned.policy.sha256(),
        torn: torn.unwrap_or(0),
    };
    kept.retain(|(of, _)| *of == run);
    let mut opening = vec![resumed];
    opening.extend(kept.into_iter().map(|(_, event)| event));
    opening.extend(budget::again(&planned.budgets, &records));
    if begun.tasks().is_none() {
        opening.push(Event::Planned { tasks });
    }
    let course = Course {
        writer,
        history: records,
        opening,
        cut,
        parallel: args.parallel.unwrap_or(begun.asked.parallel),
        begins: Begins::Again,
        rules,
        prices: planned.prices.clone(),
    };
    let installs = planned.installs(env, &launcher)?;
    let work = planned.work(run, launcher, (images, Arc::clone(&keeper), installs));
    let exit = course.drive(&work).await;
    course::forget_old_checkpoints(keeper).await;
    exit
}

/// Picks the run that was asked for, or the newest that is not over.
fn pick(state: &Path, wanted: Option<&RunId>) -> Result<Option<RunId>, Fault> {
    let runs = journal::runs(state).or_exit(Exit::Failed)?;
    if let Some(wanted) = wanted {
        if runs.contains(wanted) {
            return Ok(Some(wanted.clone()));
        }
        let message = format!("there is no run `{wanted}` here");
        return Err(Fault::new(Exit::Usage, message).hint("`loki status` names the newest"));
    }
    let open = |run: &&RunId| is_open(state, run);
    Ok(runs.iter().rev().find(open).cloned())
}

/// Returns whether a run can be gone on with. One that cannot be read is: whoever tries is told why.
fn is_open(state: &Path, run: &RunId) -> bool {
    match journal::read(&journal::path(state, run)) {
        Ok(records) => {
            let outcome = Status::fold(&records).outcome;
            !records.is_empty() && !matches!(outcome, Some(Outcome::Done | Outcome::Failed))
        }
        Err(_) => true,
    }
}

/// Tells whoever starts a run of one before it that is not over.
pub(super) fn name_unfinished(state: &Path) {
    let newest = journal::runs(state).ok().and_then(|mut runs| runs.pop());
    if let Some(run) = newest.filter(|run| is_open(state, run)) {
        ui::note(format!(
            "run {run} is not over: `loki resume {run}` goes on with it; this start begins another"
        ));
    }
}

/// Removes what an orchestrator that died left of runs that are not to be gone on with: a journal
/// that never began, and the task branches of a run that was done.
pub(super) fn tidy_unheard(
    env: &Environment,
    repository: &Repository,
    lock: &Lock,
) -> Result<(), Fault> {
    let state = repository.root().join(".loki");
    let anchors = audit::anchors(env, repository.root()).ok();
    let unbegun = journal::forget_unbegun(&state, anchors.as_deref()).or_exit(Exit::Failed)?;
    for run in unbegun.destroyed {
        ui::warning(format!(
            "the journal of run {run} has no record any more, though records of it were sealed: \
             it stays as it is; `loki audit verify --run {run}` says what it held"
        ));
    }
    let Some(dead) = lock.abandoned() else {
        return Ok(());
    };
    let records = journal::read(&journal::path(&state, &dead.run)).unwrap_or_default();
    if Status::fold(&records).outcome == Some(Outcome::Done) {
        course::forget_task_branches(repository, &dead.run)?;
    }
    Ok(())
}

/// A run that is over: what its orchestrator may have left is removed, and that is all.
async fn over(
    env: &Environment,
    repository: &Repository,
    (run, outcome): (&RunId, Outcome),
) -> Result<Exit, Fault> {
    remove_leftovers(env, repository).await?;
    let branch = run_branch(run);
    if outcome == Outcome::Done {
        course::forget_task_branches(repository, run)?;
        ui::note(format!(
            "run {run} is done: branch `{branch}` holds the work"
        ));
        return Ok(Exit::Done);
    }
    ui::note(format!(
        "run {run} has failed and cannot be gone on with: `loki status --run {run}` says why, `loki start` begins anew"
    ));
    Ok(Exit::Failed)
}

/// Removes the containers and slots of dead orchestrators, none of whose work counts any more.
async fn remove_leftovers(env: &Environment, repository: &Repository) -> Result<(), Fault> {
    match setup::engine(env).await {
        Ok(engine) => {
            let label = sandbox::repository_label(repository.root());
            let swept = sandbox::sweep(engine.as_ref(), Some(&label)).await;
            drop(swept.or_exit(Exit::NoSandbox)?);
        }
        Err(fault) => ui::warning(format!(
            "containers may be left: {}; the next start looks again",
            fault.message
        )),
    }
    repository.sweep(&[]).or_exit(Exit::Failed).map(drop)
}

/// Sees that the run's branch holds what the journal says has landed, and puts it there where only
/// the branch is behind.
fn mend_branch(repository: &Repository, (run, begun): (&RunId, &Begun<'_>)) -> Result<(), Fault> {
    repository.forget_stale_locks(run).or_exit(Exit::Failed)?;
    let landed = begun
        .records
        .iter()
        .rev()
        .find_map(|record| match &record.event {
            Event::TaskDone {
                commit: Some(commit),
                ..
            } => Some(commit.parse::<ObjectId>()),
            _ => None,
        });
    let landed = landed.transpose().or_exit(Exit::Failed)?;
    let Some(head) = repository.run_head(run).or_exit(Exit::Failed)? else {
        let base: ObjectId = begun.base.parse().or_exit(Exit::Failed)?;
        let at = landed.unwrap_or(base);
        return repository.create_run_branch(run, &at).or_exit(Exit::Failed);
    };
    let Some(landed) = landed else {
        return Ok(());
    };
    match repository.join(&head, &landed).or_exit(Exit::Failed)? {
        Join::Landed => Ok(()),
        Join::Forward(_) => repository
            .advance(run, &head, &landed)
            .or_exit(Exit::Failed),
        Join::Merge(_) | Join::Conflict(_) => {
            let branch = run_branch(run);
            let message =
                format!("branch `{branch}` does not hold commit {landed}, which has landed");
            Err(Fault::new(Exit::Failed, message).hint(format!(
                "somebody moved it: `git branch -f {branch} {landed}` puts it back, then resume again"
            )))
        }
    }
}

/// Returns the status of a run whose orchestrator is gone: one that is not over was interrupted.
pub(super) fn orphaned(status: Status, run: &RunId) -> Status {
    if status.phase != Phase::Ended {
        ui::warning(format!(
            "the orchestrator of this run is gone: `loki resume {run}` goes on with it"
        ));
    }
    status.orphaned()
}
