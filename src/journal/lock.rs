//! One orchestrator per repository.
//!
//! The kernel's lock on `.loki/lock` is the truth, so a dead owner holds nothing; the text in the
//! file only says who the owner is.

use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
    time::Duration,
};

use jiff::Timestamp;
use rustix::{
    fs::{FlockOperation, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{error::JournalError, place::Dir};
use crate::name::RunId;

/// Tries to lock, for [`Lock::holder`] of another process may hold a shared lock for a moment.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(5);
/// How often an owner is looked for who is just taking the lock or giving it back.
const LOOKS: u32 = 100;

/// Who works on a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// When it took the lock.
    pub started: Timestamp,
    /// Its run.
    pub run: RunId,
}

/// Why a repository cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody works on it.
    #[error("run {} (pid {}) is working on this repository; `loki status` shows it, `loki stop` ends it",
        holder.as_ref().map_or("?", |holder| holder.run.as_str()),
        holder.as_ref().map_or_else(|| "?".to_owned(), |holder| holder.pid.to_string()))]
    Held {
        /// Who; none in the moment before the owner has said so.
        holder: Option<Holder>,
    },
    /// The lock file cannot be opened, locked or written.
    #[error(transparent)]
    Io(#[from] JournalError),
}

/// The right to work on a repository, for as long as it lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
    abandoned: Option<Holder>,
}

impl Lock {
    /// Takes the repository's lock for a run.
    ///
    /// # Errors
    ///
    /// Names the run and process that hold it, or what the system refused.
    pub fn acquire(home: &Path, run: &RunId, now: Timestamp) -> Result<Self, LockError> {
        let path = home.join("lock");
        let mut file = open(home, OFlags::RDWR | OFlags::CREATE)?;
        if !try_lock(&file, &path)? {
            return Err(LockError::Held {
                holder: said(&file),
            });
        }
        let abandoned = said(&file);
        let holder = Holder {
            pid: std::process::id(),
            started: now,
            run: run.clone(),
        };
        let mut text = serde_json::to_vec(&holder).expect("plain fields are JSON");
        text.push(b'\n');
        file.set_len(0)
            .and_then(|()| file.write_all(&text))
            .map_err(|source| JournalError::io("write", &path, source))?;
        Ok(Self { file, abandoned })
    }

    /// Returns who holds the lock of a repository, none when nobody does.
    ///
    /// # Errors
    ///
    /// Fails when the lock file cannot be opened or tried.
    pub fn holder(home: &Path) -> Result<Option<Holder>, LockError> {
        let path = home.join("lock");
        let Ok(meta) = std::fs::symlink_metadata(&path) else {
            return Ok(None);
        };
        if !meta.is_file() {
            let refused = std::io::Error::other("not a regular file");
            return Err(JournalError::io("open", &path, refused).into());
        }
        let file = open(home, OFlags::RDONLY)?;
        for _ in 0..LOOKS {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
                Ok(()) => return Ok(None),
                Err(Errno::WOULDBLOCK) => {}
                Err(errno) => return Err(JournalError::io("lock", &path, errno).into()),
            }
            if let Some(holder) = said(&file) {
                return Ok(Some(holder));
            }
            // It is being taken or given back.
            std::thread::sleep(PAUSE);
        }
        Err(LockError::Held { holder: None })
    }

    /// Returns the owner that died without giving the lock back, and may have left things behind.
    #[must_use]
    pub fn abandoned(&self) -> Option<&Holder> {
        self.abandoned.as_ref()
    }
}

impl Drop for Lock {
    /// Gives the lock back in order: an empty file says that nothing was abandoned. Where that
    /// cannot be written the next owner only looks for leftovers in vain.
    fn drop(&mut self) {
        self.file.set_len(0).ok();
    }
}

fn open(home: &Path, flags: OFlags) -> Result<File, JournalError> {
    Dir::home(home)?.open("lock", flags | OFlags::NONBLOCK, 0o644)
}

fn try_lock(file: &File, path: &Path) -> Result<bool, JournalError> {
    for left in (0..TRIES).rev() {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) if left > 0 => std::thread::sleep(PAUSE),
            Err(Errno::WOULDBLOCK) => {}
            Err(errno) => return Err(JournalError::io("lock", path, errno)),
        }
    }
    Ok(false)
}

/// What the lock file says about its owner.
fn said(mut file: &File) -> Option<Holder> {
    use std::io::Seek;
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(4096).read_to_string(&mut text).ok()?;
    file.rewind().ok()?;
    serde_json::from_str(&text).ok()
}
