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
    run::{self, Admission, Cut, Ending, Keeper, Rules, RunError, Session, Subject, Work},
    sandbox::{self, Launcher, Slot},
    text::visible,
};

use super::{
    audit, checkpoint,
    env::Environment,
    exit::{Exit, Fault, OrExit},
    progress::Progress,
    signals,
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
    pub(super) begins: Begins,
    pub(super) rules: Rules,
    pub(super) prices: Prices,
}

/// Whether the history is news to whoever watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    /// It has just been written.
    New,
    /// It was told by an earlier process.
    Again,
}

impl Course {
    /// Drives a run to its end and tells it.
    pub(super) async fn drive(self, work: &Arc<Work>) -> Result<Exit, Fault> {
        let (observer, watched) = mpsc::unbounded_channel();
        let (controls, caught) = signals::watch(&state(&work.repository)).or_exit(Exit::Failed)?;
        if self.begins == Begins::New {
            for record in &self.history {
                // Nobody needs to watch.
                observer.send(record.clone()).ok();
            }
        }
        let session = Session {
            writer: self.writer,
            history: self.history,
            opening: self.opening,
            cut: self.cut,
            parallel: usize::from(self.parallel),
            controls,
            observer,
            admission: Arc::new(Admission::new(usize::from(self.parallel), Arc::new(now))),
            rules: self.rules,
            prices: self.prices,
        };
        let (ending, ()) = tokio::join!(
            run::drive(Arc::clone(work), session),
            Progress::default().show(watched)
        );
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
        Ok(match (ending.outcome, caught.signal()) {
            (Outcome::Done, _) => Exit::Done,
            (Outcome::Waiting, _) => Exit::Waiting,
            (Outcome::Limited, _) => Exit::Limited,
            (Outcome::Stopped, Some(signal)) => Exit::Signal(signal),
            (Outcome::Failed | Outcome::Stopped, _) => Exit::Failed,
        })
    }
}

fn state(repository: &Repository) -> std::path::PathBuf {
    repository.root().join(".loki")
}

/// Says why a run broke off, and how to go on with it: nothing that it reported is lost.
fn broken_off(run: &RunId, cause: &RunError) -> Fault {
    let fault = Fault::new(Exit::Failed, explained(cause));
    match cause {
        RunError::Journal(_) => fault.hint(format!(
            "mend that, then `loki resume {run}`: nothing that was reported is lost"
        )),
        _ => fault.hint(format!(
            "`loki status` shows how far the run came, `loki resume {run}` goes on"
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

/// Removes what a run that was ended left standing; nothing else may run here, we hold the lock.
async fn tidy(work: &Work) -> Result<(), Fault> {
    let label = sandbox::repository_label(work.repository.root());
    work.launcher.end_own(&label).await.or_exit(Exit::Failed)?;
    if let Some(keeper) = &work.keeper {
        drop(salvage(&work.repository, &work.launcher, keeper).await);
    }
    work.repository.sweep(&[]).or_exit(Exit::Failed).map(drop)
}

/// Removes the branches of single tasks: once a run is done, all of their work is on its branch.
/// Those of a run that failed stay, for they may hold what did not land.
pub(super) fn forget_task_branches(repository: &Repository, run: &RunId) -> Result<(), Fault> {
    let mut refs = repository.run_refs(run).or_exit(Exit::Failed)?;
    refs.retain(|name| name.starts_with("refs/heads/loki-tasks/"));
    repository.delete_refs(&refs).or_exit(Exit::Failed)
}

/// Removes what dead orchestrators left in this repository: containers first, so that nobody writes
/// any more, then the rest. What their agents had written is kept in checkpoints, which are
/// returned as the events of their runs.
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
    let kept = salvage(repository, launcher, keeper).await;
    repository.sweep(&[]).or_exit(Exit::Failed)?;
    Ok(kept)
}

/// Keeps what agents had written that were cut off.
async fn salvage(
    repository: &Repository,
    launcher: &Launcher,
    keeper: &Arc<Keeper>,
) -> Vec<(RunId, Event)> {
    let mut kept = Vec::new();
    for subject in abandoned(&repository.worktrees_dir()) {
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
    let reason = ending.reason.as_deref().unwrap_or("no reason is known");
    let word = match ending.outcome {
        Outcome::Done => None,
        Outcome::Failed => Some("failed"),
        Outcome::Stopped => Some("stopped"),
        Outcome::Waiting => Some("waiting"),
        Outcome::Limited => Some("stopped by a limit"),
    };
    match word {
        None => ui::note(format!("done: branch `{branch}` holds the work")),
        Some(word) => {
            ui::note(format!("{word}: {}", ui::visible_lines(reason)));
            ui::note(format!("branch `{branch}` holds what landed before"));
        }
    }
    if matches!(
        ending.outcome,
        Outcome::Stopped | Outcome::Waiting | Outcome::Limited
    ) {
        ui::note(format!("go on with it: loki resume {run}"));
    }
    ui::note(format!("look at it: git log --oneline {branch}"));
    ui::note("            loki status, loki logs, loki events");
}
