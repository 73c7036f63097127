//! How a room gets its sandbox: one that stands ready, else a fresh one. The files are put there on
//! the way.
//!
//! A sandbox that stood ready and turns out to be of no use never makes an attempt fail: then the
//! start is a cold one.

use std::sync::{Arc, PoisonError};

use tokio::time::Instant;

use crate::{
    egress,
    event::{Event, Start},
    git::{self, Ahead, Checkout, Owner, SlotSpec},
    name::{RunId, TaskId},
    sandbox::{
        Home, Labels, Occupant, Sandbox, owner,
        pool::{Claimed, Contents},
        repository_label,
    },
};

use super::{
    super::{
        failure::Failure,
        install::{blocking, lay_out},
    },
    Files, Room,
};

impl Room<'_> {
    /// Starts the sandbox, in a slot that stands ready where there is one for exactly these rights.
    pub(in crate::run) async fn launch(&self, home: Vec<Home>) -> Result<Sandbox, Failure> {
        let begun = Instant::now();
        let occupant = self.occupant(home)?;
        let role = &self.rights.role;
        self.work.foresight().gives(role, &occupant.given);
        let (claimed, lease) = self.work.pool.claim(&occupant, &self.contents()).await;
        *self.lease() = Some(lease);
        let stood = claimed.as_ref().is_some_and(|claimed| claimed.stood);
        let bound = match claimed {
            Some(claimed) => self.bind_claimed(claimed, &occupant).await?,
            None => None,
        };
        let warm = stood && bound.is_some();
        let sandbox = match bound {
            Some(sandbox) => sandbox,
            None => self.start_cold(&occupant).await?,
        };
        let elapsed = begun.elapsed().as_micros();
        self.recorder
            .record(Event::SandboxStarted {
                sandbox: self.name.clone(),
                task: self.task.clone(),
                role: self.rights.role.clone(),
                container: sandbox.container().to_owned(),
                image: occupant.image,
                isolation: sandbox.isolation().clone(),
                start: Some(Start {
                    warm,
                    elapsed_us: u64::try_from(elapsed).unwrap_or(u64::MAX),
                }),
            })
            .await?;
        Ok(sandbox)
    }

    fn occupant(&self, mut home: Vec<Home>) -> Result<Occupant, Failure> {
        home.extend(self.given.home());
        let run = self.work.run.to_string();
        let task = self
            .task
            .as_ref()
            .map_or("checks", TaskId::as_str)
            .to_owned();
        Ok(Occupant {
            name: format!("loki-{run}-{}", self.name),
            rights: self.rights.clone(),
            labels: Labels {
                run,
                task,
                repository: repository_label(self.work.repository.root()),
                owner: owner(),
            },
            home,
            image: self.image()?,
            given: self.given.mounts(),
        })
    }

    /// What may stand in the worktree of a slot that is claimed for this room.
    fn contents(&self) -> Contents {
        match &self.files {
            Files::None | Files::These(_) => Contents::Empty,
            Files::Task { .. } | Files::Copy(_) => self.work.contents(&self.rights),
        }
    }

    fn record_egress(&self) -> Arc<dyn Fn(egress::Record) + Send + Sync> {
        let (task, role) = (self.task.as_ref(), &self.rights.role);
        self.recorder.egress(&self.name, task, role)
    }

    /// Makes a claimed slot this room's. One that is of no use is ended, and the start is a cold
    /// one: a pool makes no attempt fail.
    async fn bind_claimed(
        &self,
        claimed: Claimed,
        occupant: &Occupant,
    ) -> Result<Option<Sandbox>, Failure> {
        let place = claimed.prepared.slot().path().to_owned();
        let why = match self.bind(claimed, occupant).await {
            Ok(sandbox) => return Ok(Some(sandbox)),
            Err(why) => why,
        };
        self.work.pool.was_of_no_use(&why.reason);
        for path in [place, self.slot.path().to_owned()] {
            self.remove_dir(path).await?;
        }
        Ok(None)
    }

    async fn bind(&self, claimed: Claimed, occupant: &Occupant) -> Result<Sandbox, Failure> {
        let Claimed {
            mut prepared,
            ahead,
            ..
        } = claimed;
        prepared.move_to(&self.slot)?;
        if let (Some(ahead), Files::Task { base, .. }) = (&ahead, &self.files)
            && ahead.base() != base
        {
            prepared.files_moved();
        }
        let user = prepared.user();
        let launcher = &self.work.launcher;
        if let Err(why) = self.fill(user, ahead).await {
            // Why it is of no use is what is told.
            prepared.end().await.ok();
            return Err(why);
        }
        let bound = launcher.bind(prepared, occupant, self.record_egress());
        Ok(bound.await?)
    }

    /// Starts a container of this room's own; the files are put there meanwhile, or before where
    /// something is mounted among them.
    async fn start_cold(&self, occupant: &Occupant) -> Result<Sandbox, Failure> {
        let (launcher, user) = (&self.work.launcher, self.work.launcher.user());
        let prepare = launcher.prepare(occupant, &self.slot, user);
        let prepared = if occupant.given.is_empty() {
            // Both are waited for: what still writes files would write into what is removed.
            let (prepared, filled) = futures_util::join!(prepare, self.fill(user, None));
            filled?;
            prepared
        } else {
            self.fill(user, None).await?;
            prepare.await
        };
        let bound = launcher.bind(prepared?, occupant, self.record_egress());
        Ok(bound.await?)
    }

    /// Puts the files into the slot, for this user.
    async fn fill(&self, user: (u32, u32), ahead: Option<Ahead>) -> Result<(), Failure> {
        let (path, owner) = (self.slot.path().to_owned(), Owner::of(user));
        match &self.files {
            Files::None => Ok(()),
            Files::These(files) => {
                let files = Arc::clone(files);
                blocking(move || lay_out(&path, &files, user)).await?
            }
            Files::Copy(tree) => {
                let tree = tree.clone();
                let copy = move |repository: &git::Repository, _: &_| {
                    let checkout = Checkout {
                        tree: &tree,
                        read: None,
                        owner,
                    };
                    match ahead {
                        Some(ahead) => ahead.export(repository, &path, checkout),
                        None => repository.export(&path, checkout),
                    }
                    .map(drop)
                };
                self.work.git(copy).await
            }
            Files::Task { task, base } => {
                let (task, base) = (task.clone(), base.clone());
                let read = self.rights.files.visible();
                let check_out = move |repository: &git::Repository, run: &RunId| {
                    let spec = SlotSpec {
                        run,
                        task: &task,
                        base: &base,
                        read: Some(&read),
                        owner,
                    };
                    match ahead {
                        Some(ahead) => ahead.claim(repository, &path, spec),
                        None => git::Slot::prepare(repository, &path, spec),
                    }
                };
                let slot = self.work.git(check_out).await?;
                // A warm start that failed after this has left one of a slot that is gone.
                let mut worktree = self.worktree.lock().unwrap_or_else(PoisonError::into_inner);
                *worktree = Some(Arc::new(slot));
                Ok(())
            }
        }
    }
}
