//! What was recorded of past runs, and what git still knows of it.

use std::{collections::BTreeMap, path::Path};

use crate::{
    event::{Event, Record},
    git::{ObjectId, Repository},
    journal,
    name::{Role, RunId, TaskId},
};

use super::super::{
    exit::{Exit, Fault, OrExit},
    setup, ui,
};

/// The runs of the repository around the current directory.
pub(super) struct Past {
    repository: Repository,
    runs: Vec<RunId>,
}

/// One run.
pub(super) struct Recorded {
    /// Which.
    pub(super) run: RunId,
    /// All of its journal.
    pub(super) records: Vec<Record>,
}

impl Past {
    /// Finds the runs; none is a fault, for there is nothing to ask.
    pub(super) fn open() -> Result<Self, Fault> {
        let repository = setup::repository()?;
        let runs = journal::runs(&state(&repository)).or_exit(Exit::Failed)?;
        if runs.is_empty() {
            return Err(
                Fault::new(Exit::Usage, "no run was made in this repository")
                    .hint("`loki start SPEC.md` makes one"),
            );
        }
        Ok(Self { repository, runs })
    }

    /// Returns one run, or all, oldest first.
    pub(super) fn records(&self, only: Option<&RunId>) -> Result<Vec<Recorded>, Fault> {
        let wanted = |run: &&RunId| only.is_none_or(|only| only == *run);
        let chosen: Vec<&RunId> = self.runs.iter().filter(wanted).collect();
        if chosen.is_empty() {
            let newest: Vec<&str> = self.runs.iter().rev().take(5).map(RunId::as_str).collect();
            let message = format!("there is no run `{}` here", only.map_or("", RunId::as_str));
            let hint = format!("the newest runs: {}", newest.join(", "));
            return Err(Fault::new(Exit::Usage, message).hint(hint));
        }
        let state = state(&self.repository);
        chosen
            .into_iter()
            .map(|run| read(&state, run))
            .collect::<Result<_, _>>()
    }

    /// Returns the newest run.
    pub(super) fn newest(&self) -> &RunId {
        self.runs.last().expect("`open` refuses to have none")
    }

    /// Returns what a commit changed; a commit that git no longer has is told, and changed nothing.
    pub(super) fn changed(&self, commit: &str) -> Vec<String> {
        let id = commit.parse::<ObjectId>();
        let paths = id.and_then(|id| self.repository.changed_paths(&id));
        paths.unwrap_or_else(|_| {
            let commit = ui::visible(commit);
            ui::warning(format!(
                "commit {commit} is not here any more: what it wrote is not counted"
            ));
            Vec::new()
        })
    }
}

fn state(repository: &Repository) -> std::path::PathBuf {
    repository.root().join(".loki")
}

fn read(state: &Path, run: &RunId) -> Result<Recorded, Fault> {
    let records = journal::read(&journal::path(state, run)).or_exit(Exit::Failed)?;
    Ok(Recorded {
        run: run.clone(),
        records,
    })
}

impl Recorded {
    /// Returns whose each task was.
    pub(super) fn roles(&self) -> BTreeMap<TaskId, Role> {
        let planned = self
            .records
            .iter()
            .filter_map(|record| match &record.event {
                Event::Planned { tasks } => Some(tasks),
                _ => None,
            });
        planned
            .flatten()
            .map(|task| (task.id.clone(), task.role.clone()))
            .collect()
    }
}
