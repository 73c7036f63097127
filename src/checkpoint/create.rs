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
    collections::HashSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;

use crate::{name::CheckpointId, redact::Redactor};

use super::{
    admit::Caps,
    entry::{EntryPath, LeftOut, Listing},
    error::CheckpointError,
    intake::Intake,
    known::Known,
    manifest::{Head, Origin, Signer, Stillness, Tree, Trusted},
    pack::{Room, Writer},
    read::Reader,
    reading::{Reading, Sorted, TICK, by_path, hidden, is_settled, kind},
    store::Store,
    walk::{Found, Root},
};

/// How often what is changed meanwhile is read again.
const TRIES: u32 = 5;
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
    pub now: &'a (dyn Fn() -> Timestamp + Sync),
    /// Told of bytes read, and of bytes that are to be read as far as is known.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// All that was found at a time.
pub(super) struct Pass {
    /// When it began.
    pub(super) started: Timestamp,
    /// What is there.
    pub(super) listing: Listing,
    /// A file that was changed while it was read.
    pub(super) changed: Option<EntryPath>,
}

/// Lets a sandbox go on whatever happens, also where keeping it panics.
struct Paused<'h>(Option<&'h mut dyn FnMut(Hold) -> std::io::Result<()>>);

impl Paused<'_> {
    fn ask(&mut self, what: Hold) -> std::io::Result<()> {
        self.0.as_mut().map_or(Ok(()), |hold| hold(what))
    }

    fn resume(mut self) -> std::io::Result<()> {
        let resumed = self.ask(Hold::Resume);
        self.0 = None;
        resumed
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        // Whoever drops it unasked has something worse to tell.
        self.ask(Hold::Resume).ok();
    }
}

/// One making of a checkpoint.
pub(super) struct Making<'a, 's, 'd> {
    /// What is asked for.
    pub(super) asked: &'a Asked<'a>,
    /// What it is made with.
    pub(super) tools: Tools<'a>,
    /// The directories.
    pub(super) roots: &'a [Arc<Root>],
    /// Those who read.
    pub(super) intake: &'a Intake<'s, 'd>,
    /// Bytes that are to be read.
    pub(super) total: &'a AtomicU64,
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

/// Keeps what `read` finds, and signs it.
pub(super) fn keep(
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
    let begun = (tools.now)();
    let id = new_id((tools.now)())?;
    let mut reader = store.reader()?;
    let base = newest(store, asked, tools, &mut reader)?;
    let room = Room {
        used: store.size()?,
        quota: asked.quota,
    };
    let known = Known::new(store, reader.index(), tools);
    let in_time = || asked.caps.in_time((tools.now)().duration_since(begun));
    let (done, total) = (AtomicU64::new(0), AtomicU64::new(0));
    let progress = |bytes: u64| {
        let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (tools.progress)(done, total.load(Ordering::Relaxed));
    };
    let writer = Writer::new(&store.packs, id.as_str(), room);
    let intake = Intake::new(writer, known, asked.secrets, (&progress, &in_time));
    let (pass, stillness) = read(&intake, &total, base.as_ref().map(|(_, pass)| pass))?;
    let listing = intake.list(&pass.listing)?;
    let (written, known) = intake.finish()?;
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
        stored: written.bytes,
        listing,
    };
    let mut file = store.heads.begin(&format!("{}.json", head.id))?;
    file.write(&head.seal(tools.signer))?;
    file.finish()?;
    known.keep(store, &written.packs, tools);
    Ok(head)
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
                let mut paused = Paused(Some(hold));
                let held = paused.ask(Hold::Pause).map_err(fail("pause"));
                let read =
                    held.and_then(|()| self.until(Some(&running), |pass| Ok(pass.changed.clone())));
                let resumed = paused.resume().map_err(fail("resume"));
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
        let mut reading = Reading::new(self, base);
        let taken = self.intake.round(self.asked.workers, |offer| {
            self.roots
                .iter()
                .try_for_each(|root| root.walk(|found| reading.meet(root, found, offer)))
        })?;
        Ok(reading.finish(taken))
    }

    /// Decides what becomes of something found.
    pub(super) fn sorted(&self, found: &Found) -> Sorted {
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
