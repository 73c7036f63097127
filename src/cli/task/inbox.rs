//! Files of the inbox, on their way to the run that they are for, and back.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use crate::{
    journal::{Dropped, Inbox, JournalError},
    name::RunId,
    run::Held,
    task::{
        Change, Task, TaskRequest,
        intake::{self, Given},
    },
};

use super::super::ui;

/// The inbox of a repository.
pub(in crate::cli) struct Intake {
    inbox: Inbox,
}

/// What became of a file at one run.
enum Became {
    /// All of its tasks were added.
    Taken,
    /// It is refused, for this reason.
    Refused(String),
    /// The run had ended before.
    Gone,
}

impl Intake {
    /// Begins to watch the inbox.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be made or watched.
    pub(in crate::cli) fn watch(state: &Path) -> Result<Self, JournalError> {
        let inbox = Inbox::watch(state, intake::LARGEST)?;
        Ok(Self { inbox })
    }

    /// Has the tasks of each file added to its run, one file after another, for as long as this is
    /// waited for. What is not dealt with then is taken up by the next process.
    pub(in crate::cli) async fn route(mut self, held: Arc<Held>) {
        while let Some(dropped) = self.inbox.next().await {
            match take(&held, &dropped).await {
                Ok(()) => self.inbox.accept(&dropped),
                Err(why) => self.refuse(&dropped, &why),
            }
        }
    }

    fn refuse(&self, dropped: &Dropped, why: &str) {
        let name = ui::visible(&dropped.name);
        match self.inbox.refuse(dropped, &format!("{why}\n")) {
            Ok(kept) => ui::warning(format!(
                "`.loki/inbox/{name}` is refused: `.loki/inbox/refused/{}.why.txt` says why",
                ui::visible(&kept)
            )),
            Err(cause) => ui::warning(format!(
                "`.loki/inbox/{name}` is refused and cannot be put aside: {}",
                ui::visible(&cause.to_string())
            )),
        }
    }
}

/// Has the tasks of a file added, or says why not.
async fn take(held: &Held, dropped: &Dropped) -> Result<(), String> {
    let given = read(dropped)?;
    let mut gone = BTreeSet::new();
    loop {
        let (seat, run) = meant(held, given.run.as_ref(), &gone).await?;
        match add(held, &run, (dropped, &given.tasks)).await {
            Became::Taken => return Ok(()),
            Became::Refused(why) => return Err(why),
            // Where the file names none, another run may take it.
            Became::Gone => {
                gone.insert(seat);
            }
        }
    }
}

/// Reads the tasks of a file, or says everything that is wrong with it.
fn read(dropped: &Dropped) -> Result<Given, String> {
    let text = dropped.text.as_ref().map_err(Clone::clone)?;
    intake::read(Path::new(&dropped.name), text).map_err(|faults| {
        let drawn: Vec<String> = faults.iter().map(|fault| fault.render()).collect();
        drawn.join("\n")
    })
}

/// Returns the run that a file is for: the one that it names, or the only one. Where none goes on yet
/// it waits. `gone` are the seats of those that were found to have ended.
async fn meant(
    held: &Held,
    named: Option<&RunId>,
    gone: &BTreeSet<u64>,
) -> Result<(u64, RunId), String> {
    let mut changes = held.changes();
    loop {
        let mut runs = held.seated();
        runs.retain(|(seat, _)| !gone.contains(seat));
        let named_one = named.and_then(|named| runs.iter().find(|(_, run)| run == named));
        if let Some(found) = named_one {
            return Ok(found.clone());
        }
        let names: Vec<&str> = runs.iter().map(|(_, run)| run.as_str()).collect();
        let names = names.join(", ");
        match (named, runs.as_slice()) {
            (None, [only]) => return Ok(only.clone()),
            (Some(named), [_, ..]) => {
                return Err(format!(
                    "run {named} does not go on here, these do: {names}; `loki task add --from FILE --run {named}` adds to one that can be resumed"
                ));
            }
            (None, [(_, first), _, ..]) => {
                return Err(format!(
                    "several runs go on here: {names}; say in each task which is meant, `run: {first}`, and drop it again"
                ));
            }
            (_, []) => {}
        }
        // It lives as long as the runs do.
        changes.changed().await.ok();
    }
}

/// Adds tasks to a run, one after another.
async fn add(held: &Held, run: &RunId, (dropped, tasks): (&Dropped, &[Task])) -> Became {
    for (at, task) in tasks.iter().enumerate() {
        let request = TaskRequest {
            run: Some(run.clone()),
            by: format!("`.loki/inbox/{}`", dropped.name.escape_debug()),
            change: Change::Add(Box::new(task.clone())),
        };
        let before = match at {
            0 => "",
            _ => "; tasks before it in this file were",
        };
        let id = &task.id;
        match held.change(run, request).await {
            Some(Ok(())) => {}
            Some(Err(why)) => {
                return Became::Refused(format!("task `{id}` was not added: {why}{before}"));
            }
            None if at == 0 => return Became::Gone,
            None => {
                return Became::Refused(format!(
                    "task `{id}` was not added: run {run} has ended{before}"
                ));
            }
        }
    }
    Became::Taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str) -> RunId {
        name.parse().unwrap()
    }

    #[tokio::test]
    async fn a_file_is_for_the_run_that_it_names_or_for_the_only_one() {
        let held = Arc::new(Held::default());
        let ((one, _a), (two, _b)) = (held.sit().unwrap(), held.sit().unwrap());
        one.begins(&run("a")).unwrap();
        let mut gone = BTreeSet::new();
        let (a, b) = (one.number(), two.number());
        assert_eq!(meant(&held, None, &gone).await, Ok((a, run("a"))));
        two.begins(&run("b")).unwrap();
        let why = meant(&held, None, &gone).await.unwrap_err();
        assert!(why.contains("several runs go on here: a, b"), "{why}");
        let named = run("b");
        assert_eq!(meant(&held, Some(&named), &gone).await, Ok((b, run("b"))));
        let named = run("c");
        let why = meant(&held, Some(&named), &gone).await.unwrap_err();
        assert!(why.contains("run c does not go on here"), "{why}");
        gone.insert(b);
        assert_eq!(meant(&held, None, &gone).await, Ok((a, run("a"))));
        drop((one, two));
        assert!(held.close());
    }

    #[tokio::test]
    async fn a_file_that_comes_before_any_run_waits_for_the_next_and_not_for_one_that_has_ended() {
        let held = Arc::new(Held::default());
        let (ended, _asked) = held.sit().unwrap();
        ended.begins(&run("a")).unwrap();
        let gone = BTreeSet::from([ended.number()]);
        let waits = meant(&held, None, &gone);
        let begins = async {
            drop(ended);
            let seat = held.sit().unwrap();
            seat.0.begins(&run("a")).unwrap();
            seat
        };
        let (found, _seat) = tokio::join!(waits, begins);
        let found = found.map(|(_, run)| run);
        assert_eq!(found, Ok(run("a")), "it was taken up again");
    }
}
