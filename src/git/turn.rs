//! One at a time, over all processes: whoever moves the branch of a run holds this.

use std::{fs::File, path::PathBuf, thread, time::Duration};

use rustix::{
    fs::{CWD, FlockOperation, Mode, OFlags, flock, openat},
    io::Errno,
};

use super::{GitError, Repository, error::At};

/// The lock, in the directory that all checkouts of a repository share.
const FILE: &str = "loki-landing";
/// How long to wait: a move takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(10);

/// The right to move the branch of a run, for as long as it lives. The kernel takes it back when
/// its process dies.
#[derive(Debug)]
#[must_use]
pub struct Turn {
    _lock: File,
}

impl Repository {
    /// Waits until nobody else lands in this repository, from whichever checkout.
    ///
    /// # Errors
    /// When the lock cannot be opened, or is held for half a minute.
    pub fn turn(&self) -> Result<Turn, GitError> {
        self.turn_within(PATIENCE)
    }

    fn turn_within(&self, patience: Duration) -> Result<Turn, GitError> {
        let path: PathBuf = self.common_dir().join(FILE);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(CWD, &path, flags, Mode::from_raw_mode(0o644)).at("open", &path)?;
        let mut waited = Duration::ZERO;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Turn { _lock: file.into() }),
                Err(Errno::WOULDBLOCK | Errno::INTR) if waited < patience => {}
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    let seconds = patience.as_secs();
                    return Err(GitError::Busy { path, seconds });
                }
                Err(errno) => return Err(errno).at("lock", path),
            }
            thread::sleep(STEP);
            waited += STEP;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use super::GitError;
    use crate::git::{Repository, world::World};

    #[test]
    fn two_orchestrators_in_two_checkouts_take_turns() {
        let world = World::new();
        let linked = world.dir.path().join("linked");
        world.git(&[
            "worktree",
            "add",
            "-q",
            "--detach",
            linked.to_str().unwrap(),
        ]);
        let (here, there) = (world.open(), Repository::open(&linked).unwrap());
        let turn = here.turn().unwrap();
        let refused = there.turn_within(Duration::from_millis(20)).unwrap_err();
        assert!(matches!(refused, GitError::Busy { .. }), "{refused}");
        drop(turn);
        drop(there.turn().unwrap());
        let inside = Mutex::new(());
        std::thread::scope(|scope| {
            for repository in [&here, &there, &here, &there] {
                let inside = &inside;
                scope.spawn(move || {
                    for _ in 0..20 {
                        let turn = repository.turn().unwrap();
                        drop(inside.try_lock().expect("two are inside"));
                        drop(turn);
                    }
                });
            }
        });
    }

    #[test]
    fn a_link_planted_at_the_lock_is_not_followed() {
        let world = World::new();
        let target = world.dir.path().join("target");
        std::os::unix::fs::symlink(&target, world.root().join(".git/loki-landing")).unwrap();
        assert!(world.open().turn().is_err());
        assert!(!target.exists());
    }
}
