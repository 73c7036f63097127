//! Waiting for the next record of a journal that is being written, without polling.

use std::path::Path;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::{
    chain::{Chain, Step},
    error::JournalError,
};
use crate::event::{Event, Record};

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// With the first record.
    Start,
    /// With the first record written from now on.
    End,
}

/// A reader that waits for records as they are written, and ends after a `run_ended` that none
/// follows: a run that was gone on with has one in its middle. Every record is checked as in
/// [`super::read`].
pub struct Follow {
    chain: Chain,
    /// A token arrives when the file has changed; one is as good as many.
    changed: mpsc::Receiver<()>,
    ended: bool,
    broken: bool,
    _watcher: RecommendedWatcher,
}

impl Follow {
    /// Opens a journal.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be read or watched, or an existing record is not what was written.
    pub fn open(path: &Path, from: From) -> Result<Self, JournalError> {
        let (changes, changed) = mpsc::channel(1);
        let watched = |source| JournalError::Watch {
            path: path.to_owned(),
            source,
        };
        let mut watcher =
            notify::recommended_watcher(move |event| wake(&changes, event)).map_err(watched)?;
        watcher
            .watch(path, RecursiveMode::NonRecursive)
            .map_err(watched)?;
        let mut follow = Self {
            chain: Chain::open(path)?,
            changed,
            ended: false,
            broken: false,
            _watcher: watcher,
        };
        if from == From::End {
            while follow.ready()?.is_some() {}
            // Whoever asks for what comes knows that something will.
            follow.ended = false;
        }
        Ok(follow)
    }

    /// Waits for the next record; none after the end of the run. May be cancelled.
    pub async fn next(&mut self) -> Option<Result<Record, JournalError>> {
        loop {
            match self.ready().transpose() {
                Some(next) => return Some(next),
                None if self.ended || self.broken => return None,
                None => self.changed.recv().await?,
            }
        }
    }

    /// Returns the next record if it has been written, without waiting.
    ///
    /// # Errors
    ///
    /// Names the record that is not what was written.
    pub fn ready(&mut self) -> Result<Option<Record>, JournalError> {
        if self.broken {
            return Ok(None);
        }
        match self.chain.step() {
            Ok(Step::Record(record)) => {
                self.ended = matches!(record.event, Event::RunEnded { .. });
                Ok(Some(*record))
            }
            Ok(Step::End { .. }) => Ok(None),
            Err(error) => {
                self.broken = true;
                Err(error)
            }
        }
    }
}

/// Wakes the reader. A full channel means it will wake anyway, a closed one that it is gone; reads
/// of our own are no news.
fn wake(changes: &mpsc::Sender<()>, event: notify::Result<notify::Event>) {
    if !event.is_ok_and(|event| event.kind.is_access()) {
        changes.try_send(()).ok();
    }
}
