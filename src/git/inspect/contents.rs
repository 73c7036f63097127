//! Reads what an agent would hand over, once, and shows it to every inspector of contents, before
//! git reads it: what git has read lies in the repository's objects.
//!
//! Files are read in pieces that overlap, in constant memory. Follows no link.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs::File,
    hash::{BuildHasher, RandomState},
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use aho_corasick::AhoCorasick;
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
/// Most findings in one file, old ones included. Behind them nothing is looked at, and that is said.
const MOST: usize = 10_000;
/// The rule that work breaks which takes too long to judge.
const LATE: &str = "time";

/// Something in a file that a person must see, unless the base has it, too.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::git) struct Sight {
    pub(in crate::git) rule: &'static str,
    pub(in crate::git) message: String,
    pub(in crate::git) mark: Mark,
}

/// What the base must have for a sight to be old.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(in crate::git) enum Mark {
    /// These bytes, anywhere in the file.
    Token(Vec<u8>),
    /// This line.
    Line(Vec<u8>),
    /// Nothing makes it old.
    Always,
}

impl std::fmt::Debug for Mark {
    /// Shows nothing of what may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mark")
    }
}

/// What was seen in one file, each thing once.
#[derive(Debug, Default)]
pub(in crate::git) struct Sights {
    all: Vec<Sight>,
    known: HashSet<u64>,
    hasher: RandomState,
}

impl Sights {
    /// Takes one more, unless it is known or the file has too many.
    pub(super) fn add(&mut self, sight: Sight) {
        if self.is_full() || !self.known.insert(self.hasher.hash_one(&sight)) {
            return;
        }
        let rule = sight.rule;
        self.all.push(sight);
        if self.is_full() {
            self.all.push(Sight {
                rule,
                message: format!("has more than {MOST} odd places: the others were not looked at"),
                mark: Mark::Always,
            });
        }
    }

    /// Returns whether nothing more is taken.
    pub(super) fn is_full(&self) -> bool {
        self.all.len() >= MOST
    }

    /// Returns them in the order of the file.
    #[cfg(test)]
    pub(super) fn all(self) -> Vec<Sight> {
        self.all
    }
}

/// Returns what of these the file did not have before.
pub(in crate::git) fn fresh<'s>(sights: &'s [Sight], base: Option<&Vec<u8>>) -> Vec<&'s Sight> {
    let Some(base) = base else {
        return sights.iter().collect();
    };
    let lines = base.split(|byte| *byte == b'\n');
    let lines: HashSet<&[u8]> = lines
        .map(|old| old.strip_suffix(b"\r").unwrap_or(old))
        .collect();
    let tokens = sights.iter().filter_map(|sight| match &sight.mark {
        Mark::Token(token) if !token.is_empty() => Some(token.as_slice()),
        _ => None,
    });
    let had = among(&tokens.collect(), base);
    let is_new = |sight: &&Sight| match &sight.mark {
        Mark::Token(token) => !had.contains(token.as_slice()),
        Mark::Line(line) => !lines.contains(line.as_slice()),
        Mark::Always => true,
    };
    sights.iter().filter(is_new).collect()
}

/// Returns those that stand in a text. More than can be searched for stand nowhere.
fn among<'t>(tokens: &BTreeSet<&'t [u8]>, text: &[u8]) -> BTreeSet<&'t [u8]> {
    let Ok(search) = AhoCorasick::new(tokens) else {
        return BTreeSet::new();
    };
    let tokens: Vec<&[u8]> = tokens.iter().copied().collect();
    let found = search.find_overlapping_iter(text);
    found.map(|one| tokens[one.pattern().as_usize()]).collect()
}

/// By when contents must have been looked at.
#[derive(Debug, Clone, Copy)]
pub(in crate::git) struct Deadline {
    begun: Instant,
    limit: Duration,
}

impl Deadline {
    /// Begins to wait.
    #[expect(
        clippy::disallowed_methods,
        reason = "a duration is measured, no time is told"
    )]
    pub(in crate::git) fn after(limit: Duration) -> Self {
        Self {
            begun: Instant::now(),
            limit,
        }
    }

    fn is_over(&self) -> bool {
        self.begun.elapsed() >= self.limit
    }

    fn remark(&self, path: &[u8]) -> Remark {
        let seconds = self.limit.as_secs();
        let message = format!(
            "was not looked at within the {seconds} s that a hand-over may take: hand over less"
        );
        Remark::new(LATE, path, message)
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
        let mut sights = Sights::default();
        see(text, Form::of(text), &mut sights);
        if !sights.all.is_empty() {
            self.sights.insert(path.to_vec(), sights.all);
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
    (secrets, deadline): (&Redactor, Deadline),
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
    /// There was no time to look.
    Late,
    Sights(Vec<Sight>),
}

/// Reads files one after the other with the same memory.
struct Reader<'a> {
    secrets: &'a Redactor,
    deadline: Deadline,
    piece: Vec<u8>,
}

impl Reader<'_> {
    fn entry(&mut self, work: &OwnedFd, entry: &Entry) -> io::Result<Found> {
        match &entry.kind {
            Kind::Link(target) if self.secrets.finds(target) => Ok(Found::Value),
            Kind::Link(target) => {
                let mut sights = Sights::default();
                see(target, Form::Text, &mut sights);
                Ok(Found::Sights(sights.all))
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
                return Ok(Found::Sights(sights.all));
            }
            let form = *form.get_or_insert_with(|| Form::of(&self.piece));
            see(&self.piece, form, &mut sights);
            if self.piece.len() < PIECE {
                return Ok(Found::Sights(sights.all));
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

fn open(work: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(work, path, flags, Mode::empty(), resolve)
}
