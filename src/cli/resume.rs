//! `loki resume`: goes on with a run that is not over. Everything is looked at before anything is
//! done: the journal, what has changed since, what the last attempts may have done outside.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    event::{Event, Outcome, Record},
    git::{GitError, Join, ObjectId, Repository, run_branch},
    journal::{self, Holder, Lock, Reopened},
    name::{RunId, TaskId},
    run::{self, Cut, HeldAlready, Landings},
    sandbox::{self, Launcher},
    status::{Phase, Status},
};

use super::{
    args, audit,
    begun::{Begun, PERSON},
    budget,
    course::{self, Course},
    ended,
    env::Environment,
    exit::{Exit, Fault, OrExit},
    held::{self, Orchestrator, Ready, Wanted},
    setup,
    start::{Planned, described, new_run, now, roles},
    ui,
};

/// A wish to go on with a run, wherever it was typed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Again {
    /// The repository.
    pub(super) root: PathBuf,
    /// Which run.
    pub(super) run: RunId,
    /// What was typed.
    pub(super) args: args::Resume,
    /// The tasks whose attempt a person agreed to see made again.
    pub(super) agreed: Vec<TaskId>,
}

/// A run to be gone on with, read and checked.
pub(super) struct Resumption {
    pub(super) again: Again,
    pub(super) planned: Planned,
    records: Vec<Record>,
    cut: Vec<Cut>,
}

/// Runs the verb.
pub(super) async fn resume(env: &Environment, args: &args::Resume) -> Result<Exit, Fault> {
    let stay = args.stay.check()?;
    let repository = setup::repository()?;
    repository.refuse_tracked_state().or_exit(Exit::Usage)?;
    let state = repository.root().join(".loki");
    let holder = Lock::holder(&state).or_exit(Exit::Failed)?;
    let Some(run) = pick(&state, (args.run.as_ref(), holder.as_ref()))? else {
        ui::note("no run of this repository is left unfinished");
        if holder.is_some() || !state.join("journal").is_dir() {
            return Ok(Exit::Done);
        }
        let lock = Lock::acquire(&state, &new_run()?, now()).or_exit(Exit::Failed)?;
        tidy_unheard(env, &repository, &lock)?;
        if lock.abandoned().is_some() {
            remove_leftovers(env, &repository).await?;
        }
        return Ok(Exit::Done);
    };
    if holder.as_ref().is_some_and(|holder| holder.holds(&run)) {
        return Err(HeldAlready { run }).or_exit(Exit::Failed);
    }
    let records = journal::read(&journal::path(&state, &run)).or_exit(Exit::Failed)?;
    if let Some(outcome) = ended(&records) {
        if holder.is_some() {
            return say_over(&state, (&run, outcome));
        }
        let lock = Lock::acquire(&state, &run, now()).or_exit(Exit::Failed)?;
        tidy_unheard(env, &repository, &lock)?;
        return over(env, &repository, (&run, outcome)).await;
    }
    let again = Again {
        root: repository.root().to_owned(),
        run,
        args: args.clone(),
        agreed: Vec::new(),
    };
    let wanted = Wanted::Resume(Box::new(Resumption::of(
        env,
        again,
        (&repository, records),
    )?));
    held::carry_out(env, wanted, stay).await
}

/// Returns how a run ended that cannot be gone on with.
fn ended(records: &[Record]) -> Option<Outcome> {
    let outcome = Status::fold(records).outcome;
    outcome.filter(|outcome| matches!(outcome, Outcome::Done | Outcome::Failed))
}

impl Resumption {
    /// Reads and checks everything again, as it was at the start.
    pub(super) fn read(env: &Environment, again: Again) -> Result<Self, Fault> {
        let repository = setup::repository_at(&again.root)?;
        repository.refuse_tracked_state().or_exit(Exit::Usage)?;
        let state = repository.root().join(".loki");
        let records = journal::read(&journal::path(&state, &again.run)).or_exit(Exit::Failed)?;
        if let Some(outcome) = ended(&records) {
            say_over(&state, (&again.run, outcome))?;
            let message = format!("run {} is over", again.run);
            return Err(Fault::new(Exit::Failed, message).hint("`loki start` begins anew"));
        }
        Self::of(env, again, (&repository, records))
    }

    fn of(
        env: &Environment,
        mut again: Again,
        (repository, records): (&Repository, Vec<Record>),
    ) -> Result<Self, Fault> {
        let begun = Begun::of(&records)?;
        let planned = begun.again(env, (repository, &again.args))?;
        let cut = begun.cut(&planned, (&again.args, &again.agreed))?;
        let agreed = cut.iter().filter(|cut| cut.by.as_deref() == Some(PERSON));
        again.agreed = agreed.map(|cut| cut.of.task.clone()).collect();
        Ok(Self {
            again,
            planned,
            records,
            cut,
        })
    }

    /// Returns the plan: that of the journal, once it has one.
    pub(super) fn tasks(&self) -> Result<Vec<crate::task::Task>, Fault> {
        let begun = Begun::of(&self.records)?;
        let tasks = begun.tasks();
        Ok(tasks.unwrap_or_else(|| self.planned.tasks.clone()))
    }

    /// Makes everything ready for the run to go on.
    pub(super) async fn prepare(
        self,
        env: &Environment,
        orchestrator: &Orchestrator,
        launcher: Launcher,
    ) -> Result<Ready, Fault> {
        let tasks = self.tasks()?;
        let Self {
            again,
            planned,
            records: before,
            cut,
        } = self;
        let Again { run, args, .. } = again;
        let repository = &planned.repository;
        let state = repository.root().join(".loki");
        let engine = launcher.engine.as_ref();
        let images = setup::images_of(env, engine, &planned.policy, roles(&tasks)).await?;
        let installs = planned.installs(env, &launcher)?;
        let Reopened {
            mut writer,
            mut records,
            torn,
        } = audit::reopen(env, &state, &run)?;
        if records.len() != before.len() {
            let message = format!("run {run} went on meanwhile, in another process");
            return Err(Fault::new(Exit::Failed, message)
                .hint(format!("`loki status --run {run}` shows it")));
        }
        course::may_die(env, &mut writer)?;
        let begun = Begun::of(&records)?;
        mend_branch(repository, (&run, &begun))?;
        let resumed = resumed(&planned, &launcher, torn.unwrap_or(0));
        let mut opening = orchestrator.kept_of(&run);
        let spends = (&planned.budgets, &planned.prices);
        opening.extend(budget::again(spends, &records));
        if begun.tasks().is_none() {
            opening.push(Event::Planned { tasks });
        }
        let parallel = args.parallel.unwrap_or(begun.asked.parallel);
        let behind = records.last().map_or(0, |record| record.seq);
        let first = run::begin(&mut writer, &launcher.redactor, resumed).or_exit(Exit::Failed)?;
        records.push(first);
        let course = Course {
            writer,
            history: records,
            opening,
            cut,
            parallel,
            behind,
            rules: planned.rules.clone(),
            prices: planned.prices.clone(),
        };
        let keeper = Arc::clone(&orchestrator.keeper);
        Ok(Ready {
            work: planned.work(run, launcher, (images, keeper, installs)),
            course,
            shipment: None,
        })
    }
}

fn resumed(planned: &Planned, launcher: &Launcher, torn: u64) -> Event {
    Event::Resumed {
        loki: env!("CARGO_PKG_VERSION").to_owned(),
        engine: described(launcher.engine.report()),
        spec_sha256: planned.intake.sha256.clone(),
        policy_sha256: planned.policy.sha256(),
        torn,
    }
}

/// Picks the run that was asked for, or the newest that is not over and that nobody goes on with.
fn pick(
    state: &Path,
    (wanted, holder): (Option<&RunId>, Option<&Holder>),
) -> Result<Option<RunId>, Fault> {
    let runs = journal::runs(state).or_exit(Exit::Failed)?;
    if let Some(wanted) = wanted {
        if runs.contains(wanted) {
            return Ok(Some(wanted.clone()));
        }
        let message = format!("there is no run `{wanted}` here");
        return Err(Fault::new(Exit::Usage, message).hint("`loki status` names the newest"));
    }
    let goes_on = |run: &RunId| holder.is_some_and(|holder| holder.holds(run));
    let open = |run: &&RunId| !goes_on(run) && is_open(state, run);
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

/// Tells whoever starts a run of one before it that is not over, other than those held here.
pub(super) fn name_unfinished(state: &Path, held: &[RunId]) {
    let mut runs = journal::runs(state).unwrap_or_default();
    runs.retain(|run| !held.contains(run));
    if let Some(run) = runs.pop().filter(|run| is_open(state, run)) {
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
    for run in lock.abandoned().into_iter().flat_map(Holder::runs) {
        let records = journal::read(&journal::path(&state, run)).unwrap_or_default();
        if Status::fold(&records).outcome == Some(Outcome::Done) {
            course::forget_task_branches(repository, run)?;
        }
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
    if outcome == Outcome::Done {
        course::forget_task_branches(repository, run)?;
    }
    say_over(&repository.root().join(".loki"), (run, outcome))
}

fn say_over(state: &Path, (run, outcome): (&RunId, Outcome)) -> Result<Exit, Fault> {
    if outcome == Outcome::Done {
        ended::say(state, run, outcome);
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

/// Returns the commit of the task that was done last. Of the first journals no other is known.
fn done(records: &[Record]) -> Option<Result<ObjectId, GitError>> {
    records.iter().rev().find_map(|record| match &record.event {
        Event::TaskDone {
            commit: Some(commit),
            ..
        } => Some(commit.parse()),
        _ => None,
    })
}

/// Sees that the run's branch holds what the journal says has landed, and puts it there where only
/// the branch is behind.
fn mend_branch(repository: &Repository, (run, begun): (&RunId, &Begun<'_>)) -> Result<(), Fault> {
    repository.forget_stale_locks(run).or_exit(Exit::Failed)?;
    // Also where the last move took something back, and did not come to the branch.
    let landed = match Landings::fold(begun.records).tip() {
        Some(tip) => Some(tip.clone()),
        None => done(begun.records).transpose().or_exit(Exit::Failed)?,
    };
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
