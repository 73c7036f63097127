//! Walks a tree that an agent may be changing, and never leaves it: every step is an `openat2`
//! below the directory before it, through no link and onto no other file system.

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags},
    io::Errno,
};

use super::{
    admit::{DEPTH, NAME, PATH},
    entry::{EntryPath, Moment, Seen, Why},
    error::CheckpointError,
};

/// What the kernel says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    /// What it is.
    pub(super) kind: FileType,
    /// Permission bits.
    pub(super) mode: u32,
    /// Bytes.
    pub(super) size: u64,
    /// When its contents changed.
    pub(super) mtime: Moment,
    /// Which it is, and when anything of it changed.
    pub(super) seen: Seen,
}

/// Something found.
#[derive(Debug)]
pub(super) struct Found {
    /// Its path, the root's name first.
    pub(super) path: EntryPath,
    /// What the kernel says of it, or why it is left out.
    pub(super) what: Result<Stat, Why>,
    /// What a link says.
    pub(super) target: Option<EntryPath>,
}

/// The directory that a walk stays below.
#[derive(Debug)]
pub(super) struct Root {
    name: EntryPath,
    fd: OwnedFd,
}

/// A directory that is being listed: what is left of it, last first.
struct Level {
    fd: OwnedFd,
    path: EntryPath,
    names: Vec<Vec<u8>>,
}

impl Root {
    /// Opens a directory that the caller vouches for.
    pub(super) fn open(name: &str, path: &Path) -> Result<Self, CheckpointError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| CheckpointError::io("open the directory", path, errno))?;
        let name = EntryPath::new(name);
        Ok(Self { name, fd })
    }

    /// Opens a regular file below it for reading.
    pub(super) fn file(&self, path: &EntryPath) -> Result<File, Errno> {
        let (_, below) = path.split_root();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        beneath(self.fd.as_fd(), below, flags).map(File::from)
    }

    /// Tells of everything below it, the root first, a directory before what is in it. What
    /// vanishes meanwhile is not told of.
    pub(super) fn walk(
        &self,
        mut tell: impl FnMut(Found) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let fail = |errno: Errno| {
            let path = Path::new(std::ffi::OsStr::from_bytes(self.name.as_bytes()));
            CheckpointError::io("list", path, errno)
        };
        let top = stat(self.fd.as_fd(), b"").map_err(fail)?;
        tell(Found {
            path: self.name.clone(),
            what: Ok(top),
            target: None,
        })?;
        let fd = self.fd.try_clone();
        let fd = fd.map_err(|source| CheckpointError::io("open", Path::new("."), source))?;
        let mut levels = vec![level(fd, self.name.clone()).map_err(fail)?];
        loop {
            let depth = levels.len();
            let Some(last) = levels.last_mut() else {
                return Ok(());
            };
            let Some(name) = last.names.pop() else {
                levels.pop();
                continue;
            };
            let path = last.path.join(&name);
            let found = look(last.fd.as_fd(), &name, path, depth);
            let Some((found, within)) = found else {
                continue;
            };
            let path = found.path.clone();
            tell(found)?;
            if let Some(fd) = within {
                levels.push(level(fd, path).map_err(fail)?);
            }
        }
    }
}

/// Looks at one name of a directory; none where it is gone. A directory comes opened.
fn look(
    fd: BorrowedFd<'_>,
    name: &[u8],
    path: EntryPath,
    depth: usize,
) -> Option<(Found, Option<OwnedFd>)> {
    let left_out = |path, why| {
        let what = Err(why);
        Some((
            Found {
                path,
                what,
                target: None,
            },
            None,
        ))
    };
    if depth + 1 > DEPTH || path.as_bytes().len() > PATH || name.len() > NAME {
        return left_out(path, Why::Deep);
    }
    let found = match stat(fd, name) {
        Ok(found) => found,
        Err(Errno::NOENT) => return None,
        Err(_) => return left_out(path, Why::Unreadable),
    };
    let mut target = None;
    let mut within = None;
    match found.kind {
        FileType::RegularFile => {}
        FileType::Symlink => match rustix::fs::readlinkat(fd, name, Vec::new()) {
            Ok(text) => target = Some(EntryPath::new(text.into_bytes())),
            Err(Errno::NOENT | Errno::INVAL) => return None,
            Err(_) => return left_out(path, Why::Unreadable),
        },
        FileType::Directory => match beneath(fd, name, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(fd) => within = Some(fd),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return None,
            Err(Errno::XDEV) => return left_out(path, Why::Mounted),
            Err(_) => return left_out(path, Why::Unreadable),
        },
        FileType::Socket => return left_out(path, Why::Socket),
        FileType::Fifo => return left_out(path, Why::Pipe),
        _ => return left_out(path, Why::Device),
    }
    // The directory that was opened is the one to tell of, whatever has its name by now.
    let found = match &within {
        Some(fd) => stat(fd.as_fd(), b"").unwrap_or(found),
        None => found,
    };
    let what = Ok(found);
    Some((Found { path, what, target }, within))
}

fn level(fd: OwnedFd, path: EntryPath) -> Result<Level, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&fd)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable_by(|one, other| other.cmp(one));
    Ok(Level { fd, path, names })
}

/// Opens something below a directory, through no link and onto no other file system.
pub(super) fn beneath(fd: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(fd, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Asks the kernel about a name in a directory, or with an empty name about the descriptor.
pub(super) fn stat(fd: BorrowedFd<'_>, name: &[u8]) -> Result<Stat, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let found = rustix::fs::statx(fd, name, flags, StatxFlags::BASIC_STATS)?;
    let mode = u32::from(found.stx_mode);
    let moment = |time: rustix::fs::StatxTimestamp| Moment(time.tv_sec, time.tv_nsec);
    let device = rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor);
    Ok(Stat {
        kind: FileType::from_raw_mode(mode),
        mode: mode & 0o7777,
        size: found.stx_size,
        mtime: moment(found.stx_mtime),
        seen: Seen {
            ctime: moment(found.stx_ctime),
            inode: found.stx_ino,
            device,
        },
    })
}
