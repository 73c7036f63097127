//! Files of the inbox and requests, on their way to the run and back.

use std::path::Path;

use tokio::sync::mpsc;

use crate::{
    journal::{Dropped, Inbox, JournalError},
    run::{Answer, Control},
    task::{Change, Task, TaskRequest, intake},
};

use super::super::ui;

/// The inbox of a run, and the way to it.
pub(in crate::cli) struct Intake {
    inbox: Inbox,
    send: mpsc::Sender<Control>,
}

impl Intake {
    /// Begins to watch the inbox.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be made or watched.
    pub(in crate::cli) fn watch(
        state: &Path,
        send: mpsc::Sender<Control>,
    ) -> Result<Self, JournalError> {
        let inbox = Inbox::watch(state, intake::LARGEST)?;
        Ok(Self { inbox, send })
    }

    /// Waits for the next file; none when the watch has ended. May be cancelled.
    pub(in crate::cli) async fn next(&mut self) -> Option<Dropped> {
        self.inbox.next().await
    }

    /// Has the tasks of a file added, and removes it; or puts it aside with the reason.
    pub(in crate::cli) async fn take(&self, dropped: &Dropped) {
        let why = match read(dropped) {
            Ok(tasks) => match self.add(dropped, tasks).await {
                Some(Ok(())) => return self.inbox.accept(dropped),
                // The run has ended: the next one takes the file.
                None => return,
                Some(Err(why)) => why,
            },
            Err(why) => why,
        };
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

    /// Adds tasks one after another; none when the run has ended.
    async fn add(&self, dropped: &Dropped, tasks: Vec<Task>) -> Option<Result<(), String>> {
        for task in tasks {
            let id = task.id.clone();
            let request = TaskRequest {
                run: None,
                by: format!("`.loki/inbox/{}`", dropped.name.escape_debug()),
                change: Change::Add(Box::new(task)),
            };
            let (answer, mut told) = Answer::new();
            let control = Control::Change(Box::new(request), answer);
            self.send.send(control).await.ok()?;
            if let Err(why) = told.recv().await? {
                return Some(Err(format!(
                    "task `{id}` was not added: {why}; tasks before it in this file were"
                )));
            }
        }
        Some(Ok(()))
    }
}

/// Reads the tasks of a file, or says everything that is wrong with it.
fn read(dropped: &Dropped) -> Result<Vec<Task>, String> {
    let text = dropped.text.as_ref().map_err(Clone::clone)?;
    intake::read(Path::new(&dropped.name), text).map_err(|faults| {
        let drawn: Vec<String> = faults.iter().map(|fault| fault.render()).collect();
        drawn.join("\n")
    })
}
