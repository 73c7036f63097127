//! Keeps the files for outside tools as the journal says, beside the driver: a thread folds the
//! records anew and writes at most once a second, only after something happened.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::time::Instant;

use crate::{event::Record, journal::views, status::Status};

/// The shortest time between two writes.
const EVERY: Duration = Duration::from_secs(1);
/// A write that takes long is followed by a pause of so many times as long: a large plan must not
/// take a processor.
const PAUSE: u32 = 20;

/// Whether the files are this run's to write: of several runs of a process they show one.
pub(super) type Shows = Arc<dyn Fn() -> bool + Send + Sync>;

/// Tells the thread what happened.
pub(super) struct Shown {
    records: Option<Sender<Record>>,
    thread: Option<JoinHandle<()>>,
}

impl Shown {
    /// Begins with a status. Where the system has no thread left, nothing is shown: the files are
    /// copies, and the run is worth more.
    pub(super) fn begin(state: PathBuf, status: Status, shows: Shows) -> Self {
        let (records, told) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("views".to_owned())
            .spawn(move || keep((&state, &shows), status, &told));
        Self {
            records: Some(records),
            thread: thread.ok(),
        }
    }

    /// Tells of one record.
    pub(super) fn tell(&self, record: &Record) {
        if let Some(records) = &self.records {
            // Nobody needs to listen.
            records.send(record.clone()).ok();
        }
    }

    /// Returns once everything told is written.
    pub(super) async fn end(&mut self) {
        drop(self.records.take());
        if let Some(thread) = self.thread.take() {
            // A panic there is no fault of the run's.
            tokio::task::spawn_blocking(move || thread.join().ok())
                .await
                .ok();
        }
    }
}

fn keep((state, shows): (&Path, &Shows), mut status: Status, told: &Receiver<Record>) {
    let mut rest = Duration::ZERO;
    while let Ok(first) = told.recv() {
        let mut news = vec![first];
        let until = Instant::now() + rest;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match told.recv_timeout(left) {
                Ok(record) => news.push(record),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        status.apply_all(&news);
        let begun = Instant::now();
        // They are copies: a failure to write one is no failure of the run.
        if shows() {
            views::write(state, &status).ok();
        }
        rest = EVERY.max(begun.elapsed() * PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        digest::Digest,
        event::Event,
        task::{Priority, Task},
    };

    fn record(seq: u64) -> Record {
        let sandbox = "s".to_owned();
        happened(seq, Event::SandboxEnded { sandbox })
    }

    fn happened(seq: u64, event: Event) -> Record {
        Record {
            seq,
            ts: jiff::Timestamp::UNIX_EPOCH,
            prev: Digest::default(),
            event,
            hash: Digest::default(),
        }
    }

    fn task(number: usize) -> Task {
        Task {
            id: format!("task-{number}").parse().unwrap(),
            role: "eng-backend".parse().unwrap(),
            title: format!("do the part with number {number}"),
            description: "all of it, and what follows from it".repeat(20),
            depends_on: Vec::new(),
            accept: vec!["make test".to_owned()],
            files: vec![format!("src/part-{number}.rs")],
            priority: Priority::default(),
        }
    }

    #[tokio::test]
    async fn all_that_was_told_is_written_at_the_end_however_soon_that_is() {
        let place = tempfile::tempdir().unwrap();
        let mut shown = Shown::begin(
            place.path().to_owned(),
            Status::default(),
            Arc::new(|| true),
        );
        for seq in 1..=500 {
            shown.tell(&record(seq));
        }
        shown.end().await;
        let text = std::fs::read_to_string(place.path().join("dashboard-state.json")).unwrap();
        let state: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(state["metrics"]["events"], 500);
    }

    #[tokio::test]
    async fn with_ten_thousand_tasks_whoever_drives_the_run_waits_for_no_file() {
        let tasks = (0..10_000).map(task).collect();
        let status = Status::fold(&[happened(1, Event::Planned { tasks })]);
        let place = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        views::write(place.path(), &status).unwrap();
        let write = begun.elapsed();
        let mut shown = Shown::begin(place.path().to_owned(), status, Arc::new(|| true));
        shown.tell(&record(2));
        let begun = Instant::now();
        for seq in 3..=1_002 {
            shown.tell(&record(seq));
        }
        let told = begun.elapsed();
        assert!(told < write, "1000 records: {told:?}, one write: {write:?}");
        shown.end().await;
    }
}
