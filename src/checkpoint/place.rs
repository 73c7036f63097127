//! Directories and files of the store, opened without following what was planted there, and files
//! that are there whole or not at all.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};

use super::error::CheckpointError;
use crate::whole::{self, At, Taken};

/// What the name of a file begins with that is not yet one of the store.
const FRESH: &str = ".new-";

/// An open directory of the store.
#[derive(Debug)]
pub(super) struct Dir {
    path: PathBuf,
    fd: OwnedFd,
}

impl Dir {
    /// Opens a directory whose path is the caller's own.
    pub(super) fn at(path: &Path) -> Result<Self, CheckpointError> {
        let fd = rustix::fs::open(path, directory(), Mode::empty())
            .map_err(|errno| CheckpointError::io("open the directory", path, errno))?;
        let path = path.to_owned();
        Ok(Self { path, fd })
    }

    /// Opens a directory in this one, making it where it is missing, for this user alone.
    pub(super) fn make(&self, name: &str) -> Result<Self, CheckpointError> {
        let path = self.path.join(name);
        match rustix::fs::mkdirat(&self.fd, name, Mode::RWXU) {
            // Else a power cut takes it, with all that was synced in it.
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(CheckpointError::io("create", &path, errno)),
        }
        let fd = rustix::fs::openat(&self.fd, name, directory(), Mode::empty())
            .map_err(|errno| CheckpointError::io("open the directory", &path, errno))?;
        Ok(Self { path, fd })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file in it; none where there is none. Anything but a regular file is refused.
    pub(super) fn open(&self, name: &str) -> Result<Option<File>, CheckpointError> {
        let fail = |source: io::Error| CheckpointError::io("open", &self.path.join(name), source);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(fail(errno.into())),
        };
        match file.metadata().map_err(fail)?.is_file() {
            true => Ok(Some(file)),
            false => Err(fail(io::Error::other("not a regular file"))),
        }
    }

    /// Reads a file of at most `cap` bytes; none where there is none.
    pub(super) fn read(&self, name: &str, cap: u64) -> Result<Option<Vec<u8>>, CheckpointError> {
        let Some(file) = self.open(name)? else {
            return Ok(None);
        };
        let fail = |source: io::Error| CheckpointError::io("read", &self.path.join(name), source);
        let mut bytes = Vec::new();
        file.take(cap + 1).read_to_end(&mut bytes).map_err(fail)?;
        match bytes.len() as u64 > cap {
            true => Err(fail(io::Error::other("larger than any of its kind"))),
            false => Ok(Some(bytes)),
        }
    }

    /// Opens the file that processes lock, making it where it is missing.
    pub(super) fn lock_file(&self, name: &str) -> Result<File, CheckpointError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|errno| CheckpointError::io("open", &self.path.join(name), errno))
    }

    /// Returns the names of what is in it, in order, those of unfinished files left out.
    pub(super) fn names(&self) -> Result<Vec<String>, CheckpointError> {
        let mut names = self.all_names()?;
        names.retain(|name| !name.starts_with(FRESH));
        Ok(names)
    }

    fn all_names(&self) -> Result<Vec<String>, CheckpointError> {
        let fail = |errno: Errno| CheckpointError::io("list", &self.path, errno);
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_string_lossy();
            if name != "." && name != ".." {
                names.push(name.into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Removes what killed processes left half-written. Only for whoever holds the lock.
    pub(super) fn tidy(&self) -> Result<(), CheckpointError> {
        for name in self.all_names()? {
            if name.starts_with(FRESH) {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Removes a file; one that is gone already is fine.
    pub(super) fn remove(&self, name: &str) -> Result<(), CheckpointError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(CheckpointError::io("remove", &self.path.join(name), errno)),
        }
    }

    /// Makes what was added and removed durable.
    pub(super) fn sync(&self) -> Result<(), CheckpointError> {
        rustix::fs::fsync(&self.fd).map_err(|errno| CheckpointError::io("sync", &self.path, errno))
    }

    /// Replaces a file by one that may be gone after a power cut, and does not wait for the disk.
    pub(super) fn leave(&self, name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
        let mut fresh = self.begin(name)?;
        fresh.write(bytes)?;
        let temporary = fresh.temporary.take().expect("it was begun just now");
        let renamed = rustix::fs::renameat(&self.fd, &temporary, &self.fd, name);
        renamed.map_err(|errno| CheckpointError::io("write", &self.path.join(name), errno))
    }

    /// Begins a file that gets its name only once it is whole.
    pub(super) fn begin(&self, name: &str) -> Result<Fresh<'_>, CheckpointError> {
        let temporary = format!("{FRESH}{name}");
        self.remove(&temporary)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&self.fd, &temporary, flags | OFlags::CLOEXEC, mode)
            .map_err(|errno| CheckpointError::io("create", &self.path.join(&temporary), errno))?;
        Ok(Fresh {
            dir: self,
            file: File::from(file),
            temporary: Some(temporary),
            name: name.to_owned(),
        })
    }
}

/// A file of the store that is being written. Dropped, it is gone.
pub(super) struct Fresh<'d> {
    dir: &'d Dir,
    file: File,
    temporary: Option<String>,
    name: String,
}

impl Fresh<'_> {
    /// Writes on.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        let written = self.file.write_all(bytes);
        written.map_err(|source| self.fault(source))
    }

    /// Makes it one of the store, durably. A file of that name is not replaced.
    pub(super) fn finish(mut self) -> Result<(), CheckpointError> {
        let temporary = self.temporary.take().expect("only this takes it");
        let dir = self.dir.fd.as_fd();
        let (from, to) = (At::new(dir, &temporary), At::new(dir, &self.name));
        let named = whole::name(&self.file, from, to, Taken::Keep);
        named.map_err(|source| {
            self.temporary = Some(temporary);
            self.fault(source)
        })
    }

    fn fault(&self, source: io::Error) -> CheckpointError {
        CheckpointError::io("write", &self.dir.path.join(&self.name), source)
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // Whoever holds the lock next removes it.
            self.dir.remove(&temporary).ok();
        }
    }
}

fn directory() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}
