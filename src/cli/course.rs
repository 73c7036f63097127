//! The course of a run, new or taken up again: driven and shown, what it leaves removed, its end
//! told.

use std::{path::Path, sync::Arc};

use tokio::sync::mpsc;

use crate::{
    budget::Prices,
    diagnostic::explained,
    event::{Event, Outcome, Record},
    git::{Repository, run_branch},
    journal::Writer,
    name::{RunId, TaskId},
    run::{
        self, Admission, Control, Cut, Ending, Held, Keeper, Rules, RunError, Session, Subject,
        Work,
    },
    sandbox::{self, Launcher, Slot},
    text::visible,
};

use super::{
    audit, checkpoint, ended,
    env::Environment,
    exit::{Exit, Fault, OrExit},
    progress::Progress,
    start::now,
    ui,
};

/// What a run begins or goes on with.
pub(super) struct Course {
    pub(super) writer: Writer,
    pub(super) history: Vec<Record>,
    pub(super) opening: Vec<Event>,
    pub(super) cut: Vec<Cut>,
    pub(super) parallel: u16,
    /// The last record that was told by an earlier process: those behind it are news.
    pub(super) behind: u64,
    pub(super) rules: Rules,
    pub(super) prices: Prices,
}

/// Where a run goes on.
pub(super) struct Stage {
    /// What is asked of it.
    pub(super) controls: mpsc::Receiver<Control>,
    /// The runs beside it.
    pub(super) held: Arc<Held>,
    /// What they share with it.
    pub(super) admission: Arc<Admission>,
    pub(super) shown: Shown,
}

/// Who is shown each step of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// Whoever watches this process.
    Here,
    /// Whoever follows the journal.
    Elsewhere,
}

/// Returns how a program ends that waited for a run which came to this.
pub(super) fn exit_of(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Done => Exit::Done,
        Outcome::Waiting => Exit::Waiting,
        Outcome::Limited => Exit::Limited,
        Outcome::Failed | Outcome::Stopped => Exit::Failed,
    }
}

impl Course {
    /// Drives a run to its end and tells it.
    pub(super) async fn drive(self, work: &Arc<Work>, stage: Stage) -> Result<Outcome, Fault> {
        let (observer, watched) = mpsc::unbounded_channel();
        let watched = (stage.shown == Shown::Here).then_some(watched);
        for record in self.history.iter().filter(|one| one.seq > self.behind) {
            // Nobody needs to watch.
            observer.send(record.clone()).ok();
        }
        let session = Session {
            writer: self.writer,
            history: self.history,
            opening: self.opening,
            cut: self.cut,
            parallel: usize::from(self.parallel),
            controls: stage.controls,
            observer,
            shows: shows(stage.held, &work.run),
            admission: stage.admission,
            rules: self.rules,
            prices: self.prices,
        };
        let (ending, ()) = tokio::join!(run::drive(Arc::clone(work), session), show(watched));
        if let Err(fault) = tidy(work).await {
            ui::warning(format!(
                "something of the run is left: {}; the next start looks again",
                fault.message
            ));
        }
        let ending = ending.map_err(|cause| broken_off(&work.run, &cause))?;
        if ending.outcome == Outcome::Done {
            forget_task_branches(&work.repository, &work.run)?;
        }
        summary(work, &ending);
        Ok(ending.outcome)
    }
}

async fn show(watched: Option<mpsc::UnboundedReceiver<Record>>) {
    if let Some(watched) = watched {
        Progress::default().show(watched).await;
    }
}

/// Of several runs the files for other tools show the newest.
fn shows(held: Arc<Held>, run: &RunId) -> Arc<dyn Fn() -> bool + Send + Sync> {
    let run = run.clone();
    Arc::new(move || held.is_newest(&run))
}

/// Says why a run broke off, and how to go on with it: nothing that it reported is lost.
fn broken_off(run: &RunId, cause: &RunError) -> Fault {
    let fault = Fault::new(Exit::Failed, explained(cause));
    match cause {
        RunError::Journal(_) => fault.hint(format!(
            "mend that, then `loki resume {run}`: nothing that was reported is lost"
        )),
        _ => fault.hint(format!(
            "`loki status --run {run}` shows how far it came, `loki resume {run}` goes on"
        )),
    }
}

/// Has a writer die at one of its writes, where a test of ours asks for it.
#[cfg(debug_assertions)]
pub(super) fn may_die(env: &Environment, writer: &mut Writer) -> Result<(), Fault> {
    let point = env.kill_at_write.as_deref().map(str::parse).transpose();
    writer.dies_at(point.or_exit(Exit::Usage)?);
    Ok(())
}

/// Has a writer die at one of its writes, where a test of ours asks for it: not in this program.
#[cfg(not(debug_assertions))]
#[expect(clippy::unnecessary_wraps, reason = "as in a program for debugging")]
pub(super) fn may_die(_: &Environment, _: &mut Writer) -> Result<(), Fault> {
    Ok(())
}

/// Prepares keeping what agents write.
pub(super) fn keeper(env: &Environment, state: &Path) -> Result<Arc<Keeper>, Fault> {
    // Whoever seals journals signs these, too.
    audit::key(env)?;
    let settings = checkpoint::settings(env)?;
    let keeper = Keeper::new(settings, state.to_owned(), Keeper::QUOTA, now);
    keeper.map(Arc::new).or_exit(Exit::Failed)
}

/// Removes checkpoints that a run leaves to be removed; those of other runs count, too.
pub(super) async fn forget_old_checkpoints(keeper: Arc<Keeper>) {
    let tidied = tokio::task::spawn_blocking(move || keeper.tidy()).await;
    let failed = match tidied {
        Ok(Ok(_)) => return,
        Ok(Err(cause)) => explained(&cause),
        Err(panicked) => panicked.to_string(),
    };
    ui::warning(format!("old checkpoints stay: {}", ui::visible(&failed)));
}

/// Removes what a run that was ended left standing, and nothing of the runs beside it.
async fn tidy(work: &Work) -> Result<(), Fault> {
    let label = sandbox::repository_label(work.repository.root());
    let ended = work.launcher.end_run(&label, &work.run).await;
    ended.or_exit(Exit::Failed)?;
    if let Some(keeper) = &work.keeper {
        let left = abandoned(&work.repository.worktrees_dir())
            .into_iter()
            .filter(|left| left.origin.run.as_ref() == Some(&work.run));
        drop(salvage(left.collect(), &work.launcher, keeper).await);
    }
    let swept = work.repository.sweep_run(&work.run);
    swept.or_exit(Exit::Failed)
}

/// Removes the branches of single tasks: once a run is done, all of their work is on its branch.
/// Those of a run that failed stay, for they may hold what did not land.
pub(super) fn forget_task_branches(repository: &Repository, run: &RunId) -> Result<(), Fault> {
    let mut refs = repository.run_refs(run).or_exit(Exit::Failed)?;
    refs.retain(|name| name.starts_with("refs/heads/loki-tasks/"));
    repository.delete_refs(&refs).or_exit(Exit::Failed)
}

/// Removes what dead orchestrators left in this repository, before a new one holds any run:
/// containers first, so that nobody writes any more, then the rest. What their agents had written is
/// kept in checkpoints, which are returned as the events of their runs.
pub(super) async fn sweep(
    repository: &Repository,
    launcher: &Launcher,
    keeper: &Arc<Keeper>,
) -> Result<Vec<(RunId, Event)>, Fault> {
    let label = sandbox::repository_label(repository.root());
    for gone in sandbox::sweep(launcher.engine.as_ref(), Some(&label))
        .await
        .or_exit(Exit::NoSandbox)?
    {
        ui::note(format!(
            "removed a sandbox left by run {}: {}",
            gone.run, gone.task
        ));
    }
    let left = abandoned(&repository.worktrees_dir());
    let kept = salvage(left, launcher, keeper).await;
    repository.sweep(&[]).or_exit(Exit::Failed)?;
    Ok(kept)
}

/// Keeps what agents had written that were cut off.
async fn salvage(
    left: Vec<Subject>,
    launcher: &Launcher,
    keeper: &Arc<Keeper>,
) -> Vec<(RunId, Event)> {
    let mut kept = Vec::new();
    for subject in left {
        let (keeper, secrets) = (Arc::clone(keeper), launcher.redactor.clone());
        let made = tokio::task::spawn_blocking(move || keeper.keep_abandoned(&subject, &secrets));
        match made.await {
            Ok((run, event)) => {
                say_kept(&event);
                kept.push((run, event));
            }
            Err(panicked) => ui::warning(format!("a bug of ours: {panicked}")),
        }
    }
    kept
}

fn say_kept(event: &Event) {
    if let Event::Checkpointed {
        sandbox,
        checkpoint,
        reason,
        ..
    } = event
    {
        match (checkpoint, reason) {
            (Some(id), _) => ui::note(format!(
                "kept what {sandbox} had written: `loki checkpoint show {id}`"
            )),
            (None, reason) => ui::warning(format!(
                "what {sandbox} had written could not be kept: {}",
                visible(reason.as_deref().unwrap_or("no reason is known"))
            )),
        }
    }
}

/// Finds the slots of attempts: others hold nothing that an agent wrote.
fn abandoned(worktrees: &Path) -> Vec<Subject> {
    let runs = entries(worktrees).filter_map(|run| {
        let id: RunId = run.file_name()?.to_str()?.parse().ok()?;
        Some((id, run))
    });
    let slots = runs.flat_map(|(run, path)| entries(&path).map(move |slot| (run.clone(), slot)));
    let attempts = slots.filter_map(|(run, path)| {
        let name = path.file_name()?.to_str()?.to_owned();
        let (task, attempt) = name.rsplit_once('-')?;
        attempt.parse::<u32>().ok()?;
        let task: TaskId = task.parse().ok()?;
        let slot = Slot::at(path.clone());
        // Without a home no agent ever stood here.
        slot.home()
            .is_dir()
            .then(|| Subject::abandoned((run, task, name), &slot))
    });
    attempts.collect()
}

fn entries(directory: &Path) -> impl Iterator<Item = std::path::PathBuf> + use<> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

fn summary(work: &Work, ending: &Ending) {
    let (branch, run) = (run_branch(&work.run), &work.run);
    let (outcome, word) = (ending.outcome, ending.outcome.words());
    if outcome == Outcome::Done {
        ui::note(format!("{word}: branch `{branch}` holds the work"));
    } else {
        let reason = ending.reason.as_deref().unwrap_or("no reason is known");
        ui::note(format!("{word}: {}", ui::visible_lines(reason)));
        ui::note(format!("branch `{branch}` holds what landed before"));
    }
    let next = ended::next(&work.repository.root().join(".loki"), run, outcome);
    ui::note(format!("next: {next}"));
    ui::note(format!("look at it: git log --oneline {branch}"));
    ui::note(format!(
        "            loki status --run {run}, and so logs and events"
    ));
}
