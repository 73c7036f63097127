//! Packs: files of chunks, as they are written.
//!
//! ```text
//! pack:   magic · block … block · index · its length · its SHA-256 · magic
//! block:  one zstd frame of up to a mebibyte of chunks, one after the other
//! index:  per block: length packed, length, chunks; per chunk: SHA-256, length
//! ```
//!
//! Nothing in a pack is believed: an index only says where to look, and whoever reads a chunk
//! compares its hash with the one asked for.

use crate::digest::Digest;

use super::{
    error::CheckpointError,
    place::{Dir, Fresh},
};

/// What a pack begins and ends with.
pub(super) const MAGIC: &[u8; 8] = b"lokipck1";
/// Bytes of an index for a block.
const HEAD: u64 = 12;
/// Bytes of an index for each chunk of a block.
pub(super) const ENTRY: u64 = 36;
/// Bytes behind the index: its length, its hash and the magic.
pub(super) const TAIL: u64 = 8 + 32 + 8;
/// The most bytes of a block before it is packed; one chunk always fits behind the others.
pub(super) const BLOCK: usize = 1 << 20;
/// The most bytes of any chunk.
pub(super) const CHUNK: usize = 256 << 10;
/// The longest index of one pack, some seven million chunks; what would be longer is another pack.
pub(super) const INDEX: u64 = 256 << 20;
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
    written: u64,
    room: Room,
    /// The names of packs that are done, and the bytes that they have besides their blocks.
    done: Vec<String>,
    besides: u64,
    /// The longest index.
    most: u64,
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
            name: name.to_owned(),
            file: None,
            index: Vec::new(),
            written: 0,
            room,
            done: Vec::new(),
            besides: 0,
            most: INDEX,
        }
    }

    /// Begins another pack whenever the index would be longer than this.
    #[cfg(test)]
    pub(super) fn of_packs(self, most: u64) -> Self {
        Self { most, ..self }
    }

    /// Adds a block.
    pub(super) fn add(&mut self, block: &Block, packed: &[u8]) -> Result<(), CheckpointError> {
        let more = HEAD + block.chunks.len() as u64 * ENTRY;
        if self.index.len() as u64 + more > self.most {
            self.close()?;
        }
        let name = self.named();
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut file = self.dir.begin(&name)?;
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
    pub(super) fn finish(mut self) -> Result<Written, CheckpointError> {
        self.close()?;
        Ok(Written {
            bytes: self.written + self.besides,
            packs: self.done,
        })
    }

    fn named(&self) -> String {
        match self.done.len() {
            0 => format!("{}.pack", self.name),
            done => format!("{}-{}.pack", self.name, done + 1),
        }
    }

    fn close(&mut self) -> Result<(), CheckpointError> {
        let Some(mut file) = self.file.take() else {
            return Ok(());
        };
        let index = std::mem::take(&mut self.index);
        file.write(&index)?;
        file.write(&(index.len() as u64).to_le_bytes())?;
        file.write(&Digest::of(&index).0)?;
        file.write(MAGIC)?;
        file.finish()?;
        self.besides += index.len() as u64 + TAIL + MAGIC.len() as u64;
        self.done.push(self.named());
        Ok(())
    }
}

/// What was written.
#[derive(Debug)]
pub(super) struct Written {
    /// Bytes of all files.
    pub(super) bytes: u64,
    /// Their names.
    pub(super) packs: Vec<String>,
}

fn put(index: &mut Vec<u8>, number: usize) {
    let number = u32::try_from(number).expect("a block is far below 4 GiB");
    index.extend_from_slice(&number.to_le_bytes());
}
