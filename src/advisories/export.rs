//! A directory of OSV records, as the OSV project's exports unpack to.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::StoreError;
use crate::{
    diagnostic::Diagnostic,
    vetting::{Collection, Record},
};

/// The largest record.
const LARGEST: u64 = 8 << 20;
/// The most records, and the most bytes of them.
const MOST: u64 = 2_000_000;
const MOST_BYTES: u64 = 16 << 30;
/// How deep directories may lie in each other.
const DEEPEST: usize = 8;
/// How many faults are told.
const FAULTS: usize = 20;

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Records read.
    pub read: u64,
    /// Records there are.
    pub of: u64,
}

/// The files of an export, found and counted, none read yet.
#[derive(Debug)]
pub struct Export {
    files: Vec<PathBuf>,
    /// Files that are no records by their name.
    others: u64,
}

/// What an export holds.
#[derive(Debug)]
pub struct Import {
    /// Its records.
    pub collection: Collection,
    /// How many files were records.
    pub records: u64,
    /// How many were none, by their name.
    pub others: u64,
}

impl Export {
    /// Finds the records in directories, `*.json`, and in those below them.
    ///
    /// # Errors
    /// When one is no directory, holds a link, or holds more than is read.
    pub fn find(directories: &[PathBuf]) -> Result<Self, StoreError> {
        let mut export = Self {
            files: Vec::new(),
            others: 0,
        };
        for directory in directories {
            if !directory.is_dir() {
                return Err(StoreError::NoDirectory(directory.clone()));
            }
            export.walk(directory, DEEPEST)?;
        }
        export.files.sort();
        export.files.dedup();
        Ok(export)
    }

    fn walk(&mut self, directory: &Path, deeper: usize) -> Result<(), StoreError> {
        let too_much = |what| StoreError::TooMuch {
            path: directory.to_owned(),
            what,
        };
        if deeper == 0 {
            return Err(too_much("directories that lie too deep in each other"));
        }
        for entry in fs::read_dir(directory).map_err(unread(directory))? {
            let entry = entry.map_err(unread(directory))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(unread(&path))?;
            if kind.is_dir() {
                self.walk(&path, deeper - 1)?;
            } else if !kind.is_file() {
                return Err(StoreError::Link(path));
            } else if path.extension().is_some_and(|end| end == "json") {
                self.files.push(path);
            } else {
                self.others += 1;
            }
            if self.files.len() as u64 + self.others > MOST {
                return Err(too_much("more files than are read"));
            }
        }
        Ok(())
    }

    /// Reads all records, and tells `progress` now and then.
    ///
    /// # Errors
    /// When one cannot be read or is none; every fault is told, up to a number.
    pub fn read(self, progress: &mut dyn FnMut(Progress)) -> Result<Import, StoreError> {
        let of = self.files.len() as u64;
        let mut collection = Collection::default();
        let mut faults = Vec::new();
        let mut bytes = 0;
        for (at, path) in self.files.iter().enumerate() {
            let read = at as u64;
            if read.is_multiple_of(256) {
                progress(Progress { read, of });
            }
            match record(path)? {
                Ok((record, length)) => {
                    bytes += length;
                    collection.add(record);
                }
                Err(fault) => faults.push(*fault),
            }
            if bytes > MOST_BYTES {
                return Err(StoreError::TooMuch {
                    path: path.clone(),
                    what: "more bytes before it than are read",
                });
            }
            if faults.len() >= FAULTS {
                break;
            }
        }
        progress(Progress { read: of, of });
        if !faults.is_empty() {
            return Err(StoreError::Faulty {
                records: of,
                faults,
            });
        }
        if collection.is_empty() {
            return Err(StoreError::Nothing);
        }
        Ok(Import {
            collection,
            records: of,
            others: self.others,
        })
    }
}

/// Reads one record; what was swapped for a link or a pipe meanwhile is an error.
fn record(path: &Path) -> Result<Result<(Record, u64), Box<Diagnostic>>, StoreError> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).expect("flags of open are few");
    let file = File::options().read(true).custom_flags(flags).open(path);
    let file = file.map_err(unread(path))?;
    if !file.metadata().map_err(unread(path))?.is_file() {
        return Err(StoreError::Link(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(unread(path))?;
    let length = bytes.len() as u64;
    let whole = |message: &str| {
        Box::new(Diagnostic {
            file: path.to_owned(),
            line: 0,
            column: 1,
            width: 1,
            picture: String::new(),
            message: message.to_owned(),
            help: Some("one JSON object with `id`, `modified` and `affected`".to_owned()),
        })
    };
    if length > LARGEST {
        return Ok(Err(whole("no advisory: it is larger than 8 MiB")));
    }
    let Ok(text) = String::from_utf8(bytes) else {
        return Ok(Err(whole("no advisory: it is no UTF-8")));
    };
    Ok(Record::read(path, &text).map(|record| (record, length)))
}

fn unread(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Unread { path, source }
}
