//! Reading seals, beside a journal and outside of its repository.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::super::{
    error::JournalError,
    place, read_line,
    seal::{LONGEST_SEAL, Seal, SealFault},
};
use crate::name::RunId;

/// Where the seals of a run stand.
pub(in super::super) fn path(home: &Path, run: &RunId) -> PathBuf {
    home.join("journal").join(format!("{run}.seals"))
}

/// The name of the file that keeps the newest seal of a run outside of its repository.
pub(in super::super) fn anchor_name(run: &RunId) -> String {
    format!("{run}.seal")
}

/// Opens a file that need not be there.
pub(super) fn open_if_there(path: &Path) -> Result<Option<File>, JournalError> {
    match place::open_to_read(path) {
        Ok(file) => Ok(Some(file)),
        Err(JournalError::Io { source, .. })
            if source.raw_os_error() == Some(Errno::NOENT.raw_os_error()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Seals as they stand in a file, one a line.
pub(super) struct Lines {
    reader: BufReader<File>,
    path: PathBuf,
    line: Vec<u8>,
    number: u64,
    /// Bytes of whole lines.
    sound: u64,
}

impl Lines {
    pub(super) fn new(file: File, path: &Path) -> Self {
        Self {
            reader: BufReader::with_capacity(1 << 16, file),
            path: path.to_owned(),
            line: Vec::new(),
            number: 0,
            sound: 0,
        }
    }

    /// Returns the next seal; none at the end or before an unfinished line.
    pub(super) fn next(&mut self) -> Result<Option<Seal>, JournalError> {
        self.line.clear();
        let complete = read_line(&mut self.reader, &mut self.line, LONGEST_SEAL)
            .map_err(|source| JournalError::io("read", &self.path, source))?;
        if !complete && self.line.len() < LONGEST_SEAL {
            return Ok(None);
        }
        self.number += 1;
        self.sound += self.line.len() as u64;
        let text = std::str::from_utf8(&self.line).ok();
        let text = text.and_then(|text| text.strip_suffix('\n'));
        let seal = text.map_or(Err(SealFault::Form), str::parse);
        seal.map(Some)
            .map_err(|fault| self.broken(self.number, fault))
    }

    pub(super) fn broken(&self, line: u64, fault: SealFault) -> JournalError {
        JournalError::Seal {
            path: self.path.clone(),
            line,
            fault,
        }
    }

    /// The number of the line read last.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes of a line that was never finished.
    pub(super) fn torn(&self) -> u64 {
        self.line.len() as u64
    }
}

/// The last seal of a file, and how far it can be believed to be whole.
pub(in super::super) struct Found {
    pub(in super::super) last: Option<Seal>,
    pub(in super::super) torn: bool,
    pub(in super::super) sound: u64,
    /// How many seals there are.
    pub(in super::super) count: u64,
}

/// Finds the last seal of an open file.
pub(in super::super) fn newest(file: &File, path: &Path) -> Result<Found, JournalError> {
    let copy = file
        .try_clone()
        .map_err(|source| JournalError::io("read", path, source))?;
    let is_file = copy.metadata().is_ok_and(|meta| meta.is_file());
    if !is_file {
        let refused = std::io::Error::other("not a regular file");
        return Err(JournalError::io("read", path, refused));
    }
    let mut lines = Lines::new(copy, path);
    let mut last = None;
    while let Some(seal) = lines.next()? {
        last = Some(seal);
    }
    Ok(Found {
        last,
        torn: lines.torn() > 0,
        sound: lines.sound,
        count: lines.number,
    })
}

/// Reads the seal that is kept outside of the repository, if one is.
pub(in super::super) fn anchor(dir: &Path, run: &RunId) -> Result<Option<Seal>, JournalError> {
    read_anchor(&dir.join(anchor_name(run)))
}

/// Reads a file that holds one seal, if it is there.
pub(super) fn read_anchor(path: &Path) -> Result<Option<Seal>, JournalError> {
    let Some(file) = open_if_there(path)? else {
        return Ok(None);
    };
    let mut text = String::new();
    BufReader::new(file.take(LONGEST_SEAL as u64))
        .read_line(&mut text)
        .map_err(|source| JournalError::io("read", path, source))?;
    let seal = text.trim_end().parse();
    seal.map(Some).map_err(|fault| JournalError::Seal {
        path: path.to_owned(),
        line: 1,
        fault,
    })
}
