//! Keeps the files for outside tools as the journal says, beside the driver: a thread folds the
//! records anew and writes at most once a second, only after something happened.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
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

/// Tells the thread what happened.
pub(super) struct Shown {
    records: Option<Sender<Record>>,
    thread: Option<JoinHandle<()>>,
}

impl Shown {
    /// Begins with a status. Where the system has no thread left, nothing is shown: the files are
    /// copies, and the run is worth more.
    pub(super) fn begin(state: PathBuf, status: Status) -> Self {
        let (records, told) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("views".to_owned())
            .spawn(move || keep(&state, status, &told));
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

fn keep(state: &Path, mut status: Status, told: &Receiver<Record>) {
    let mut rest = Duration::ZERO;
    while let Ok(first) = told.recv() {
        status.apply(&first);
        let until = Instant::now() + rest;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match told.recv_timeout(left) {
                Ok(record) => status.apply(&record),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        let begun = Instant::now();
        // They are copies: a failure to write one is no failure of the run.
        views::write(state, &status).ok();
        rest = EVERY.max(begun.elapsed() * PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{digest::Digest, event::Event};

    fn record(seq: u64) -> Record {
        Record {
            seq,
            ts: jiff::Timestamp::UNIX_EPOCH,
            prev: Digest::default(),
            event: Event::SandboxEnded {
                sandbox: "s".to_owned(),
            },
            hash: Digest::default(),
        }
    }

    #[tokio::test]
    async fn all_that_was_told_is_written_at_the_end_however_soon_that_is() {
        let place = tempfile::tempdir().unwrap();
        let mut shown = Shown::begin(place.path().to_owned(), Status::default());
        for seq in 1..=500 {
            shown.tell(&record(seq));
        }
        shown.end().await;
        let text = std::fs::read_to_string(place.path().join("dashboard-state.json")).unwrap();
        let state: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(state["metrics"]["events"], 500);
    }
}
