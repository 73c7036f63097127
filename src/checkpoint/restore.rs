//! Unpacks a checkpoint into a directory that was not there before.
//!
//! Everything is verified before the first file is made. Each file, directory and link is made
//! exclusively, below an open directory and through no link, in a directory that gets its name only
//! when all is there: whatever is wrong, nothing else is touched and nothing half is left.

use std::{
    fs::File,
    io::{Seek, Write},
    os::fd::{AsFd, OwnedFd},
    os::unix::fs::fchown,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid},
    io::Errno,
};

use crate::{name::CheckpointId, policy::Globs};

use super::{
    admit::{Refusal, leaves},
    entry::{Entry, EntryPath, Kind, Listing, Moment},
    error::CheckpointError,
    manifest::{Head, Trusted},
    read::{Piece, Reader},
    store::Store,
    walk::beneath,
};

/// What is done about links that lead out of their tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// They are left out and named: on the host, whoever follows one gets the host's file.
    Within,
    /// They are made as they were, for a sandbox, where they lead to what they led to.
    All,
}

/// What is to be unpacked, and how.
#[derive(Debug, Clone, Copy)]
pub struct Unpacking<'a> {
    /// The checkpoint.
    pub id: &'a CheckpointId,
    /// The directory, which does not exist or is empty.
    pub to: &'a Path,
    /// The one tree to unpack, without its name; none for all, each in a directory of its name.
    pub tree: Option<&'a str>,
    /// What is done about links that lead out.
    pub links: Links,
    /// The files and links that are made, by their path below the tree's name; none makes all.
    /// Directories are always made.
    pub readable: Option<&'a Globs>,
    /// Whom everything is given to, by user and group; none for the caller.
    pub owner: Option<(u32, u32)>,
}

impl Unpacking<'_> {
    /// Returns whether an entry is to be made.
    fn wants(&self, entry: &Entry) -> bool {
        let (root, below) = entry.path.split_root();
        let is_readable = |globs: &Globs| {
            let path = std::str::from_utf8(below).ok();
            path.is_some_and(|path| globs.matches(path).is_some())
        };
        self.tree.is_none_or(|tree| root == tree.as_bytes())
            && (entry.is == Kind::Directory || self.readable.is_none_or(is_readable))
    }
}

/// What was unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The checkpoint.
    pub head: Head,
    /// How many entries were made.
    pub entries: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Links that lead out and were not made.
    pub links: Vec<EntryPath>,
    /// Files whose set-id bits were taken away.
    pub set_id: Vec<EntryPath>,
}

/// Verifies a checkpoint, then unpacks it.
///
/// # Errors
/// The first thing that is wrong with it, or that cannot be made. Nothing is left then.
pub fn restore(
    store: &Store,
    asked: &Unpacking<'_>,
    trusted: Trusted<'_>,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Unpacked, CheckpointError> {
    let place = Target::at(asked.to)?;
    let (head, mut listing, mut reader) = store.verified(asked.id, trusted, progress)?;
    listing.entries.retain(|entry| asked.wants(entry));
    let part = place.begin()?;
    let mut unpack = || {
        let mut tree = Tree {
            fd: part.open()?,
            asked,
            id: &head.id,
            unpacked: Unpacked {
                head: head.clone(),
                entries: 0,
                bytes: 0,
                links: Vec::new(),
                set_id: Vec::new(),
            },
        };
        tree.fill(&listing, &mut reader)?;
        Ok(tree.unpacked)
    };
    match unpack() {
        Ok(unpacked) => part.finish(&place).map(|()| unpacked),
        Err(cause) => {
            part.discard();
            Err(cause)
        }
    }
}

/// The directory that is to be.
struct Target {
    parent: PathBuf,
    path: PathBuf,
}

/// The directory that becomes it.
struct Part(PathBuf);

impl Target {
    fn at(to: &Path) -> Result<Self, CheckpointError> {
        match std::fs::symlink_metadata(to) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
            Err(cause) => return Err(CheckpointError::io("look at", to, cause)),
            Ok(found) if found.is_dir() => {
                let entries = std::fs::read_dir(to);
                let mut entries =
                    entries.map_err(|cause| CheckpointError::io("list", to, cause))?;
                if entries.next().is_some() {
                    return Err(CheckpointError::Taken(to.to_owned()));
                }
            }
            Ok(_) => return Err(CheckpointError::Taken(to.to_owned())),
        }
        let parent = match to.parent() {
            Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
            Some(parent) => parent.to_owned(),
            None => return Err(CheckpointError::Taken(to.to_owned())),
        };
        if to.file_name().is_none() {
            return Err(CheckpointError::Taken(to.to_owned()));
        }
        let path = to.to_owned();
        Ok(Self { parent, path })
    }

    /// Makes a directory beside it, for this user alone.
    fn begin(&self) -> Result<Part, CheckpointError> {
        let mut builder = tempfile::Builder::new();
        let made = builder.prefix(".loki-restore-").tempdir_in(&self.parent);
        let made = made.map_err(|source| CheckpointError::io("create", &self.path, source))?;
        Ok(Part(made.keep()))
    }
}

impl Part {
    fn open(&self) -> Result<OwnedFd, CheckpointError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(&self.0, flags, Mode::empty())
            .map_err(|errno| CheckpointError::io("open the directory", &self.0, errno))
    }

    /// Gives it its name, once all of it is on the disk.
    fn finish(&self, target: &Target) -> Result<(), CheckpointError> {
        let named = (|| {
            rustix::fs::syncfs(self.open()?)
                .map_err(|errno| CheckpointError::io("sync", &target.path, errno))?;
            std::fs::rename(&self.0, &target.path)
                .map_err(|source| CheckpointError::io("create", &target.path, source))?;
            let parent = File::open(&target.parent).and_then(|parent| parent.sync_all());
            parent.map_err(|source| CheckpointError::io("sync", &target.parent, source))
        })();
        if named.is_err() {
            self.discard();
        }
        named
    }

    fn discard(&self) {
        // The first fault is the one to tell; what cannot be removed is beside the target.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A tree that is being made.
struct Tree<'a> {
    fd: OwnedFd,
    asked: &'a Unpacking<'a>,
    id: &'a CheckpointId,
    unpacked: Unpacked,
}

impl Tree<'_> {
    fn fill(&mut self, listing: &Listing, reader: &mut Reader) -> Result<(), CheckpointError> {
        for entry in &listing.entries {
            self.make(entry, reader)?;
        }
        // Inner ones first: a directory that may not be written can hold no more, and what is made
        // in one changes its time.
        let directories = listing.entries.iter().rev();
        for entry in directories.filter(|entry| entry.is == Kind::Directory) {
            self.settle(entry)?;
        }
        Ok(())
    }

    /// Returns the path in the new tree.
    fn below<'e>(&self, path: &'e EntryPath) -> &'e [u8] {
        match self.asked.tree {
            Some(_) => path.split_root().1,
            None => path.as_bytes(),
        }
    }

    fn make(&mut self, entry: &Entry, reader: &mut Reader) -> Result<(), CheckpointError> {
        let path = self.below(&entry.path);
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (
                self.directory(&entry.path, &path[..slash])?,
                &path[slash + 1..],
            ),
            // The tree itself is there.
            None if path.is_empty() => return Ok(()),
            None => (self.directory(&entry.path, b".")?, path),
        };
        let made = match &entry.is {
            Kind::Directory => rustix::fs::mkdirat(&parent, name, Mode::RWXU),
            Kind::Link { .. } if self.asked.links == Links::Within && leaves(entry) => {
                self.unpacked.links.push(entry.path.clone());
                return Ok(());
            }
            Kind::Link { target } => self.link(&parent, name, (target, entry)),
            Kind::File { .. } => return self.file(&parent, name, (entry, reader)),
        };
        made.map_err(|errno| fault(&entry.path, errno))?;
        self.unpacked.entries += 1;
        Ok(())
    }

    fn link(
        &self,
        parent: &OwnedFd,
        name: &[u8],
        (target, entry): (&EntryPath, &Entry),
    ) -> Result<(), Errno> {
        rustix::fs::symlinkat(target.as_bytes(), parent, name)?;
        if let Some((user, group)) = self.asked.owner {
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
            rustix::fs::chownat(
                parent,
                name,
                Some(user),
                Some(group),
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
        rustix::fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
    }

    fn file(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        (entry, reader): (&Entry, &mut Reader),
    ) -> Result<(), CheckpointError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let made = rustix::fs::openat(parent, name, flags | OFlags::CLOEXEC, mode);
        let mut file = File::from(made.map_err(|errno| fault(&entry.path, errno))?);
        let fail = |source| CheckpointError::io("write", Path::new(&entry.path.escaped()), source);
        let mut ends_in_zeros = false;
        reader.file(self.id, entry, |part| {
            ends_in_zeros = matches!(part, Piece::Zeros(_));
            match part {
                Piece::Bytes(bytes) => file.write_all(bytes).map_err(fail),
                Piece::Zeros(count) => {
                    let count = i64::try_from(count).expect("a part is short");
                    file.seek_relative(count).map_err(fail)
                }
            }
        })?;
        if ends_in_zeros {
            file.set_len(entry.size()).map_err(fail)?;
        }
        if entry.mode & 0o7000 != 0 {
            self.unpacked.set_id.push(entry.path.clone());
        }
        self.dress(&file, entry)?;
        self.unpacked.entries += 1;
        self.unpacked.bytes += entry.size();
        Ok(())
    }

    /// Gives a directory its mode and times, once nothing more is made in it.
    fn settle(&self, entry: &Entry) -> Result<(), CheckpointError> {
        let path = match self.below(&entry.path) {
            b"" => b".".as_slice(),
            path => path,
        };
        let directory = self.directory(&entry.path, path)?;
        self.dress(&directory, entry)
    }

    /// Gives something its owner, then its mode, then its time.
    fn dress(&self, fd: impl AsFd + Copy, entry: &Entry) -> Result<(), CheckpointError> {
        let fail = |errno: Errno| fault(&entry.path, errno);
        if let Some((user, group)) = self.asked.owner {
            let given = fchown(fd, Some(user), Some(group));
            given.map_err(|source| {
                CheckpointError::io("give away", Path::new(&entry.path.escaped()), source)
            })?;
        }
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        rustix::fs::fchmod(fd, mode).map_err(fail)?;
        rustix::fs::futimens(fd, &times(entry.mtime)).map_err(fail)
    }

    /// Opens a directory of the new tree, through no link.
    fn directory(&self, whose: &EntryPath, path: &[u8]) -> Result<OwnedFd, CheckpointError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        beneath(self.fd.as_fd(), path, flags).map_err(|errno| fault(whose, errno))
    }
}

/// What is there already, in a tree that was empty, has the same name to this file system.
fn fault(path: &EntryPath, errno: Errno) -> CheckpointError {
    match errno {
        Errno::EXIST => CheckpointError::Refused {
            path: path.clone(),
            refusal: Refusal::Folds,
        },
        errno => CheckpointError::io("create", Path::new(&path.escaped()), errno),
    }
}

fn times(time: Moment) -> Timestamps {
    let time = Timespec {
        tv_sec: time.0,
        tv_nsec: time.1.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
