//! Keeps what sandboxes wrote: after every attempt, before anything of it is judged or merged, and
//! every ten minutes while an agent works.
//!
//! A checkpoint that cannot be made is told in the journal and ends nothing: the work itself is
//! still there.

use std::{
    io,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{runtime::Handle, sync::watch};

use crate::{
    checkpoint::{
        self, Asked, Caps, CheckpointError, Head, Hold, Origin, PURPOSE, Pretend, Pruned, Quiet,
        Retention, Signer, Source, Store, Tools,
    },
    diagnostic::explained,
    engine::{ContainerId, Engine},
    event::Event,
    journal::ring::RingError,
    name::{RunId, TaskId},
    redact::Redactor,
    sandbox::{Sandbox, Slot},
};

use super::{believed::Believed, failure::Failure, room::Room};

/// How often a working agent's files are kept.
const EVERY: Duration = Duration::from_secs(600);
/// How long keeping one sandbox may take: an agent chooses what there is to read.
const MOST: Duration = Duration::from_secs(900);
/// What a run leaves of all checkpoints when it ends.
const STAYS: Retention = Retention {
    keep: 50,
    younger: Some(Duration::from_secs(7 * 24 * 3600)),
};

/// What is kept of one sandbox.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Whose it is.
    pub origin: Origin,
    /// Directories by their name in the checkpoint.
    pub sources: Vec<(&'static str, PathBuf)>,
}

impl Subject {
    /// Returns what is kept of an attempt whose orchestrator died: its run, task and sandbox, and
    /// where it stood.
    #[must_use]
    pub fn abandoned((run, task, sandbox): (RunId, TaskId, String), slot: &Slot) -> Self {
        Self {
            origin: Origin {
                run: Some(run),
                task: Some(task),
                sandbox: Some(sandbox),
                journal: None,
            },
            sources: vec![("home", slot.home()), ("work", slot.work())],
        }
    }
}

/// Makes the checkpoints of a repository.
pub struct Keeper {
    settings: PathBuf,
    state: PathBuf,
    quota: u64,
    now: fn() -> Timestamp,
}

impl Keeper {
    /// The most bytes that all checkpoints take, unless a person says otherwise.
    pub const QUOTA: u64 = 50 << 30;

    /// Opens this user's key in a directory of settings, or makes one; `state` is where the
    /// repository's `.loki` is.
    ///
    /// # Errors
    /// When there is no key to sign with, or it cannot be told which keys were before it.
    pub fn new(
        settings: &Path,
        state: PathBuf,
        quota: u64,
        now: fn() -> Timestamp,
    ) -> Result<Self, RingError> {
        Believed::own(settings)?;
        Ok(Self {
            settings: settings.to_owned(),
            state,
            quota,
            now,
        })
    }

    /// Makes a checkpoint. Blocks until it is on the disk.
    ///
    /// # Errors
    /// Those of [`checkpoint::create`].
    pub fn keep(
        &self,
        subject: &Subject,
        secrets: &Redactor,
        quiet: Quiet<'_>,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Head, CheckpointError> {
        let sources = subject.sources.iter();
        let sources: Vec<Source<'_>> = sources.map(|(name, path)| Source { name, path }).collect();
        let asked = self.asked(subject, &sources, secrets);
        let store = Store::open(&self.state)?;
        self.with(progress, |tools| {
            checkpoint::create(&store, &asked, quiet, tools)
        })
    }

    /// Makes a checkpoint of an attempt whose orchestrator died, and returns its run and the event
    /// that tells of it. Nothing may run there any more.
    ///
    /// # Panics
    /// When the subject is not one of [`Subject::abandoned`].
    #[must_use]
    pub fn keep_abandoned(&self, subject: &Subject, secrets: &Redactor) -> (RunId, Event) {
        let kept = self.keep(subject, secrets, Quiet::Ended, &|_, _| {});
        let Origin {
            run, task, sandbox, ..
        } = subject.origin.clone();
        let run = run.expect("an abandoned attempt has a run");
        let sandbox = sandbox.expect("an abandoned attempt has a sandbox");
        let kept = kept.map_err(|cause| explained(&cause));
        (run, checkpointed(sandbox, task, kept))
    }

    /// Makes a checkpoint of an archive.
    ///
    /// # Errors
    /// Those of [`checkpoint::import`].
    pub fn import(
        &self,
        archive: &Path,
        secrets: &Redactor,
        from: &mut dyn io::Read,
    ) -> Result<Head, CheckpointError> {
        let subject = Subject {
            origin: Origin::default(),
            sources: Vec::new(),
        };
        let source = Source {
            name: "files",
            path: archive,
        };
        let sources = [source];
        let asked = self.asked(&subject, &sources, secrets);
        let store = Store::open(&self.state)?;
        self.with(&|_, _| {}, |tools| {
            checkpoint::import(&store, &asked, from, tools)
        })
    }

    fn asked<'a>(
        &self,
        subject: &Subject,
        sources: &'a [Source<'a>],
        secrets: &'a Redactor,
    ) -> Asked<'a> {
        Asked {
            sources,
            origin: subject.origin.clone(),
            secrets,
            caps: Caps {
                time: subject.origin.sandbox.is_some().then_some(MOST),
                ..Caps::default()
            },
            quota: self.quota,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    fn with<T>(
        &self,
        progress: &(dyn Fn(u64, u64) + Sync),
        call: impl FnOnce(Tools<'_>) -> Result<T, CheckpointError>,
    ) -> Result<T, CheckpointError> {
        // Read each time: what a key signs after another followed it is not believed.
        let (key, believed) = Believed::own(&self.settings).map_err(|why| CheckpointError::Io {
            doing: "take the key in",
            path: self.settings.clone(),
            source: io::Error::other(why),
        })?;
        let public = key.public().to_string();
        let sign = |bytes: &[u8]| key.sign(PURPOSE, bytes).to_string();
        let signer = Signer {
            key: &public,
            sign: &sign,
        };
        believed.with(|trusted| {
            call(Tools {
                signer,
                trusted,
                now: &self.now,
                progress,
            })
        })
    }

    /// Removes the checkpoints that are neither among the newest nor young.
    ///
    /// # Errors
    /// Those of [`checkpoint::prune`].
    pub fn tidy(&self) -> Result<Option<Pruned>, CheckpointError> {
        if !Store::exists(&self.state) {
            return Ok(None);
        }
        let store = Store::open(&self.state)?;
        if store.ids()?.len() <= STAYS.keep {
            return Ok(None);
        }
        let now = (self.now)();
        let pruned = self.with(&|_, _| {}, |tools| {
            checkpoint::prune(&store, STAYS, tools.trusted, now, Pretend::No)
        });
        pruned.map(Some)
    }
}

/// A container that can be held still from a thread that waits.
#[derive(Debug)]
pub struct Holder {
    engine: Arc<dyn Engine>,
    container: ContainerId,
    /// Where the engine's calls are made.
    runtime: Handle,
    held: watch::Sender<Held>,
}

/// Whether a container stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Running,
    Paused,
    /// It runs, and is never paused again.
    Released,
}

impl Holder {
    /// Takes a container; it is not paused. Called in the runtime that makes the engine's calls.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, container: ContainerId) -> Self {
        Self {
            engine,
            container,
            runtime: Handle::current(),
            held: watch::Sender::new(Held::Running),
        }
    }

    /// Pauses or resumes. Blocks, so it is for threads that may.
    ///
    /// # Errors
    /// The engine's, and that it was released.
    pub fn hold(&self, hold: Hold) -> io::Result<()> {
        let pausing = self.held.send_if_modified(|held| {
            let free = *held == Held::Running && hold == Hold::Pause;
            if free {
                *held = Held::Paused;
            }
            free
        });
        if !pausing && hold == Hold::Pause {
            return Err(io::Error::other("this process was told to end"));
        }
        let done = self.runtime.block_on(async {
            match hold {
                Hold::Pause => self.engine.pause(&self.container).await,
                Hold::Resume if *self.held.borrow() == Held::Paused => {
                    self.engine.resume(&self.container).await
                }
                Hold::Resume => Ok(()),
            }
        });
        // A pause that failed has been taken back.
        if hold == Hold::Resume || done.is_err() {
            self.held.send_if_modified(|held| {
                let paused = *held == Held::Paused;
                if paused {
                    *held = Held::Running;
                }
                paused
            });
        }
        done.map_err(io::Error::other)
    }

    /// Returns once the container runs; it is not paused again.
    pub async fn release(&self) {
        let mut watched = self.held.subscribe();
        loop {
            let released = self.held.send_if_modified(|held| {
                let free = *held != Held::Paused;
                if free {
                    *held = Held::Released;
                }
                free
            });
            // The sender is this value's own, so it is not gone.
            if released || watched.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Room<'_> {
    /// Waits for work in the sandbox, and keeps meanwhile what it writes, now and then.
    pub(super) async fn kept_meanwhile<T>(
        &self,
        sandbox: &Sandbox,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        loop {
            let keep = async {
                tokio::time::sleep(EVERY).await;
                // Where the run has ended the work is about to.
                self.keep(Some(sandbox)).await.ok();
            };
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = keep => {}
            }
        }
    }

    /// Keeps what the sandbox wrote, paused meanwhile; without one it has ended.
    pub(super) async fn keep(&self, sandbox: Option<&Sandbox>) -> Result<(), Failure> {
        let work = self.work();
        let Some(keeper) = work.keeper.clone() else {
            return Ok(());
        };
        let subject = Subject {
            origin: Origin {
                run: Some(work.run.clone()),
                task: self.task().cloned(),
                sandbox: Some(self.name().to_owned()),
                journal: Some(self.recorder().position().seq),
            },
            sources: vec![("home", self.slot().home()), ("work", self.slot().work())],
        };
        let holder = sandbox.map(|sandbox| {
            let container = ContainerId(sandbox.container().to_owned());
            Holder::new(Arc::clone(&work.launcher.engine), container)
        });
        let secrets = work.launcher.redactor.clone();
        let kept = tokio::task::spawn_blocking(move || {
            let mut hold = |hold| holder.as_ref().map_or(Ok(()), |holder| holder.hold(hold));
            let quiet = match &holder {
                Some(_) => Quiet::Paused(&mut hold),
                None => Quiet::Ended,
            };
            keeper.keep(&subject, &secrets, quiet, &|_, _| {})
        });
        let kept = match kept.await {
            Ok(kept) => kept.map_err(|cause| explained(&cause)),
            Err(panicked) => Err(format!("a bug of ours: {panicked}")),
        };
        let told = checkpointed(self.name().to_owned(), self.task().cloned(), kept);
        self.recorder().record(told).await?;
        Ok(())
    }
}

fn checkpointed(sandbox: String, task: Option<TaskId>, kept: Result<Head, String>) -> Event {
    let (head, reason) = match kept {
        Ok(head) => (Some(head), None),
        Err(reason) => (None, Some(reason)),
    };
    let count = |of: fn(&Head) -> u64| head.as_ref().map_or(0, of);
    Event::Checkpointed {
        sandbox,
        task,
        entries: count(|head| head.entries),
        bytes: count(|head| head.bytes),
        stored: count(|head| head.stored),
        left_out: count(|head| head.left_out),
        checkpoint: head.map(|head| head.id),
        reason,
    }
}
