//! Seals a journal while it is written.
//!
//! Every [`Sealing::every`] while records come, and at once where [`Sealer::now`] is called, the last
//! record is signed: first the journal is put on the disk, then the seal, then its copy outside the
//! repository. A seal that can be read therefore never says more than the journal holds, and the
//! copy outside never more than the seals.
//!
//! What was written before a crash and never sealed is sealed when the journal is opened again,
//! and the seal says that it was.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use jiff::Timestamp;
use rustix::fs::OFlags;

use super::{
    audit::seals,
    check::check,
    durable::Durable,
    error::JournalError,
    key::Key,
    place::Dir,
    seal::{Facts, Link, Seal},
};
use crate::{digest::Digest, name::RunId};

/// What a journal is sealed with.
pub struct Sealing {
    /// The key that signs.
    pub key: Key,
    /// A directory outside the repository, of this repository alone, that keeps the newest seal of
    /// each run. It is made where it is missing.
    pub anchors: PathBuf,
    /// What says the time of a seal.
    pub clock: Box<dyn Fn() -> Timestamp + Send>,
    /// How long a written record may wait for its seal.
    pub every: Duration,
}

impl Sealing {
    /// How long it waits in a run.
    pub const EVERY: Duration = Duration::from_secs(2);
}

impl std::fmt::Debug for Sealing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealing")
            .field("key", &self.key)
            .field("anchors", &self.anchors)
            .finish_non_exhaustive()
    }
}

/// A place in a journal: a record's number and hash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) seq: u64,
    pub(super) hash: Digest,
}

/// What the writer and the thread share.
#[derive(Default)]
struct State {
    /// The last record written.
    newest: Position,
    /// The last record that a seal covers.
    sealed: u64,
    closed: bool,
    /// Why the thread could not seal; the writer takes it with its next call.
    failure: Option<JournalError>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    output: Mutex<Output>,
}

/// Where seals go.
struct Output {
    run: RunId,
    sealing: Sealing,
    journal: Arc<Durable>,
    journal_path: PathBuf,
    seals: File,
    seals_path: PathBuf,
    anchors: Dir,
    sealed: u64,
    taken_over: Option<u64>,
    /// What the next seal says of the one before it.
    link: Link,
}

/// Seals one journal.
pub(super) struct Sealer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The journal that is to be sealed, as its writer opened it.
pub(super) struct Subject<'a> {
    pub(super) home: &'a std::path::Path,
    pub(super) run: &'a RunId,
    pub(super) journal: Arc<Durable>,
    pub(super) path: PathBuf,
    /// Its last record.
    pub(super) newest: Position,
}

impl Sealer {
    /// Opens the seals of a journal, cuts off an unfinished one, and seals what was found unsealed.
    pub(super) fn open(subject: Subject<'_>, sealing: Sealing) -> Result<Self, JournalError> {
        let newest = subject.newest;
        let output = Output::open(subject, sealing)?;
        let state = State {
            newest,
            sealed: output.sealed,
            ..State::default()
        };
        let (path, every) = (output.seals_path.clone(), output.sealing.every);
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            output: Mutex::new(output),
        });
        shared.seal()?;
        let thread = std::thread::Builder::new()
            .name("journal-seal".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.seal_in_time(every)
            })
            .map_err(|source| JournalError::io("start sealing in", &path, source))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Has what was just written sealed within [`Sealing::every`].
    pub(super) fn wrote(&self, newest: Position) -> Result<(), JournalError> {
        let mut state = self.shared.state();
        state.newest = newest;
        if state.sealed + 1 == newest.seq {
            self.shared.changed.notify_one();
        }
        state.failure.take().map_or(Ok(()), Err)
    }

    /// Seals everything written so far before it returns.
    pub(super) fn now(&self) -> Result<(), JournalError> {
        self.shared.seal()
    }
}

impl Drop for Sealer {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the sealing thread does not panic");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: waits for records, waits a little for more, and seals once.
    fn seal_in_time(&self, every: Duration) {
        loop {
            let idle = |state: &mut State| state.sealed == state.newest.seq && !state.closed;
            let state = self.changed.wait_while(self.state(), idle);
            let state = state.unwrap_or_else(PoisonError::into_inner);
            let gathering = |state: &mut State| !state.closed;
            let waited = self.changed.wait_timeout_while(state, every, gathering);
            let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            let closed = state.closed;
            drop(state);
            if let Err(error) = self.seal() {
                let mut state = self.state();
                state.failure = Some(error);
                // Nothing is tried again: the writer stops with its next record.
                state.sealed = state.newest.seq;
            }
            if closed {
                return;
            }
        }
    }

    fn seal(&self) -> Result<(), JournalError> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.state().newest;
        if newest.seq > output.sealed {
            output.seal(newest)?;
            self.state().sealed = newest.seq;
        }
        Ok(())
    }
}

impl Output {
    fn open(subject: Subject<'_>, sealing: Sealing) -> Result<Self, JournalError> {
        let Subject {
            home,
            run,
            journal,
            path,
            newest,
        } = subject;
        let seals_path = seals::path(home, run);
        let dir = Dir::home(home)?.within("journal", 0o700)?;
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK;
        let file = dir.open(&format!("{run}.seals"), flags, 0o600)?;
        dir.sync()?;
        let found = seals::newest(&file, &seals_path)?;
        let anchors = Dir::beneath(&sealing.anchors)?;
        let anchor = seals::anchor(&sealing.anchors, run)?;
        // A journal that lost what was sealed is evidence, and not to be written on.
        let known = [found.last.as_ref(), anchor.as_ref()];
        let sealed = still_holds(&path, newest, &known)?;
        if found.torn {
            let cut = file.set_len(found.sound).and_then(|()| file.sync_all());
            cut.map_err(|source| JournalError::io("cut the torn end of", &seals_path, source))?;
        }
        Ok(Self {
            taken_over: (newest.seq > sealed).then_some(sealed + 1),
            run: run.clone(),
            sealing,
            journal,
            journal_path: path,
            seals: file,
            seals_path,
            anchors,
            sealed,
            link: Link {
                seal: found.count + 1,
                before: found
                    .last
                    .map_or_else(Digest::default, |last| last.digest()),
            },
        })
    }

    fn seal(&mut self, newest: Position) -> Result<(), JournalError> {
        self.journal
            .sync()
            .map_err(|source| JournalError::io("sync", &self.journal_path, source))?;
        let facts = Facts {
            run: self.run.clone(),
            seq: newest.seq,
            hash: newest.hash,
            ts: (self.sealing.clock)(),
            taken_over: self.taken_over,
            link: Some(self.link),
        };
        let seal = Seal::sign(facts, &self.sealing.key);
        let line = format!("{seal}\n");
        let written = self.write(line.as_bytes());
        written.map_err(|source| JournalError::io("append to", &self.seals_path, source))?;
        self.sealed = newest.seq;
        self.taken_over = None;
        self.link = Link {
            seal: self.link.seal + 1,
            before: seal.digest(),
        };
        let name = seals::anchor_name(&self.run);
        self.anchors.replace(&name, line.as_bytes())
    }

    fn write(&self, line: &[u8]) -> io::Result<()> {
        (&self.seals).write_all(line)?;
        self.seals.sync_data()
    }
}

/// Returns the last record that a known seal covers. Refuses a journal that does not hold what was
/// sealed.
fn still_holds(
    path: &std::path::Path,
    newest: Position,
    known: &[Option<&Seal>],
) -> Result<u64, JournalError> {
    let known: BTreeMap<u64, Digest> = known
        .iter()
        .flatten()
        .map(|seal| (seal.facts.seq, seal.facts.hash))
        .collect();
    let older: Vec<u64> = known
        .keys()
        .copied()
        .filter(|seq| *seq < newest.seq)
        .collect();
    let mut hashes = if older.is_empty() {
        BTreeMap::new()
    } else {
        check(path, &older)?.hashes
    };
    hashes.insert(newest.seq, newest.hash);
    for (seq, sealed) in &known {
        if hashes.get(seq) != Some(sealed) {
            return Err(JournalError::Lost {
                path: path.to_owned(),
                record: *seq,
            });
        }
    }
    Ok(known.last_key_value().map_or(0, |(seq, _)| *seq))
}
