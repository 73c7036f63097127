//! Files that are there whole or not at all, also after a power cut.
//!
//! ```text
//! write to a file without the name ─▶ fsync the file ─▶ rename ─▶ fsync the directory
//! ```
//!
//! A rename before the first sync may show a file of the right name and no content; without the
//! second the name may be gone again. Everything of Loki's that replaces a file goes through
//! [`name`], which is that order and nothing else. It does not promise what the disk itself does
//! not: one that lies about a sync loses what it lies about.

use std::{
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::PermissionsExt,
    },
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags, RenameFlags},
    io::Errno,
};

/// A name in an open directory.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// The directory.
    pub dir: BorrowedFd<'a>,
    /// The name in it.
    pub name: &'a Path,
}

impl<'a> At<'a> {
    /// Names it.
    #[must_use]
    pub fn new(dir: BorrowedFd<'a>, name: &'a str) -> Self {
        let name = Path::new(name);
        Self { dir, name }
    }
}

/// What happens to a file that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It gives way.
    Replace,
    /// It stays, and that is an error.
    Keep,
}

/// The three steps, so that a test can see their order.
trait Disk {
    fn sync(&self, what: BorrowedFd<'_>) -> io::Result<()>;
    fn rename(&self, from: At<'_>, to: At<'_>, taken: Taken) -> io::Result<()>;
}

/// The system's own.
struct Real;

impl Disk for Real {
    fn sync(&self, what: BorrowedFd<'_>) -> io::Result<()> {
        Ok(rustix::fs::fsync(what)?)
    }

    fn rename(&self, from: At<'_>, to: At<'_>, taken: Taken) -> io::Result<()> {
        if taken == Taken::Keep {
            let flags = RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(from.dir, from.name, to.dir, to.name, flags) {
                // A file system that cannot promise this: its callers hold a lock.
                Err(Errno::INVAL) => {}
                renamed => return Ok(renamed?),
            }
        }
        Ok(rustix::fs::renameat(from.dir, from.name, to.dir, to.name)?)
    }
}

/// Gives a file that was written as `from` its name; on the disk on return.
///
/// # Errors
/// The system's. Then the file may stand under either name.
pub fn name(file: &File, from: At<'_>, to: At<'_>, taken: Taken) -> io::Result<()> {
    name_on(&Real, file, (from, to), taken)
}

fn name_on(
    disk: &impl Disk,
    file: &File,
    (from, to): (At<'_>, At<'_>),
    taken: Taken,
) -> io::Result<()> {
    disk.sync(file.as_fd())?;
    disk.rename(from, to, taken)?;
    disk.sync(to.dir)
}

/// Replaces a file, or makes it, with these bytes and this mode. Readable by nobody else before
/// it has both.
///
/// # Errors
/// The system's. Then the old one is there as it was, or none.
pub fn replace(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let folder = folder(path);
    let mut fresh = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(folder)?;
    fresh.write_all(bytes)?;
    let permissions = std::fs::Permissions::from_mode(mode);
    fresh.as_file().set_permissions(permissions)?;
    let (file, from) = fresh.into_parts();
    settle_file(&file, &from, path)
}

/// Moves a file that another program has written to its name.
///
/// # Errors
/// The system's.
pub fn settle(from: &Path, to: &Path) -> io::Result<()> {
    settle_file(&File::open(from)?, from, to)
}

fn settle_file(file: &File, from: &Path, to: &Path) -> io::Result<()> {
    let (there, here) = (directory(folder(from))?, directory(folder(to))?);
    let from = At {
        dir: there.as_fd(),
        name: last(from)?,
    };
    let to = At {
        dir: here.as_fd(),
        name: last(to)?,
    };
    name(file, from, to, Taken::Replace)
}

fn last(path: &Path) -> io::Result<&Path> {
    let last = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(Path::new(last))
}

fn folder(path: &Path) -> &Path {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    above.unwrap_or(Path::new("."))
}

fn directory(path: &Path) -> io::Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeSet, os::fd::AsRawFd};

    use super::*;

    /// What one of the three steps was.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Step {
        SyncFile,
        Rename,
        SyncDirectory,
    }

    /// What a reader finds under the name after a power cut.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum Found {
        Old,
        /// The right name and not the whole content.
        Torn,
        New,
    }

    /// All that a disk may show when the power is cut after these steps. What was not synced may
    /// have reached it or not, each by itself.
    fn after_a_cut(steps: &[Step]) -> BTreeSet<Found> {
        let had = |step| steps.contains(&step);
        let renamed = steps.iter().position(|step| *step == Step::Rename);
        let certain = renamed.is_some_and(|at| {
            steps
                .get(at..)
                .is_some_and(|rest| rest.contains(&Step::SyncDirectory))
        });
        let mut found = BTreeSet::new();
        if !certain {
            found.insert(Found::Old);
        }
        if renamed.is_some() {
            found.insert(Found::New);
            if !had(Step::SyncFile) {
                found.insert(Found::Torn);
            }
        }
        found
    }

    /// Writes down what is asked of it.
    struct Recorded {
        file: i32,
        steps: RefCell<Vec<Step>>,
    }

    impl Disk for Recorded {
        fn sync(&self, what: BorrowedFd<'_>) -> io::Result<()> {
            let step = if what.as_raw_fd() == self.file {
                Step::SyncFile
            } else {
                Step::SyncDirectory
            };
            self.steps.borrow_mut().push(step);
            Ok(())
        }

        fn rename(&self, _: At<'_>, _: At<'_>, _: Taken) -> io::Result<()> {
            self.steps.borrow_mut().push(Step::Rename);
            Ok(())
        }
    }

    #[test]
    fn a_power_cut_at_any_step_shows_the_old_or_the_new_and_at_the_end_the_new() {
        let held = tempfile::NamedTempFile::new().unwrap();
        let dir = directory(folder(held.path())).unwrap();
        let disk = Recorded {
            file: held.as_file().as_raw_fd(),
            steps: RefCell::default(),
        };
        let at = At {
            dir: dir.as_fd(),
            name: Path::new("x"),
        };
        name_on(&disk, held.as_file(), (at, at), Taken::Replace).unwrap();
        let steps = disk.steps.into_inner();
        for cut in 0..=steps.len() {
            let found = after_a_cut(&steps[..cut]);
            assert!(
                !found.contains(&Found::Torn),
                "cut after {cut} of {steps:?}"
            );
        }
        assert_eq!(after_a_cut(&steps), [Found::New].into());
    }

    /// Else the test above would show nothing.
    #[test]
    fn the_model_sees_what_each_missing_step_costs() {
        use Step::{Rename, SyncDirectory, SyncFile};
        assert!(after_a_cut(&[Rename]).contains(&Found::Torn));
        assert!(after_a_cut(&[Rename, SyncDirectory]).contains(&Found::Torn));
        assert!(after_a_cut(&[SyncFile, Rename]).contains(&Found::Old));
        assert!(after_a_cut(&[SyncFile, SyncDirectory, Rename]).contains(&Found::Old));
        assert_eq!(after_a_cut(&[SyncFile]), [Found::Old].into());
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_nothing_stays_beside_it() {
        let held = tempfile::tempdir().unwrap();
        let path = held.path().join("x");
        for (mode, bytes) in [(0o600, &b"one"[..]), (0o555, b"two")] {
            replace(&path, mode, bytes).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
            let found = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(found & 0o7777, mode);
        }
        assert_eq!(std::fs::read_dir(held.path()).unwrap().count(), 1);
        let nowhere = held.path().join("no/x");
        assert!(replace(&nowhere, 0o600, b"").is_err());
        assert!(replace(Path::new("/"), 0o600, b"").is_err());
    }

    #[test]
    fn a_name_that_is_taken_stays_where_that_is_asked() {
        let held = tempfile::tempdir().unwrap();
        let dir = directory(held.path()).unwrap();
        let at = |name| At {
            dir: dir.as_fd(),
            name: Path::new(name),
        };
        for (name, text) in [("a", "a"), ("b", "b")] {
            replace(&held.path().join(name), 0o600, text.as_bytes()).unwrap();
        }
        let file = File::open(held.path().join("a")).unwrap();
        let kept = name(&file, at("a"), at("b"), Taken::Keep);
        assert_eq!(kept.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(held.path().join("b")).unwrap(), b"b");
        name(&file, at("a"), at("b"), Taken::Replace).unwrap();
        assert_eq!(std::fs::read(held.path().join("b")).unwrap(), b"a");
    }
}
