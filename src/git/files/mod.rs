//! Writes the files of a tree into a directory that holds nothing else.
//!
//! Git reads the objects, several of it at once; the files are written here, with their owner and
//! permissions, each once and never looked up again. So nothing of the repository's can change a
//! byte on the way, and nothing is ever written through a link. Each file is a new one, never a
//! second name of another. Going on to another tree is `change`.

mod change;

use std::{
    collections::HashSet,
    ffi::CString,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::{
    fs::{
        AtFlags, CWD, Gid, Mode as Bits, OFlags, Uid, chownat, fchmod, fchown, fstat, mkdirat,
        openat, statat, symlinkat,
    },
    io::Errno,
    process::geteuid,
};

use super::{
    GitError, Owner,
    command::Place,
    error::At,
    index::{Entry, Facts, Index, Mode},
    repository::printable,
    tree::DEPTH,
};

pub(super) use change::change;

/// How many processes of git read objects at once, at most.
const READERS: usize = 4;
/// How many files are worth a process.
const SHARE: usize = 500;
/// How long the reading of all of them may take.
const LIMIT: Duration = Duration::from_secs(3600);
/// The longest target of a link.
const TARGET: u64 = 4095;
/// Bytes that are read at once.
const BUFFER: usize = 128 << 10;

/// Writes the chosen entries of `index`, and returns the facts of each entry that was chosen.
pub(super) fn write(
    place: &Place,
    (work, owner): (&Path, Option<Owner>),
    index: &Index,
    chosen: &[bool],
) -> Result<Vec<Option<Facts>>, GitError> {
    let desk = Desk::of(work, owner);
    let mut facts = vec![None; index.entries.len()];
    let wanted: Vec<(usize, &Entry)> = index
        .entries
        .iter()
        .enumerate()
        .filter(|(at, _)| chosen.get(*at) == Some(&true))
        .collect();
    desk.own_top()?;
    desk.fill(place, (index, &wanted), &mut facts)?;
    Ok(facts)
}

fn readers() -> usize {
    thread::available_parallelism()
        .map_or(1, usize::from)
        .min(READERS)
}

/// Where files are written, and whose they become.
struct Desk<'a> {
    work: &'a Path,
    ids: Option<(Uid, Gid)>,
    /// Directories that stand already.
    there: HashSet<Vec<u8>>,
}

impl<'a> Desk<'a> {
    fn of(work: &'a Path, owner: Option<Owner>) -> Self {
        let ids = owner.filter(|_| geteuid().is_root());
        let ids = ids.map(|owner| (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid)));
        let there = HashSet::new();
        Self { work, ids, there }
    }
}

impl Desk<'_> {
    /// Makes the directories of files, writes the files, and takes down their facts.
    fn fill(
        &self,
        place: &Place,
        (index, wanted): (&Index, &[(usize, &Entry)]),
        facts: &mut [Option<Facts>],
    ) -> Result<(), GitError> {
        self.directories(wanted.iter().map(|(_, entry)| *entry))?;
        let share = wanted.len().div_ceil(readers()).max(SHARE);
        let shares = wanted.chunks(share);
        let written: Vec<Result<Vec<Facts>, GitError>> = thread::scope(|scope| {
            let writing: Vec<_> = shares
                .clone()
                .map(|share| scope.spawn(|| self.share(place, index, share)))
                .collect();
            let joined = writing.into_iter().map(|one| one.join());
            joined
                .map(|one| one.expect("writing files does not panic"))
                .collect()
        });
        for (share, written) in shares.zip(written) {
            for ((at, _), made) in share.iter().zip(written?) {
                if let Some(slot) = facts.get_mut(*at) {
                    *slot = Some(made);
                }
            }
        }
        Ok(())
    }

    /// Gives the top itself away; what stands at `.git` in it stays.
    fn own_top(&self) -> Result<(), GitError> {
        let top = open_dir(CWD, self.work).at("open", self.work)?;
        if let Some((uid, gid)) = self.ids {
            fchown(&top, Some(uid), Some(gid)).at("hand over", self.work)?;
        }
        Ok(())
    }

    /// Makes every directory. One that is there already is one that this file system takes for
    /// another name of the tree.
    fn directories<'e>(&self, entries: impl Iterator<Item = &'e Entry>) -> Result<(), GitError> {
        let mut way = Way::from(self)?;
        let mut last: &[u8] = b"";
        for entry in entries {
            let parent = parent_of(&entry.path);
            if parent != last {
                way.make(parent, self)?;
                last = parent;
            }
        }
        Ok(())
    }

    /// Writes a share of the files, from one stream of their contents.
    fn share(
        &self,
        place: &Place,
        index: &Index,
        share: &[(usize, &Entry)],
    ) -> Result<Vec<Facts>, GitError> {
        let ids: Vec<String> = share.iter().map(|(_, entry)| index.id(entry)).collect();
        let mut input = ids.join("\n").into_bytes();
        input.push(b'\n');
        let call = place.reading("cat-file").args(["--batch", "--buffer"]);
        call.input(input).limit(LIMIT).stream(|pipe| {
            let mut pipe = BufReader::with_capacity(BUFFER, pipe);
            let mut way = Way::from(self)?;
            share
                .iter()
                .map(|(_, entry)| {
                    let size = announced(&mut pipe, entry)?;
                    let made = self.file(&mut way, entry, (&mut pipe).take(size))?;
                    pipe.read_exact(&mut [0]).at("read", "git")?;
                    Ok(made)
                })
                .collect()
        })
    }

    /// Writes one file or link.
    fn file(
        &self,
        way: &mut Way,
        entry: &Entry,
        mut contents: io::Take<impl Read>,
    ) -> Result<Facts, GitError> {
        let dir = way
            .to(parent_of(&entry.path))
            .map_err(|cause| self.fault(entry, cause))?;
        let name = name_of(&entry.path);
        let made = if entry.mode == Mode::Link {
            let target = target(&mut contents, entry)?;
            symlinkat(target, dir, &name).and_then(|()| self.link(dir, &name))
        } else {
            self.regular(dir, &name, entry.mode).and_then(|mut file| {
                io::copy(&mut contents, &mut file)
                    .map_err(|cause| Errno::from_io_error(&cause).unwrap_or(Errno::IO))?;
                fstat(&file)
            })
        };
        let made = made.map_err(|cause| self.fault(entry, cause))?;
        Ok(Facts::from(&made))
    }

    fn regular(&self, dir: BorrowedFd<'_>, name: &CString, mode: Mode) -> Result<File, Errno> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(dir, name, flags, Bits::from_raw_mode(0o600))?;
        if let Some((uid, gid)) = self.ids {
            fchown(&file, Some(uid), Some(gid))?;
        }
        let bits = if mode == Mode::Executable {
            0o755
        } else {
            0o644
        };
        fchmod(&file, Bits::from_raw_mode(bits))?;
        Ok(file.into())
    }

    fn link(&self, dir: BorrowedFd<'_>, name: &CString) -> Result<rustix::fs::Stat, Errno> {
        if let Some((uid, gid)) = self.ids {
            chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Says what stands against a name of the tree here.
    fn fault(&self, entry: &Entry, cause: Errno) -> GitError {
        self.fault_at(&entry.path, cause)
    }

    fn fault_at(&self, path: &[u8], cause: Errno) -> GitError {
        let why = match cause {
            Errno::EXIST => "this file system takes for the same as another one of the tree",
            Errno::NAMETOOLONG => "is longer than this file system takes",
            Errno::ILSEQ | Errno::INVAL => "is no name to this file system",
            other => {
                let path: PathBuf = self.work.join(std::ffi::OsStr::from_bytes(path));
                return GitError::Io {
                    verb: "write",
                    path,
                    source: other.into(),
                };
            }
        };
        GitError::Unwritable {
            path: printable(path),
            why,
        }
    }
}

/// The directories from the top down to where a file is written, all open.
struct Way {
    top: OwnedFd,
    open: Vec<(Vec<u8>, OwnedFd)>,
}

impl Way {
    fn from(desk: &Desk<'_>) -> Result<Self, GitError> {
        let top = open_dir(CWD, desk.work).at("open", desk.work)?;
        Ok(Self {
            top,
            open: Vec::new(),
        })
    }

    /// Goes to a directory that is there.
    fn to(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, Errno> {
        for (depth, name) in self.ahead(path) {
            let next = open_dir(self.at(depth), c_string(name))?;
            self.open.push((name.to_vec(), next));
        }
        Ok(self.at(self.open.len()))
    }

    /// Goes to a directory, and makes it and those above it that are not on the way.
    fn make(&mut self, path: &[u8], desk: &Desk<'_>) -> Result<(), GitError> {
        for (depth, name) in self.ahead(path) {
            let so_far = || -> Vec<u8> {
                let names = self.open.iter().map(|(name, _)| name.as_slice());
                names.chain([name]).collect::<Vec<_>>().join(&b'/')
            };
            if depth >= DEPTH {
                return Err(GitError::Unwritable {
                    path: printable(&so_far()),
                    why: "is nested deeper than 100 directories",
                });
            }
            let known = !desk.there.is_empty() && desk.there.contains(&so_far());
            let made = if known {
                open_dir(self.at(depth), c_string(name))
            } else {
                desk.directory(self.at(depth), &c_string(name))
            };
            let next = made.map_err(|cause| desk.fault_at(&so_far(), cause))?;
            self.open.push((name.to_vec(), next));
        }
        Ok(())
    }

    /// Drops what does not lead to `path`, and returns the names that are missing, each with how
    /// many stand above it.
    fn ahead<'p>(&mut self, path: &'p [u8]) -> Vec<(usize, &'p [u8])> {
        let names = path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty());
        let names: Vec<&[u8]> = names.collect();
        let shared = names.iter().zip(&self.open);
        let shared = shared
            .take_while(|(name, (open, _))| **name == open.as_slice())
            .count();
        self.open.truncate(shared);
        names.into_iter().enumerate().skip(shared).collect()
    }

    fn at(&self, depth: usize) -> BorrowedFd<'_> {
        let above = depth.checked_sub(1).and_then(|at| self.open.get(at));
        above.map_or(self.top.as_fd(), |(_, dir)| dir.as_fd())
    }
}

impl Desk<'_> {
    fn directory(&self, dir: BorrowedFd<'_>, name: &CString) -> Result<OwnedFd, Errno> {
        mkdirat(dir, name, Bits::RWXU)?;
        let made = open_dir(dir, name)?;
        if let Some((uid, gid)) = self.ids {
            fchown(&made, Some(uid), Some(gid))?;
        }
        fchmod(&made, Bits::from_raw_mode(0o755))?;
        Ok(made)
    }
}

fn open_dir(dir: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Bits::empty())
}

/// Reads the line before an object: `<id> blob <size>`, or `<id> missing`.
fn announced(pipe: &mut impl BufRead, entry: &Entry) -> Result<u64, GitError> {
    let mut line = Vec::new();
    pipe.read_until(b'\n', &mut line).at("read", "git")?;
    let line = String::from_utf8_lossy(&line);
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        [_, "blob", size] => size.parse().ok(),
        [_, "missing"] => {
            return Err(GitError::Absent {
                path: printable(&entry.path),
            });
        }
        _ => None,
    }
    .ok_or_else(|| GitError::Odd {
        command: "cat-file".to_owned(),
        answer: line.chars().take(200).collect(),
    })
}

/// Reads the target of a link.
fn target(contents: &mut io::Take<impl Read>, entry: &Entry) -> Result<CString, GitError> {
    let unwritable = |why| GitError::Unwritable {
        path: printable(&entry.path),
        why,
    };
    if contents.limit() > TARGET {
        return Err(unwritable("is a link to a name longer than 4095 bytes"));
    }
    let mut target = Vec::new();
    contents.read_to_end(&mut target).at("read", "git")?;
    if target.is_empty() {
        return Err(unwritable("is a link to nothing"));
    }
    CString::new(target).map_err(|_| unwritable("is a link to a name that holds a NUL"))
}

fn parent_of(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    path.get(..end).unwrap_or_default()
}

fn name_of(path: &[u8]) -> CString {
    let name = path.rsplit(|byte| *byte == b'/').next();
    c_string(name.unwrap_or_default())
}

fn c_string(name: &[u8]) -> CString {
    CString::new(name).expect("no name of a tree holds NUL")
}
