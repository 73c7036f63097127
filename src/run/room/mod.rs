//! A place to work: a slot with a worktree, one sandbox in it, and its end. Every step is
//! journalled. How the sandbox comes to stand is in `occupy`.

mod occupy;

use std::{
    path::PathBuf,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    event::{Event, Load, Overrun, Usage},
    git::{self, ObjectId},
    install::Inputs,
    link::Process,
    name::{Role, TaskId},
    policy::Rights,
    sandbox::{Sandbox, Slot, pool::Lease},
};

use super::{
    attempt::Claim,
    checks::CHECKER,
    failure::Failure,
    install::Given,
    output::{End, Heard, Log, Talk, listen},
    recorder::Recorder,
    stamp::Stamp,
    work::{Work, logs},
};

/// How often what a sandbox used is recorded while that changes.
const USAGE_EVERY: Duration = Duration::from_secs(10);

/// One slot of a run.
pub(super) struct Room<'a> {
    work: &'a Arc<Work>,
    recorder: &'a Recorder,
    name: String,
    task: Option<TaskId>,
    rights: Arc<Rights>,
    slot: Slot,
    files: Files,
    given: Given,
    /// That a sandbox stands for the room, until it is ended.
    lease: Mutex<Option<Lease>>,
    worktree: Mutex<Option<Arc<git::Slot>>>,
}

/// What is to stand in a room.
enum Files {
    /// Nothing.
    None,
    /// A task's worktree, from this commit.
    Task { task: TaskId, base: ObjectId },
    /// A commit or tree as it is.
    Copy(ObjectId),
    /// These files alone, by path.
    These(Arc<Inputs>),
}

impl Work {
    /// Names a room; nothing exists of it yet.
    pub(super) fn room<'a>(
        self: &'a Arc<Self>,
        recorder: &'a Recorder,
        name: &str,
        task: Option<&TaskId>,
        role: &Role,
    ) -> Result<Room<'a>, Failure> {
        Ok(self.room_with(recorder, name, task, self.rights(role)?))
    }

    /// Names a room for a sandbox with rights that were made for it.
    pub(super) fn room_with<'a>(
        self: &'a Arc<Self>,
        recorder: &'a Recorder,
        name: &str,
        task: Option<&TaskId>,
        rights: Arc<Rights>,
    ) -> Room<'a> {
        Room {
            work: self,
            recorder,
            name: name.to_owned(),
            task: task.cloned(),
            rights,
            slot: Slot::at(self.slots().join(name)),
            files: Files::None,
            given: Given::default(),
            lease: Mutex::default(),
            worktree: Mutex::default(),
        }
    }

    /// Where the slots of this run are.
    pub(super) fn slots(&self) -> PathBuf {
        self.state().join("worktrees").join(self.run.as_str())
    }
}

impl Room<'_> {
    /// The run's fixed facts.
    pub(super) fn work(&self) -> &Arc<Work> {
        self.work
    }

    /// What it is called in its run.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its directory.
    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// The way to the journal.
    pub(super) fn recorder(&self) -> &Recorder {
        self.recorder
    }

    /// The task the room is for; none for the checks of the whole run.
    pub(super) fn task(&self) -> Option<&TaskId> {
        self.task.as_ref()
    }

    /// Where what is said here is logged.
    pub(super) fn log_path(&self) -> PathBuf {
        logs(&self.work.state(), &self.work.run).join(format!("{}.log", self.name))
    }

    /// What the room's role may do.
    pub(super) fn rights(&self) -> &Rights {
        &self.rights
    }

    /// Whether it is one for checks.
    pub(super) fn is_check(&self) -> bool {
        self.rights.role.as_str() == CHECKER
    }

    /// The digest of its role's image.
    pub(super) fn image(&self) -> Result<String, Failure> {
        let image = self.work.images.get(&self.rights.image).cloned();
        image.ok_or_else(|| {
            Failure::fatal(format!("image `{}` was not made ready", self.rights.image))
        })
    }

    /// Gives its sandbox what was installed; before it is launched.
    pub(super) fn give(&mut self, given: Given) {
        self.given = given;
    }

    /// What its sandbox is given of what was installed.
    pub(super) fn given(&self) -> &Given {
        &self.given
    }

    /// Says that the room is for a task's work: the run's head on a branch of the task's own, with
    /// the files the role may read. They are put there while the sandbox starts. Returns that head.
    pub(super) async fn check_out(&mut self, task: &TaskId) -> Result<ObjectId, Failure> {
        let base = self.work.head().await?;
        self.files = Files::Task {
            task: task.clone(),
            base: base.clone(),
        };
        Ok(base)
    }

    /// Says that the room is for a commit or tree as it is, without a branch: for checks.
    pub(super) fn export(&mut self, tree: &ObjectId) {
        self.files = Files::Copy(tree.clone());
    }

    /// Says that the room is for these files alone: for an install.
    pub(super) fn show(&mut self, files: Inputs) {
        self.files = Files::These(Arc::new(files));
    }

    /// Runs a program to its end, or until it passes a cap: then that is journalled, and
    /// everything in the sandbox is dead on return.
    pub(super) async fn attend(
        &self,
        sandbox: &Sandbox,
        process: Process,
        talk: Talk<'_>,
    ) -> Result<Heard, Failure> {
        let log = Log::open(&self.log_path(), self.rights.resources.log)?
            .masked(self.work.launcher.redactor.clone());
        let watched = sandbox.overrun(log.spoken());
        let heard = listen(process, talk, &log, watched).await;
        let over = match &heard {
            Ok(Heard {
                end: End::Overrun(over),
                ..
            }) => Some(*over),
            // What the kernel refused may be what made it end.
            _ => sandbox.overrun_at_end().await,
        };
        let Some(over) = over else {
            return Ok(heard?);
        };
        log.cut(&over);
        self.recorder.record(self.overrun(over)).await?;
        sandbox.kill().await;
        let (stdout, stderr) =
            heard.map_or_else(|_| <_>::default(), |said| (said.stdout, said.stderr));
        Ok(Heard {
            end: End::Overrun(over),
            stdout,
            stderr,
        })
    }

    fn overrun(&self, over: Overrun) -> Event {
        Event::Overrun {
            sandbox: self.name.clone(),
            task: self.task.clone(),
            role: self.rights.role.clone(),
            limit: over.limit,
            allowed: over.allowed,
            seen: over.seen,
        }
    }

    /// Says that a program was ended, why, and what sets the cap.
    pub(super) fn ended(&self, over: Overrun) -> String {
        let set = over.limit.key().map_or_else(
            || "fixed, see docs/limits.md".to_owned(),
            |key| self.rights.who_set(key),
        );
        format!("it was ended: {over} ({set})")
    }

    /// Waits for work in the sandbox, and records meanwhile what it uses, when that has changed.
    pub(super) async fn watching<T>(&self, sandbox: &Sandbox, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut said = (Usage::default(), Load::default());
        loop {
            match tokio::time::timeout(USAGE_EVERY, &mut work).await {
                Ok(done) => return done,
                Err(_later) => {
                    let now = (sandbox.usage(), sandbox.load());
                    if is_news(now, said) {
                        said = now;
                        // Where the run has ended the work is about to.
                        self.used(now).await.ok();
                    }
                }
            }
        }
    }

    async fn used(&self, (usage, load): (Usage, Load)) -> Result<(), Failure> {
        let used = Event::SandboxUsed {
            sandbox: self.name.clone(),
            task: self.task.clone(),
            role: self.rights.role.clone(),
            usage,
            load,
        };
        self.recorder.record(used).await?;
        Ok(())
    }

    /// Ends the sandbox; the files stay.
    pub(super) async fn end(&self, sandbox: Sandbox) -> Result<(), Failure> {
        let used = (sandbox.usage(), sandbox.load());
        let ended = sandbox.end().await;
        // What is done with the files needs no sandbox.
        drop(self.lease().take());
        self.used(used).await?;
        self.recorder
            .record(Event::SandboxEnded {
                sandbox: self.name.clone(),
            })
            .await?;
        Ok(ended?)
    }

    fn lease(&self) -> MutexGuard<'_, Option<Lease>> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits a tree that the gate let through, on the task's branch.
    pub(super) async fn commit(&self, claim: &Claim, tree: &ObjectId) -> Result<ObjectId, Failure> {
        let worktree = self.worktree()?;
        let (tree, stamp, title) = (tree.clone(), self.stamp(claim), claim.task.title.clone());
        let commit = self
            .work
            .git(move |repository, run| {
                repository.commit(&worktree, &tree, &title, &stamp.sign(run))
            })
            .await?;
        let own = (claim.task.id.clone(), claim.attempt);
        for (task, attempt) in std::iter::once(&own).chain(&claim.mates) {
            self.recorder
                .record(Event::Committed {
                    task: task.clone(),
                    attempt: *attempt,
                    commit: commit.to_string(),
                })
                .await?;
        }
        Ok(commit)
    }

    /// Makes what signs work of this room now: who, by which rights, where in the journal, when.
    pub(super) fn stamp(&self, claim: &Claim) -> Stamp {
        let journal = self.recorder.position();
        Stamp {
            task: claim.task.id.clone(),
            mates: claim.mates.iter().map(|(task, _)| task.clone()).collect(),
            role: claim.task.role.clone(),
            policy: self.work.policy.sha256(),
            journal: journal.seq,
            time: journal.ts.as_second(),
        }
    }

    /// Removes everything of the room from the disk.
    pub(super) async fn remove(self) -> Result<(), Failure> {
        self.remove_dir(self.slot.path().to_owned()).await
    }

    pub(super) async fn remove_dir(&self, path: PathBuf) -> Result<(), Failure> {
        self.work
            .git(move |repository, _| git::Slot::remove_dir(repository, &path))
            .await
    }

    /// The worktree that was checked out.
    pub(super) fn worktree(&self) -> Result<Arc<git::Slot>, Failure> {
        let worktree = self.worktree.lock().unwrap_or_else(PoisonError::into_inner);
        let worktree = worktree.clone();
        worktree
            .ok_or_else(|| Failure::fatal("a bug of ours: no worktree was checked out".to_owned()))
    }
}

/// Returns whether what a sandbox uses is worth a record: something was counted, a second of
/// processor time was used, or what it holds has changed by a quarter.
fn is_news((usage, load): (Usage, Load), (before, held): (Usage, Load)) -> bool {
    usage.counted() != before.counted()
        || usage.cpu_ms.saturating_sub(before.cpu_ms) >= 1000
        || load.differs(&held)
}
