//! One walk over everything: what is as it was at the base is taken over, what is not is read.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use rustix::fs::FileType;

use crate::redact::Redactor;

use super::{
    admit::Total,
    create::{Making, Pass},
    entry::{Entry, EntryPath, Kind, LeftOut, Listing, Moment, Why},
    error::CheckpointError,
    intake::{Job, Taken},
    walk::{Found, Root, Stat},
};

/// How much the kernel's times of change may lag behind the clock, generously: a tick is 10 ms.
pub(super) const TICK: Duration = Duration::from_millis(25);

/// Lists something that holds a secret value, the value masked.
pub(super) fn hidden(secrets: &Redactor, path: &EntryPath) -> LeftOut {
    let path = EntryPath::new(secrets.bytes(path.as_bytes()).into_owned());
    let why = Why::Secret;
    LeftOut { path, why }
}

/// What becomes of something found.
pub(super) enum Sorted {
    /// It is kept; a file has no chunks yet.
    Kept(Stat, Kind),
    /// It is left out.
    LeftOut(LeftOut),
}

/// Returns what a thing is; a file has no chunks yet.
pub(super) fn kind(stat: &Stat, found: &Found) -> Kind {
    match (stat.kind, &found.target) {
        (FileType::Directory, _) => Kind::Directory,
        (_, Some(target)) => Kind::Link {
            target: target.clone(),
        },
        (_, None) => Kind::File {
            size: stat.size,
            chunks: Vec::new(),
        },
    }
}

/// Finds entries by their path.
pub(super) fn by_path(listing: &Listing) -> HashMap<&EntryPath, &Entry> {
    let entries = listing.entries.iter();
    entries.map(|entry| (&entry.path, entry)).collect()
}

/// Returns whether something is what was read at a time, and was not changed so shortly before that
/// a later change could look the same.
pub(super) fn is_settled(entry: &Entry, stat: &Stat, read: Timestamp) -> bool {
    let Some(seen) = entry.seen else {
        return false;
    };
    let same = match &entry.is {
        Kind::File { size, .. } => stat.kind == FileType::RegularFile && *size == stat.size,
        Kind::Directory => stat.kind == FileType::Directory,
        Kind::Link { .. } => stat.kind == FileType::Symlink,
    };
    same && seen == stat.seen && entry.mtime == stat.mtime && is_before(seen.ctime, read)
}

fn is_before(change: Moment, read: Timestamp) -> bool {
    let tick = jiff::SignedDuration::try_from(TICK).expect("a tick is short");
    let nanoseconds = i32::try_from(change.1).unwrap_or(0);
    let change = Timestamp::new(change.0, nanoseconds);
    change.is_ok_and(|change| read.duration_since(change) > tick)
}

/// A walk that gives files to those who read.
pub(super) struct Reading<'a, 'm, 's, 'd> {
    making: &'m Making<'a, 's, 'd>,
    base: Option<(Timestamp, HashMap<&'m EntryPath, &'m Entry>)>,
    started: Timestamp,
    entries: Vec<Entry>,
    left_out: Vec<LeftOut>,
    total: Total,
}

impl<'a, 'm, 's, 'd> Reading<'a, 'm, 's, 'd> {
    /// Begins with nothing found.
    pub(super) fn new(making: &'m Making<'a, 's, 'd>, base: Option<&'m Pass>) -> Self {
        Self {
            making,
            base: base.map(|base| (base.started, by_path(&base.listing))),
            started: (making.tools.now)(),
            entries: Vec::new(),
            left_out: Vec::new(),
            total: Total::default(),
        }
    }

    /// Takes something that was found into the listing, and has it read where it must be.
    pub(super) fn meet(
        &mut self,
        root: &Arc<Root>,
        found: Found,
        offer: &dyn Fn(Job) -> bool,
    ) -> Result<(), CheckpointError> {
        let (stat, is) = match self.making.sorted(&found) {
            Sorted::Kept(stat, is) => (stat, is),
            Sorted::LeftOut(one) => {
                self.left_out.push(one);
                return self.count(&found, 0);
            }
        };
        (self.making.intake.in_time)()?;
        let known = self.unchanged(&found.path, &stat);
        let to_read = known.is_none() && matches!(is, Kind::File { .. });
        let size = if matches!(is, Kind::File { .. }) {
            stat.size
        } else {
            0
        };
        self.entries.push(Entry {
            path: found.path.clone(),
            is: known.unwrap_or(is),
            mode: stat.mode,
            mtime: stat.mtime,
            seen: Some(stat.seen),
        });
        self.count(&found, size)?;
        if to_read {
            self.making.total.fetch_add(size, Ordering::Relaxed);
            let (number, path) = (self.entries.len() - 1, found.path);
            // What failed is told when the round is over.
            let root = Arc::clone(root);
            offer(Job { number, root, path });
        }
        Ok(())
    }

    /// Returns what a file was at the base, where it is the same and all of it is still kept.
    fn unchanged(&self, path: &EntryPath, stat: &Stat) -> Option<Kind> {
        let (started, entries) = self.base.as_ref()?;
        let entry = entries.get(path)?;
        let is_file = matches!(entry.is, Kind::File { .. });
        let same = is_file && is_settled(entry, stat, *started);
        (same && self.making.intake.has(entry.chunks())).then(|| entry.is.clone())
    }

    fn count(&mut self, found: &Found, size: u64) -> Result<(), CheckpointError> {
        let names = (&found.path, found.target.as_ref());
        let counted = self.total.add(names, size, self.making.asked.caps);
        counted.map_err(|refusal| {
            let path = found.path.clone();
            CheckpointError::Refused { path, refusal }
        })
    }

    /// Joins the walk with what came of the files.
    pub(super) fn finish(self, taken: Vec<(usize, Taken)>) -> Pass {
        let Self {
            mut entries,
            mut left_out,
            started,
            ..
        } = self;
        let mut changed = None;
        let mut gone = HashSet::new();
        for (number, taken) in taken {
            let entry = &mut entries[number];
            match taken {
                Taken::Kept {
                    stat,
                    size,
                    chunks,
                    changed: moved,
                } => {
                    entry.is = Kind::File { size, chunks };
                    entry.mode = stat.mode;
                    entry.mtime = stat.mtime;
                    entry.seen = Some(stat.seen);
                    if moved {
                        changed.get_or_insert_with(|| entry.path.clone());
                    }
                }
                Taken::LeftOut(why) => {
                    let path = entry.path.clone();
                    left_out.push(LeftOut { path, why });
                    gone.insert(number);
                }
                Taken::Gone => {
                    changed.get_or_insert_with(|| entry.path.clone());
                    gone.insert(number);
                }
            }
        }
        let mut number = 0;
        entries.retain(|_| {
            number += 1;
            !gone.contains(&(number - 1))
        });
        left_out.sort_by(|one, other| one.path.order(&other.path));
        let listing = Listing { entries, left_out };
        Pass {
            started,
            listing,
            changed,
        }
    }
}
