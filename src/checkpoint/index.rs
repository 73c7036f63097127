//! Where every chunk of the store lies, as the indexes of all packs say.
//!
//! Nothing of them is believed. An index that says what none can, or is longer than any, is damaged,
//! and nothing is allocated for what it says; where a chunk is said to lie in several places, each of
//! them counts.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::File,
    os::{fd::AsFd, unix::fs::FileExt},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

use super::{
    entry::{Moment, Seen},
    error::CheckpointError,
    pack::{BLOCK, ENTRY, INDEX, MAGIC, TAIL},
    place::Dir,
    walk::stat,
};

/// Bytes of an index that are hashed at once.
const PART: usize = 64 << 10;
/// How often packs are listed again that are added and removed meanwhile.
const TRIES: u32 = 50;

/// Where a chunk lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Which pack, and which block of it.
    pub(super) block: (u32, u32),
    offset: u32,
    length: u32,
}

/// A pack of the store.
#[derive(Debug)]
pub(super) struct Pack {
    /// The name of its file.
    pub(super) name: String,
    /// What the kernel says of its file.
    pub(super) stamp: Stamp,
    file: File,
    blocks: Vec<Lies>,
}

/// Where a block lies.
#[derive(Debug, Clone, Copy)]
struct Lies {
    /// Where it begins.
    start: u64,
    /// Its length packed, and unpacked.
    packed: u32,
    length: u32,
    /// Where the index tells of its chunks, and how many they are.
    told: u64,
    chunks: u32,
}

/// Knows where every chunk of the store lies.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The packs.
    pub(super) packs: Vec<Pack>,
    /// Packs whose index cannot be read: what lies there counts as missing.
    pub(super) damaged: Vec<String>,
    chunks: HashMap<Digest, Place>,
    /// Further places of chunks that lie in several.
    again: HashMap<Digest, Vec<Place>>,
}

impl Index {
    /// Reads the indexes of all packs: of those that were there at one moment, also while others
    /// are added and removed. Their files stay open, so what was there stays readable.
    pub(super) fn read(dir: &Dir) -> Result<Self, CheckpointError> {
        for _ in 0..TRIES {
            let names = dir.names()?;
            let index = Self::of(dir, &names)?;
            // A pack that took over from another was there before that one went: whoever saw
            // neither sees another list now.
            if let Some(index) = index
                && dir.names()? == names
            {
                return Ok(index);
            }
        }
        Err(CheckpointError::Busy(dir.path().to_owned()))
    }

    /// Reads the indexes of these packs; none when one is gone.
    fn of(dir: &Dir, names: &[String]) -> Result<Option<Self>, CheckpointError> {
        let mut index = Self::default();
        for name in names {
            let Some(file) = dir.open(name)? else {
                return Ok(None);
            };
            let fail = |source| CheckpointError::io("read", &dir.path().join(name), source);
            let stamp = Stamp::of(&file).map_err(fail)?;
            let read = read_index(&file, stamp.size).map_err(fail)?;
            let learnt = read.and_then(|(start, bytes)| {
                let name = name.clone();
                let blocks = Vec::new();
                let pack = Pack {
                    name,
                    stamp,
                    file,
                    blocks,
                };
                index.learn(pack, (start, &bytes))
            });
            if learnt.is_none() {
                index.damaged.push(name.clone());
            }
        }
        Ok(Some(index))
    }

    /// Takes in what the index of a pack says, which begins there; none when it is malformed.
    fn learn(&mut self, mut pack: Pack, (told, bytes): (u64, &[u8])) -> Option<()> {
        pack.blocks = blocks(told, bytes)?;
        let number = u32::try_from(self.packs.len()).ok()?;
        for (block, lies) in (0_u32..).zip(&pack.blocks) {
            let mut rest = bytes.get(usize::try_from(lies.told - told).ok()?..)?;
            let mut offset = 0_u32;
            for _ in 0..lies.chunks {
                let (digest, length) = chunk(&mut rest)?;
                let place = Place {
                    block: (number, block),
                    offset,
                    length,
                };
                match self.chunks.entry(digest) {
                    Entry::Vacant(free) => drop(free.insert(place)),
                    Entry::Occupied(_) => self.again.entry(digest).or_default().push(place),
                }
                offset = offset.saturating_add(length);
            }
        }
        self.packs.push(pack);
        Some(())
    }

    /// Returns where a chunk lies, or lies first.
    pub(super) fn find(&self, digest: &Digest) -> Option<Place> {
        self.chunks.get(digest).copied()
    }

    /// Returns the places where a chunk is said to lie. Where one is damaged, another may not be.
    pub(super) fn places(&self, digest: &Digest) -> impl Iterator<Item = Place> {
        let again = self.again.get(digest).into_iter().flatten().copied();
        self.find(digest).into_iter().chain(again)
    }

    /// Every chunk and each place where it lies.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (&Digest, Place)> {
        let first = self.chunks.iter().map(|(digest, place)| (digest, *place));
        let again = self.again.iter();
        let again = again.flat_map(|(digest, all)| all.iter().map(move |place| (digest, *place)));
        first.chain(again)
    }

    /// Reads a whole block; none where it is damaged.
    pub(super) fn block(&self, (pack, block): (u32, u32)) -> Option<Vec<u8>> {
        let pack = self.packs.get(pack as usize)?;
        let lies = pack.blocks.get(block as usize)?;
        let mut bytes = vec![0; lies.packed as usize];
        pack.file.read_exact_at(&mut bytes, lies.start).ok()?;
        let length = lies.length as usize;
        let bytes = zstd::bulk::decompress(&bytes, length).ok()?;
        (bytes.len() == length).then_some(bytes)
    }

    /// Reads a block and compares each of its chunks with its hash.
    pub(super) fn is_sound(&self, place: (u32, u32)) -> bool {
        let compared = || {
            let bytes = self.block(place)?;
            let pack = self.packs.get(place.0 as usize)?;
            let lies = pack.blocks.get(place.1 as usize)?;
            let mut told = vec![0; usize::try_from(u64::from(lies.chunks) * ENTRY).ok()?];
            pack.file.read_exact_at(&mut told, lies.told).ok()?;
            let (mut told, mut rest) = (told.as_slice(), bytes.as_slice());
            for _ in 0..lies.chunks {
                let (digest, length) = chunk(&mut told)?;
                let (bytes, tail) = rest.split_at_checked(length as usize)?;
                rest = tail;
                (Digest::of(bytes) == digest).then_some(())?;
            }
            rest.is_empty().then_some(())
        };
        compared().is_some()
    }
}

impl Pack {
    /// How many blocks it has.
    pub(super) fn blocks(&self) -> u32 {
        u32::try_from(self.blocks.len()).unwrap_or(u32::MAX)
    }
}

impl Place {
    /// Returns the chunk out of its block.
    pub(super) fn of<'b>(&self, block: &'b [u8]) -> Option<&'b [u8]> {
        let start = self.offset as usize;
        block.get(start..start.checked_add(self.length as usize)?)
    }

    /// Where it begins in its block.
    pub(super) fn offset(&self) -> u32 {
        self.offset
    }

    /// The chunk's length.
    pub(super) fn length(&self) -> u64 {
        self.length.into()
    }
}

/// What the kernel says of a pack's file: whoever changes it changes this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stamp {
    /// Its length.
    pub(super) size: u64,
    seen: Seen,
    mtime: Moment,
}

impl Stamp {
    /// Asks about an open file.
    pub(super) fn of(file: &File) -> std::io::Result<Self> {
        let stat = stat(file.as_fd(), b"")?;
        Ok(Self {
            size: stat.size,
            seen: stat.seen,
            mtime: stat.mtime,
        })
    }
}

/// Returns where an index begins, and its bytes; none where it is not what was written. Nothing is
/// allocated for one that is longer than any, or whose hash does not fit.
fn read_index(file: &File, size: u64) -> std::io::Result<Option<(u64, Vec<u8>)>> {
    let mut magic = [0; MAGIC.len()];
    let mut tail = [0; TAIL as usize];
    let Some(at) = size
        .checked_sub(TAIL)
        .filter(|at| *at >= MAGIC.len() as u64)
    else {
        return Ok(None);
    };
    file.read_exact_at(&mut magic, 0)?;
    file.read_exact_at(&mut tail, at)?;
    let (length, rest) = tail.split_at(8);
    let (hash, end) = rest.split_at(32);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes were split off"));
    let Some(start) = at
        .checked_sub(length)
        .filter(|_| &magic == MAGIC && end == MAGIC && length <= INDEX)
    else {
        return Ok(None);
    };
    let mut hasher = Sha256::new();
    let mut part = vec![0; PART];
    let mut left = length;
    while left > 0 {
        let now = usize::try_from(left).map_or(PART, |left| left.min(PART));
        file.read_exact_at(&mut part[..now], at - left)?;
        hasher.update(&part[..now]);
        left -= now as u64;
    }
    if hasher.finalize().as_slice() != hash {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
    file.read_exact_at(&mut bytes, start)?;
    Ok(Some((start, bytes)))
}

/// Reads what an index that begins there says of its blocks; none when it says what was never
/// written.
fn blocks(told: u64, bytes: &[u8]) -> Option<Vec<Lies>> {
    let most = zstd::zstd_safe::compress_bound(BLOCK);
    let mut blocks = Vec::new();
    let mut rest = bytes;
    let mut start = MAGIC.len() as u64;
    while !rest.is_empty() {
        let (packed, length, chunks) = head(&mut rest)?;
        let behind = told + (bytes.len() - rest.len()) as u64;
        let is_written = packed as usize <= most && length as usize <= BLOCK && chunks > 0;
        let entries = u64::from(chunks) * ENTRY;
        rest = rest.get(usize::try_from(entries).ok()?..)?;
        blocks.push(Lies {
            start,
            packed,
            length,
            told: behind,
            chunks,
        });
        start += u64::from(packed);
        (is_written && start <= told).then_some(())?;
    }
    Some(blocks)
}

fn head(rest: &mut &[u8]) -> Option<(u32, u32, u32)> {
    Some((number(rest)?, number(rest)?, number(rest)?))
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(u32::from_le_bytes(*bytes))
}

fn chunk(rest: &mut &[u8]) -> Option<(Digest, u32)> {
    let (digest, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some((Digest(*digest), number(rest)?))
}
