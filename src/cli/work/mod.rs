//! What tasks made: shown, approved or rejected, brought home or dropped. Work that waits for a
//! person is decided in the run that goes on, else in its journal, for `loki resume` to act on.

pub(super) mod args;
mod decide;
mod gate;
mod home;
mod looks;
mod told;

pub(super) use decide::{approve, reject};
pub(super) use gate::gate;
pub(super) use home::{apply, drop};
pub(super) use looks::{diff, show};
pub(super) use told::{line, verdict};

use std::path::PathBuf;

use crate::{
    event::{Event, Record},
    git::{ObjectId, Repository},
    journal,
    name::{RunId, TaskId},
    status::{Progress, Status},
};

use super::{
    exit::{Exit, Fault, OrExit},
    setup, ui,
};

/// A run, folded, and perhaps one of its tasks.
struct Chosen {
    repository: Repository,
    run: RunId,
    records: Vec<Record>,
    status: Status,
    task: Option<TaskId>,
}

impl Chosen {
    /// Finds a run by the beginning of its name, or the newest.
    fn run(named: Option<&str>) -> Result<Self, Fault> {
        let repository = setup::repository()?;
        let state = repository.root().join(".loki");
        let runs = journal::runs(&state).or_exit(Exit::Failed)?;
        let run = find(&runs, named)?;
        let records = journal::read(&journal::path(&state, &run)).or_exit(Exit::Failed)?;
        Ok(Self {
            status: Status::fold(&records),
            repository,
            run,
            records,
            task: None,
        })
    }

    /// Finds `TASK`, `RUN/TASK`, or with neither a task of that name, `RUN`.
    fn work(text: &str, run: Option<&str>) -> Result<Self, Fault> {
        if let Some((of, task)) = text.split_once('/') {
            return Self::run(Some(of))?.with(task);
        }
        let chosen = Self::run(run);
        match chosen {
            Ok(chosen) if chosen.has(text) => chosen.with(text),
            Ok(chosen) if run.is_some() => chosen.with(text),
            Ok(chosen) => match Self::run(Some(text)) {
                Ok(run) => Ok(run),
                Err(_) => chosen.with(text),
            },
            Err(fault) => Err(fault),
        }
    }

    /// Finds `TASK` or `RUN/TASK`.
    fn task(text: &str, run: Option<&str>) -> Result<(Self, TaskId), Fault> {
        let chosen = Self::work(text, run)?;
        match chosen.task.clone() {
            Some(task) => Ok((chosen, task)),
            None => {
                let message = format!("`{}` is a run, and a task is wanted", ui::visible(text));
                Err(Fault::new(Exit::Usage, message).hint(chosen.tasks()))
            }
        }
    }

    fn has(&self, task: &str) -> bool {
        self.status.tasks.iter().any(|one| one.id.as_str() == task)
    }

    fn with(mut self, task: &str) -> Result<Self, Fault> {
        if !self.has(task) {
            let message = format!("run {} has no task `{}`", self.run, ui::visible(task));
            return Err(Fault::new(Exit::Usage, message).hint(self.tasks()));
        }
        self.task = task.parse().ok();
        Ok(self)
    }

    fn tasks(&self) -> String {
        let names: Vec<&str> = self
            .status
            .tasks
            .iter()
            .map(|one| one.id.as_str())
            .collect();
        format!("the tasks of run {}: {}", self.run, names.join(", "))
    }

    /// Where Loki keeps its state.
    fn state(&self) -> PathBuf {
        self.repository.root().join(".loki")
    }

    fn progress(&self, task: &TaskId) -> Result<&Progress, Fault> {
        let found = self.status.tasks.iter().find(|one| one.id == *task);
        found.ok_or_else(|| Fault::new(Exit::Bug, format!("task `{task}` is gone")))
    }

    /// Returns the newest work of a task: what waits, else what landed or was committed last, else
    /// what the gate kept of its last attempt.
    fn newest(&self, task: &TaskId) -> Result<Option<ObjectId>, Fault> {
        let progress = self.progress(task)?;
        let committed = self
            .records
            .iter()
            .rev()
            .find_map(|record| match &record.event {
                Event::Committed {
                    task: of, commit, ..
                }
                | Event::Waiting {
                    task: of, commit, ..
                } if of == task => Some(commit.clone()),
                _ => None,
            });
        let refused = format!(
            "refs/loki/quarantine/{}/{task}/{}",
            self.run, progress.attempt
        );
        if progress.waiting.is_none()
            && let Some(refused) = self.repository.kept(&refused).or_exit(Exit::Failed)?
        {
            return Ok(Some(refused));
        }
        let newest = progress.waiting.clone().or(committed);
        let parsed = newest.map(|commit| commit.parse());
        parsed.transpose().or_exit(Exit::Failed)
    }

    /// Returns a commit and what it stands on.
    fn sides(&self, commit: ObjectId) -> Result<(ObjectId, ObjectId), Fault> {
        let parent = self.repository.parent_of(&commit).or_exit(Exit::Failed)?;
        let parent = parent.ok_or_else(|| {
            Fault::new(
                Exit::Failed,
                format!("commit {commit} is not here any more"),
            )
            .hint("`loki drop` or `loki clean` removed it, or git collected it")
        })?;
        Ok((parent, commit))
    }
}

/// Finds the run whose name begins so, or the newest.
fn find(runs: &[RunId], named: Option<&str>) -> Result<RunId, Fault> {
    let fault = |message: String| {
        let names: Vec<&str> = runs.iter().rev().take(5).map(RunId::as_str).collect();
        Fault::new(Exit::Usage, message).hint(match names.is_empty() {
            true => "no run was made in this repository: `loki start SPEC.md` makes one".to_owned(),
            false => format!("the newest runs: {}", names.join(", ")),
        })
    };
    let Some(named) = named else {
        return runs
            .last()
            .cloned()
            .ok_or_else(|| fault("there is no run here".to_owned()));
    };
    if let Some(run) = runs.iter().find(|run| run.as_str() == named) {
        return Ok(run.clone());
    }
    let begins = |run: &&RunId| !named.is_empty() && run.as_str().starts_with(named);
    let found: Vec<&RunId> = runs.iter().filter(begins).collect();
    match found.as_slice() {
        [run] => Ok((*run).clone()),
        [] => Err(fault(format!(
            "there is no run or task `{}` here",
            ui::visible(named)
        ))),
        more => Err(fault(format!(
            "{} runs begin with `{}`: give more of the name",
            more.len(),
            ui::visible(named)
        ))),
    }
}

/// Prints a patch, every character that acts on a terminal made visible.
fn print_patch(patch: &[u8]) {
    let text = String::from_utf8_lossy(patch);
    if !text.is_empty() {
        ui::data(ui::visible_lines(&text));
    }
}

#[cfg(test)]
mod tests {
    use super::find;
    use crate::name::RunId;

    #[test]
    fn a_run_is_found_by_the_beginning_of_its_name_if_no_other_begins_so() {
        let runs = ["20260101-a", "20260102-b", "20260102-bc"].map(|name| name.parse().unwrap());
        let found = |named: Option<&str>| find(&runs, named).ok().map(|run: RunId| run.to_string());
        assert_eq!(found(None).as_deref(), Some("20260102-bc"));
        assert_eq!(found(Some("20260101")).as_deref(), Some("20260101-a"));
        assert_eq!(found(Some("20260102-b")).as_deref(), Some("20260102-b"));
        assert_eq!(found(Some("202601")), None);
        assert_eq!(found(Some("")), None);
        assert_eq!(found(Some("x")), None);
    }
}
