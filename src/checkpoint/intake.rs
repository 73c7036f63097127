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
    collections::{HashSet, VecDeque},
    io::{self, Read},
    os::fd::AsFd,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use rustix::io::Errno;

use crate::{digest::Digest, redact::Redactor};

use super::{
    cut::{Cut, Cutter},
    entry::{EntryPath, Why},
    error::CheckpointError,
    pack::{Block, Packer, Writer},
    walk::{Root, Stat, stat},
};

/// Jobs and blocks that may wait.
const WAITING: usize = 256;
const BLOCKS: usize = 8;

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

struct State {
    jobs: VecDeque<Job>,
    blocks: VecDeque<Block>,
    /// Workers that read a file.
    reading: usize,
    /// Whether no more jobs come.
    closed: bool,
    taken: Vec<(usize, Taken)>,
    fault: Option<CheckpointError>,
}

/// What workers share.
pub(super) struct Intake<'s, 'd> {
    state: Mutex<State>,
    /// Told whenever something may go on.
    moved: Condvar,
    known: Mutex<HashSet<Digest>>,
    writer: Mutex<Writer<'d>>,
    secrets: &'s Redactor,
    /// Told how many bytes were read.
    progress: &'s (dyn Fn(u64) + Sync),
}

/// Taken over by whoever finds a lock poisoned: the panic is passed on by the thread that had it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'s, 'd> Intake<'s, 'd> {
    /// Begins; `known` are the chunks that are there already.
    pub(super) fn new(
        writer: Writer<'d>,
        known: HashSet<Digest>,
        secrets: &'s Redactor,
        progress: &'s (dyn Fn(u64) + Sync),
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
            known: Mutex::new(known),
            writer: Mutex::new(writer),
            secrets,
            progress,
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
        let known = lock(&self.known);
        chunks.iter().all(|chunk| known.contains(chunk))
    }

    /// Adds chunks that were not read from a file.
    pub(super) fn add<'c>(
        &self,
        chunks: impl Iterator<Item = &'c [u8]>,
    ) -> Result<Vec<Digest>, CheckpointError> {
        let mut hand = Hand::new(self)?;
        let mut digests = Vec::new();
        for chunk in chunks {
            digests.push(hand.keep(chunk)?);
        }
        hand.flush()?;
        Ok(digests)
    }

    /// Returns a worker for contents that come one after the other.
    pub(super) fn hand(&self) -> Result<Hand<'_, 's, 'd>, CheckpointError> {
        Hand::new(self)
    }

    /// Makes what was added durable, and returns how many bytes that took.
    pub(super) fn finish(self) -> Result<u64, CheckpointError> {
        let writer = self.writer.into_inner();
        writer.unwrap_or_else(PoisonError::into_inner).finish()
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

enum Next {
    Pack(Block),
    Read(Job),
}

/// A worker's own tools.
pub(super) struct Hand<'i, 's, 'd> {
    intake: &'i Intake<'s, 'd>,
    packer: Packer,
    cutter: Cutter,
    block: Block,
}

impl<'i, 's, 'd> Hand<'i, 's, 'd> {
    fn new(intake: &'i Intake<'s, 'd>) -> Result<Self, CheckpointError> {
        let packer = Packer::new().map_err(packing)?;
        Ok(Self {
            intake,
            packer,
            cutter: Cutter::new(intake.secrets),
            block: Block::default(),
        })
    }

    fn do_one(&mut self, next: Next) -> Result<(), CheckpointError> {
        match next {
            Next::Pack(block) => self.pack(&block),
            Next::Read(job) => {
                let taken = self.take(&job);
                let mut state = lock(&self.intake.state);
                state.reading -= 1;
                state.taken.push((job.number, taken?));
                drop(state);
                self.intake.moved.notify_all();
                Ok(())
            }
        }
    }

    /// Reads a file.
    fn take(&mut self, job: &Job) -> Result<Taken, CheckpointError> {
        let file = match job.root.file(&job.path) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {
                return Ok(Taken::Gone);
            }
            Err(Errno::NFILE | Errno::MFILE) => {
                let path = job.path.escaped();
                return Err(CheckpointError::io("open", Path::new(&path), Errno::MFILE));
            }
            Err(_) => return Ok(Taken::LeftOut(Why::Unreadable)),
        };
        let Ok(before) = stat(file.as_fd(), b"") else {
            return Ok(Taken::LeftOut(Why::Unreadable));
        };
        if before.kind != rustix::fs::FileType::RegularFile {
            return Ok(Taken::Gone);
        }
        let mut chunks = Vec::new();
        match self.read(&file, before.size, &mut chunks) {
            Ok(Cut::Whole(size)) => {
                let changed = size != before.size || stat(file.as_fd(), b"") != Ok(before);
                Ok(Taken::Kept {
                    stat: before,
                    size,
                    chunks,
                    changed,
                })
            }
            Ok(Cut::Secret) => Ok(Taken::LeftOut(Why::Secret)),
            Err(Halt::Unreadable(_)) => Ok(Taken::LeftOut(Why::Unreadable)),
            Err(Halt::Fault(fault)) => Err(fault),
        }
    }

    /// Reads contents of this length; none when they hold a secret value.
    pub(super) fn stream(
        &mut self,
        from: &mut dyn Read,
        size: u64,
        unread: impl FnOnce(io::Error) -> CheckpointError,
    ) -> Result<Option<Vec<Digest>>, CheckpointError> {
        let mut chunks = Vec::new();
        match self.read(from, size, &mut chunks) {
            Ok(Cut::Whole(_)) => Ok(Some(chunks)),
            Ok(Cut::Secret) => Ok(None),
            Err(Halt::Unreadable(cause)) => Err(unread(cause)),
            Err(Halt::Fault(fault)) => Err(fault),
        }
    }

    fn read(&mut self, from: impl Read, size: u64, chunks: &mut Vec<Digest>) -> Result<Cut, Halt> {
        // The cutter lends its buffer to what it calls, which needs the rest of this hand.
        let mut cutter = std::mem::replace(&mut self.cutter, Cutter::idle());
        let cut = cutter.cut(from, size, |chunk| {
            chunks.push(self.keep(chunk)?);
            (self.intake.progress)(chunk.len() as u64);
            Ok(())
        });
        self.cutter = cutter;
        cut
    }

    /// Keeps a chunk, unless it is there already.
    fn keep(&mut self, chunk: &[u8]) -> Result<Digest, CheckpointError> {
        let digest = Digest::of(chunk);
        if lock(&self.intake.known).insert(digest) {
            self.block.push(digest, chunk);
            if self.block.is_full() {
                self.hand_on()?;
            }
        }
        Ok(digest)
    }

    /// Gives a full block to whoever is free, or packs it here when nobody comes after it.
    fn hand_on(&mut self) -> Result<(), CheckpointError> {
        let block = std::mem::take(&mut self.block);
        let mut state = lock(&self.intake.state);
        if state.blocks.len() < BLOCKS {
            state.blocks.push_back(block);
            drop(state);
            self.intake.moved.notify_all();
            return Ok(());
        }
        drop(state);
        self.pack(&block)
    }

    fn pack(&mut self, block: &Block) -> Result<(), CheckpointError> {
        let packed = self.packer.pack(block).map_err(packing)?;
        lock(&self.intake.writer).add(block, &packed)
    }

    /// Packs what is left.
    pub(super) fn flush(&mut self) -> Result<(), CheckpointError> {
        let block = std::mem::take(&mut self.block);
        if !block.chunks.is_empty() {
            self.pack(&block)?;
        }
        // What was handed on by `add` has no other worker.
        while let Some(block) = { lock(&self.intake.state).blocks.pop_front() } {
            self.pack(&block)?;
        }
        Ok(())
    }
}

/// Why reading a file stopped.
enum Halt {
    /// The system gave no more of it.
    Unreadable(io::Error),
    /// Nothing can be kept.
    Fault(CheckpointError),
}

impl From<io::Error> for Halt {
    fn from(cause: io::Error) -> Self {
        Self::Unreadable(cause)
    }
}

impl From<CheckpointError> for Halt {
    fn from(fault: CheckpointError) -> Self {
        Self::Fault(fault)
    }
}

fn packing(source: io::Error) -> CheckpointError {
    CheckpointError::io("pack a part of", Path::new("."), source)
}
