//! The signal files: `.loki/STOP` and `.loki/PAUSE`, whose mere presence is the message.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use rustix::fs::OFlags;
use tokio::sync::mpsc;

use super::{error::JournalError, place::Dir};

/// What a person asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// `STOP` appeared.
    Stop,
    /// `PAUSE` appeared.
    Pause,
    /// `PAUSE` is gone.
    Resume,
}

impl Signal {
    /// Gives the signal: creates `STOP` or `PAUSE`, or removes `PAUSE`.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be created or removed.
    pub fn raise(self, home: &Path) -> Result<(), JournalError> {
        let name = match self {
            Self::Stop => "STOP",
            Self::Pause => "PAUSE",
            Self::Resume => return remove(&home.join("PAUSE")),
        };
        Dir::home(home)?
            .open(name, OFlags::WRONLY | OFlags::CREATE, 0o644)
            .map(drop)
    }

    /// Takes both signal files away, so that an old one does not stop a new run.
    ///
    /// # Errors
    ///
    /// Fails when a file is there and cannot be removed.
    pub fn clear(home: &Path) -> Result<(), JournalError> {
        remove(&home.join("STOP"))?;
        remove(&home.join("PAUSE"))
    }
}

fn remove(path: &Path) -> Result<(), JournalError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(JournalError::io("remove", path, source))
        }
        _ => Ok(()),
    }
}

/// A watch on the signal files of a repository. What stands there when it begins is told first.
pub struct Signals {
    told: mpsc::UnboundedReceiver<Signal>,
    _watcher: RecommendedWatcher,
}

impl Signals {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// Fails when the directory cannot be opened or watched.
    pub fn watch(home: &Path) -> Result<Self, JournalError> {
        drop(Dir::home(home)?);
        let watched = |source| JournalError::Watch {
            path: home.to_owned(),
            source,
        };
        let (tell, told) = mpsc::unbounded_channel();
        let files = Files {
            home: home.to_owned(),
            stop: false,
            pause: false,
            tell,
        };
        let files = Arc::new(Mutex::new(files));
        let mut watcher = notify::recommended_watcher({
            let files = Arc::clone(&files);
            move |event| {
                if concerns_us(&event) {
                    look(&files);
                }
            }
        })
        .map_err(watched)?;
        watcher
            .watch(home, RecursiveMode::NonRecursive)
            .map_err(watched)?;
        // Only now, so that nothing can appear between the first look and the watch.
        look(&files);
        Ok(Self {
            told,
            _watcher: watcher,
        })
    }

    /// Waits for the next signal; none when the watch has ended. May be cancelled.
    pub async fn next(&mut self) -> Option<Signal> {
        self.told.recv().await
    }
}

/// Whether an event may be about a signal file. Errors and lost events may.
fn concerns_us(event: &notify::Result<notify::Event>) -> bool {
    event.as_ref().map_or(true, |event| {
        let named = |path: &PathBuf| path.ends_with("STOP") || path.ends_with("PAUSE");
        event.need_rescan() || (!event.kind.is_access() && event.paths.iter().any(named))
    })
}

fn look(files: &Mutex<Files>) {
    files.lock().expect("a look does not panic").look();
}

/// What stands in the directory, and who wants to know.
struct Files {
    home: PathBuf,
    stop: bool,
    pause: bool,
    tell: mpsc::UnboundedSender<Signal>,
}

impl Files {
    /// Looks at the files and tells what changed.
    fn look(&mut self) {
        let there = |name| std::fs::symlink_metadata(self.home.join(name)).is_ok();
        let (stop, pause) = (there("STOP"), there("PAUSE"));
        let news = [
            (stop && !self.stop, Signal::Stop),
            (pause && !self.pause, Signal::Pause),
            (!pause && self.pause, Signal::Resume),
        ];
        (self.stop, self.pause) = (stop, pause);
        for (_, signal) in news.into_iter().filter(|(new, _)| *new) {
            // Nobody listens any more only while the watch is being dropped.
            self.tell.send(signal).ok();
        }
    }
}
