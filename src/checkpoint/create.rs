//! Makes checkpoints.
//!
//! ```text
//!  Ended:   read ─► nothing was changed meanwhile ─► sign
//!  Paused:  read ─► pause ─► read what changed ─► resume ─► sign
//!  Proven:  read ─► look again: nothing differs ─► sign
//!             ▲                      │ something does
//!             └──────────────────────┘ five times, then it is refused
//! ```

use std::{
    collections::{HashMap, HashSet},
    io::Read,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use rustix::fs::FileType;

use crate::{name::CheckpointId, redact::Redactor};

use super::{
    admit::{Caps, Refusal},
    archive, cut,
    entry::{Entry, EntryPath, Kind, LeftOut, Listing, Moment, Why},
    error::CheckpointError,
    intake::{Intake, Job, Taken},
    manifest::{Head, Origin, Parts, Signer, Stillness, Tree, Trusted},
    pack::{Room, Writer},
    read::Reader,
    store::Store,
    walk::{Found, Root, Stat},
};

/// How often what is changed meanwhile is read again.
const TRIES: u32 = 5;
/// How much the kernel's times of change may lag behind the clock, generously: a tick is 10 ms.
const TICK: Duration = Duration::from_millis(25);
/// Earlier checkpoints among which the newest of the same directories is looked for.
const BASES: usize = 50;

/// A directory to keep.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What it is called in the checkpoint: one part of a path, such as `work`.
    pub name: &'a str,
    /// Where it is. Everything below it may be an agent's; it itself may not.
    pub path: &'a Path,
}

/// What the caller of a pause is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Let nothing in the sandbox run; returns once nothing does.
    Pause,
    /// Let it go on. Asked whatever happened in between.
    Resume,
}

/// How it is made sure that what is kept was so at one moment.
pub enum Quiet<'a> {
    /// Nothing runs any more.
    Ended,
    /// The sandbox is paused while what changed last is read.
    Paused(&'a mut dyn FnMut(Hold) -> std::io::Result<()>),
    /// It runs on, and a second look must prove that nothing was changed.
    Proven,
}

/// What is to be kept.
pub struct Asked<'a> {
    /// The directories.
    pub sources: &'a [Source<'a>],
    /// What they are of.
    pub origin: Origin,
    /// Files that hold a value it knows are left out.
    pub secrets: &'a Redactor,
    /// The most that is kept at once.
    pub caps: Caps,
    /// The most bytes that all checkpoints may take.
    pub quota: u64,
    /// How many files are read, or packed, at once.
    pub workers: usize,
}

/// What keeping needs of the world.
#[derive(Clone, Copy)]
pub struct Tools<'a> {
    /// Signs.
    pub signer: Signer<'a>,
    /// Checks what was signed before.
    pub trusted: Trusted<'a>,
    /// The time.
    pub now: &'a dyn Fn() -> Timestamp,
    /// Told of bytes read, and of bytes that are to be read as far as is known.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// All that was found at a time.
struct Pass {
    started: Timestamp,
    listing: Listing,
    /// A file that was changed while it was read.
    changed: Option<EntryPath>,
}

/// One making of a checkpoint.
struct Making<'a, 's, 'd> {
    asked: &'a Asked<'a>,
    tools: Tools<'a>,
    roots: &'a [Arc<Root>],
    intake: &'a Intake<'s, 'd>,
    /// Bytes that are to be read.
    total: &'a AtomicU64,
}

/// Makes a checkpoint, and returns its head.
///
/// # Errors
/// When something cannot be read or written, is more than may be, or never holds still. Nothing of
/// it is left then but chunks that the next prune removes.
pub fn create(
    store: &Store,
    asked: &Asked<'_>,
    quiet: Quiet<'_>,
    tools: Tools<'_>,
) -> Result<Head, CheckpointError> {
    let roots: Result<Vec<Arc<Root>>, _> = asked
        .sources
        .iter()
        .map(|source| Root::open(source.name, source.path).map(Arc::new))
        .collect();
    let roots = roots?;
    keep(store, asked, tools, |intake, total, base| {
        let making = Making {
            asked,
            tools,
            roots: &roots,
            intake,
            total,
        };
        making.quietly(base, quiet)
    })
}

/// Makes a checkpoint of an archive that somebody else made, under the name of the one source, and
/// returns its head.
///
/// # Errors
/// Those of [`create`], and the first thing of the archive that is refused.
pub fn import(
    store: &Store,
    asked: &Asked<'_>,
    from: &mut dyn Read,
    tools: Tools<'_>,
) -> Result<Head, CheckpointError> {
    let root = asked.sources.first().map_or("files", |source| source.name);
    keep(store, asked, tools, |intake, _, _| {
        let mut listing = Listing::default();
        let started = (tools.now)();
        let mut hand = intake.hand()?;
        archive::read(root, from, asked.caps, &mut |mut entry, contents| {
            let target = match &entry.is {
                Kind::Link { target } => target.as_bytes(),
                Kind::Directory | Kind::File { .. } => b"",
            };
            let named = [entry.path.as_bytes(), target];
            let mut secret = named.iter().any(|bytes| asked.secrets.finds(bytes));
            if let Kind::File { size, chunks } = &mut entry.is {
                let path = &entry.path;
                let read = hand.stream(contents, *size, |cause| archive::unread(path, cause))?;
                secret |= read.is_none();
                *chunks = read.unwrap_or_default();
            }
            match secret {
                true => listing.left_out.push(hidden(asked.secrets, &entry.path)),
                false => listing.entries.push(entry),
            }
            Ok(())
        })?;
        hand.flush()?;
        listing
            .entries
            .sort_by(|one, other| one.path.order(&other.path));
        let changed = None;
        Ok((
            Pass {
                started,
                listing,
                changed,
            },
            Stillness::Ended,
        ))
    })
}

/// Keeps what `read` finds, and signs it.
fn keep(
    store: &Store,
    asked: &Asked<'_>,
    tools: Tools<'_>,
    read: impl FnOnce(
        &Intake<'_, '_>,
        &AtomicU64,
        Option<&Pass>,
    ) -> Result<(Pass, Stillness), CheckpointError>,
) -> Result<Head, CheckpointError> {
    let _turn = store.wait_for_turn()?;
    let id = new_id((tools.now)())?;
    let mut reader = store.reader()?;
    let base = newest(store, asked, tools, &mut reader)?;
    let room = Room {
        used: store.size()?,
        quota: asked.quota,
    };
    let known = reader.index().chunks().map(|(digest, _)| *digest).collect();
    let (done, total) = (AtomicU64::new(0), AtomicU64::new(0));
    let progress = |bytes: u64| {
        let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (tools.progress)(done, total.load(Ordering::Relaxed));
    };
    let writer = Writer::new(&store.packs, id.as_str(), room);
    let intake = Intake::new(writer, known, asked.secrets, &progress);
    let (pass, stillness) = read(&intake, &total, base.as_ref().map(|(_, pass)| pass))?;
    let listing = keep_listing(&intake, &pass.listing)?;
    let head = Head {
        version: Head::VERSION,
        id,
        created: pass.started,
        origin: asked.origin.clone(),
        trees: trees(asked),
        stillness,
        base: base.map(|(id, _)| id),
        entries: pass.listing.entries.len() as u64,
        left_out: pass.listing.left_out.len() as u64,
        bytes: pass.listing.bytes(),
        stored: intake.finish()?,
        listing,
    };
    let mut file = store.heads.begin(&format!("{}.json", head.id))?;
    file.write(&head.seal(tools.signer))?;
    file.finish()?;
    Ok(head)
}

/// Lists something that holds a secret value, the value masked.
fn hidden(secrets: &Redactor, path: &EntryPath) -> LeftOut {
    let path = EntryPath::new(secrets.bytes(path.as_bytes()).into_owned());
    let why = Why::Secret;
    LeftOut { path, why }
}

fn trees(asked: &Asked<'_>) -> Vec<Tree> {
    let tree = |source: &Source<'_>| Tree {
        name: source.name.to_owned(),
        path: source.path.to_string_lossy().into_owned(),
    };
    asked.sources.iter().map(tree).collect()
}

/// Names a checkpoint by its time and four random hexadecimal digits.
pub(super) fn new_id(now: Timestamp) -> Result<CheckpointId, CheckpointError> {
    let mut random = [0; 2];
    let chance =
        getrandom::fill(&mut random).map_err(|_| std::io::Error::other("no random numbers"));
    chance.map_err(|source| CheckpointError::io("name", Path::new("a checkpoint"), source))?;
    let text = format!(
        "{}-{:03}-{:04x}",
        now.strftime("%Y%m%d-%H%M%S"),
        now.subsec_millisecond(),
        u16::from_le_bytes(random)
    );
    let named = text.parse().map_err(std::io::Error::other);
    named.map_err(|source| CheckpointError::io("name", Path::new("a checkpoint"), source))
}

/// Returns the newest checkpoint of the same directories: what it read need not be read again.
fn newest(
    store: &Store,
    asked: &Asked<'_>,
    tools: Tools<'_>,
    reader: &mut Reader,
) -> Result<Option<(CheckpointId, Pass)>, CheckpointError> {
    let trees = trees(asked);
    for id in store.ids()?.into_iter().rev().take(BASES) {
        // One that cannot be believed is not built upon: `verify` says what is wrong with it.
        let Ok(head) = store.head(&id, tools.trusted) else {
            continue;
        };
        if head.trees != trees {
            continue;
        }
        if let Ok(listing) = store.listing(&head, reader) {
            let started = head.created;
            return Ok(Some((
                id,
                Pass {
                    started,
                    listing,
                    changed: None,
                },
            )));
        }
    }
    Ok(None)
}

/// Keeps a listing like a file, in smaller chunks.
fn keep_listing(intake: &Intake<'_, '_>, listing: &Listing) -> Result<Parts, CheckpointError> {
    let mut bytes = Vec::new();
    let written = listing.write(&mut bytes);
    written.map_err(|source| CheckpointError::io("write", Path::new("the listing"), source))?;
    Ok(Parts {
        bytes: bytes.len() as u64,
        chunks: intake.add(cut::listing(&bytes))?,
    })
}

impl Making<'_, '_, '_> {
    /// Reads until what was read is of one moment.
    fn quietly(
        &self,
        base: Option<&Pass>,
        quiet: Quiet<'_>,
    ) -> Result<(Pass, Stillness), CheckpointError> {
        match quiet {
            Quiet::Ended => {
                let whole = |pass: &Pass| Ok(pass.changed.clone());
                Ok((self.until(base, whole)?, Stillness::Ended))
            }
            Quiet::Proven => {
                let same = |pass: &Pass| self.differs(pass);
                Ok((self.until(base, same)?, Stillness::Proven))
            }
            Quiet::Paused(hold) => {
                // What is read before need not be while everything stands still.
                let running = self.read(base)?;
                let fail = |doing| {
                    let path = self.asked.origin.sandbox.clone().unwrap_or_default();
                    move |source| CheckpointError::io(doing, Path::new(&path), source)
                };
                let held = hold(Hold::Pause).map_err(fail("pause"));
                let read =
                    held.and_then(|()| self.until(Some(&running), |pass| Ok(pass.changed.clone())));
                let resumed = hold(Hold::Resume).map_err(fail("resume"));
                let read = read?;
                resumed?;
                Ok((read, Stillness::Paused))
            }
        }
    }

    /// Reads until nothing is found to have changed.
    fn until(
        &self,
        base: Option<&Pass>,
        changed: impl Fn(&Pass) -> Result<Option<EntryPath>, CheckpointError>,
    ) -> Result<Pass, CheckpointError> {
        let mut pass = self.read(base)?;
        for tries in 1..=TRIES {
            let Some(path) = changed(&pass)? else {
                return Ok(pass);
            };
            if tries == TRIES {
                return Err(CheckpointError::Restless { path, tries });
            }
            // A change within the tick of the one before could not be told from it.
            std::thread::sleep(TICK * 2);
            pass = self.read(Some(&pass))?;
        }
        Ok(pass)
    }

    /// Looks at everything once more and returns what is not as it was read.
    fn differs(&self, pass: &Pass) -> Result<Option<EntryPath>, CheckpointError> {
        if pass.changed.is_some() {
            return Ok(pass.changed.clone());
        }
        let mut expected = by_path(&pass.listing);
        let left_out: HashSet<&EntryPath> =
            pass.listing.left_out.iter().map(|one| &one.path).collect();
        let mut differs = None;
        for root in self.roots {
            root.walk(|found| {
                if let Sorted::Kept(stat, _) = self.sorted(&found) {
                    let same = match expected.remove(&found.path) {
                        Some(one) => is_settled(one, &stat, pass.started),
                        None => left_out.contains(&found.path),
                    };
                    if !same {
                        differs.get_or_insert(found.path);
                    }
                }
                Ok(())
            })?;
        }
        let gone = expected.into_keys().next().cloned();
        Ok(differs.or(gone))
    }

    /// Reads everything that is not known to be as it was at the base.
    fn read(&self, base: Option<&Pass>) -> Result<Pass, CheckpointError> {
        let mut reading = Reading {
            making: self,
            base: base.map(|base| (base.started, by_path(&base.listing))),
            started: (self.tools.now)(),
            entries: Vec::new(),
            left_out: Vec::new(),
            bytes: 0,
        };
        let taken = self.intake.round(self.asked.workers, |offer| {
            self.roots
                .iter()
                .try_for_each(|root| root.walk(|found| reading.meet(root, found, offer)))
        })?;
        Ok(reading.finish(taken))
    }

    /// Decides what becomes of something found.
    fn sorted(&self, found: &Found) -> Sorted {
        let secrets = self.asked.secrets;
        let target = found
            .target
            .as_ref()
            .map_or(b"".as_slice(), EntryPath::as_bytes);
        if secrets.finds(found.path.as_bytes()) || secrets.finds(target) {
            return Sorted::LeftOut(hidden(secrets, &found.path));
        }
        match found.what {
            Err(why) => Sorted::LeftOut(LeftOut {
                path: found.path.clone(),
                why,
            }),
            Ok(stat) => Sorted::Kept(stat, kind(&stat, found)),
        }
    }
}

/// What becomes of something found.
enum Sorted {
    /// It is kept; a file has no chunks yet.
    Kept(Stat, Kind),
    /// It is left out.
    LeftOut(LeftOut),
}

fn kind(stat: &Stat, found: &Found) -> Kind {
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

fn by_path(listing: &Listing) -> HashMap<&EntryPath, &Entry> {
    let entries = listing.entries.iter();
    entries.map(|entry| (&entry.path, entry)).collect()
}

/// Returns whether something is what was read at a time, and was not changed so shortly before that
/// a later change could look the same.
fn is_settled(entry: &Entry, stat: &Stat, read: Timestamp) -> bool {
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
struct Reading<'a, 'm, 's, 'd> {
    making: &'m Making<'a, 's, 'd>,
    base: Option<(Timestamp, HashMap<&'m EntryPath, &'m Entry>)>,
    started: Timestamp,
    entries: Vec<Entry>,
    left_out: Vec<LeftOut>,
    bytes: u64,
}

impl Reading<'_, '_, '_, '_> {
    /// Takes something that was found into the listing, and has it read where it must be.
    fn meet(
        &mut self,
        root: &Arc<Root>,
        found: Found,
        offer: &dyn Fn(Job) -> bool,
    ) -> Result<(), CheckpointError> {
        let (stat, is) = match self.making.sorted(&found) {
            Sorted::Kept(stat, is) => (stat, is),
            Sorted::LeftOut(one) => {
                self.left_out.push(one);
                return self.count(&found.path, 0);
            }
        };
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
        self.count(&found.path, size)?;
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

    fn count(&mut self, path: &EntryPath, size: u64) -> Result<(), CheckpointError> {
        let caps = self.making.asked.caps;
        self.bytes = self.bytes.saturating_add(size);
        let refusal = match () {
            () if (self.entries.len() + self.left_out.len()) as u64 > caps.entries => Refusal::Many,
            () if self.bytes > caps.bytes => Refusal::Large,
            () => return Ok(()),
        };
        let path = path.clone();
        Err(CheckpointError::Refused { path, refusal })
    }

    /// Joins the walk with what came of the files.
    fn finish(self, taken: Vec<(usize, Taken)>) -> Pass {
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
