//! Packs: files of chunks, and the index over all of them.
//!
//! ```text
//! pack:   magic · block … block · index · its length · its SHA-256 · magic
//! block:  one zstd frame of up to a mebibyte of chunks, one after the other
//! index:  per block: length packed, length, chunks; per chunk: SHA-256, length
//! ```
//!
//! Nothing in a pack is believed: an index only says where to look, and whoever reads a chunk
//! compares its hash with the one asked for.

use std::{collections::HashMap, fs::File, os::unix::fs::FileExt};

use crate::digest::Digest;

use super::{
    error::CheckpointError,
    place::{Dir, Fresh},
};

const MAGIC: &[u8; 8] = b"lokipck1";
/// Bytes behind the index: its length, its hash and the magic.
const TAIL: u64 = 8 + 32 + 8;
/// The most bytes of a block before it is packed; one chunk always fits behind the others.
pub(super) const BLOCK: usize = 1 << 20;
/// The most bytes of any chunk.
pub(super) const CHUNK: usize = 256 << 10;
/// zstd's fastest level but one: disks are slower than the next.
const LEVEL: i32 = 1;

/// Chunks that are packed together.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// All bytes.
    pub(super) bytes: Vec<u8>,
    /// What they are made of.
    pub(super) chunks: Vec<(Digest, u32)>,
}

impl Block {
    /// Adds a chunk.
    pub(super) fn push(&mut self, digest: Digest, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("a chunk has at most 256 KiB");
        self.bytes.extend_from_slice(bytes);
        self.chunks.push((digest, length));
    }

    /// Returns whether it should be packed now.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() + CHUNK > BLOCK
    }
}

/// Packs blocks.
pub(super) struct Packer(zstd::bulk::Compressor<'static>);

impl Packer {
    /// Prepares packing.
    pub(super) fn new() -> std::io::Result<Self> {
        zstd::bulk::Compressor::new(LEVEL).map(Self)
    }

    /// Packs the bytes of a block.
    pub(super) fn pack(&mut self, block: &Block) -> std::io::Result<Vec<u8>> {
        self.0.compress(&block.bytes)
    }
}

/// A pack that is being written.
pub(super) struct Writer<'d> {
    dir: &'d Dir,
    name: String,
    file: Option<Fresh<'d>>,
    index: Vec<u8>,
    /// Bytes written, packed.
    pub(super) written: u64,
    room: Room,
}

/// What may be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Bytes that are taken already.
    pub(super) used: u64,
    /// Bytes that may be taken.
    pub(super) quota: u64,
}

impl Room {
    /// As much as the disk has.
    pub(super) const ENDLESS: Self = Self {
        used: 0,
        quota: u64::MAX,
    };
}

impl<'d> Writer<'d> {
    /// Names a pack; there is no file before the first block.
    pub(super) fn new(dir: &'d Dir, name: &str, room: Room) -> Self {
        Self {
            dir,
            name: format!("{name}.pack"),
            file: None,
            index: Vec::new(),
            written: 0,
            room,
        }
    }

    /// Adds a block.
    pub(super) fn add(&mut self, block: &Block, packed: &[u8]) -> Result<(), CheckpointError> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut file = self.dir.begin(&self.name)?;
                file.write(MAGIC)?;
                none.insert(file)
            }
        };
        self.written += packed.len() as u64;
        let would = self.room.used.saturating_add(self.written);
        if would > self.room.quota {
            let quota = self.room.quota;
            return Err(CheckpointError::Quota { would, quota });
        }
        file.write(packed)?;
        put(&mut self.index, packed.len());
        put(&mut self.index, block.bytes.len());
        put(&mut self.index, block.chunks.len());
        for (digest, length) in &block.chunks {
            self.index.extend_from_slice(&digest.0);
            self.index.extend_from_slice(&length.to_le_bytes());
        }
        Ok(())
    }

    /// Makes it a pack of the store, durably. Without a block nothing comes of it.
    pub(super) fn finish(self) -> Result<u64, CheckpointError> {
        let Some(mut file) = self.file else {
            return Ok(0);
        };
        file.write(&self.index)?;
        file.write(&(self.index.len() as u64).to_le_bytes())?;
        file.write(&Digest::of(&self.index).0)?;
        file.write(MAGIC)?;
        file.finish()?;
        Ok(self.written + self.index.len() as u64 + TAIL + MAGIC.len() as u64)
    }
}

fn put(index: &mut Vec<u8>, number: usize) {
    let number = u32::try_from(number).expect("a block is far below 4 GiB");
    index.extend_from_slice(&number.to_le_bytes());
}

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
    /// The length of its file.
    pub(super) size: u64,
    file: File,
    /// Where each block begins, its length packed, and its length.
    blocks: Vec<(u64, u32, u32)>,
}

/// Knows where every chunk of the store lies.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The packs.
    pub(super) packs: Vec<Pack>,
    /// Packs whose index cannot be read: what lies there counts as missing.
    pub(super) damaged: Vec<String>,
    chunks: HashMap<Digest, Place>,
}

impl Index {
    /// Reads the indexes of all packs.
    pub(super) fn read(dir: &Dir) -> Result<Self, CheckpointError> {
        let mut index = Self::default();
        for name in dir.names()? {
            let Some(file) = dir.open(&name)? else {
                continue;
            };
            let fail = |source| CheckpointError::io("read", &dir.path().join(&name), source);
            let size = file.metadata().map_err(fail)?.len();
            match read_index(&file, size).map_err(fail)? {
                Some(bytes) => index.learn(
                    Pack {
                        name,
                        size,
                        file,
                        blocks: Vec::new(),
                    },
                    &bytes,
                ),
                None => index.damaged.push(name),
            }
        }
        Ok(index)
    }

    fn learn(&mut self, mut pack: Pack, bytes: &[u8]) {
        let number = u32::try_from(self.packs.len()).expect("fewer packs than files");
        let mut rest = bytes;
        let mut start = MAGIC.len() as u64;
        while let Some((packed, length, chunks)) = head(&mut rest) {
            let block = u32::try_from(pack.blocks.len()).expect("an index is far below 4 GiB");
            let mut offset = 0_u32;
            for _ in 0..chunks {
                let Some((digest, size)) = chunk(&mut rest) else {
                    break;
                };
                let place = Place {
                    block: (number, block),
                    offset,
                    length: size,
                };
                self.chunks.entry(digest).or_insert(place);
                offset = offset.saturating_add(size);
            }
            pack.blocks.push((start, packed, length));
            start += u64::from(packed);
        }
        self.packs.push(pack);
    }

    /// Returns where a chunk lies.
    pub(super) fn find(&self, digest: &Digest) -> Option<Place> {
        self.chunks.get(digest).copied()
    }

    /// Every chunk and where it lies.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (&Digest, Place)> {
        self.chunks.iter().map(|(digest, place)| (digest, *place))
    }

    /// Reads a whole block; none where it is damaged.
    pub(super) fn block(&self, (pack, block): (u32, u32)) -> Option<Vec<u8>> {
        let pack = self.packs.get(pack as usize)?;
        let &(start, packed, length) = pack.blocks.get(block as usize)?;
        let (packed, length) = (packed as usize, length as usize);
        // What a forged index asks for is never allocated.
        if length > BLOCK || packed as u64 > pack.size {
            return None;
        }
        let mut bytes = vec![0; packed];
        pack.file.read_exact_at(&mut bytes, start).ok()?;
        let bytes = zstd::bulk::decompress(&bytes, length).ok()?;
        (bytes.len() == length).then_some(bytes)
    }
}

impl Place {
    /// Returns the chunk out of its block.
    pub(super) fn of<'b>(&self, block: &'b [u8]) -> Option<&'b [u8]> {
        let start = self.offset as usize;
        block.get(start..start.checked_add(self.length as usize)?)
    }

    /// The chunk's length.
    pub(super) fn length(&self) -> u64 {
        self.length.into()
    }
}

/// Reads the bytes of a pack's index; none where it is not what was written.
fn read_index(file: &File, size: u64) -> std::io::Result<Option<Vec<u8>>> {
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
        .filter(|_| &magic == MAGIC && end == MAGIC)
    else {
        return Ok(None);
    };
    let length = usize::try_from(length).map_err(std::io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, start)?;
    Ok((Digest::of(&bytes).0 == hash).then_some(bytes))
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
