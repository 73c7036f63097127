//! The one writer of a run's journal.
//!
//! Expected flow: [`Writer::create`], `append(RunStarted)`, then `append` before acting on
//! anything. After a crash [`Writer::reopen`], and on from there.
//!
//! Guarantees: a record that `append` returned survives the death of this process; it survives
//! the death of the machine once 50 ms have passed, or at once for what cannot be taken back
//! (see [`Writer::append`]), or after [`Writer::sync`]. After a failed write nothing more is
//! written.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use rustix::{
    fs::{FlockOperation, OFlags},
    io::Errno,
};

use super::{
    chain::{Chain, Step},
    durable::Durable,
    error::JournalError,
    line::{self, Body, FORMAT, LONGEST},
    path,
    place::Dir,
    sealer::{Position, Sealer, Sealing, Subject},
    syncer::Syncer,
};
use crate::{
    digest::Digest,
    event::{Event, Record},
    name::RunId,
};

/// Appends the events of one run. Holds the journal's lock for as long as it lives.
pub struct Writer {
    path: PathBuf,
    file: Arc<Durable>,
    syncer: Syncer,
    /// None in a journal that nobody signs.
    sealer: Option<Sealer>,
    clock: Box<dyn Fn() -> Timestamp + Send>,
    records: u64,
    last: Digest,
    /// The line being written, kept to reuse its memory.
    line: Vec<u8>,
    failed: bool,
    #[cfg(debug_assertions)]
    countdown: super::kill::Countdown,
}

/// A journal that was opened again after its writer had gone.
#[derive(Debug)]
pub struct Reopened {
    /// The writer, which goes on after the last complete record.
    pub writer: Writer,
    /// Everything written before.
    pub records: Vec<Record>,
    /// Bytes of an unfinished last line that were cut off; none is the usual case.
    pub torn: Option<u64>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            path,
            records,
            last,
            failed,
            ..
        } = self;
        f.debug_struct("Writer")
            .field("path", path)
            .field("records", records)
            .field("last", last)
            .field("failed", failed)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Creates the journal of a new run.
    ///
    /// # Errors
    ///
    /// Fails when there is one already, or the system refuses.
    pub fn create(
        home: &Path,
        run: &RunId,
        clock: impl Fn() -> Timestamp + Send + 'static,
    ) -> Result<Self, JournalError> {
        let dir = Dir::home(home)?.within("journal", 0o700)?;
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL;
        let file = dir.open(&format!("{run}.jsonl"), flags, 0o600)?;
        dir.sync()?;
        Self::over(path(home, run), file, Box::new(clock))
    }

    /// Opens the journal of a run whose writer has gone: checks all of it, and cuts off an
    /// unfinished last line.
    ///
    /// # Errors
    ///
    /// Names the first record that is not what was written; fails when another process writes, and
    /// for a journal of another format.
    pub fn reopen(
        home: &Path,
        run: &RunId,
        clock: impl Fn() -> Timestamp + Send + 'static,
    ) -> Result<Reopened, JournalError> {
        let path = path(home, run);
        let dir = Dir::home(home)?.within("journal", 0o700)?;
        let file = dir.open(&format!("{run}.jsonl"), OFlags::RDWR | OFlags::APPEND, 0)?;
        let mut writer = Self::over(path, file, Box::new(clock))?;
        let mut chain = Chain::open(&writer.path)?;
        let mut records = Vec::new();
        let torn = loop {
            match chain.step()? {
                Step::Record(record) => records.push(*record),
                Step::End { torn } => break (torn > 0).then_some(torn),
            }
        };
        writer.refuse_another_run(run, records.first())?;
        if chain.format() < FORMAT {
            return Err(JournalError::Older {
                path: writer.path,
                found: chain.format(),
            });
        }
        if torn.is_some() {
            let cut = writer
                .file
                .file()
                .set_len(chain.sound())
                .and_then(|()| writer.file.file().sync_all());
            cut.map_err(|source| JournalError::io("cut the torn end of", &writer.path, source))?;
        }
        writer.records = chain.records();
        writer.last = chain.last_hash();
        Ok(Reopened {
            writer,
            records,
            torn,
        })
    }

    /// Locks a file and writes to it.
    pub(super) fn over(
        path: PathBuf,
        file: File,
        clock: Box<dyn Fn() -> Timestamp + Send>,
    ) -> Result<Self, JournalError> {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(JournalError::Held { path }),
            Err(errno) => return Err(JournalError::io("lock", &path, errno)),
        }
        let file = Arc::new(Durable::new(file));
        let syncer = Syncer::new(Arc::clone(&file))
            .map_err(|source| JournalError::io("start syncing", &path, source))?;
        Ok(Self {
            path,
            file,
            syncer,
            sealer: None,
            clock,
            records: 0,
            last: Digest::default(),
            line: Vec::new(),
            failed: false,
            #[cfg(debug_assertions)]
            countdown: <_>::default(),
        })
    }

    fn refuse_another_run(&self, run: &RunId, first: Option<&Record>) -> Result<(), JournalError> {
        match first.map(|record| &record.event) {
            Some(Event::RunStarted { run: found, .. }) if found != run => {
                Err(JournalError::OtherRun {
                    path: self.path.clone(),
                    found: found.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Writes an event and returns its record. Only then may it be acted on.
    ///
    /// `Landing`, `TaskDone`, `RunEnded`, `StopRequested`, `Reverted` and `Shipping` are on the disk
    /// when this returns; all others within 50 ms.
    ///
    /// # Errors
    ///
    /// Any failure to write or sync, for example a full disk, is final: the run must stop. An
    /// event that does not belong here or is too long is refused and changes nothing.
    pub fn append(&mut self, event: &Event) -> Result<Record, JournalError> {
        self.refuse_after_failure()?;
        let seq = self.records + 1;
        if matches!(event, Event::RunStarted { .. }) != (seq == 1) {
            return Err(JournalError::Order {
                path: self.path.clone(),
                record: seq,
            });
        }
        let ts = Timestamp::from_microsecond((self.clock)().as_microsecond())
            .expect("a timestamp cut to microseconds is one");
        let prev = self.last;
        let hash = line::encode(
            &mut self.line,
            Body {
                seq,
                ts,
                prev,
                event,
            },
        )
        .map_err(JournalError::Unwritable)?;
        if self.line.len() > LONGEST {
            return Err(JournalError::TooLong {
                path: self.path.clone(),
                bytes: self.line.len(),
            });
        }
        self.write()?;
        self.records = seq;
        self.last = hash;
        if is_final(event) {
            self.sync()?;
        } else {
            self.syncer.soon();
        }
        self.seal(Position { seq, hash }, event)?;
        Ok(Record {
            seq,
            ts,
            prev,
            event: event.clone(),
            hash,
        })
    }

    /// Signs what is written from here on, and first what is found unsealed.
    ///
    /// # Errors
    ///
    /// Fails when the seals or the place outside cannot be written, and when the journal does not
    /// hold what was sealed before.
    pub fn sealed_by(mut self, run: &RunId, sealing: Sealing) -> Result<Self, JournalError> {
        let home = self.path.parent().and_then(Path::parent);
        let subject = Subject {
            home: home.expect("a journal stands in `journal` of the home"),
            run,
            journal: Arc::clone(&self.file),
            path: self.path.clone(),
            newest: Position {
                seq: self.records,
                hash: self.last,
            },
        };
        self.sealer = Some(Sealer::open(subject, sealing)?);
        Ok(self)
    }

    /// Has a written record sealed: at once where it matters most.
    fn seal(&mut self, newest: Position, event: &Event) -> Result<(), JournalError> {
        let Some(sealer) = &self.sealer else {
            return Ok(());
        };
        let sealed = sealer.wrote(newest).and_then(|()| {
            if is_sealed_at_once(event) {
                sealer.now()
            } else {
                Ok(())
            }
        });
        self.failed |= sealed.is_err();
        sealed
    }

    /// Puts everything written so far on the disk.
    ///
    /// # Errors
    ///
    /// Fails when the system cannot promise it; the run must stop.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        let synced = self.syncer.now();
        self.failing("sync", synced)
    }

    /// Returns where the journal stands.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how many records there are.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    fn refuse_after_failure(&mut self) -> Result<(), JournalError> {
        if self.failed {
            return Err(JournalError::Closed {
                path: self.path.clone(),
            });
        }
        let background = self.syncer.failure();
        self.failing("sync", background)
    }

    /// Has this process die at one of its writes, for tests.
    #[cfg(debug_assertions)]
    pub fn dies_at(&mut self, point: Option<super::KillPoint>) {
        self.countdown = super::kill::Countdown::to(point);
    }

    fn write(&mut self) -> Result<(), JournalError> {
        #[cfg(debug_assertions)]
        let written = self.countdown.write(self.file.file(), &self.line);
        #[cfg(not(debug_assertions))]
        let written = std::io::Write::write_all(&mut self.file.file(), &self.line);
        self.failing("append to", written)
    }

    fn failing(
        &mut self,
        doing: &'static str,
        done: std::io::Result<()>,
    ) -> Result<(), JournalError> {
        done.map_err(|source| {
            self.failed = true;
            JournalError::io(doing, &self.path, source)
        })
    }
}

/// What cannot be taken back, and so must be on the disk before anyone acts on it.
fn is_final(event: &Event) -> bool {
    matches!(
        event,
        Event::Landing { .. }
            | Event::TaskDone { .. }
            | Event::RunEnded { .. }
            | Event::StopRequested { .. }
            | Event::Reverted { .. }
            | Event::Shipping { .. }
            | Event::Approved { .. }
            | Event::Rejected { .. }
    )
}

/// What is sealed before anyone acts on it: what cannot be taken back, the beginning, so that every
/// journal has a seal, and what is signed itself.
fn is_sealed_at_once(event: &Event) -> bool {
    is_final(event)
        || matches!(
            event,
            Event::RunStarted { .. }
                | Event::Checkpointed {
                    checkpoint: Some(_),
                    ..
                }
        )
}
