//! The entries: found, made, listed and removed.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, RenameFlags},
    io::Errno,
};

use super::{
    DepsError, Facts, Kept, Vouch,
    hold::{of_contents, of_names},
    listing::key_of,
    manifest::LARGEST,
    place,
    take::{Bounds, From, take},
};
use crate::{digest::Digest, touch};

/// Where entries are that are not whole yet, or are about to go.
const UNFINISHED: &str = ".unfinished";
/// Where a file for each key is, which is locked and says when the entry was used last.
const LOCKS: &str = ".locks";
/// The parts of an entry.
const TREE: &str = "tree";
const MANIFEST: &str = "manifest";
/// What a lock of a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// Its entry is used.
    Use,
    /// Its entry is made.
    Make,
}

impl Lock {
    /// Returns the file's name.
    pub(super) fn of(self, key: &Digest) -> String {
        let what = match self {
            Self::Use => "use",
            Self::Make => "make",
        };
        format!("{key}.{what}")
    }
}

/// How often an entry that others remove at the same time is looked for again.
const TRIES: u32 = 5;

/// What installs made for one repository.
pub struct Store {
    pub(super) path: PathBuf,
    pub(super) root: OwnedFd,
    unfinished: OwnedFd,
    pub(super) locks: OwnedFd,
    vouch: Vouch,
    /// Which trees this process has held against their digests, by what the kernel said of each of
    /// their names then: a change of anything in them shows there.
    seen: Mutex<HashMap<Digest, Digest>>,
}

/// An entry in use: while this is held, nobody removes it.
#[derive(Debug)]
pub struct Lease {
    /// The entry.
    pub kept: Kept,
    /// Its tree on this host.
    pub tree: PathBuf,
    _held: File,
}

/// What is there for a key.
#[derive(Debug)]
pub enum Found {
    /// An entry, held against its digest.
    Whole(Box<Lease>),
    /// Nothing.
    Nothing,
    /// Something that is not what was signed. It was put away, and the key is free.
    Changed(&'static str),
}

/// The right to make the entry of a key: held by one at a time on this machine.
#[derive(Debug)]
pub struct Making {
    key: Digest,
    _held: File,
}

impl Making {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &Digest {
        &self.key
    }
}

impl Store {
    /// Opens the store of a repository, whose `.loki` is at `state`, and removes what was left
    /// unfinished by processes that are gone.
    ///
    /// # Errors
    /// When a directory cannot be made, or is a link.
    pub fn open(state: &Path, vouch: Vouch) -> Result<Self, DepsError> {
        let made = rustix::fs::mkdir(state, Mode::from_raw_mode(0o755));
        if let Err(errno) = made
            && errno != Errno::EXIST
        {
            return Err(DepsError::io("make", state, errno));
        }
        let mut path = state.to_owned();
        let mut root = place::top(state)?;
        for name in ["cache", "deps"] {
            path.push(name);
            let below = place::within(&root, name);
            root = below.map_err(|errno| DepsError::io("open the directory", &path, errno))?;
        }
        let below = |name: &str| {
            let opened = place::within(&root, name);
            opened.map_err(|errno| DepsError::io("open the directory", path.join(name), errno))
        };
        let (unfinished, locks) = (below(UNFINISHED)?, below(LOCKS)?);
        let store = Self {
            path,
            root,
            unfinished,
            locks,
            vouch,
            seen: Mutex::default(),
        };
        store.sweep();
        Ok(store)
    }

    /// Looks for the entry of a key, and holds it against what was signed. Blocks.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn find(&self, key: &Digest) -> Result<Found, DepsError> {
        for _ in 0..TRIES {
            let held = self.lock(key, Lock::Use, FlockOperation::LockShared)?;
            let entry = match place::directory(&self.root, key.to_string().as_bytes()) {
                Ok(entry) => entry,
                Err(Errno::NOENT) => return Ok(Found::Nothing),
                Err(Errno::LOOP | Errno::NOTDIR) => return self.changed(key, "it is no directory"),
                Err(errno) => return Err(self.failed("open", key, errno)),
            };
            match self.hold(key, &entry)? {
                Ok(kept) => {
                    touch::now(&held);
                    return Ok(Found::Whole(Box::new(Lease {
                        kept,
                        tree: self.path.join(key.to_string()).join(TREE),
                        _held: held,
                    })));
                }
                // Somebody else puts it away or makes it anew.
                Err(_) if !self.is(key, &entry) => {}
                Err(why) => return self.changed(key, why),
            }
        }
        Ok(Found::Nothing)
    }

    /// Waits until nobody else makes the entry of a key. Blocks.
    ///
    /// # Errors
    /// When the lock cannot be made.
    pub fn making(&self, key: &Digest) -> Result<Making, DepsError> {
        let held = self.lock(key, Lock::Make, FlockOperation::LockExclusive)?;
        Ok(Making {
            key: *key,
            _held: held,
        })
    }

    /// Copies what an install left behind and gives it its key: whole, or not at all. Blocks.
    ///
    /// # Errors
    /// When something of it is refused, or does not fit. Then nothing of it is kept.
    pub fn take_in(
        &self,
        making: &Making,
        facts: Facts,
        from: From<'_>,
        bounds: Bounds,
    ) -> Result<Kept, DepsError> {
        let key = making.key;
        let name = format!("{key}.{:016x}", chance());
        let made = self.draft(&name, (&key, facts), (from, bounds));
        let placed = made.and_then(|kept| {
            let flags = RenameFlags::NOREPLACE;
            let to = key.to_string();
            match rustix::fs::renameat_with(
                &self.unfinished,
                name.as_str(),
                &self.root,
                to.as_str(),
                flags,
            ) {
                Ok(()) => Ok(kept),
                Err(errno) => Err(self.failed("name", &key, errno)),
            }
        });
        if placed.is_err() {
            // What stays is removed when the store is opened again.
            place::remove(&self.unfinished, name.as_bytes()).ok();
        }
        placed
    }

    fn draft(
        &self,
        name: &str,
        (key, facts): (&Digest, Facts),
        (from, bounds): (From<'_>, Bounds),
    ) -> Result<Kept, DepsError> {
        let failed = |errno| self.failed("write", key, errno);
        let entry = place::within(&self.unfinished, name).map_err(failed)?;
        let tree = place::within(&entry, TREE).map_err(failed)?;
        // Programs of agents run as other users.
        rustix::fs::fchmod(&tree, Mode::from_raw_mode(0o755)).map_err(failed)?;
        let taken = take(from, &tree, bounds)?;
        let kept = Kept {
            key: *key,
            facts,
            digest: taken.digest,
            entries: taken.entries,
            bytes: taken.bytes,
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&entry, MANIFEST, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(file.map_err(failed)?);
        let written = file.write_all(&self.vouch.write(&kept));
        written.map_err(|cause| self.failed("write", key, cause))?;
        Ok(kept)
    }

    /// Holds an entry against what was signed; why it is not that.
    fn hold(&self, key: &Digest, entry: &OwnedFd) -> Result<Result<Kept, &'static str>, DepsError> {
        let Some(kept) = self.manifest(key, entry) else {
            return Ok(Err("its manifest is not signed by this user"));
        };
        let Ok(tree) = place::directory(entry, TREE.as_bytes()) else {
            return Ok(Err("its tree is missing"));
        };
        let bounds = Bounds {
            entries: kept.entries,
            bytes: kept.bytes,
        };
        let known = self.seen().get(key).copied();
        let look = match of_names(&tree, bounds) {
            Ok(look) => look,
            Err(DepsError::Io {
                doing,
                path,
                source,
            }) => {
                return Err(DepsError::Io {
                    doing,
                    path,
                    source,
                });
            }
            Err(_) => return Ok(Err("its tree holds something else")),
        };
        if known == Some(look) {
            return Ok(Ok(kept));
        }
        match of_contents(&tree, bounds) {
            Ok(digest) if digest == kept.digest => {
                self.seen().insert(*key, look);
                Ok(Ok(kept))
            }
            _ => Ok(Err("its tree is not the one that was signed")),
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Digest>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn manifest(&self, key: &Digest, entry: &OwnedFd) -> Option<Kept> {
        use std::os::fd::AsFd;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(place::beneath(entry.as_fd(), MANIFEST.as_bytes(), flags).ok()?);
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes).ok()?;
        self.vouch.read(key, &bytes)
    }

    /// Whether the directory that was opened still has the key's name.
    fn is(&self, key: &Digest, entry: &OwnedFd) -> bool {
        let (named, opened) = (
            place::look(&self.root, key.to_string().as_bytes()),
            rustix::fs::fstat(entry),
        );
        let id = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        named.map(id).ok() == opened.map(id).ok()
    }

    fn changed(&self, key: &Digest, why: &'static str) -> Result<Found, DepsError> {
        self.put_away(key)?;
        Ok(Found::Changed(why))
    }

    /// Takes a key from whatever has it, and removes that. Sandboxes that were given it keep what
    /// they have open.
    pub(super) fn put_away(&self, key: &Digest) -> Result<(), DepsError> {
        self.seen().remove(key);
        let (from, to) = (key.to_string(), format!("{key}.{:016x}", chance()));
        match rustix::fs::renameat(&self.root, from.as_str(), &self.unfinished, to.as_str()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(self.failed("put away", key, errno)),
        }
        let removed = place::remove(&self.unfinished, to.as_bytes());
        removed.map_err(|errno| self.failed("remove", key, errno))
    }

    /// Removes what is unfinished and is made by nobody. What cannot be removed is never used.
    fn sweep(&self) {
        for name in place::names(&self.unfinished).unwrap_or_default() {
            let key = name.split(|byte| *byte == b'.').next().and_then(key_of);
            let making = key
                .map(|key| self.lock(&key, Lock::Make, FlockOperation::NonBlockingLockExclusive));
            if !matches!(making, Some(Err(_))) {
                place::remove(&self.unfinished, &name).ok();
            }
        }
    }

    pub(super) fn lock(
        &self,
        key: &Digest,
        what: Lock,
        how: FlockOperation,
    ) -> Result<File, DepsError> {
        let failed = |errno: Errno| self.failed("lock", key, errno);
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let name = what.of(key);
        let file = rustix::fs::openat(&self.locks, name.as_str(), flags, Mode::RUSR | Mode::WUSR);
        let file = file.map_err(failed)?;
        rustix::fs::flock(&file, how).map_err(failed)?;
        Ok(File::from(file))
    }

    fn failed(
        &self,
        doing: &'static str,
        key: &Digest,
        source: impl Into<std::io::Error>,
    ) -> DepsError {
        DepsError::io(doing, self.path.join(key.to_string()), source)
    }
}

fn chance() -> u64 {
    let mut bytes = [0; 8];
    // Without it two names could only be equal, and one of them would be refused.
    getrandom::fill(&mut bytes).ok();
    u64::from_le_bytes(bytes)
}
