//! Looks for the values of secrets in what an agent would hand over, before git reads it: what git
//! has read lies in the repository's objects.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
};

use super::super::{
    GitError, Slot,
    error::At,
    inspect::Remark,
    tree::{Entry, Kind},
};
use crate::redact::Redactor;

/// The rule that work with a value in it breaks.
pub(super) const RULE: &str = "secret-value";
const MESSAGE: &str =
    "holds the value of a secret: take it out, or name a path that `.gitignore` has";

/// Returns which of these hold a value, in a name, a link or a file. Follows no link.
pub(super) fn shown(
    slot: &Slot,
    entries: &[&Entry],
    secrets: &Redactor,
) -> Result<Vec<Remark>, GitError> {
    if secrets.is_blind() {
        return Ok(Vec::new());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let work = openat(CWD, slot.work(), flags, Mode::empty()).at("open", slot.work())?;
    let mut remarks = Vec::new();
    for entry in entries {
        if secrets.finds(&entry.path) {
            // The name itself must not be told.
            remarks.push(Remark::new(
                RULE,
                b".",
                "a name holds the value of a secret",
            ));
        } else if holds(&work, entry, secrets).at("read", slot.work())? {
            remarks.push(Remark::new(RULE, &entry.path, MESSAGE));
        }
    }
    Ok(remarks)
}

fn holds(work: &OwnedFd, entry: &Entry, secrets: &Redactor) -> io::Result<bool> {
    match &entry.kind {
        Kind::Link(target) => Ok(secrets.finds(target)),
        Kind::File => match open(work.as_fd(), &entry.path) {
            Ok(file) => found(File::from(file), secrets),
            // It was removed: there is nothing to hand over.
            Err(Errno::NOENT) => Ok(false),
            Err(cause) => Err(cause.into()),
        },
        Kind::Directory | Kind::Special(_) => Ok(false),
    }
}

fn open(work: std::os::fd::BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(work, path, flags, Mode::empty(), resolve)
}

fn found(mut file: File, secrets: &Redactor) -> io::Result<bool> {
    let mut search = secrets.search();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(false),
            count if search.finds(buffer.split_at(count).0) => return Ok(true),
            _ => {}
        }
    }
}
