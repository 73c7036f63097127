//! Removes old checkpoints, then what no checkpoint needs any more.

use std::{collections::HashSet, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::{digest::Digest, name::CheckpointId};

use super::{
    create::new_id,
    error::{CheckpointError, Flaw},
    index::Index,
    manifest::{Head, Trusted},
    pack::{Block, Packer, Room, Writer},
    read::Reader,
    store::Store,
};

/// Which checkpoints stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// So many of the newest.
    pub keep: usize,
    /// All that are not older than this; none keeps none for its age.
    pub younger: Option<Duration>,
}

/// What was, or would be, removed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Pruned {
    /// Checkpoints.
    pub removed: Vec<CheckpointId>,
    /// How many stay.
    pub kept: usize,
    /// Those that somebody else signed: they stay, and so does every part, for what they need is
    /// not known.
    pub strangers: Vec<CheckpointId>,
    /// Bytes of the store before.
    pub before: u64,
    /// Bytes of the store afterwards; as long as nothing is removed, the same.
    pub after: u64,
}

impl Retention {
    /// Returns those that go, of heads in any order.
    #[must_use]
    pub fn goes(&self, heads: &[Head], now: Timestamp) -> Vec<CheckpointId> {
        let mut newest: Vec<&Head> = heads.iter().collect();
        newest.sort_by(|one, other| (other.created, &other.id).cmp(&(one.created, &one.id)));
        let young = |head: &Head| {
            let most = self
                .younger
                .and_then(|most| SignedDuration::try_from(most).ok());
            most.is_some_and(|most| now.duration_since(head.created) <= most)
        };
        let old = newest
            .into_iter()
            .skip(self.keep)
            .filter(|head| !young(head));
        old.map(|head| head.id.clone()).collect()
    }
}

/// Removes checkpoints and what only they needed. With `pretend` nothing is.
///
/// # Errors
/// When a checkpoint is not what was signed, nothing is removed: what it needs is not known. One that
/// somebody else signed is named, and only parts stay because of it.
pub fn prune(
    store: &Store,
    rule: Retention,
    trusted: Trusted<'_>,
    now: Timestamp,
    pretend: Pretend,
) -> Result<Pruned, CheckpointError> {
    let _turn = store.wait_for_turn()?;
    let (heads, strangers) = heads(store, trusted)?;
    let removed = rule.goes(&heads, now);
    let mut reader = store.reader()?;
    let staying = heads.iter().filter(|head| !removed.contains(&head.id));
    let mut needed = HashSet::new();
    for head in staying {
        needed.extend(&head.listing.chunks);
        let listing = store.listing(head, &mut reader)?;
        for entry in &listing.entries {
            reader.has(entry).map_err(|flaw| flaw.of(&head.id))?;
        }
        needed.extend(
            listing
                .entries
                .iter()
                .flat_map(|entry| entry.chunks().iter().copied()),
        );
    }
    let before = store.size()?;
    if pretend == Pretend::No {
        for id in &removed {
            store.heads.remove(&format!("{id}.json"))?;
        }
        // Chunks may go only once nothing names them, whatever happens in between.
        store.heads.sync()?;
        if strangers.is_empty() {
            sweep(store, reader, &needed, now)?;
        }
    }
    Ok(Pruned {
        kept: heads.len() - removed.len(),
        removed,
        strangers,
        before,
        after: store.size()?,
    })
}

/// Reads all heads, and names those of other keys.
fn heads(
    store: &Store,
    trusted: Trusted<'_>,
) -> Result<(Vec<Head>, Vec<CheckpointId>), CheckpointError> {
    let (mut heads, mut strangers) = (Vec::new(), Vec::new());
    for id in store.ids()? {
        match store.head(&id, trusted) {
            Ok(head) => heads.push(head),
            Err(CheckpointError::Broken {
                flaw: Flaw::Stranger(_),
                ..
            }) => strangers.push(id),
            Err(cause) => return Err(cause),
        }
    }
    Ok((heads, strangers))
}

/// Whether something is only to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pretend {
    /// Say what would go.
    Yes,
    /// Remove it.
    No,
}

/// Removes packs that nothing needs, and writes anew what is needed of those that are mostly not.
fn sweep(
    store: &Store,
    mut reader: Reader,
    needed: &HashSet<Digest>,
    now: Timestamp,
) -> Result<(), CheckpointError> {
    let sparse = sparse(reader.index(), needed);
    let mut moved: Vec<Digest> = Vec::new();
    for (digest, place) in reader.index().chunks() {
        if needed.contains(digest) && sparse.contains(&place.block.0) {
            moved.push(*digest);
        }
    }
    // Block after block, as they are read; what lies in several places is moved once.
    moved.sort_by_key(|digest| {
        let place = reader.index().find(digest);
        (place.map(|place| (place.block, place.offset())), digest.0)
    });
    moved.dedup();
    let unread = gather(store, &mut reader, &moved, now)?;
    for (number, pack) in (0_u32..).zip(&reader.index().packs) {
        if sparse.contains(&number) && !unread.contains(&number) {
            store.packs.remove(&pack.name)?;
        }
    }
    for name in &reader.index().damaged {
        store.packs.remove(name)?;
    }
    store.packs.sync()
}

/// Writes chunks into a pack of their own, durably. Returns the packs that hold one which cannot be
/// read: they stay, for `verify` to name what is wrong.
fn gather(
    store: &Store,
    reader: &mut Reader,
    moved: &[Digest],
    now: Timestamp,
) -> Result<HashSet<u32>, CheckpointError> {
    let name = new_id(now)?;
    let mut writer = Writer::new(&store.packs, name.as_str(), Room::ENDLESS);
    let packing = |source| CheckpointError::io("pack a part of", store.path(), source);
    let mut packer = Packer::new().map_err(packing)?;
    let mut block = Block::default();
    let mut unread = HashSet::new();
    for digest in moved {
        match reader.chunk(digest) {
            Ok(bytes) => block.push(*digest, bytes),
            Err(_) => unread.extend(reader.index().places(digest).map(|place| place.block.0)),
        }
        if block.is_full() {
            writer.add(&block, &packer.pack(&block).map_err(packing)?)?;
            block = Block::default();
        }
    }
    if !block.chunks.is_empty() {
        writer.add(&block, &packer.pack(&block).map_err(packing)?)?;
    }
    writer.finish()?;
    Ok(unread)
}

/// Returns the packs of which less than half is needed.
fn sparse(index: &Index, needed: &HashSet<Digest>) -> HashSet<u32> {
    let mut bytes = vec![(0_u64, 0_u64); index.packs.len()];
    for (digest, place) in index.chunks() {
        let (all, used) = &mut bytes[place.block.0 as usize];
        *all += place.length();
        if needed.contains(digest) {
            *used += place.length();
        }
    }
    let numbers = bytes.iter().zip(0_u32..);
    let sparse = numbers.filter(|((all, used), _)| used * 2 < *all || *all == 0);
    sparse.map(|(_, number)| number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Origin, Parts, Stillness};

    fn head(id: &str, created: &str) -> Head {
        Head {
            version: 1,
            id: id.parse().unwrap(),
            created: created.parse().unwrap(),
            origin: Origin::default(),
            trees: Vec::new(),
            stillness: Stillness::Ended,
            base: None,
            entries: 0,
            left_out: 0,
            bytes: 0,
            stored: 0,
            listing: Parts {
                bytes: 0,
                chunks: Vec::new(),
            },
        }
    }

    #[test]
    fn the_newest_and_the_young_stay() {
        let heads = [
            head("b", "2027-01-02T00:00:00Z"),
            head("d", "2027-01-04T00:00:00Z"),
            head("a", "2027-01-01T00:00:00Z"),
            head("c", "2027-01-03T00:00:00Z"),
        ];
        let now = "2027-01-04T12:00:00Z".parse().unwrap();
        let goes = |keep, hours: Option<u64>| {
            let younger = hours.map(|hours| Duration::from_secs(hours * 3600));
            let goes = Retention { keep, younger }.goes(&heads, now);
            goes.iter()
                .map(|id| id.as_str().to_owned())
                .collect::<String>()
        };
        assert_eq!(goes(4, None), "");
        assert_eq!(goes(1, None), "cba");
        assert_eq!(goes(0, Some(36)), "ba");
        assert_eq!(goes(3, Some(1)), "a");
        assert_eq!(goes(0, None), "dcba");
    }
}
