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

use super::{Remark, letters, patterns};
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
/// Most findings in one file: the rest is no news.
const MOST: usize = 200;

/// Something in a file that a person must see, unless the base has it, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::git) struct Sight {
    pub(in crate::git) rule: &'static str,
    pub(in crate::git) message: String,
    pub(in crate::git) mark: Mark,
}

/// What the base must have for a sight to be old.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::git) enum Mark {
    /// These bytes, anywhere in the file.
    Token(Vec<u8>),
    /// This line.
    Line(Vec<u8>),
}

impl std::fmt::Debug for Mark {
    /// Shows nothing of what may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mark")
    }
}

impl Sight {
    /// Returns whether the file was like this before.
    pub(in crate::git) fn is_old(&self, base: &[u8]) -> bool {
        match &self.mark {
            Mark::Token(token) => {
                !token.is_empty() && base.windows(token.len()).any(|part| part == token)
            }
            Mark::Line(line) => base
                .split(|byte| *byte == b'\n')
                .any(|old| old.strip_suffix(b"\r").unwrap_or(old) == line),
        }
    }
}

/// What was seen in contents.
#[derive(Debug, Default)]
pub(in crate::git) struct Seen {
    /// Values of kept secrets: such work goes nowhere.
    pub(in crate::git) values: Vec<Remark>,
    /// By path, what a person must look at if it is new.
    pub(in crate::git) sights: BTreeMap<Vec<u8>, Vec<Sight>>,
}

impl Seen {
    /// Takes contents that are in the memory already.
    pub(in crate::git) fn take(&mut self, path: &[u8], text: &[u8], secrets: &Redactor) {
        if secrets.finds(text) {
            self.values.push(Remark::new(VALUE, path, MESSAGE));
            return;
        }
        let sights = sights(text, Form::of(text));
        if !sights.is_empty() {
            self.sights.insert(path.to_vec(), sights);
        }
    }
}

/// Looks at the names, links and files of `entries`.
///
/// # Errors
/// When one cannot be read.
pub(in crate::git) fn look(
    slot: &Slot,
    entries: &[&Entry],
    secrets: &Redactor,
) -> Result<Seen, GitError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let work = openat(CWD, slot.work(), flags, Mode::empty()).at("open", slot.work())?;
    let mut reader = Reader {
        secrets,
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
            Found::Value => seen.values.push(Remark::new(VALUE, &entry.path, MESSAGE)),
            Found::Sights(sights) if sights.is_empty() => {}
            Found::Sights(sights) => {
                seen.sights.insert(entry.path.clone(), sights);
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
    Sights(Vec<Sight>),
}

/// Reads files one after the other with the same memory.
struct Reader<'a> {
    secrets: &'a Redactor,
    piece: Vec<u8>,
}

impl Reader<'_> {
    fn entry(&mut self, work: &OwnedFd, entry: &Entry) -> io::Result<Found> {
        match &entry.kind {
            Kind::Link(target) if self.secrets.finds(target) => Ok(Found::Value),
            Kind::Link(target) => Ok(Found::Sights(sights(target, Form::Text))),
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
        let mut all: Vec<Sight> = Vec::new();
        let mut form = None;
        self.piece.clear();
        loop {
            let kept = self.piece.len();
            let room = u64::try_from(PIECE - kept).unwrap_or(0);
            let read = file.by_ref().take(room).read_to_end(&mut self.piece)?;
            let fresh = self.piece.get(kept..).unwrap_or_default();
            if search.finds(fresh) {
                return Ok(Found::Value);
            }
            if read == 0 && kept > 0 || self.piece.is_empty() {
                return Ok(Found::Sights(all));
            }
            let form = *form.get_or_insert_with(|| Form::of(&self.piece));
            for sight in sights(&self.piece, form) {
                if all.len() < MOST && !all.contains(&sight) {
                    all.push(sight);
                }
            }
            if self.piece.len() < PIECE {
                return Ok(Found::Sights(all));
            }
            let cut = self.piece.len() - OVERLAP;
            self.piece.drain(..cut);
        }
    }
}

/// Shows a piece to the inspectors of contents that a form has.
fn sights(piece: &[u8], form: Form) -> Vec<Sight> {
    let mut seen = Vec::new();
    patterns::look(piece, &mut seen);
    if form == Form::Text {
        letters::look(piece, &mut seen);
    }
    seen
}

fn open(work: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(work, path, flags, Mode::empty(), resolve)
}
