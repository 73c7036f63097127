//! Keeps refused work that git must not even read, as an archive: data that no program runs by
//! being near it, unlike a repository that an agent made.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use super::super::Slot;
use crate::whole;

impl Slot {
    /// Writes everything in the worktree into the tar `to`, in place of an older one. Links are
    /// kept as links and followed nowhere. For a slot whose container is gone.
    ///
    /// # Errors
    /// The operating system's, or that the work is larger than `cap` bytes; then nothing is kept.
    pub fn keep(&self, to: &Path, cap: u64) -> io::Result<()> {
        let parent = to.parent().ok_or(io::ErrorKind::InvalidInput)?;
        fs::create_dir_all(parent)?;
        fs::set_permissions(parent, fs::Permissions::from_mode(0o700))?;
        let part = to.with_extension("part");
        let kept = self
            .archive(&part, cap)
            .and_then(|()| whole::settle(&part, to));
        if kept.is_err() {
            // There is nothing to do about a part that cannot be removed either.
            fs::remove_file(&part).ok();
        }
        kept
    }

    fn archive(&self, part: &Path, cap: u64) -> io::Result<()> {
        let mut options = File::options();
        let file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(part)?;
        let mut archive = tar::Builder::new(Capped { file, left: cap });
        archive.follow_symlinks(false);
        archive.append_dir_all("work", self.work())?;
        archive.into_inner().map(drop)
    }
}

/// A file that takes so many bytes and no more.
struct Capped {
    file: File,
    left: u64,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        let left = self.left.checked_sub(written as u64);
        self.left = left.ok_or_else(|| io::Error::other("the work is too large to be kept"))?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
