//! Where kept answers stand: `cache/research/ROLE/ADDRESS/QUESTION`, below the `.loki` of a
//! repository.
//!
//! The repository may have come from anywhere, so nothing there is followed and nothing believed:
//! what is a link, not this user's alone, or not vouched for is removed and counts as not there.

use std::{
    fs::File,
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{FileExt, MetadataExt},
    },
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};

use super::{
    CacheError, Room,
    asked::Asked,
    draft::{self, Content, Meta},
    key::{Key, failed, hex},
    semantics::{self, HEAD},
    sweep,
};
use crate::touch;

/// Where answers are that are not whole yet.
pub(super) const UNFINISHED: &str = ".unfinished";
/// Answers to different questions about one address.
pub(super) const VARIANTS: usize = 16;

/// A kept answer that was checked.
#[derive(Debug, Clone)]
pub(in crate::egress) struct Found {
    /// Its head.
    pub(in crate::egress) meta: Meta,
    /// Its body.
    pub(in crate::egress) body: Content,
}

/// The directory of all kept answers.
pub(super) struct Shelf {
    root: OwnedFd,
    unfinished: Arc<OwnedFd>,
    key: Key,
    room: Room,
    /// Bytes of all answers, as far as is known; none until they were counted.
    used: AtomicU64,
    pub(super) sweeping: Mutex<()>,
}

/// What stands in for a number of bytes that is not known yet.
const UNKNOWN: u64 = u64::MAX;

impl Shelf {
    /// Opens the directory, making it where it is missing.
    pub(super) fn open(state: &Path, key: Key, room: Room) -> Result<Self, CacheError> {
        let made = rustix::fs::mkdir(state, Mode::from_raw_mode(0o755));
        ignore_there(made).map_err(|errno| failed("create", state, errno))?;
        let mut path = state.to_owned();
        let open = |path: &Path, opened: Result<OwnedFd, Errno>| {
            opened.map_err(|errno| failed("open the directory", path, errno))
        };
        let mut root = open(&path, rustix::fs::open(&path, directory(), Mode::empty()))?;
        for name in ["cache", "research"] {
            path.push(name);
            root = open(&path, within(&root, name))?;
        }
        path.push(UNFINISHED);
        let unfinished = open(&path, within(&root, UNFINISHED))?;
        Ok(Self {
            root,
            unfinished: Arc::new(unfinished),
            key,
            room,
            used: AtomicU64::new(UNKNOWN),
            sweeping: Mutex::new(()),
        })
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    pub(super) fn room(&self) -> Room {
        self.room
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Returns the newest kept answer to a question, once it has been checked. What cannot be
    /// believed is removed.
    pub(super) fn find(&self, asked: &Asked) -> Option<Found> {
        let place = self.place(asked).ok()?;
        let mut found: Vec<(Meta, u64, File, String)> = Vec::new();
        for name in names(&place).ok()?.into_iter().take(4 * VARIANTS) {
            match self.read(&place, &name) {
                Some((meta, from, file)) if semantics::belongs(&meta, asked) => {
                    found.push((meta, from, file, name));
                }
                Some(_) => {}
                None => remove(&place, &name),
            }
        }
        found.sort_by_key(|(meta, ..)| std::cmp::Reverse(meta.made()));
        for (meta, from, file, name) in found {
            touch::now(&file);
            match draft::body(&self.key, asked, file, from) {
                Some(body) => return Some(Found { meta, body }),
                None => remove(&place, &name),
            }
        }
        None
    }

    /// Opens a file and reads its head; none of one that cannot be ours.
    fn read(&self, place: &OwnedFd, name: &str) -> Option<(Meta, u64, File)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(place, name, flags, Mode::empty()).ok()?;
        let file = File::from(file);
        let facts = file.metadata().ok()?;
        let own = facts.uid() == rustix::process::geteuid().as_raw() && facts.nlink() == 1;
        let most = self.room.one + 2 * HEAD as u64;
        if !facts.is_file() || !own || facts.mode() & 0o077 != 0 || facts.len() > most {
            return None;
        }
        let (meta, from) = draft::head(&file)?;
        (meta.name() == name).then_some((meta, from, file))
    }

    /// Makes a file for an answer that is not whole yet.
    pub(super) fn unfinished(&self) -> io::Result<Unfinished> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|_| io::Error::other("no random bytes"))?;
        let name = hex(&bytes);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&self.unfinished, &name, flags, mode)?;
        Ok(Unfinished {
            directory: Arc::clone(&self.unfinished),
            name: Some(name),
            file: File::from(file),
        })
    }

    /// Gives a whole answer its name, in place of an older one; makes room where there is none.
    pub(super) fn put(
        self: &Arc<Self>,
        file: Unfinished,
        (asked, name): (&Asked, &str),
    ) -> io::Result<()> {
        let size = sweep::weight(file.file.metadata()?.len());
        match self.name(&file, (asked, name)) {
            // Another process made room and removed the directory meanwhile.
            Err(Errno::NOENT) => self.name(&file, (asked, name))?,
            named => named?,
        }
        file.named();
        let known = self.used.load(Ordering::Relaxed);
        let used = known.saturating_add(size);
        self.used.store(used, Ordering::Relaxed);
        if used > self.room.all {
            sweep::sweep(self);
        }
        Ok(())
    }

    fn name(&self, file: &Unfinished, (asked, name): (&Asked, &str)) -> Result<(), Errno> {
        let role = within(&self.root, asked.role.as_str())?;
        let place = within(&role, &asked.place)?;
        make_room_among_variants(&place, name);
        let from = file.name.as_deref().unwrap_or_default();
        rustix::fs::renameat(&self.unfinished, from, &place, name)
    }

    /// Notes how many bytes there are.
    pub(super) fn counted(&self, used: u64) {
        self.used.store(used, Ordering::Relaxed);
    }

    /// Removes all answers for an address.
    pub(super) fn forget(&self, asked: &Asked) {
        let Ok(place) = self.place(asked) else { return };
        for name in names(&place).unwrap_or_default() {
            remove(&place, &name);
        }
    }

    fn place(&self, asked: &Asked) -> Result<OwnedFd, Errno> {
        let role = open_directory(&self.root, asked.role.as_str())?;
        open_directory(&role, &asked.place)
    }
}

/// A file that is removed unless it gets its name.
pub(super) struct Unfinished {
    directory: Arc<OwnedFd>,
    name: Option<String>,
    file: File,
}

impl Unfinished {
    /// Writes over what stands at the beginning.
    pub(super) fn write_at(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, 0)
    }

    fn named(mut self) {
        self.name = None;
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            remove(&self.directory, name);
        }
    }
}

/// The least recently used of too many answers for one address go.
fn make_room_among_variants(place: &OwnedFd, name: &str) {
    let mut others: Vec<(SystemTime, String)> = names(place)
        .unwrap_or_default()
        .into_iter()
        .filter(|other| other != name)
        .map(|other| (sweep::used(place, &other), other))
        .collect();
    others.sort();
    let over = (others.len() + 1).saturating_sub(VARIANTS);
    for (_, other) in others.into_iter().take(over) {
        remove(place, &other);
    }
}

/// Removes a file or a link. One that is gone already, or cannot be removed, is never believed.
pub(super) fn remove(directory: &OwnedFd, name: &str) {
    rustix::fs::unlinkat(directory, name, AtFlags::empty()).ok();
}

/// Returns the names in a directory.
pub(super) fn names(directory: &OwnedFd) -> Result<Vec<String>, Errno> {
    let entries = rustix::fs::Dir::read_from(directory)?;
    let name = |entry: rustix::fs::DirEntry| entry.file_name().to_str().ok().map(str::to_owned);
    Ok(entries
        .filter_map(|entry| name(entry.ok()?))
        .filter(|name| name != "." && name != "..")
        .collect())
}

fn directory() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Opens a directory in another, never through a link.
pub(super) fn open_directory(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(parent, name, directory(), Mode::empty())
}

/// Opens a directory in another, making it where it is missing.
fn within(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    ignore_there(rustix::fs::mkdirat(parent, name, Mode::RWXU))?;
    open_directory(parent, name)
}

fn ignore_there(made: Result<(), Errno>) -> Result<(), Errno> {
    match made {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}
