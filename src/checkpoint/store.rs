//! The store: `.loki/checkpoints`, for this user alone.
//!
//! ```text
//! lock              held by whoever writes
//! heads/ID.json     signed heads; one that is here has all it needs in packs
//! packs/NAME.pack   chunks
//! ```
//!
//! A head gets its name last, after its chunks are durable. Killed at any point, a writer leaves
//! at most chunks that nothing names, which the next prune removes.

use std::{
    collections::HashMap,
    fs::{File, TryLockError},
    path::Path,
};

use crate::{digest::Digest, name::CheckpointId};

use super::{
    admit::{Admission, Caps, Folding, Strictness},
    entry::Listing,
    error::{CheckpointError, Flaw},
    index::Index,
    manifest::{Head, Trusted},
    place::Dir,
    read::Reader,
};

/// The name of the store in a repository's state.
const NAME: &str = "checkpoints";
/// The longest head.
const HEAD: u64 = 256 << 20;

/// All checkpoints of a repository.
#[derive(Debug)]
pub struct Store {
    /// The store itself.
    pub(super) home: Dir,
    /// Signed heads.
    pub(super) heads: Dir,
    /// Chunks.
    pub(super) packs: Dir,
}

/// The right to write to a store; only one process at a time has it.
#[derive(Debug)]
pub struct Turn(File);

impl Drop for Turn {
    fn drop(&mut self) {
        // Closing the file gives the lock back all the same.
        self.0.unlock().ok();
    }
}

impl Store {
    /// Opens the store in a repository's state, `.loki`, making both where they are missing.
    ///
    /// # Errors
    /// The operating system's; also where a symlink stands in its place.
    pub fn open(state: &Path) -> Result<Self, CheckpointError> {
        let mut builder = std::fs::DirBuilder::new();
        let made = builder.recursive(true).create(state);
        made.map_err(|source| CheckpointError::io("create", state, source))?;
        let home = Dir::at(state)?.make(NAME)?;
        let (heads, packs) = (home.make("heads")?, home.make("packs")?);
        Ok(Self { home, heads, packs })
    }

    /// Returns whether a repository's state has a store.
    #[must_use]
    pub fn exists(state: &Path) -> bool {
        state.join(NAME).is_dir()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.home.path()
    }

    /// Takes the right to write, and removes what a killed writer left half-done.
    ///
    /// # Errors
    /// [`CheckpointError::Busy`] while another process has it.
    pub fn turn(&self) -> Result<Turn, CheckpointError> {
        let file = self.home.lock_file("lock")?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CheckpointError::Busy(self.home.path().to_owned()));
            }
            Err(TryLockError::Error(source)) => {
                return Err(CheckpointError::io("lock", self.home.path(), source));
            }
        }
        self.heads.tidy()?;
        self.packs.tidy()?;
        Ok(Turn(file))
    }

    /// Takes the right to write as soon as whoever has it is done.
    ///
    /// # Errors
    /// The operating system's.
    pub fn wait_for_turn(&self) -> Result<Turn, CheckpointError> {
        let file = self.home.lock_file("lock")?;
        let locked = file.lock();
        locked.map_err(|source| CheckpointError::io("lock", self.home.path(), source))?;
        self.heads.tidy()?;
        self.packs.tidy()?;
        Ok(Turn(file))
    }

    /// Returns the names of all checkpoints, oldest first.
    ///
    /// # Errors
    /// The operating system's.
    pub fn ids(&self) -> Result<Vec<CheckpointId>, CheckpointError> {
        let names = self.heads.names()?;
        let id = |name: &String| name.strip_suffix(".json")?.parse().ok();
        Ok(names.iter().filter_map(id).collect())
    }

    /// Reads a checkpoint's head and checks its signature.
    ///
    /// # Errors
    /// [`CheckpointError::Unknown`], or what is wrong with it.
    pub fn head(&self, id: &CheckpointId, trusted: Trusted<'_>) -> Result<Head, CheckpointError> {
        let bytes = self.heads.read(&format!("{id}.json"), HEAD)?;
        let bytes = bytes.ok_or_else(|| CheckpointError::Unknown(id.clone()))?;
        Head::open(&bytes, id, trusted)
    }

    /// Prepares reading contents.
    ///
    /// # Errors
    /// The operating system's. A damaged pack is none: what lies there is missing.
    pub fn reader(&self) -> Result<Reader, CheckpointError> {
        Ok(Reader::new(Index::read(&self.packs)?))
    }

    /// Reads what a checkpoint lists, every part of it compared with what was signed, every entry
    /// with the rules.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn listing(&self, head: &Head, reader: &mut Reader) -> Result<Listing, CheckpointError> {
        let listing = reader.listing(&head.listing);
        let listing = listing.map_err(|flaw| flaw.of(&head.id))?;
        let counted = (
            listing.entries.len() as u64,
            listing.left_out.len() as u64,
            listing.bytes(),
        );
        if counted != (head.entries, head.left_out, head.bytes) {
            return Err(Flaw::Count.of(&head.id));
        }
        let mut admission = Admission::new(Caps::default(), Folding::Apart, Strictness::Recorded);
        for entry in &listing.entries {
            admission.admit(entry).map_err(|refusal| {
                let path = entry.path.clone();
                Flaw::Refused { path, refusal }.of(&head.id)
            })?;
        }
        Ok(listing)
    }

    /// Returns how many bytes everything takes.
    ///
    /// # Errors
    /// The operating system's.
    pub fn size(&self) -> Result<u64, CheckpointError> {
        let mut size = 0;
        for dir in [&self.heads, &self.packs] {
            for name in dir.names()? {
                let file = dir.open(&name)?;
                size += file
                    .and_then(|file| file.metadata().ok())
                    .map_or(0, |found| found.len());
            }
        }
        Ok(size)
    }

    /// Reads a checkpoint whole and compares everything with what was signed.
    ///
    /// # Errors
    /// The first thing that is wrong, in the order of the listing.
    pub fn verify(
        &self,
        id: &CheckpointId,
        trusted: Trusted<'_>,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<(Head, Listing), CheckpointError> {
        let (head, listing, _) = self.verified(id, trusted, progress)?;
        Ok((head, listing))
    }

    /// Reads a head, and prepares reading all that it needs: also while others are pruned.
    ///
    /// # Errors
    /// [`CheckpointError::Unknown`], also where it was removed meanwhile, or what is wrong with it.
    pub fn look(
        &self,
        id: &CheckpointId,
        trusted: Trusted<'_>,
    ) -> Result<(Head, Reader), CheckpointError> {
        self.head(id, trusted)?;
        let reader = self.reader()?;
        // What a head needs is removed after the head: while it is there, all was there above.
        Ok((self.head(id, trusted)?, reader))
    }

    /// Verifies a checkpoint, and returns what can read it on.
    pub(super) fn verified(
        &self,
        id: &CheckpointId,
        trusted: Trusted<'_>,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<(Head, Listing, Reader), CheckpointError> {
        let (head, mut reader) = self.look(id, trusted)?;
        let listing = self.listing(&head, &mut reader)?;
        let mut seen: HashMap<Digest, u64> = HashMap::new();
        let mut done = 0;
        for entry in &listing.entries {
            let length = reader
                .check(entry, &mut seen)
                .map_err(|flaw| flaw.of(&head.id))?;
            done += length;
            progress(done, head.bytes);
        }
        Ok((head, listing, reader))
    }
}
