//! How much a sandbox wrote to the host's disk: its worktree and its home directory, walked on the
//! host.
//!
//! A walk follows no link and opens nothing but directories, each by its name in its parent's
//! descriptor, so that a rename meanwhile leads nowhere else. A directory that an agent of our own
//! user closed to it is opened to its owner again; a walk that cannot see all fails. It ends as soon as the cap is passed,
//! so that a directory of any size costs no more than the cap.
//!
//! How often: nothing is walked while nothing ran. Small trees are walked at every look. Where a
//! walk takes long it pauses for a hundred times as long, unless the file system lost half of what
//! may still be written: then it walks at once.

use std::{
    collections::HashSet,
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, chmodat, fstat, openat, statat, statvfs,
    },
    io::Errno,
};
use tokio::time::Instant;

use crate::event::{Limit, Overrun};

/// Bytes of the cap for each file that may be created: half of what file systems count with.
const BYTES_PER_FILE: u64 = 8 << 10;
/// Files that may be created under the smallest cap.
const LEAST_FILES: u64 = 1024;
/// Levels of directories; each holds a descriptor open while it is walked.
const DEEPEST: usize = 128;
/// A walk pauses for so many times as long as it took: one percent of a processor.
const PAUSE: u32 = 100;
/// The same when the file system shrinks quickly.
const HASTE: u32 = 4;
/// Open descriptors that are looked at in search of removed files; behind more one could hide.
const DESCRIPTORS: usize = 100_000;

/// What is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    bytes: u64,
    files: u64,
    depth: usize,
}

/// The caps of one sandbox.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    bytes: u64,
    files: u64,
}

/// The disk use of one sandbox, on top of what it was given.
#[derive(Debug)]
pub(super) struct Disk {
    roots: [PathBuf; 2],
    given: Usage,
    allowed: Allowance,
    last: Look,
}

/// What the last walk found, and what it cost.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    cost: Duration,
    free: Usage,
    used: Usage,
    processor: Option<Duration>,
}

impl Disk {
    /// Measures what a sandbox is given, before anything runs in it.
    ///
    /// # Errors
    /// When a root cannot be read.
    pub(super) fn given(roots: [PathBuf; 2], cap: u64) -> io::Result<Self> {
        let begun = Instant::now();
        let free = free(&roots)?;
        let given = walk(&roots, None)?;
        let last = Look {
            at: begun,
            cost: begun.elapsed(),
            free,
            used: given,
            processor: None,
        };
        let allowed = Allowance {
            bytes: cap,
            files: (cap / BYTES_PER_FILE).max(LEAST_FILES),
        };
        Ok(Self {
            roots,
            given,
            allowed,
            last,
        })
    }

    /// Returns whether nothing ran since the last walk.
    pub(super) fn is_still(&self, processor: Option<Duration>) -> bool {
        processor.is_some() && processor == self.last.processor
    }

    /// Returns whether a walk is worth it: something ran since, and it is time.
    pub(super) fn is_due(&self, now: Instant, processor: Option<Duration>) -> bool {
        if self.is_still(processor) {
            return false;
        }
        let (since, cost) = (now - self.last.at, self.last.cost);
        since >= cost * PAUSE || since >= cost * HASTE && self.is_shrinking()
    }

    /// Returns whether the file system lost half of what may still be written, by whomever.
    fn is_shrinking(&self) -> bool {
        let Ok(free) = free(&self.roots) else {
            return true;
        };
        let before = self.last.free;
        let half = |allowed: u64, used: u64, given: u64| {
            allowed.saturating_sub(used.saturating_sub(given)) / 2
        };
        let (used, given, allowed) = (self.last.used, self.given, self.allowed);
        before.bytes.saturating_sub(free.bytes) >= half(allowed.bytes, used.bytes, given.bytes)
            || before.files.saturating_sub(free.files)
                >= half(allowed.files, used.files, given.files)
    }

    /// Walks and returns the cap that is passed, if one is. `processes` are the sandbox's, on this
    /// host: removed files that one of them holds open take room too.
    pub(super) fn walk(
        &mut self,
        processor: Option<Duration>,
        processes: &[u32],
    ) -> io::Result<Option<Overrun>> {
        let begun = Instant::now();
        let free = free(&self.roots)?;
        let mut used = walk(&self.roots, Some(self.most()))?;
        used.bytes = used
            .bytes
            .saturating_add(removed(&self.roots, processes, DESCRIPTORS)?);
        self.last = Look {
            at: begun,
            cost: begun.elapsed(),
            free,
            used,
            processor,
        };
        Ok(self.overrun(used))
    }

    /// Returns the bytes that the last walk found beyond what was given, and all files it found.
    pub(super) fn held(&self) -> (u64, u64) {
        let used = self.last.used;
        (used.bytes.saturating_sub(self.given.bytes), used.files)
    }

    /// What no walk needs to look beyond.
    fn most(&self) -> Usage {
        Usage {
            bytes: self.given.bytes.saturating_add(self.allowed.bytes),
            files: self.given.files.saturating_add(self.allowed.files),
            depth: DEEPEST.max(self.given.depth),
        }
    }

    fn overrun(&self, used: Usage) -> Option<Overrun> {
        let most = self.most();
        let over = |limit, allowed, seen| {
            Some(Overrun {
                limit,
                allowed,
                seen,
            })
        };
        let bytes = used.bytes.saturating_sub(self.given.bytes);
        let files = used.files.saturating_sub(self.given.files);
        if used.depth > most.depth {
            over(Limit::Depth, most.depth as u64, used.depth as u64)
        } else if files > self.allowed.files {
            over(Limit::Files, self.allowed.files, files)
        } else if bytes >= self.allowed.bytes {
            over(Limit::Disk, self.allowed.bytes, bytes)
        } else {
            None
        }
    }
}

/// Returns the free bytes and files of the file system that holds the roots, which is one.
fn free([root, _]: &[PathBuf; 2]) -> io::Result<Usage> {
    let system = statvfs(root)?;
    Ok(Usage {
        bytes: system.f_bfree.saturating_mul(system.f_frsize),
        files: system.f_ffree,
        depth: 0,
    })
}

/// Adds up what is below the roots, until it is more than `most`.
fn walk(roots: &[PathBuf; 2], most: Option<Usage>) -> io::Result<Usage> {
    let mut count = Count {
        usage: Usage::default(),
        linked: HashSet::new(),
        most,
    };
    let [work, home] = roots;
    // Inside, another file system covers this one; the host's directory stays as it was made.
    count.below(work, Some(c".git"))?;
    count.below(home, None)?;
    Ok(count.usage)
}

struct Count {
    usage: Usage,
    /// Files of several names, whose bytes are counted once.
    linked: HashSet<(u64, u64)>,
    most: Option<Usage>,
}

impl Count {
    fn below(&mut self, root: &Path, covered: Option<&CStr>) -> io::Result<()> {
        let mut open = vec![directory(CWD, root)?];
        while let Some(top) = open.last_mut() {
            let Some(entry) = top.read() else {
                open.pop();
                continue;
            };
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." || open.len() == 1 && Some(name) == covered {
                continue;
            }
            let parent = open.last().expect("one was just read from").fd()?;
            let found = match look(parent, name) {
                Ok(found) => found,
                // Gone since it was listed.
                Err(Errno::NOENT) => continue,
                Err(cause) => return Err(cause.into()),
            };
            self.add(&found, open.len());
            if self.is_over() {
                return Ok(());
            }
            if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                match directory(parent, name) {
                    Ok(child) => open.push(child),
                    // Replaced meanwhile.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    Err(cause) => return Err(cause.into()),
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, found: &Stat, depth: usize) {
        // Every name costs a walk its time, so names are counted and not only files.
        self.usage.files += 1;
        let file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        if file && found.st_nlink > 1 && !self.linked.insert((found.st_dev, found.st_ino)) {
            return;
        }
        self.usage.bytes = self.usage.bytes.saturating_add(held(found));
        self.usage.depth = self.usage.depth.max(depth);
    }

    fn is_over(&self) -> bool {
        self.most.is_some_and(|most| {
            let usage = self.usage;
            usage.bytes >= most.bytes || usage.files > most.files || usage.depth > most.depth
        })
    }
}

/// Looks at an entry without following it.
fn look(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Stat> {
    let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
    if !matches!(found, Err(Errno::ACCESS)) {
        return found;
    }
    unclose(parent)?;
    statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Opens a directory, and nothing else: no link is followed, no pipe or device is opened.
fn directory<P: rustix::path::Arg + Copy>(
    parent: BorrowedFd<'_>,
    name: P,
) -> rustix::io::Result<Dir> {
    let only = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened: OwnedFd = match openat(parent, name, OFlags::RDONLY | only, Mode::empty()) {
        Err(Errno::ACCESS) => {
            let closed = openat(parent, name, OFlags::PATH | only, Mode::empty())?;
            unclose(closed.as_fd())?;
            openat(&closed, c".", OFlags::RDONLY | only, Mode::empty())?
        }
        opened => opened?,
    };
    Dir::new(opened)
}

/// Gives a directory's owner, which is the agent's user and ours, all rights on it again. By
/// descriptor: its name may lead elsewhere by now.
fn unclose(directory: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(fstat(directory)?.st_mode) | Mode::RWXU;
    let itself = format!("/proc/self/fd/{}", directory.as_raw_fd());
    chmodat(CWD, itself, mode, AtFlags::empty())
}

/// The bytes that a file takes on the disk.
fn held(found: &Stat) -> u64 {
    u64::try_from(found.st_blocks).unwrap_or(0) * 512
}

/// Adds up files without a name that a process still holds open, on the disk of the roots.
///
/// # Errors
/// When the processes hold more than `most` descriptors.
fn removed(roots: &[PathBuf; 2], processes: &[u32], most: usize) -> io::Result<u64> {
    let disk = statat(CWD, &roots[0], AtFlags::SYMLINK_NOFOLLOW)?;
    let mut seen = HashSet::new();
    let lists = processes
        .iter()
        .filter_map(|pid| std::fs::read_dir(format!("/proc/{pid}/fd")).ok());
    let (mut looked, mut sum) = (0, 0_u64);
    for entry in lists.flatten().filter_map(Result::ok) {
        looked += 1;
        if looked > most {
            return Err(io::Error::other("too many open files to look at"));
        }
        let Ok(found) = statat(CWD, entry.path(), AtFlags::empty()) else {
            continue;
        };
        let is_hidden = found.st_nlink == 0 && found.st_dev == disk.st_dev;
        if is_hidden && seen.insert(found.st_ino) {
            sum = sum.saturating_add(held(&found));
        }
    }
    Ok(sum)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests write plain files")]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use rustix::thread::CapabilitySet;

    use super::*;

    const CAP: u64 = 1 << 20;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(place.work().join(".git")).unwrap();
            fs::create_dir(place.0.path().join("home")).unwrap();
            fs::write(place.work().join("given"), vec![1; 300_000]).unwrap();
            place
        }

        fn work(&self) -> PathBuf {
            self.0.path().join("work")
        }

        fn disk(&self) -> Disk {
            Disk::given([self.work(), self.0.path().join("home")], CAP).unwrap()
        }
    }

    fn limit(disk: &mut Disk) -> Option<Limit> {
        disk.walk(None, &[]).unwrap().map(|over| over.limit)
    }

    #[test]
    fn what_was_given_is_not_counted_and_what_is_written_is() {
        let place = Place::new();
        let mut disk = place.disk();
        assert_eq!(limit(&mut disk), None);
        fs::write(place.work().join("a"), vec![1; 900_000]).unwrap();
        assert_eq!(limit(&mut disk), None);
        fs::write(place.0.path().join("home/b"), vec![1; 200_000]).unwrap();
        assert_eq!(limit(&mut disk), Some(Limit::Disk));
    }

    #[test]
    fn one_file_of_many_names_counts_once_and_a_hole_not_at_all() {
        let place = Place::new();
        let mut disk = place.disk();
        fs::write(place.work().join("a"), vec![1; 400_000]).unwrap();
        for n in 0..9 {
            fs::hard_link(place.work().join("a"), place.work().join(format!("a{n}"))).unwrap();
        }
        let hole = fs::File::create(place.work().join("hole")).unwrap();
        hole.set_len(CAP * 9).unwrap();
        assert_eq!(limit(&mut disk), None);
    }

    #[test]
    fn links_lead_nowhere_and_the_mount_point_is_not_looked_into() {
        let place = Place::new();
        let mut disk = place.disk();
        symlink("/", place.work().join("all")).unwrap();
        symlink(".", place.work().join("loop")).unwrap();
        fs::write(place.work().join(".git/x"), vec![1; 2_000_000]).unwrap();
        assert_eq!(limit(&mut disk), None);
    }

    #[test]
    fn files_without_bytes_are_counted_too_and_no_further_than_the_cap() {
        let place = Place::new();
        let mut disk = place.disk();
        for n in 0..LEAST_FILES + 100 {
            fs::File::create(place.work().join(n.to_string())).unwrap();
        }
        let over = disk.walk(None, &[]).unwrap().unwrap();
        assert_eq!((over.limit, over.allowed), (Limit::Files, LEAST_FILES));
        assert_eq!(over.seen, LEAST_FILES + 1, "it counted on");
    }

    #[test]
    fn a_tree_deeper_than_can_be_walked_is_over() {
        let place = Place::new();
        let mut disk = place.disk();
        let levels = |n: usize| place.work().join(vec!["d"; n].join("/"));
        fs::create_dir_all(levels(DEEPEST)).unwrap();
        assert_eq!(limit(&mut disk), None);
        fs::create_dir_all(levels(DEEPEST + 1)).unwrap();
        assert_eq!(limit(&mut disk), Some(Limit::Depth));
    }

    #[test]
    fn a_removed_file_counts_as_long_as_it_is_open() {
        let place = Place::new();
        let mut disk = place.disk();
        let path = place.work().join("hidden");
        fs::write(&path, vec![1; 2_000_000]).unwrap();
        let held = fs::File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let me = [std::process::id()];
        assert!(disk.walk(None, &me).unwrap().is_some());
        drop(held);
        assert!(disk.walk(None, &me).unwrap().is_none());
    }

    #[test]
    fn only_the_worktree_has_a_mount_point_that_is_not_looked_into() {
        let place = Place::new();
        let mut disk = place.disk();
        let hidden = place.0.path().join("home/.git");
        fs::create_dir(&hidden).unwrap();
        fs::write(hidden.join("x"), vec![1; 2_000_000]).unwrap();
        assert_eq!(limit(&mut disk), Some(Limit::Disk));
    }

    #[test]
    fn names_are_counted_and_not_only_files() {
        let place = Place::new();
        let mut disk = place.disk();
        fs::write(place.work().join("a"), "").unwrap();
        for n in 0..=LEAST_FILES {
            fs::hard_link(place.work().join("a"), place.work().join(n.to_string())).unwrap();
        }
        assert_eq!(limit(&mut disk), Some(Limit::Files));
    }

    /// Looks as an ordinary user does, whose own directories can be closed to him.
    fn limit_without_capabilities(disk: &mut Disk) -> Option<Limit> {
        let look = || {
            let sets = rustix::thread::CapabilitySets {
                effective: CapabilitySet::empty(),
                permitted: CapabilitySet::empty(),
                inheritable: CapabilitySet::empty(),
            };
            rustix::thread::set_capabilities(None, sets).unwrap();
            limit(disk)
        };
        std::thread::scope(|scope| scope.spawn(look).join().unwrap())
    }

    #[test]
    fn what_an_agent_closes_to_its_own_user_is_counted_all_the_same() {
        for mode in [0o000, 0o300, 0o400] {
            let place = Place::new();
            let mut disk = place.disk();
            let hidden = place.work().join("hidden");
            fs::create_dir(&hidden).unwrap();
            fs::write(hidden.join("x"), vec![1; 2_000_000]).unwrap();
            for closed in [hidden.clone(), place.work()] {
                fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).unwrap();
                let seen = limit_without_capabilities(&mut disk);
                assert_eq!(seen, Some(Limit::Disk), "{mode:o} {}", closed.display());
            }
        }
    }

    #[test]
    fn nothing_hides_behind_very_many_descriptors() {
        let place = Place::new();
        let Disk { roots, .. } = place.disk();
        let me = [std::process::id()];
        removed(&roots, &me, DESCRIPTORS).unwrap();
        removed(&roots, &me, 2).unwrap_err();
    }

    #[test]
    fn a_walk_waits_for_something_to_run_and_for_its_turn() {
        let place = Place::new();
        let mut disk = place.disk();
        let now = Instant::now() + Duration::from_secs(100);
        let used = Some(Duration::from_secs(1));
        disk.walk(used, &[]).unwrap();
        assert!(!disk.is_due(now, used), "nothing ran");
        assert!(disk.is_due(now, None), "nobody knows what ran");
        let more = Some(Duration::from_secs(2));
        assert!(disk.is_due(now, more));
        disk.last.cost = Duration::from_secs(10);
        disk.last.free = Usage::default();
        assert!(!disk.is_due(now, more), "it would take too much");
        disk.last.free = Usage {
            bytes: u64::MAX,
            ..Usage::default()
        };
        assert!(disk.is_due(now, more), "the disk shrinks");
    }
}
