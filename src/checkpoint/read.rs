//! Reads chunks, and never gives out one whose hash is not the one asked for.

use std::collections::{HashMap, VecDeque};

use crate::{digest::Digest, name::CheckpointId};

use super::{
    entry::{Entry, EntryPath, Kind, Lines, Listing},
    error::{CheckpointError, Flaw},
    index::{Index, Place},
    manifest::Parts,
    zeros::{self, ZEROS},
};

/// Unpacked blocks that are kept: neighbours in a listing mostly lie in the same one.
const KEPT: usize = 24;
/// The longest listing: none longer is written or read.
pub(super) const LISTING: u64 = 4 << 30;

/// Reads chunks out of packs, in constant memory.
pub struct Reader {
    index: Index,
    blocks: VecDeque<((u32, u32), Vec<u8>)>,
}

/// A part of a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'b> {
    /// These bytes.
    Bytes(&'b [u8]),
    /// So many zeros.
    Zeros(u64),
}

/// Why there is no chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// No pack has it.
    Missing,
    /// What is in its place has another hash.
    Damaged,
}

impl Reader {
    pub(super) fn new(index: Index) -> Self {
        Self {
            index,
            blocks: VecDeque::new(),
        }
    }

    /// What knows where chunks lie.
    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// Returns a chunk.
    pub(super) fn chunk(&mut self, digest: &Digest) -> Result<&[u8], Lost> {
        if *digest == zeros::digest() {
            return Ok(&ZEROS);
        }
        let mut lost = Lost::Missing;
        let places: Vec<Place> = self.index.places(digest).collect();
        for place in places {
            lost = Lost::Damaged;
            if let Some(at) = self.block(place.block)
                && let Some(bytes) = place.of(&self.blocks[at].1)
                && Digest::of(bytes) == *digest
            {
                // Not `bytes`: a loan that is returned in a loop would last for all of it.
                return place.of(&self.blocks[at].1).ok_or(lost);
            }
        }
        Err(lost)
    }

    /// Returns which of the unpacked blocks this one is.
    fn block(&mut self, block: (u32, u32)) -> Option<usize> {
        let known = self.blocks.iter().position(|(key, _)| *key == block);
        known.or_else(|| {
            let bytes = self.index.block(block)?;
            if self.blocks.len() == KEPT {
                self.blocks.pop_front();
            }
            self.blocks.push_back((block, bytes));
            Some(self.blocks.len() - 1)
        })
    }

    /// Returns a part of a file of a checkpoint.
    pub(super) fn part(
        &mut self,
        id: &CheckpointId,
        entry: &Entry,
        digest: &Digest,
    ) -> Result<&[u8], CheckpointError> {
        let bytes = self.chunk(digest);
        bytes.map_err(|lost| lost.of(&entry.path, digest).of(id))
    }

    /// Passes on the contents of a file of a checkpoint, part by part.
    pub(super) fn file(
        &mut self,
        id: &CheckpointId,
        entry: &Entry,
        mut take: impl FnMut(Piece<'_>) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let mut length = 0;
        for digest in entry.chunks() {
            if *digest == zeros::digest() {
                length += ZEROS.len() as u64;
                take(Piece::Zeros(ZEROS.len() as u64))?;
                continue;
            }
            let bytes = self.part(id, entry, digest)?;
            length += bytes.len() as u64;
            take(Piece::Bytes(bytes))?;
        }
        let path = entry.path.clone();
        match length == entry.size() {
            true => Ok(()),
            false => Err(Flaw::Length { path }.of(id)),
        }
    }

    /// Reads all of a file that is not among those seen, whose lengths it adds, and returns its
    /// length.
    pub(super) fn check(
        &mut self,
        entry: &Entry,
        seen: &mut HashMap<Digest, u64>,
    ) -> Result<u64, Flaw> {
        let Kind::File { size, chunks } = &entry.is else {
            return Ok(0);
        };
        let mut length = 0;
        for digest in chunks {
            let known = seen.get(digest).copied();
            length += match known {
                Some(known) => known,
                None => {
                    let read = self.chunk(digest);
                    let read = read.map_err(|lost| lost.of(&entry.path, digest))?.len() as u64;
                    seen.insert(*digest, read);
                    read
                }
            };
        }
        match length == *size {
            true => Ok(length),
            false => Err(Flaw::Length {
                path: entry.path.clone(),
            }),
        }
    }

    /// Returns whether packs have all of a file, or what is missing.
    pub(super) fn has(&self, entry: &Entry) -> Result<(), Flaw> {
        let missing =
            |digest: &&Digest| **digest != zeros::digest() && self.index.find(digest).is_none();
        match entry.chunks().iter().find(missing) {
            Some(digest) => Err(Lost::Missing.of(&entry.path, digest)),
            None => Ok(()),
        }
    }

    /// Reads a listing, part by part.
    pub(super) fn listing(&mut self, parts: &Parts) -> Result<Listing, Flaw> {
        let path = EntryPath::new("the listing");
        if parts.bytes > LISTING {
            return Err(Flaw::Length { path });
        }
        let malformed = || Flaw::Malformed("its listing is not of its version");
        let mut lines = Lines::default();
        let mut length = 0;
        for digest in &parts.chunks {
            let part = self.chunk(digest).map_err(|lost| lost.of(&path, digest))?;
            length += part.len() as u64;
            if length > parts.bytes {
                break;
            }
            lines.take(part).ok_or_else(malformed)?;
        }
        match length == parts.bytes {
            true => lines.finish().ok_or_else(malformed),
            false => Err(Flaw::Length { path }),
        }
    }
}

impl Lost {
    fn of(self, path: &EntryPath, digest: &Digest) -> Flaw {
        let (path, digest) = (path.clone(), *digest);
        match self {
            Self::Missing => Flaw::Missing { path, digest },
            Self::Damaged => Flaw::Damaged { path, digest },
        }
    }
}
