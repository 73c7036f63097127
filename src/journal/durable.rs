//! A file whose syncs are believed only while none failed.
//!
//! The kernel tells of a failed write-back once, to whichever sync asks first. Several threads sync
//! a journal; the failure that one of them is told is everybody's, for good.

use std::{
    fs::File,
    io,
    sync::{Mutex, OnceLock, PoisonError},
};

/// An open file that several sync.
#[derive(Debug)]
pub(super) struct Durable {
    file: File,
    turn: Mutex<()>,
    failed: OnceLock<(io::ErrorKind, String)>,
}

impl Durable {
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            turn: Mutex::new(()),
            failed: OnceLock::new(),
        }
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Syncs everything written so far. Fails when this or any sync before it did.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.sync_by(File::sync_data)
    }

    fn sync_by(&self, sync: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        // One after the other: who comes next must see what this one was told.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.failure()?;
        sync(&self.file).inspect_err(|cause| {
            let told = (cause.kind(), cause.to_string());
            self.failed.get_or_init(|| told);
        })
    }

    /// Returns the failure of any sync so far. Waits for none.
    pub(super) fn failure(&self) -> io::Result<()> {
        match self.failed.get() {
            Some((kind, told)) => Err(io::Error::new(*kind, told.clone())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_that_failed_once_fails_everybody_for_good() {
        let file = Durable::new(tempfile::tempfile().unwrap());
        file.sync().unwrap();
        let lost = |_: &File| Err(io::Error::other("the disk lost it"));
        std::thread::scope(|scope| {
            let background = scope.spawn(|| file.sync_by(lost).unwrap_err());
            background.join().unwrap();
        });
        for _ in 0..2 {
            assert_eq!(file.sync().unwrap_err().to_string(), "the disk lost it");
            assert_eq!(file.failure().unwrap_err().to_string(), "the disk lost it");
        }
    }
}
