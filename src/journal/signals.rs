//! The signal files: `.loki/STOP` and `.loki/PAUSE`, whose mere presence is the message.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{ModifyKind, RenameMode},
};
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
            seen: Seen::default(),
            tell,
        };
        let files = Arc::new(Mutex::new(files));
        let mut watcher = notify::recommended_watcher({
            let files = Arc::clone(&files);
            move |event| heed(&files, &event)
        })
        .map_err(watched)?;
        watcher
            .watch(home, RecursiveMode::NonRecursive)
            .map_err(watched)?;
        // Only now, so that nothing can appear between the first look and the watch.
        files.lock().expect(UNBROKEN).look();
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

const UNBROKEN: &str = "a look at two files does not panic";

/// Takes one event of the directory into account. Errors and lost events only ask for a look.
fn heed(files: &Mutex<Files>, event: &notify::Result<notify::Event>) {
    let mut files = files.lock().expect(UNBROKEN);
    if let Ok(event) = event {
        let left = matches!(
            event.kind,
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From))
        );
        let about = |name| event.paths.iter().any(|path| path.ends_with(name));
        let concerns_us = about("STOP") || about("PAUSE") || event.need_rescan();
        if !concerns_us || event.kind.is_access() {
            return;
        }
        // A file may be back before this event arrives, and a look would not see that it left.
        let seen = files.seen;
        files.see(Seen {
            stop: seen.stop && !(left && about("STOP")),
            pause: seen.pause && !(left && about("PAUSE")),
        });
    }
    files.look();
}

/// Which signal files stand.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    stop: bool,
    pause: bool,
}

/// What stands in the directory, and who wants to know.
struct Files {
    home: PathBuf,
    seen: Seen,
    tell: mpsc::UnboundedSender<Signal>,
}

impl Files {
    /// Looks at the files and tells what changed.
    fn look(&mut self) {
        let there = |name| std::fs::symlink_metadata(self.home.join(name)).is_ok();
        self.see(Seen {
            stop: there("STOP"),
            pause: there("PAUSE"),
        });
    }

    /// Tells what changed since the last time.
    fn see(&mut self, now: Seen) {
        let before = std::mem::replace(&mut self.seen, now);
        let news = [
            (now.stop && !before.stop, Signal::Stop),
            (now.pause && !before.pause, Signal::Pause),
            (!now.pause && before.pause, Signal::Resume),
        ];
        for (_, signal) in news.into_iter().filter(|(new, _)| *new) {
            // Nobody listens any more only while the watch is being dropped.
            self.tell.send(signal).ok();
        }
    }
}
