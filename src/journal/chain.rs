//! Reading a journal record by record, each checked against the one before.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use super::{
    error::{Fault, JournalError},
    line::{self, FORMAT, LONGEST},
    place, read_line,
};
use crate::{digest::Digest, event::Record};

/// A reader at some place in a journal.
pub(super) struct Chain {
    path: PathBuf,
    file: BufReader<File>,
    /// What the first record says, else the one that is written.
    format: u64,
    records: u64,
    last: Digest,
    /// Bytes of complete records.
    sound: u64,
    /// The beginning of a line whose end has not been written yet.
    partial: Vec<u8>,
    /// The bytes of the last record, with its line break.
    line: Vec<u8>,
}

/// What comes next in a journal.
pub(super) enum Step {
    /// A sound record.
    Record(Box<Record>),
    /// Nothing yet, after `torn` bytes of an unfinished line. A later step may find more.
    End { torn: u64 },
}

impl Chain {
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        let file = place::open_to_read(path)?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(1 << 16, file),
            format: FORMAT,
            records: 0,
            last: Digest::default(),
            sound: 0,
            partial: Vec::new(),
            line: Vec::new(),
        })
    }

    pub(super) fn step(&mut self) -> Result<Step, JournalError> {
        let complete = read_line(&mut self.file, &mut self.partial, LONGEST)
            .map_err(|source| JournalError::io("read", &self.path, source))?;
        if !complete {
            if self.partial.len() >= LONGEST {
                return Err(self.broken(Fault::TooLong));
            }
            return Ok(Step::End {
                torn: self.partial.len() as u64,
            });
        }
        let record = self.decode()?;
        self.records = record.seq;
        self.last = record.hash;
        self.sound += self.partial.len() as u64;
        std::mem::swap(&mut self.line, &mut self.partial);
        self.partial.clear();
        Ok(Step::Record(Box::new(record)))
    }

    fn decode(&mut self) -> Result<Record, JournalError> {
        let line = self.partial.strip_suffix(b"\n").unwrap_or(&self.partial);
        if self.records == 0 {
            match line::format(line).map_err(|fault| self.broken(fault))? {
                found @ 1..=FORMAT => self.format = found,
                0 => return Err(self.broken(Fault::Format)),
                found => {
                    return Err(JournalError::Newer {
                        path: self.path.clone(),
                        found,
                    });
                }
            }
        }
        line::decode(line, self.records + 1, self.last).map_err(|fault| self.broken(fault))
    }

    fn broken(&self, fault: Fault) -> JournalError {
        JournalError::Broken {
            path: self.path.clone(),
            record: self.records + 1,
            fault,
        }
    }

    /// The last record as it stands in the journal, with its line break.
    pub(super) fn line(&self) -> &[u8] {
        &self.line
    }

    pub(super) fn format(&self) -> u64 {
        self.format
    }

    /// Complete records so far.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// The hash of the last complete record, zeros before the first.
    pub(super) fn last_hash(&self) -> Digest {
        self.last
    }

    /// The length of the journal up to the last complete record, in bytes.
    pub(super) fn sound(&self) -> u64 {
        self.sound
    }
}
