//! Copies what an install left behind into files of Loki's own.
//!
//! What an install's scripts can make is hostile: links out of the tree, hard links, set-id bits,
//! attributes, pipes, files of a terabyte without a byte in them. Contents, names, the right to run,
//! times and links that stay within are copied; everything else is dropped or refused.

use std::{
    fs::File,
    io::Write,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps},
    io::Errno,
};

use super::{
    DepsError, place,
    walk::{Node, Step, Sum, pieces, walk},
};
use crate::digest::Digest;

/// How much is kept of one install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes in files.
    pub bytes: u64,
}

/// Where an install left its result.
#[derive(Debug, Clone, Copy)]
pub struct From<'a> {
    /// The directory of the whole sandbox's worktree on this host. Nothing may run there any more.
    pub work: &'a Path,
    /// The result, relative to it.
    pub makes: &'a str,
    /// Links may lead anywhere in the worktree, for the result stands in one again; else only
    /// within the result.
    pub beside: bool,
}

/// What was copied.
pub(super) struct Taken {
    pub(super) digest: Digest,
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

/// Copies a result into an empty directory.
pub(super) fn take(from: From<'_>, to: &OwnedFd, bounds: Bounds) -> Result<Taken, DepsError> {
    let work = place::top(from.work)?;
    let top = match place::directory(&work, from.makes.as_bytes()) {
        Ok(top) => top,
        Err(Errno::NOENT) => {
            let path = from.makes.to_owned();
            return Err(DepsError::Nothing { path });
        }
        Err(Errno::LOOP | Errno::NOTDIR) => {
            let path = from.makes.to_owned();
            let why = "which is no directory";
            return Err(DepsError::Refused { path, why });
        }
        Err(errno) => return Err(DepsError::io("open the directory", from.makes, errno)),
    };
    let bound = Bound {
        root: if from.beside { &work } else { &top },
        prefix: if from.beside { from.makes } else { "" },
    };
    let mut copy = Copy {
        bound,
        open: vec![own(to)?],
        sum: Sum::default(),
        left: bounds.bytes,
        most: bounds.bytes,
    };
    walk(&top, bounds, |step| copy.step(&step))?;
    let (entries, bytes) = (copy.sum.entries, copy.sum.bytes);
    if entries == 0 {
        let path = from.makes.to_owned();
        return Err(DepsError::Nothing { path });
    }
    Ok(Taken {
        digest: copy.sum.finish(),
        entries,
        bytes,
    })
}

fn own(fd: &OwnedFd) -> Result<OwnedFd, DepsError> {
    fd.try_clone()
        .map_err(|cause| DepsError::io("open", ".", cause))
}

/// How often the kernel is asked about one link: it does not say whether a `..` leads out while
/// anything on the machine is renamed (`EAGAIN` in openat2(2)).
const TRIES: u32 = 10_000;

/// What no link may lead out of.
struct Bound<'a> {
    root: &'a OwnedFd,
    prefix: &'a str,
}

impl Bound<'_> {
    /// Has the kernel follow a link and refuses one that leads out, at any step. One that leads
    /// nowhere is fine: it does so where it is given, too.
    fn holds(&self, node: &Node<'_>) -> Result<(), DepsError> {
        let path = match self.prefix {
            "" => node.path.to_vec(),
            prefix => [prefix.as_bytes(), b"/", node.path].concat(),
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let follow = || rustix::fs::openat2(self.root, &path[..], flags, Mode::empty(), resolve);
        let mut tries = (0..TRIES).map(|_| follow());
        match tries.find(|tried| !matches!(tried, Err(Errno::AGAIN))) {
            Some(Ok(_) | Err(Errno::NOENT | Errno::NOTDIR)) => Ok(()),
            Some(Err(Errno::XDEV)) => Err(node.refused("a link that leads out")),
            Some(Err(Errno::LOOP)) => Err(node.refused("a link that leads in a circle")),
            Some(Err(_)) | None => Err(node.refused("a link that cannot be followed")),
        }
    }
}

struct Copy<'a> {
    bound: Bound<'a>,
    /// The directories that are being filled.
    open: Vec<OwnedFd>,
    sum: Sum,
    left: u64,
    most: u64,
}

impl Copy<'_> {
    fn step(&mut self, step: &Step<'_>) -> Result<(), DepsError> {
        let Step::Into(node) = step else {
            self.open.pop();
            self.sum.out();
            return Ok(());
        };
        let to = self.open.last().expect("the top is never left");
        match place::kind(&node.stat) {
            FileType::RegularFile => {
                let (hash, length) = file(node, to, self.left)?.ok_or(DepsError::TooMuch {
                    most: self.most,
                    what: "bytes",
                })?;
                self.left -= length;
                self.sum.file((node.name, runs(node)), (hash, length));
            }
            FileType::Directory => {
                let made = rustix::fs::mkdirat(to, node.name, Mode::from_raw_mode(0o755));
                made.map_err(|errno| node.failed("make the directory", errno))?;
                let fd = place::directory(to, node.name);
                let fd = fd.map_err(|errno| node.failed("open the directory", errno))?;
                set_mode(&fd, 0o755).map_err(|errno| node.failed("make the directory", errno))?;
                self.sum.add(b'd', node.name, b"");
                self.open.push(fd);
            }
            FileType::Symlink => {
                self.bound.holds(node)?;
                let target = node.target()?;
                let made = rustix::fs::symlinkat(&target[..], to, node.name);
                made.map_err(|errno| node.failed("make the link", errno))?;
                self.sum.add(b'l', node.name, &target);
            }
            FileType::Fifo => return Err(node.refused("a pipe")),
            FileType::Socket => return Err(node.refused("a socket")),
            _ => return Err(node.refused("a device")),
        }
        Ok(())
    }
}

fn runs(node: &Node<'_>) -> bool {
    node.stat.st_mode & 0o100 != 0
}

fn set_mode(fd: impl AsFd, mode: u32) -> Result<(), Errno> {
    rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))
}

/// Copies a file; none where it has more bytes than are left.
fn file(node: &Node<'_>, to: &OwnedFd, left: u64) -> Result<Option<(Digest, u64)>, DepsError> {
    // One that is larger is not even begun: it may be all holes.
    if u64::try_from(node.stat.st_size).unwrap_or(u64::MAX) > left {
        return Ok(None);
    }
    let mut from = node.open()?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let made = rustix::fs::openat(to, node.name, flags, Mode::RUSR | Mode::WUSR);
    let mut made = File::from(made.map_err(|errno| node.failed("write", errno))?);
    let copied = pieces(&mut from, |piece| made.write_all(piece));
    let (hash, length) = copied.map_err(|cause| DepsError::io("copy", "a file", cause))?;
    if length > left {
        return Ok(None);
    }
    let when = Timespec {
        tv_sec: node.stat.st_mtime,
        tv_nsec: i64::try_from(node.stat.st_mtime_nsec).unwrap_or(0),
    };
    // Compiled Python files name the time of their source.
    let times = Timestamps {
        last_access: when,
        last_modification: when,
    };
    let settled = set_mode(&made, if runs(node) { 0o755 } else { 0o644 })
        .and_then(|()| rustix::fs::futimens(&made, &times));
    settled.map_err(|errno| node.failed("write", errno))?;
    Ok(Some((hash, length)))
}
