//! Files that are nobody else's: how they are opened and replaced.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, open},
    io::Errno,
};
use zeroize::Zeroizing;

use super::error::SecretsError;
use crate::whole;

/// Bytes of the largest file that is read.
const LARGEST: u64 = 2 << 20;

/// The file that is locked while others change.
pub const LOCK: &str = "secrets.lock";

/// Whether others may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Readable {
    /// Nobody else.
    ByUser,
    /// Anybody; nobody else may write.
    ByAll,
}

/// Reads a file of this user's, following no link. None where there is none.
pub(super) fn read(
    path: &Path,
    readable: Readable,
) -> Result<Option<Zeroizing<Vec<u8>>>, SecretsError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(Errno::LOOP) => return Err(SecretsError::NotAFile { path: path.into() }),
        Err(cause) => return Err(failed("opened", path, cause)),
    };
    let stat = fstat(&file).map_err(|cause| failed("looked at", path, cause))?;
    check(path, &stat, readable)?;
    if u64::try_from(stat.st_size).unwrap_or(u64::MAX) > LARGEST {
        return Err(SecretsError::TooLarge { path: path.into() });
    }
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let room = usize::try_from(stat.st_size).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let read = File::from(file).take(LARGEST).read_to_end(&mut bytes);
    read.map_err(|cause| failed("read", path, cause))?;
    Ok(Some(bytes))
}

/// Reads a file of a directory that is checked as well.
pub(super) fn read_in(
    directory: &Path,
    name: &str,
    readable: Readable,
) -> Result<Option<Zeroizing<Vec<u8>>>, SecretsError> {
    match self::directory(directory) {
        Err(SecretsError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(cause) => Err(cause),
        Ok(_opened) => read(&directory.join(name), readable),
    }
}

fn check(path: &Path, stat: &Stat, readable: Readable) -> Result<(), SecretsError> {
    let path = || path.to_owned();
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(SecretsError::NotAFile { path: path() });
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(SecretsError::Foreign { path: path() });
    }
    match readable {
        Readable::ByUser if stat.st_mode & 0o077 != 0 => {
            Err(SecretsError::Exposed { path: path() })
        }
        Readable::ByAll if stat.st_mode & 0o022 != 0 => Err(SecretsError::Open { path: path() }),
        _ => Ok(()),
    }
}

/// Opens the directory of a store: nobody else may put files there, and it is no link, which a
/// repository could bring along.
fn directory(path: &Path) -> Result<OwnedFd, SecretsError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match open(path, flags, Mode::empty()) {
        Err(Errno::LOOP | Errno::NOTDIR) => {
            return Err(SecretsError::NotAFile { path: path.into() });
        }
        opened => opened.map_err(|cause| failed("opened", path, cause))?,
    };
    let stat = fstat(&opened).map_err(|cause| failed("looked at", path, cause))?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(SecretsError::Foreign { path: path.into() });
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(SecretsError::Open { path: path.into() });
    }
    Ok(opened)
}

/// The right to change the files of a directory, held by one process at a time.
pub(super) struct Lock {
    directory: PathBuf,
    _held: OwnedFd,
}

impl Lock {
    /// Waits for its turn. Creates the directory where there is none.
    pub(super) fn acquire(directory: &Path) -> Result<Self, SecretsError> {
        make(directory)?;
        let opened = self::directory(directory)?;
        let path = directory.join(LOCK);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::openat(&opened, LOCK, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|cause| failed("opened", &path, cause))?;
        rustix::io::retry_on_intr(|| flock(&held, FlockOperation::LockExclusive))
            .map_err(|cause| failed("locked", &path, cause))?;
        Ok(Self {
            directory: directory.to_owned(),
            _held: held,
        })
    }

    /// Replaces a file, or makes it: all of it or nothing, on the disk on return.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), SecretsError> {
        let path = self.directory.join(name);
        let wrote = |cause: io::Error| failed("written", &path, cause);
        whole::replace(&path, 0o600, bytes).map_err(wrote)
    }
}

/// Makes a directory for this user alone.
fn make(directory: &Path) -> Result<(), SecretsError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    made.map_err(|cause| failed("made", directory, cause))
}

/// Makes a private file that must not be there yet.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<(), SecretsError> {
    if let Some(parent) = path.parent() {
        make(parent)?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::RUSR | Mode::WUSR);
    let mut file = File::from(file.map_err(|cause| failed("made", path, cause))?);
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(|cause| failed("written", path, cause))
}

fn failed(doing: &'static str, path: &Path, cause: impl Into<io::Error>) -> SecretsError {
    SecretsError::Io {
        doing,
        path: path.to_owned(),
        source: cause.into(),
    }
}
