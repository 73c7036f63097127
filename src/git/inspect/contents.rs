//! Reads what an agent would hand over, once, and shows it to every inspector of contents, before
//! git reads it: what git has read lies in the repository's objects.
//!
//! Files are read in pieces that overlap, in constant memory. Follows no link.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
};

use super::{
    Deadline, Remark, letters, patterns,
    sights::{Held, Sight, Sights},
};
use crate::{
    git::{
        GitError, Slot,
        error::At,
        tree::{Entry, Kind},
    },
    redact::Redactor,
};

/// The rule that work with the value of a kept secret in it breaks.
pub(in crate::git) const VALUE: &str = "secret-value";
const MESSAGE: &str =
    "holds the value of a secret: take it out, or name a path that `.gitignore` has";
/// Bytes of a file that are looked at together, and how far such pieces overlap.
const PIECE: usize = 8 << 20;
const OVERLAP: usize = 64 << 10;

/// What was seen in contents.
#[derive(Debug, Default)]
pub(in crate::git) struct Seen {
    /// Values of kept secrets, and what could not be looked at: such work goes nowhere.
    pub(in crate::git) values: Vec<Remark>,
    /// By path, what a person must look at if it is new.
    pub(in crate::git) sights: BTreeMap<Vec<u8>, Vec<Sight>>,
    held: Held,
}

impl Seen {
    /// Takes contents that are in the memory already.
    ///
    /// # Errors
    /// The breach, when there is more than can be kept.
    pub(in crate::git) fn take(
        &mut self,
        path: &[u8],
        text: &[u8],
        secrets: &Redactor,
    ) -> Result<(), Remark> {
        if secrets.finds(text) {
            self.values.push(Remark::new(VALUE, path, MESSAGE));
            return Ok(());
        }
        let mut sights = Sights::default();
        see(text, Form::of(text), &mut sights);
        self.add(path, sights.all())
    }

    fn add(&mut self, path: &[u8], sights: Vec<Sight>) -> Result<(), Remark> {
        if sights.is_empty() {
            return Ok(());
        }
        self.held.add(&sights)?;
        self.sights.insert(path.to_vec(), sights);
        Ok(())
    }
}

/// Looks at the names, links and files of `entries`.
///
/// # Errors
/// When one cannot be read.
pub(in crate::git) fn look(
    slot: &Slot,
    entries: &[&Entry],
    (secrets, deadline): (&Redactor, &Deadline),
) -> Result<Seen, GitError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let work = openat(CWD, slot.work(), flags, Mode::empty()).at("open", slot.work())?;
    let mut reader = Reader {
        secrets,
        deadline,
        piece: Vec::new(),
    };
    let mut seen = Seen::default();
    for entry in entries {
        if secrets.finds(&entry.path) {
            // The name itself must not be told.
            let message = "a name holds the value of a secret";
            seen.values.push(Remark::new(VALUE, b".", message));
            continue;
        }
        let found = reader.entry(&work, entry).at("read", slot.work())?;
        match found {
            Found::Late => {
                seen.values.push(deadline.remark(&entry.path));
                break;
            }
            Found::Value => seen.values.push(Remark::new(VALUE, &entry.path, MESSAGE)),
            Found::Sights(sights) => {
                if let Err(breach) = seen.add(&entry.path, sights) {
                    seen.values.push(breach);
                    break;
                }
            }
        }
    }
    Ok(seen)
}

/// Whether people read a file, or only programs.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Text,
    Binary,
}

impl Form {
    fn of(beginning: &[u8]) -> Self {
        if letters::is_binary(beginning) {
            Self::Binary
        } else {
            Self::Text
        }
    }
}

/// What one file holds.
enum Found {
    Value,
    /// There was no time to look.
    Late,
    Sights(Vec<Sight>),
}

/// Reads files one after the other with the same memory.
struct Reader<'a> {
    secrets: &'a Redactor,
    deadline: &'a Deadline,
    piece: Vec<u8>,
}

impl Reader<'_> {
    fn entry(&mut self, work: &OwnedFd, entry: &Entry) -> io::Result<Found> {
        match &entry.kind {
            Kind::Link(target) if self.secrets.finds(target) => Ok(Found::Value),
            Kind::Link(target) => {
                let mut sights = Sights::default();
                see(target, Form::Text, &mut sights);
                Ok(Found::Sights(sights.all()))
            }
            Kind::File => match open(work.as_fd(), &entry.path) {
                Ok(file) => self.file(File::from(file)),
                // It was removed: there is nothing to hand over.
                Err(Errno::NOENT) => Ok(Found::Sights(Vec::new())),
                Err(cause) => Err(cause.into()),
            },
            Kind::Directory | Kind::Special(_) => Ok(Found::Sights(Vec::new())),
        }
    }

    fn file(&mut self, mut file: File) -> io::Result<Found> {
        let mut search = self.secrets.search();
        let mut sights = Sights::default();
        let mut form = None;
        self.piece.clear();
        loop {
            if self.deadline.is_over() {
                return Ok(Found::Late);
            }
            let kept = self.piece.len();
            let room = u64::try_from(PIECE - kept).unwrap_or(0);
            let read = file.by_ref().take(room).read_to_end(&mut self.piece)?;
            let fresh = self.piece.get(kept..).unwrap_or_default();
            if search.finds(fresh) {
                return Ok(Found::Value);
            }
            if read == 0 && kept > 0 || self.piece.is_empty() {
                return Ok(Found::Sights(sights.all()));
            }
            let form = *form.get_or_insert_with(|| Form::of(&self.piece));
            see(&self.piece, form, &mut sights);
            if self.piece.len() < PIECE {
                return Ok(Found::Sights(sights.all()));
            }
            let cut = self.piece.len() - OVERLAP;
            self.piece.drain(..cut);
        }
    }
}

/// Shows a piece to the inspectors of contents that a form has.
fn see(piece: &[u8], form: Form, sights: &mut Sights) {
    patterns::look(piece, sights);
    if form == Form::Text {
        letters::look(piece, sights);
    }
}

/// Returns how a file of a slot begins, none when it cannot be read.
pub(in crate::git) fn beginning(slot: &Slot, path: &[u8]) -> Option<Vec<u8>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let work = openat(CWD, slot.work(), flags, Mode::empty()).ok()?;
    let file = File::from(open(work.as_fd(), path).ok()?);
    let mut text = Vec::new();
    file.take(256).read_to_end(&mut text).ok()?;
    Some(text)
}

/// Opens a file of a worktree, through no link.
pub(in crate::git) fn open(work: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(work, path, flags, Mode::empty(), resolve)
}
