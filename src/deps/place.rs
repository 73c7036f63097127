//! Directories below directories, opened step by step and never through a link.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};

use super::DepsError;

/// Opens a directory of the caller's, which may be reached through links.
pub(super) fn top(path: &Path) -> Result<OwnedFd, DepsError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    opened.map_err(|errno| DepsError::io("open the directory", path, errno))
}

/// Opens a directory in another.
pub(super) fn directory(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    beneath(parent.as_fd(), name, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Opens a directory in another, making it where it is missing.
pub(super) fn within(parent: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => directory(parent, name.as_bytes()),
        Err(errno) => Err(errno),
    }
}

/// Opens something below a directory, through no link and onto no other file system.
pub(super) fn beneath(
    parent: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat2(parent, path, flags, Mode::empty(), resolve)
}

/// Asks about a name in a directory, not about what a link leads to.
pub(super) fn look(parent: impl AsFd, name: &[u8]) -> Result<Stat, Errno> {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Returns what a stat is about.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Returns the names in a directory, sorted.
pub(super) fn names(parent: impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(parent)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Removes whatever has a name in a directory. Links are removed, never followed.
///
/// # Errors
/// The system's; what could be removed before is gone.
pub(super) fn remove(parent: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    let mut open: Vec<(OwnedFd, Vec<Vec<u8>>, Vec<u8>)> = Vec::new();
    match enter(parent.as_fd(), name)? {
        Some((fd, names)) => open.push((fd, names, name.to_vec())),
        None => return Ok(()),
    }
    while let Some((fd, names, _)) = open.last_mut() {
        if let Some(next) = names.pop() {
            if let Some((below, names)) = enter(fd.as_fd(), &next)? {
                open.push((below, names, next));
            }
            continue;
        }
        let (_, _, emptied) = open.pop().expect("it was just looked at");
        let above = open.last().map_or(parent.as_fd(), |(fd, ..)| fd.as_fd());
        gone(rustix::fs::unlinkat(
            above,
            &emptied[..],
            AtFlags::REMOVEDIR,
        ))?;
    }
    Ok(())
}

/// A directory, and the names in it.
type Entered = (OwnedFd, Vec<Vec<u8>>);

/// Removes a name that is no directory, or opens and lists the directory that it is.
fn enter(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Entered>, Errno> {
    let stat = match look(parent, name) {
        Err(Errno::NOENT) => return Ok(None),
        stat => stat?,
    };
    if kind(&stat) != FileType::Directory {
        gone(rustix::fs::unlinkat(parent, name, AtFlags::empty()))?;
        return Ok(None);
    }
    if stat.st_mode & 0o700 != 0o700 {
        // Refused of what is not ours: then so is opening it.
        rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty()).ok();
    }
    let fd = directory(parent, name)?;
    let names = names(&fd)?;
    Ok(Some((fd, names)))
}

fn gone(removed: Result<(), Errno>) -> Result<(), Errno> {
    match removed {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}
