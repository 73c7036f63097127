//! The one file that keeps what was imported.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use super::StoreError;
use crate::{
    vetting::{Collection, Database, Summary},
    whole,
};

const NAME: &str = "advisories.db";
/// The largest file that is read.
const LARGEST: u64 = 1 << 30;

/// Where a user's advisories are kept.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// Keeps them in a directory, which need not be there yet.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// Returns the file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.directory.join(NAME)
    }

    /// Reads what is kept; none where nothing was imported.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    pub fn open(&self) -> Result<Option<Database>, StoreError> {
        let path = self.file();
        let unread = |source| StoreError::Unread {
            path: path.clone(),
            source,
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(unread(cause)),
        };
        let mut bytes = Vec::new();
        file.take(LARGEST + 1)
            .read_to_end(&mut bytes)
            .map_err(unread)?;
        if bytes.len() as u64 > LARGEST {
            return Err(StoreError::TooMuch {
                path,
                what: "more bytes than are read",
            });
        }
        let read = Database::read(bytes);
        let read = read.map_err(|source| StoreError::Unusable { path, source })?;
        Ok(Some(read))
    }

    /// Replaces what is kept: all of it or nothing, on the disk on return.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn replace(
        &self,
        collection: Collection,
        imported: jiff::Timestamp,
        from: Vec<String>,
    ) -> Result<Summary, StoreError> {
        let (bytes, summary) = collection.written(imported, from);
        let path = self.file();
        let written = self.write(&path, &bytes);
        written.map_err(|source| StoreError::Unwritten { path, source })?;
        Ok(summary)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)?;
        whole::replace(path, 0o600, bytes)
    }

    /// Removes what is kept and returns whether there was any.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self) -> Result<bool, StoreError> {
        let path = self.file();
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(StoreError::Unwritten { path, source }),
        }
    }
}
