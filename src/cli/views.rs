//! Verbs that read a run: `status`, `logs`, `events`, `stop`. All fold the same journal, so they say
//! the same thing.

use std::{fs, path::PathBuf, time::Duration};

use crate::{
    event::Record,
    git::Repository,
    journal::{self, Follow, From, Holder, Lock, Signal},
    name::RunId,
    run,
    status::{self, Status},
};

use super::{
    args::{Events, Logs, Shown},
    exit::{Exit, Fault, OrExit},
    held::{self, Pace, args::Stop},
    landing::unfinished,
    progress, resume, setup,
    ui::{self, Stream},
};

/// A run and where its repository's state is.
pub(super) struct Chosen {
    /// `.loki` of the repository.
    pub(super) state: PathBuf,
    /// Which.
    pub(super) run: RunId,
}

impl Chosen {
    /// Where its journal stands.
    pub(super) fn journal(&self) -> PathBuf {
        journal::path(&self.state, &self.run)
    }

    /// Where the state of its repository is.
    pub(super) fn state(&self) -> &std::path::Path {
        &self.state
    }

    /// All of its journal.
    pub(super) fn records(&self) -> Result<Vec<Record>, Fault> {
        journal::read(&self.journal()).or_exit(Exit::Failed)
    }
}

fn state() -> Result<PathBuf, Fault> {
    setup::repository().map(|repository: Repository| repository.root().join(".loki"))
}

/// Finds the state of the repository around the current directory without asking git, which would
/// take most of the time of a look: a journal says that Loki was here.
pub(super) fn state_to_read() -> Result<PathBuf, Fault> {
    let here = std::env::current_dir().or_exit(Exit::Usage)?;
    let root = here.ancestors().find(|above| above.join(".git").exists());
    match root.map(|root| root.join(".loki")) {
        Some(found) if found.join("journal").is_dir() => Ok(found),
        _ => state(),
    }
}

/// Picks the run asked for, or the newest; none when no run was ever made here.
pub(super) fn choose(wanted: Option<&RunId>) -> Result<Option<Chosen>, Fault> {
    let state = state_to_read()?;
    let runs = journal::runs(&state).or_exit(Exit::Failed)?;
    let run = match wanted {
        Some(run) if runs.contains(run) => Some(run.clone()),
        Some(run) => {
            return Err(
                Fault::new(Exit::Usage, format!("there is no run `{run}` here")).hint(known(&runs)),
            );
        }
        None => runs.last().cloned(),
    };
    if run.is_none() {
        ui::note("no run was made in this repository: `loki start SPEC.md` makes one");
    }
    Ok(run.map(|run| Chosen { state, run }))
}

fn known(runs: &[RunId]) -> String {
    if runs.is_empty() {
        return "no run was made in this repository: `loki start SPEC.md` makes one".to_owned();
    }
    let names: Vec<&str> = runs.iter().rev().take(5).map(RunId::as_str).collect();
    format!("the newest runs: {}", names.join(", "))
}

/// `loki status`.
pub(super) fn status(shown: &Shown) -> Result<Exit, Fault> {
    let Some(chosen) = choose(shown.run.as_ref())? else {
        if shown.json {
            ui::json(&Shows {
                status: Status::default(),
                beside: Vec::new(),
            })?;
        }
        return Ok(Exit::Done);
    };
    let held = Lock::holder(&chosen.state).or_exit(Exit::Failed)?;
    let records = chosen.records()?;
    let mut status = Status::fold(&records);
    // Without a repository there is no branch to look at.
    if status.counts.reverted > 0
        && let Ok(repository) = setup::repository()
        && let Some(found) = unfinished(&repository, &chosen.run, &records)?
    {
        let (message, hint) = found.message();
        ui::warning(format!("{message}: {hint}"));
    }
    if held
        .as_ref()
        .is_none_or(|holder| !holder.holds(&chosen.run))
    {
        status = resume::orphaned(status, &chosen.run);
    }
    let beside = beside(&chosen, held.as_ref());
    if shown.json {
        ui::json(&Shows { status, beside })?;
    } else {
        beside.iter().for_each(Beside::say);
        ui::data(status::text(&status).trim_end());
    }
    Ok(Exit::Done)
}

/// A status, and the runs that go on beside it.
#[derive(serde::Serialize)]
struct Shows {
    #[serde(flatten)]
    status: Status,
    beside: Vec<Beside>,
}

/// A run that goes on beside the one that is shown.
#[derive(serde::Serialize)]
struct Beside {
    run: RunId,
    title: String,
    tasks: usize,
    completed: usize,
}

impl Beside {
    fn say(&self) {
        let Self {
            run,
            title,
            tasks,
            completed,
        } = self;
        ui::note(format!(
            "beside it goes on run {run}: {} ({completed} of {}): loki status --run {run}",
            ui::visible(title),
            ui::counted(*tasks, "task")
        ));
    }
}

/// Returns the other runs that the orchestrator here holds. One that has not written anything yet is
/// none.
fn beside(chosen: &Chosen, holder: Option<&Holder>) -> Vec<Beside> {
    let runs = holder.into_iter().flat_map(Holder::runs);
    let others = runs.filter(|run| **run != chosen.run).filter_map(|run| {
        let records = journal::read(&journal::path(&chosen.state, run)).ok()?;
        let status = Status::fold(&records);
        status.run.as_ref()?;
        Some(Beside {
            run: run.clone(),
            title: status.title,
            tasks: status.tasks.len(),
            completed: status.counts.completed,
        })
    });
    others.collect()
}

/// `loki events`.
pub(super) async fn events(events: &Events) -> Result<Exit, Fault> {
    let Some(chosen) = choose(events.shown.run.as_ref())? else {
        return Ok(Exit::Done);
    };
    let print = |record: &Record| -> Result<bool, Fault> {
        Ok(if events.shown.json {
            ui::is_json_read(record)?
        } else {
            let text = progress::line(&record.event);
            ui::is_read(format!(
                "{:>5} {} {text}",
                record.seq,
                record.ts.strftime("%H:%M:%S")
            ))
        })
    };
    if !events.follow {
        return chosen
            .records()?
            .iter()
            .try_for_each(|record| print(record).map(drop))
            .map(|()| Exit::Done);
    }
    let mut follow = Follow::open(&chosen.journal(), From::Start).or_exit(Exit::Failed)?;
    while let Some(record) = follow.next().await {
        let record = record.or_exit(Exit::Failed)?;
        if !print(&record)? {
            break;
        }
    }
    Ok(Exit::Done)
}

/// `loki logs`.
pub(super) fn logs(logs: &Logs) -> Result<Exit, Fault> {
    let Some(chosen) = choose(logs.run.as_ref())? else {
        return Ok(Exit::Done);
    };
    let directory = run::logs(&chosen.state, &chosen.run);
    let mut names: Vec<String> = fs::read_dir(&directory)
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    let wanted = |name: &String| logs.task.as_ref().is_none_or(|task| of_task(name, task));
    let found: Vec<String> = names.into_iter().filter(wanted).collect();
    if found.is_empty() {
        let what = logs.task.as_deref().map_or_else(String::new, |task| {
            format!(" of task `{}`", ui::visible(task))
        });
        return Err(Fault::new(
            Exit::Failed,
            format!("there is no log{what} in run {}", chosen.run),
        )
        .hint(format!(
            "`loki status --run {}` lists the tasks",
            chosen.run
        )));
    }
    for name in found {
        ui::note(format!("==> {name}"));
        let bytes = fs::read(directory.join(&name)).or_exit(Exit::Failed)?;
        let text = ui::visible_lines(&String::from_utf8_lossy(&bytes));
        ui::pass(format!("{text}\n").as_bytes(), Stream::Out);
    }
    Ok(Exit::Done)
}

/// Returns whether a log `store-1.log` or `store-checks.log` is of task `store`.
fn of_task(log: &str, task: &str) -> bool {
    let rest = log
        .strip_prefix(task)
        .and_then(|rest| rest.strip_prefix('-'))
        .and_then(|rest| rest.strip_suffix(".log"));
    let is_number = |part: &str| part.parse::<u32>().is_ok();
    rest.is_some_and(|part| {
        let again = part.strip_prefix("checks-").is_some_and(is_number);
        again || part == "checks" || is_number(part)
    })
}

/// `loki stop`: leaves the signal file, or ends the orchestrator's agents at once, and waits until
/// it is gone.
pub(super) async fn stop(stop: &Stop) -> Result<Exit, Fault> {
    if let Some(run) = &stop.run {
        let pace = if stop.now { Pace::Now } else { Pace::Drain };
        return held::stop(run, pace).await;
    }
    let state = state()?;
    let Some(holder) = Lock::holder(&state).or_exit(Exit::Failed)? else {
        ui::note("nothing runs in this repository; `loki status` shows the newest run");
        return Ok(Exit::Done);
    };
    if stop.now {
        terminate(holder.pid)?;
    } else {
        Signal::Stop.raise(&state).or_exit(Exit::Failed)?;
    }
    let word = if stop.now {
        "end at once"
    } else {
        "end when its agents have finished"
    };
    ui::note(format!("asked {holder} to {word}"));
    while Lock::holder(&state)
        .or_exit(Exit::Failed)?
        .is_some_and(|now| now.pid == holder.pid)
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ui::note("it ended");
    Ok(Exit::Done)
}

/// The lock proves that this process is an orchestrator that lives: the kernel gives the lock
/// back when it dies.
fn terminate(pid: u32) -> Result<(), Fault> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| Fault::new(Exit::Failed, "the lock names no process"))?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).or_exit(Exit::Failed)
}

#[cfg(test)]
mod tests {
    use super::of_task;

    #[test]
    fn a_log_belongs_to_its_task_only() {
        assert!(of_task("store-1.log", "store"));
        assert!(of_task("store-checks.log", "store"));
        assert!(of_task("store-checks-2.log", "store"));
        assert!(!of_task("store-file-1.log", "store"));
        assert!(!of_task("stores-1.log", "store"));
    }
}
