//! A worker of the intake: reads, searches, cuts, hashes and packs.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::fd::AsFd,
    path::Path,
};

use rustix::io::Errno;

use crate::digest::Digest;

use super::{
    cut::{Cut, Cutter},
    entry::Why,
    error::CheckpointError,
    intake::{BLOCKS, Intake, Job, Next, Taken, lock},
    pack::{Block, CHUNK, Packer},
    walk::stat,
    zeros::{self, ZEROS, next_hole},
};

/// A worker's own tools.
pub(super) struct Hand<'i, 's, 'd> {
    intake: &'i Intake<'s, 'd>,
    packer: Packer,
    cutter: Cutter,
    block: Block,
}

impl<'i, 's, 'd> Hand<'i, 's, 'd> {
    /// Prepares working.
    pub(super) fn new(intake: &'i Intake<'s, 'd>) -> Result<Self, CheckpointError> {
        let packer = Packer::new().map_err(packing)?;
        Ok(Self {
            intake,
            packer,
            cutter: Cutter::new(intake.secrets),
            block: Block::default(),
        })
    }

    /// Does one thing.
    pub(super) fn do_one(&mut self, next: Next) -> Result<(), CheckpointError> {
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
        match self.file(&file, before.size, &mut chunks) {
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
    pub(super) fn keep(&mut self, chunk: &[u8]) -> Result<Digest, CheckpointError> {
        let digest = Digest::of(chunk);
        self.keep_as(digest, chunk)?;
        Ok(digest)
    }

    fn keep_as(&mut self, digest: Digest, chunk: &[u8]) -> Result<(), CheckpointError> {
        (self.intake.in_time)()?;
        if self.intake.known.claims(&digest) {
            self.block.push(digest, chunk);
            if self.block.is_full() {
                self.hand_on()?;
            }
        }
        Ok(())
    }

    /// Reads a file of this length; its holes are not read.
    fn file(&mut self, mut file: &File, size: u64, chunks: &mut Vec<Digest>) -> Result<Cut, Halt> {
        let mut at = 0;
        loop {
            let (hole, behind) = match size < CHUNK as u64 {
                true => (size, size),
                false => next_hole(file, at, size),
            };
            if size >= CHUNK as u64 {
                file.seek(SeekFrom::Start(at))?;
            }
            match self.read(file, hole - at, chunks)? {
                Cut::Secret => return Ok(Cut::Secret),
                Cut::Whole(read) if read < hole - at => return Ok(Cut::Whole(at + read)),
                Cut::Whole(_) => {}
            }
            self.hole(behind - hole, chunks)?;
            at = behind;
            if at == size {
                return Ok(Cut::Whole(size));
            }
        }
    }

    /// Keeps so many zeros.
    fn hole(&mut self, length: u64, chunks: &mut Vec<Digest>) -> Result<(), CheckpointError> {
        let most = CHUNK as u64;
        if length >= most {
            let digest = zeros::digest();
            self.keep_as(digest, &ZEROS)?;
            let times = usize::try_from(length / most).expect("memory has room for them");
            chunks.resize(chunks.len() + times, digest);
        }
        let rest = usize::try_from(length % most).expect("less than a chunk");
        if rest > 0 {
            chunks.push(self.keep(&ZEROS[..rest])?);
        }
        (self.intake.progress)(length);
        Ok(())
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

/// Says that something could not be packed.
pub(super) fn packing(source: io::Error) -> CheckpointError {
    CheckpointError::io("pack a part of", Path::new("."), source)
}
