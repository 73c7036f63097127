//! What need not be stored again: chunks that are there, and are still what they were.
//!
//! A chunk of the store is used again only when its block was read and fits. That would cost a
//! second checkpoint most of the time of a first one, so which blocks fit is kept in `sound.json`:
//! for each pack what the kernel said of its file, which changes whenever anybody changes it, and
//! which of its blocks were read, or written, since. The file is signed like a head; where it cannot
//! be believed, or is older than [`AGE`], blocks are read again. Damage that the disk itself does
//! within that time is left to `loki checkpoint verify`.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

use super::{
    create::Tools,
    error::CheckpointError,
    index::{Index, Stamp},
    intake::lock,
    manifest::Letter,
    place::Dir,
    store::Store,
};

/// The file's name in the store.
const NAME: &str = "sound.json";
/// What is signed begins with this, so that it is never taken for a head.
const KIND: &str = "sound 1\n";
/// The most that is read of it.
const LARGEST: u64 = 64 << 20;
/// How long it counts that a block was read.
const AGE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What is known of a pack.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    stamp: Stamp,
    /// When the first of the blocks was read.
    since: Timestamp,
    /// Blocks that fit, as first and last number.
    blocks: Vec<(u32, u32)>,
}

/// The chunks that are kept already, or about to be.
pub(super) struct Known<'i> {
    index: &'i Index,
    /// Those that are about to be.
    fresh: Mutex<HashSet<Digest>>,
    /// Which blocks fit, of those that were looked at.
    blocks: Mutex<HashMap<(u32, u32), bool>>,
    since: HashMap<String, Timestamp>,
    now: Timestamp,
}

impl<'i> Known<'i> {
    /// Begins with what was found sound before.
    pub(super) fn new(store: &Store, index: &'i Index, tools: Tools<'_>) -> Self {
        let now = (tools.now)();
        let mut said = said(store, tools);
        let (mut blocks, mut since) = (HashMap::new(), HashMap::new());
        for (number, pack) in (0_u32..).zip(&index.packs) {
            let Some(read) = said.remove(&pack.name) else {
                continue;
            };
            let age = now.duration_since(read.since);
            if read.stamp != pack.stamp || age > AGE || age < SignedDuration::ZERO {
                continue;
            }
            since.insert(pack.name.clone(), read.since);
            for (first, last) in read.blocks {
                let all = first..=last.min(pack.blocks().saturating_sub(1));
                blocks.extend(all.map(|block| ((number, block), true)));
            }
        }
        Self {
            index,
            fresh: Mutex::default(),
            blocks: Mutex::new(blocks),
            since,
            now,
        }
    }

    /// Returns whether a chunk is kept, and is what it was.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        lock(&self.fresh).contains(digest) || self.is_stored(digest)
    }

    /// Returns whether the caller is the one to store a chunk.
    pub(super) fn claims(&self, digest: &Digest) -> bool {
        !self.is_stored(digest) && lock(&self.fresh).insert(*digest)
    }

    fn is_stored(&self, digest: &Digest) -> bool {
        let mut places = self.index.places(digest);
        places.any(|place| self.is_sound(place.block))
    }

    fn is_sound(&self, block: (u32, u32)) -> bool {
        let known = lock(&self.blocks).get(&block).copied();
        known.unwrap_or_else(|| {
            // Two may do so at once, and come to the same.
            let sound = self.index.is_sound(block);
            lock(&self.blocks).insert(block, sound);
            sound
        })
    }

    /// Keeps what was found, and what was written whole just now.
    pub(super) fn keep(self, store: &Store, written: &[String], tools: Tools<'_>) {
        let mut packs: HashMap<&str, Read> = HashMap::new();
        let blocks = self.blocks.into_inner();
        let blocks = blocks.unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut sound: Vec<(u32, u32)> = blocks
            .into_iter()
            .filter_map(|(block, sound)| sound.then_some(block))
            .collect();
        sound.sort_unstable();
        for (number, block) in sound {
            let pack = &self.index.packs[number as usize];
            let since = self.since.get(&pack.name).copied();
            let read = packs.entry(&pack.name).or_insert_with(|| Read {
                stamp: pack.stamp,
                since: since.unwrap_or(self.now),
                blocks: Vec::new(),
            });
            match read.blocks.last_mut() {
                Some((_, last)) if *last + 1 == block => *last = block,
                _ => read.blocks.push((block, block)),
            }
        }
        for name in written {
            if let Some(stamp) = stamp(&store.packs, name) {
                let read = Read {
                    stamp,
                    since: self.now,
                    blocks: vec![(0, u32::MAX)],
                };
                packs.insert(name, read);
            }
        }
        let said = serde_json::to_string(&packs).expect("names and numbers are JSON");
        let letter = Letter::sign(format!("{KIND}{said}"), tools.signer);
        // It only saves time: without it, blocks are read again.
        store.home.leave(NAME, &letter.bytes()).ok();
    }
}

fn stamp(packs: &Dir, name: &str) -> Option<Stamp> {
    let file = packs.open(name).ok().flatten()?;
    Stamp::of(&file).ok()
}

/// Returns what the file says of packs; nothing where it cannot be believed.
fn said(store: &Store, tools: Tools<'_>) -> HashMap<String, Read> {
    let read: Result<Option<Vec<u8>>, CheckpointError> = store.home.read(NAME, LARGEST);
    let bytes = read.ok().flatten().unwrap_or_default();
    let said = Letter::read(&bytes).and_then(|letter| letter.opened(tools.trusted));
    let said = said.as_deref().and_then(|text| text.strip_prefix(KIND));
    said.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}
