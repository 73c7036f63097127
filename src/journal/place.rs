//! Directories and files under `.loki`, opened without following what a repository planted there.
//!
//! `.loki` stands in a repository that may have come from anywhere, so a directory or file there
//! that is a symlink is refused rather than followed.

use std::{
    fs::File,
    io::Write,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};

use super::error::JournalError;
use crate::whole::{self, At, Taken};

/// An open directory under `.loki`, or `.loki` itself.
#[derive(Debug)]
pub(super) struct Dir {
    path: PathBuf,
    fd: OwnedFd,
}

impl Dir {
    /// Opens `home`, creating it where it is missing.
    pub(super) fn home(home: &Path) -> Result<Self, JournalError> {
        let made = rustix::fs::mkdir(home, Mode::from_raw_mode(0o755));
        made_or_there(made).map_err(|errno| JournalError::io("create", home, errno))?;
        let fd = rustix::fs::open(home, directory(), Mode::empty())
            .map_err(|errno| JournalError::io("open the directory", home, errno))?;
        Ok(Self {
            path: home.to_owned(),
            fd,
        })
    }

    /// Opens a directory in `home` and creates none: none where one of the two is missing.
    pub(super) fn there(home: &Path, name: &str) -> Result<Option<Self>, JournalError> {
        let path = home.join(name);
        let found = rustix::fs::open(home, directory(), Mode::empty())
            .and_then(|home| rustix::fs::openat(&home, name, directory(), Mode::empty()));
        match found {
            Ok(fd) => Ok(Some(Self { path, fd })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(JournalError::io("open the directory", &path, errno)),
        }
    }

    /// Opens a directory of this user, creating it and those above it, for this user alone, where
    /// they are missing.
    pub(super) fn beneath(path: &Path) -> Result<Self, JournalError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let mut builder = std::fs::DirBuilder::new();
        let missing = path.ancestors().take_while(|above| !above.exists());
        let missing: Vec<&Path> = missing.filter_map(Path::parent).collect();
        let made = builder.recursive(true).mode(0o700).create(path);
        made.map_err(|source| JournalError::io("create", path, source))?;
        for above in missing {
            let above = if above.as_os_str().is_empty() {
                Path::new(".")
            } else {
                above
            };
            let synced = File::open(above).and_then(|above| above.sync_all());
            synced.map_err(|source| JournalError::io("sync", above, source))?;
        }
        Self::home(path)
    }

    /// Opens a directory in this one, creating it with `mode` where it is missing.
    pub(super) fn within(&self, name: &str, mode: u32) -> Result<Self, JournalError> {
        let path = self.path.join(name);
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            // Else a power cut takes it, with all that was synced in it.
            Ok(()) => self.sync()?,
            made => {
                made_or_there(made).map_err(|errno| JournalError::io("create", &path, errno))?;
            }
        }
        let fd = rustix::fs::openat(&self.fd, name, directory(), Mode::empty())
            .map_err(|errno| JournalError::io("open the directory", &path, errno))?;
        Ok(Self { path, fd })
    }

    /// Opens a directory in this one that is this user's alone, creating it where it is missing.
    /// One that others may look into is closed to them, and another user's is refused.
    pub(super) fn own(&self, name: &str) -> Result<Self, JournalError> {
        let own = self.within(name, 0o700)?;
        let fail = |errno: Errno| JournalError::io("take for this user alone", &own.path, errno);
        let facts = rustix::fs::fstat(&own.fd).map_err(fail)?;
        if facts.st_uid != rustix::process::geteuid().as_raw() {
            return Err(JournalError::Foreign {
                path: own.path.clone(),
            });
        }
        if facts.st_mode & 0o077 != 0 {
            rustix::fs::fchmod(&own.fd, Mode::from_raw_mode(0o700)).map_err(fail)?;
        }
        Ok(own)
    }

    /// The directory itself.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file in this directory, never through a symlink. `flags` say how.
    pub(super) fn open(&self, name: &str, flags: OFlags, mode: u32) -> Result<File, JournalError> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(mode))
            .map(File::from)
            .map_err(|errno| JournalError::io("open", &self.path.join(name), errno))
    }

    /// Replaces a file by one with these bytes: a reader sees the old or the new, never a part.
    /// A file that holds these bytes already is left alone.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), JournalError> {
        if self.holds(name, bytes) {
            return Ok(());
        }
        let fail = |source| JournalError::io("write", &self.path.join(name), source);
        let temporary = format!(".{name}.new");
        match rustix::fs::unlinkat(&self.fd, &temporary, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(fail(errno.into())),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mut file = self.open(&temporary, flags, 0o644)?;
        file.write_all(bytes).map_err(fail)?;
        let (from, to) = (
            At::new(self.fd.as_fd(), &temporary),
            At::new(self.fd.as_fd(), name),
        );
        whole::name(&file, from, to, Taken::Replace).map_err(fail)
    }

    fn holds(&self, name: &str, bytes: &[u8]) -> bool {
        use std::io::Read;
        let Ok(file) = self.open(name, OFlags::RDONLY | OFlags::NONBLOCK, 0) else {
            return false;
        };
        let mut held = Vec::new();
        let read = file.take(bytes.len() as u64 + 1).read_to_end(&mut held);
        read.is_ok() && held == bytes
    }

    /// Makes the directory's own entries durable.
    pub(super) fn sync(&self) -> Result<(), JournalError> {
        rustix::fs::fsync(&self.fd).map_err(|errno| JournalError::io("sync", &self.path, errno))
    }
}

/// Opens a file for reading; a symlink, a pipe or a device in its place is refused.
pub(super) fn open_to_read(path: &Path) -> Result<File, JournalError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty())
        .map(File::from)
        .map_err(|errno| JournalError::io("open", path, errno))?;
    match file.metadata() {
        Ok(meta) if meta.is_file() => Ok(file),
        Ok(_) => Err(JournalError::io(
            "read",
            path,
            std::io::Error::other("not a regular file"),
        )),
        Err(source) => Err(JournalError::io("read", path, source)),
    }
}

fn directory() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn made_or_there(made: Result<(), Errno>) -> Result<(), Errno> {
    match made {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}
