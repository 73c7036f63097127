//! A container that stands ready and belongs to nobody yet.
//!
//! ```text
//!  blueprint ──▶ prepare: slot furnished, created, started, guest linked, read back ──▶ Prepared
//!                                                                                          │
//!  Occupant ──▶ bind: home, rules' directories, minimum, gateway, meter, secrets ◀─────────┘
//!                 └──▶ Sandbox
//! ```
//!
//! Nothing can be run in a [`Prepared`]: it has no role, so no rights to run anything with, no
//! gateway that answers, no file of anybody's home. A cold start is a preparation that is bound at
//! once. Binding refuses rights whose container would be another one.

use std::{os::fd::OwnedFd, path::PathBuf, sync::Arc};

use crate::{
    egress::{DnsSockets, Record},
    engine::{ContainerSpec, ContainerState, EngineError},
    event::Isolation,
    git,
    link::{Link, Listener, guest_binary},
    policy::Rights,
};

use super::{
    blueprint::blueprint,
    cgroup::{Counters, Switch},
    confine::{Grant, confinement, writable_directories},
    fault::SandboxError,
    given,
    isolation::minimum,
    key::Key,
    launch::{Launcher, Occupant, guest_pid, guest_process},
    meter,
    slot::Slot,
    standing::{Guard, Repository, Sandbox, repository_commands},
    trust,
    watch::{self, Watch},
};

/// A container with its guest, its link and a directory of its own, and without a role. Dropping it
/// ends the guest and removes the container; [`Prepared::end`] also waits for that.
pub struct Prepared {
    pub(super) slot: Slot,
    pub(super) key: Key,
    user: (u32, u32),
    link: Link,
    guest: Arc<OwnedFd>,
    dns: DnsSockets,
    guard: Guard,
    repository: Repository,
}

impl Launcher {
    /// Prepares the container of an occupant, whose worktree may be put into the slot meanwhile:
    /// before, where the occupant is given something, for that may be mounted within it.
    ///
    /// # Errors
    /// Anything that keeps the container from standing as designed. Nothing is left behind then but
    /// the slot.
    pub async fn prepare(
        &self,
        occupant: &Occupant,
        slot: &Slot,
        user: (u32, u32),
    ) -> Result<Prepared, SandboxError> {
        given::mount_points(&occupant.given, slot, user)?;
        self.prepare_as(self.blueprint(occupant, slot, user), slot)
            .await
    }

    /// Returns the container that an occupant needs.
    pub(super) fn blueprint(
        &self,
        occupant: &Occupant,
        slot: &Slot,
        user: (u32, u32),
    ) -> ContainerSpec {
        let place = self.place(occupant, user);
        let (name, rights, labels) = (&occupant.name, &occupant.rights, &occupant.labels);
        given::add(
            blueprint(name, rights, slot, &place, labels),
            &occupant.given,
        )
    }

    /// Returns what must be the same for a prepared container to do for an occupant.
    #[must_use]
    pub fn key(&self, occupant: &Occupant) -> Key {
        let slot = Slot::at(PathBuf::from("/slot"));
        Key::of(&self.blueprint(occupant, &slot, (1, 1)), &slot)
    }

    pub(super) async fn prepare_as(
        &self,
        spec: ContainerSpec,
        slot: &Slot,
    ) -> Result<Prepared, SandboxError> {
        slot.furnish(spec.user)
            .and_then(|()| trust::write(slot, &self.threads.trust()))
            .map_err(SandboxError::Slot)?;
        guest_binary(&self.cache)?;
        let listener = Listener::bind(&slot.link())?;
        let (key, user) = (Key::of(&spec, slot), spec.user);
        let guard = self.create(spec.clone()).await?;
        let link = self.start(guard.container(), listener).await?;
        let guest = guest_process(&link)?;
        let read_back = async {
            let confirmed = self.engine.confirm(guard.container(), &spec).await;
            is_guest(confirmed, &link)
        };
        let dns = async { link.dns().await.map_err(SandboxError::from) };
        let ((), (udp, tcp)) = futures_util::try_join!(read_back, dns)?;
        Ok(Prepared {
            slot: slot.clone(),
            key,
            user,
            link,
            guest,
            dns: DnsSockets { udp, tcp },
            guard,
            repository: Repository::None,
        })
    }

    /// Gives a prepared container to an occupant: from now on it is this one's alone, for ever.
    ///
    /// # Errors
    /// When the occupant's container would be another one, when less is enforced than its role
    /// accepts, or when something of it cannot be put in place. The container is gone then.
    pub async fn bind(
        &self,
        prepared: Prepared,
        occupant: &Occupant,
        record: Arc<dyn Fn(Record) + Send + Sync>,
    ) -> Result<Sandbox, SandboxError> {
        if self.key(occupant) != prepared.key {
            return Err(SandboxError::Misfit);
        }
        let rights = occupant.rights.clone();
        let (slot, user) = (&prepared.slot, prepared.user);
        slot.occupy(user, &occupant.home, &writable_directories(&rights))
            .map_err(SandboxError::Slot)?;
        let disk = watch::given([slot.work(), slot.home()], rights.resources.disk);
        let disk = disk.await.map_err(SandboxError::Slot)?;
        let pid = guest_pid(&prepared.link)?;
        let (counters, switch) = (Counters::of_process(pid), Switch::of_process(pid));
        let meter = meter::start(&rights, &prepared.link)?;
        let isolation = Isolation {
            unwatched: counters.unwatched(),
            write_meter: meter.is_some(),
            ..self.isolation(&prepared.link, &rights)?
        };
        minimum(&isolation, &rights.minimum)?;
        let gateway = self.gateway(&rights, (&prepared.link, prepared.dns), record)?;
        let mut sandbox = Sandbox {
            container: prepared.guard.container().clone(),
            isolation,
            rights,
            landlock: self.landlock,
            link: prepared.link,
            guest: prepared.guest,
            switch,
            watch: Watch::new(counters, disk, self.beat),
            gateway: Some(gateway),
            meter,
            guard: prepared.guard,
            variables: Vec::new(),
            repository: prepared.repository,
        };
        sandbox.deliver(&self.kept).await?;
        Ok(sandbox)
    }

    /// Has the guest make ready what programs of a role will need. Nothing of the role can run by
    /// that.
    ///
    /// # Errors
    /// When the link is lost.
    pub(super) async fn make_ready(
        &self,
        prepared: &Prepared,
        rights: &Rights,
    ) -> Result<(), SandboxError> {
        // What is delivered is not there yet, and a rule on what is not there holds nothing.
        let rights = Rights {
            deliveries: Vec::new(),
            ..rights.clone()
        };
        let paths = confinement(&rights, &Grant::default()).paths;
        Ok(prepared.link.prepare(self.landlock, paths).await?)
    }

    /// Makes the private repository of what stands in the slot, with the right to run git and
    /// nothing more, as it would be made after the binding.
    pub(super) async fn make_repository(
        &self,
        prepared: &mut Prepared,
        rights: &Rights,
    ) -> Result<(), SandboxError> {
        let isolation = self.isolation(&prepared.link, rights)?;
        let metered = Isolation {
            write_meter: true,
            ..isolation.clone()
        };
        minimum(&metered, &rights.minimum)?;
        let (landlock, held) = (self.landlock, &isolation.held);
        let script = git::private_repository_script();
        repository_commands(&prepared.link, (landlock, held), rights, &script).await?;
        prepared.repository = Repository::Made;
        Ok(())
    }
}

impl Prepared {
    /// Where its files are.
    #[must_use]
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// The user and group that its agent will be.
    #[must_use]
    pub fn user(&self) -> (u32, u32) {
        self.user
    }

    /// Resolves once the guest is gone, and with it all use of the container.
    pub(super) fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        let link = self.link.clone();
        async move { link.lost().await }
    }

    /// Returns whether the guest is gone.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.link.is_lost()
    }

    /// Moves its directory, mounts and all, to where its occupant's is looked for.
    ///
    /// # Errors
    /// The operating system's, such as that something stands there.
    pub fn move_to(&mut self, slot: &Slot) -> Result<(), SandboxError> {
        std::fs::rename(self.slot.path(), slot.path()).map_err(SandboxError::Slot)?;
        self.slot = slot.clone();
        Ok(())
    }

    /// Says that the files have changed since its private repository was made.
    pub fn files_moved(&mut self) {
        if self.repository == Repository::Made {
            self.repository = Repository::Outdated;
        }
    }

    /// Ends the guest and removes the container.
    ///
    /// # Errors
    /// The engine's; nothing runs in the container even then.
    pub async fn end(mut self) -> Result<(), EngineError> {
        self.link.sever();
        self.guard.end().await
    }
}

/// Makes sure that whoever connected is the container's first process, and no other of this host
/// that could reach the socket.
fn is_guest(
    confirmed: Result<ContainerState, EngineError>,
    link: &Link,
) -> Result<(), SandboxError> {
    let state = confirmed?;
    if state.pid.is_some() && state.pid == guest_pid(link).ok() {
        Ok(())
    } else {
        Err(SandboxError::Stranger)
    }
}
