//! Reads, cuts and packs files on several cores.
//!
//! ```text
//!  walk ─ jobs ─► worker: read ─ search ─ cut ─ hash ─┬─ known: nothing
//!                                                     └─ new: into its block ─► blocks ─► worker: pack ─► writer
//! ```
//!
//! Every worker does both, packing first: many small files are read by all, and one large file is
//! read by one while the others pack. What waits is bounded, so memory does not grow with files.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::{digest::Digest, redact::Redactor};

use super::{
    admit::Refusal,
    cut::Listed,
    entry::{EntryPath, Listing, Why},
    error::CheckpointError,
    hand::{Hand, packing},
    known::Known,
    manifest::Parts,
    pack::{Block, Writer, Written},
    read::LISTING,
    walk::{Root, Stat},
};

/// Jobs that may wait.
const WAITING: usize = 256;
/// Blocks that may wait.
pub(super) const BLOCKS: usize = 8;

/// A file to read.
pub(super) struct Job {
    /// Which one it is to whoever asked.
    pub(super) number: usize,
    /// Where it is.
    pub(super) root: Arc<Root>,
    /// Its path.
    pub(super) path: EntryPath,
}

/// What came of a file.
#[derive(Debug)]
pub(super) enum Taken {
    /// It is kept.
    Kept {
        /// What the kernel said of it before it was read.
        stat: Stat,
        /// Bytes that were read.
        size: u64,
        /// What it is made of.
        chunks: Vec<Digest>,
        /// Whether it was changed meanwhile.
        changed: bool,
    },
    /// It is left out.
    LeftOut(Why),
    /// It is not there any more, or something else now.
    Gone,
}

pub(super) struct State {
    jobs: VecDeque<Job>,
    /// Blocks to pack.
    pub(super) blocks: VecDeque<Block>,
    /// Workers that read a file.
    pub(super) reading: usize,
    /// Whether no more jobs come.
    closed: bool,
    /// What came of files.
    pub(super) taken: Vec<(usize, Taken)>,
    fault: Option<CheckpointError>,
}

/// What workers share.
pub(super) struct Intake<'s, 'd> {
    /// What is to be done, and was.
    pub(super) state: Mutex<State>,
    /// Told whenever something may go on.
    pub(super) moved: Condvar,
    /// Chunks that are kept, or about to be.
    pub(super) known: Known<'s>,
    /// Where new ones go.
    pub(super) writer: Mutex<Writer<'d>>,
    /// What is left out.
    pub(super) secrets: &'s Redactor,
    /// Told how many bytes were read.
    pub(super) progress: &'s (dyn Fn(u64) + Sync),
    /// Fails once it took longer than it may.
    pub(super) in_time: &'s InTime<'s>,
}

/// Asks whether there is time left.
pub(super) type InTime<'s> = dyn Fn() -> Result<(), CheckpointError> + Sync + 's;

/// Taken over by whoever finds a lock poisoned: the panic is passed on by the thread that had it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'s, 'd> Intake<'s, 'd> {
    /// Begins; `known` are the chunks that are there already, `in_time` fails when it took too long.
    pub(super) fn new(
        writer: Writer<'d>,
        known: Known<'s>,
        secrets: &'s Redactor,
        (progress, in_time): (&'s (dyn Fn(u64) + Sync), &'s InTime<'s>),
    ) -> Self {
        Self {
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                blocks: VecDeque::new(),
                reading: 0,
                closed: false,
                taken: Vec::new(),
                fault: None,
            }),
            moved: Condvar::new(),
            known,
            writer: Mutex::new(writer),
            secrets,
            progress,
            in_time,
        }
    }

    /// Has a round of jobs done by so many workers; `feed` gives the jobs. Returns what came of
    /// each, in no order.
    pub(super) fn round(
        &self,
        workers: usize,
        feed: impl FnOnce(&dyn Fn(Job) -> bool) -> Result<(), CheckpointError>,
    ) -> Result<Vec<(usize, Taken)>, CheckpointError> {
        let fed = std::thread::scope(|scope| {
            for _ in 0..workers.max(1) {
                scope.spawn(|| self.work());
            }
            let fed = feed(&|job| self.offer(job));
            lock(&self.state).closed = true;
            self.moved.notify_all();
            fed
        });
        let mut state = lock(&self.state);
        state.closed = false;
        let taken = std::mem::take(&mut state.taken);
        match state.fault.take() {
            Some(fault) => Err(fault),
            None => fed.map(|()| taken),
        }
    }

    /// Returns whether all these chunks are kept.
    pub(super) fn has(&self, chunks: &[Digest]) -> bool {
        chunks.iter().all(|chunk| self.known.has(chunk))
    }

    /// Returns a worker for contents that come one after the other.
    pub(super) fn hand(&self) -> Result<Hand<'_, 's, 'd>, CheckpointError> {
        Hand::new(self)
    }

    /// Keeps a listing like a file, in smaller chunks, while it is written.
    pub(super) fn list(&self, listing: &Listing) -> Result<Parts, CheckpointError> {
        let mut hand = self.hand()?;
        let (mut bytes, mut chunks) = (0, Vec::new());
        let mut fault = None;
        let mut give = |chunk: &[u8]| {
            bytes += chunk.len() as u64;
            let kept = match bytes > LISTING {
                true => Err(too_long()),
                false => hand.keep(chunk),
            };
            let kept = kept.map_err(|cause| {
                fault = Some(cause);
                io::Error::other("a part of it cannot be kept")
            });
            kept.map(|digest| chunks.push(digest))
        };
        let mut cut = Listed::new(&mut give);
        let written = listing.write(&mut cut).and_then(|()| cut.finish());
        match (fault, written) {
            (Some(fault), _) => return Err(fault),
            (None, Err(source)) => {
                return Err(CheckpointError::io(
                    "write",
                    Path::new("the listing"),
                    source,
                ));
            }
            (None, Ok(())) => hand.flush()?,
        }
        Ok(Parts { bytes, chunks })
    }

    /// Makes what was added durable, and returns what that took, and what is known now.
    pub(super) fn finish(self) -> Result<(Written, Known<'s>), CheckpointError> {
        let writer = self.writer.into_inner();
        let writer = writer.unwrap_or_else(PoisonError::into_inner);
        Ok((writer.finish()?, self.known))
    }

    /// Gives a job to whoever is free first; false when there is no use in more.
    fn offer(&self, job: Job) -> bool {
        let mut state = lock(&self.state);
        while state.jobs.len() >= WAITING && state.fault.is_none() {
            state = self
                .moved
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.fault.is_some() {
            return false;
        }
        state.jobs.push_back(job);
        self.moved.notify_all();
        true
    }

    /// One worker's life.
    fn work(&self) {
        let _passed_on = PassedOn(self);
        let worked = Hand::new(self).and_then(|mut hand| {
            while let Some(next) = self.next() {
                hand.do_one(next)?;
            }
            hand.flush()
        });
        if let Err(fault) = worked {
            lock(&self.state).fault.get_or_insert(fault);
            self.moved.notify_all();
        }
    }

    /// Waits for something to do; none when nothing is left or something failed.
    fn next(&self) -> Option<Next> {
        let mut state = lock(&self.state);
        loop {
            if state.fault.is_some() {
                return None;
            }
            if let Some(block) = state.blocks.pop_front() {
                return Some(Next::Pack(block));
            }
            if let Some(job) = state.jobs.pop_front() {
                state.reading += 1;
                self.moved.notify_all();
                return Some(Next::Read(job));
            }
            if state.closed && state.reading == 0 {
                return None;
            }
            state = self
                .moved
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What nobody would read is not written.
fn too_long() -> CheckpointError {
    let path = EntryPath::new("the listing");
    let refusal = Refusal::Names;
    CheckpointError::Refused { path, refusal }
}

/// Ends the others when a worker panics: they would wait for its file for ever.
struct PassedOn<'i, 's, 'd>(&'i Intake<'s, 'd>);

impl Drop for PassedOn<'_, '_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let fault = packing(io::Error::other("a bug of ours"));
            lock(&self.0.state).fault.get_or_insert(fault);
            self.0.moved.notify_all();
        }
    }
}

/// Something to do.
pub(super) enum Next {
    /// Pack these.
    Pack(Block),
    /// Read this.
    Read(Job),
}
