//! Walks a tree, never out of it, in one order: so a digest of a tree is a digest of what is told.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{FileType, OFlags, Stat},
    io::Errno,
};
use sha2::{Digest as _, Sha256};

use super::{DepsError, place, take::Bounds};
use crate::{digest::Digest, text::visible};

/// The deepest directory that is kept.
const DEPTH: usize = 64;

/// One name in a tree.
pub(super) struct Node<'a> {
    /// Its path below the top.
    pub(super) path: &'a [u8],
    /// The directory it is in.
    pub(super) parent: BorrowedFd<'a>,
    /// Its name there.
    pub(super) name: &'a [u8],
    /// What the kernel says of it.
    pub(super) stat: Stat,
}

impl Node<'_> {
    /// Refuses it.
    pub(super) fn refused(&self, why: &'static str) -> DepsError {
        refused(self.path, why)
    }

    /// Says what failed with it.
    pub(super) fn failed(&self, doing: &'static str, errno: Errno) -> DepsError {
        DepsError::io(doing, visible(&String::from_utf8_lossy(self.path)), errno)
    }

    /// Opens it for reading, being a file.
    pub(super) fn open(&self) -> Result<File, DepsError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = place::beneath(self.parent, self.name, flags);
        let file = File::from(opened.map_err(|errno| self.failed("open", errno))?);
        let stat = rustix::fs::fstat(&file).map_err(|errno| self.failed("look at", errno))?;
        if place::kind(&stat) == FileType::RegularFile {
            Ok(file)
        } else {
            Err(self.refused("which is no file any more"))
        }
    }

    /// Returns what it says, being a link.
    pub(super) fn target(&self) -> Result<Vec<u8>, DepsError> {
        let read = rustix::fs::readlinkat(self.parent, self.name, Vec::new());
        let target = read.map_err(|errno| self.failed("read the link", errno))?;
        Ok(target.into_bytes())
    }
}

pub(super) fn refused(path: &[u8], why: &'static str) -> DepsError {
    DepsError::Refused {
        path: visible(&String::from_utf8_lossy(path)),
        why,
    }
}

/// A directory that is being walked: what is left of it, last first.
struct Level {
    fd: OwnedFd,
    names: Vec<Vec<u8>>,
    prefix: usize,
}

/// What a walk comes upon.
pub(super) enum Step<'a> {
    /// A name, a directory before what is in it.
    Into(&'a Node<'a>),
    /// The end of a directory.
    Out,
}

/// Tells of everything below a directory, sorted within each.
pub(super) fn walk(
    top: &OwnedFd,
    bounds: Bounds,
    mut tell: impl FnMut(Step<'_>) -> Result<(), DepsError>,
) -> Result<(), DepsError> {
    let mut path: Vec<u8> = Vec::new();
    let first = top
        .try_clone()
        .map_err(|cause| DepsError::io("open", ".", cause))?;
    let mut levels = vec![level(first, 0)?];
    let mut seen = 0;
    while let Some(last) = levels.last_mut() {
        path.truncate(last.prefix);
        let Some(name) = last.names.pop() else {
            levels.pop();
            if !levels.is_empty() {
                tell(Step::Out)?;
            }
            continue;
        };
        seen += 1;
        if seen > bounds.entries {
            return Err(DepsError::TooMuch {
                most: bounds.entries,
                what: "files",
            });
        }
        path.extend_from_slice(&name);
        let stat = place::look(&last.fd, &name);
        let node = Node {
            path: &path,
            parent: last.fd.as_fd(),
            name: &name,
            stat: stat.map_err(|errno| DepsError::io("look at", ".", errno))?,
        };
        named(&node)?;
        tell(Step::Into(&node))?;
        if place::kind(&node.stat) == FileType::Directory {
            let fd = place::directory(node.parent, &name);
            let fd = fd.map_err(|errno| node.failed("open the directory", errno))?;
            if levels.len() >= DEPTH {
                return Err(refused(&path, "which is too deep"));
            }
            path.push(b'/');
            levels.push(level(fd, path.len())?);
        }
    }
    Ok(())
}

fn level(fd: OwnedFd, prefix: usize) -> Result<Level, DepsError> {
    let names = place::names(&fd);
    let mut names = names.map_err(|errno| DepsError::io("list", ".", errno))?;
    names.reverse();
    Ok(Level { fd, names, prefix })
}

/// Refuses names that are not what they look like.
fn named(node: &Node<'_>) -> Result<(), DepsError> {
    match std::str::from_utf8(node.name) {
        Ok(name) if name.contains(|c: char| c.is_control() || crate::text::is_hostile(c)) => {
            Err(node.refused("whose name has invisible characters"))
        }
        Ok(_) => Ok(()),
        Err(_) => Err(node.refused("whose name is no UTF-8")),
    }
}

/// A digest of a tree in the making: a line for each name, and the end of each directory.
#[derive(Default)]
pub(super) struct Sum {
    hash: Sha256,
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

impl Sum {
    /// Adds a name; `tail` is a link's target or a file's hash.
    pub(super) fn add(&mut self, kind: u8, name: &[u8], tail: &[u8]) {
        self.entries += 1;
        for part in [&[kind][..], name, tail] {
            // Parts must not run together.
            self.hash.update((part.len() as u64).to_le_bytes());
            self.hash.update(part);
        }
    }

    /// Adds a file, by its contents.
    pub(super) fn file(&mut self, (name, runs): (&[u8], bool), (hash, bytes): (Digest, u64)) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.add(if runs { b'x' } else { b'f' }, name, &hash.0);
    }

    /// Adds the end of a directory.
    pub(super) fn out(&mut self) {
        self.hash.update(u64::MAX.to_le_bytes());
    }

    pub(super) fn finish(self) -> Digest {
        Digest(self.hash.finalize().into())
    }
}

/// Reads a file to its end, hands each piece on, and returns its hash and length.
pub(super) fn pieces(
    file: &mut File,
    mut hand: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<(Digest, u64)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut length = 0_u64;
    loop {
        let read = file.read(&mut buffer)?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else {
            return Ok((Digest(hash.finalize().into()), length));
        };
        hash.update(piece);
        hand(piece)?;
        length += read as u64;
    }
}
