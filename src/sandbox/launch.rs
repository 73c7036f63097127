//! Starts sandboxes: container, link, gateway, in that order, or nothing at all.

use std::{io, net::SocketAddr, os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::{
    egress::{Config, DnsSockets, Doors, Gateway, Limits, Record, Resolve, StartError, Threads},
    engine::{ContainerId, Engine, EngineError},
    event::{Isolation, Overrun},
    link::{Link, LinkError, Listener, guest_binary},
    policy::Rights,
};

use super::{
    blueprint::{Labels, Place, blueprint},
    cgroup::{Counters, Switch},
    confine::writable_directories,
    disk::Disk,
    isolation::{Shortfall, minimum, of_process},
    slot::{Home, Slot},
    standing::{Guard, Sandbox},
    watch::{self, Watch},
};

/// How long a container may take until its guest connects; the engine's own start is in it.
const CONNECT: Duration = Duration::from_secs(60);
/// First of the user ids given to sandboxes by a root orchestrator. Systemd's table of well-known
/// ids leaves 0x70000000 to 0x7FFFFFFF unused.
const FIRST_UID: u32 = 0x7000_0000;

/// Why a sandbox did not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The link failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The gateway could not be set up.
    #[error(transparent)]
    Gateway(#[from] StartError),
    /// What is enforced is too little.
    #[error(transparent)]
    Isolation(#[from] Shortfall),
    /// The slot's files could not be written.
    #[error("the sandbox's files could not be written: {0}")]
    Slot(#[source] io::Error),
    /// Somebody else connected to the link's socket.
    #[error(
        "a process that is not the sandbox's own connected to its link; look for it on this host, then try again"
    )]
    Stranger,
    /// The agent's private repository could not be made.
    #[error(
        "the agent's repository could not be made: `{command}` ended with exit code {code}; does the image hold git?"
    )]
    NoRepository {
        /// What ran.
        command: String,
        /// How it ended.
        code: i32,
    },
    /// A program passed a cap, and everything in the sandbox was ended.
    #[error("{0}")]
    Overrun(Overrun),
    /// The container ended before its guest connected.
    #[error(
        "the container ended before it was ready (exit code {code}): {reason}; `loki doctor` checks the engine"
    )]
    Died {
        /// Its exit code.
        code: i64,
        /// What the engine says, or the link.
        reason: String,
    },
}

/// Who a sandbox is for.
#[derive(Debug, Clone)]
pub struct Occupant {
    /// Its name, unique on this engine: part of the container's name.
    pub name: String,
    /// What it may do.
    pub rights: Rights,
    /// Labels of the container.
    pub labels: Labels,
    /// Files put into its home.
    pub home: Vec<Home>,
    /// The image, by digest.
    pub image: String,
}

/// Everything that starting sandboxes needs, shared by all of an orchestrator.
#[derive(Clone)]
pub struct Launcher {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// Where the guest program is unpacked.
    pub cache: PathBuf,
    /// The threads that serve egress.
    pub threads: Arc<Threads>,
    /// How names are resolved on the host.
    pub resolver: Arc<dyn Resolve>,
}

impl Launcher {
    /// Returns the user that the next sandbox's agent runs as: one of its own where the
    /// orchestrator is root, else the caller's.
    #[must_use]
    pub fn user(&self) -> (u32, u32) {
        if !rustix::process::geteuid().is_root() {
            return (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            );
        }
        let mut bytes = [0; 4];
        // A failing random source would only make two ids equal; entropy is never missing on Linux
        // once it has booted.
        getrandom::fill(&mut bytes).ok();
        let own = FIRST_UID + u32::from_le_bytes(bytes) % 0x0FFF_FFFE;
        (own, own)
    }

    /// Starts a sandbox in a slot whose worktree was put there before.
    ///
    /// # Errors
    /// Anything that keeps the sandbox from standing as designed. Nothing is left behind then but
    /// the slot.
    pub async fn launch(
        &self,
        occupant: &Occupant,
        slot: &Slot,
        user: (u32, u32),
        record: Arc<dyn Fn(Record) + Send + Sync>,
    ) -> Result<Sandbox, SandboxError> {
        slot.furnish(
            user,
            &occupant.home,
            &writable_directories(&occupant.rights),
        )
        .map_err(SandboxError::Slot)?;
        let listener = Listener::bind(&slot.link())?;
        let place = self.place(occupant, user)?;
        let spec = blueprint(
            &occupant.name,
            &occupant.rights,
            slot,
            &place,
            &occupant.labels,
        );
        let container = self.engine.create(&spec).await?;
        let guard = Guard::new(&self.engine, container.clone());
        let (link, disk) = self
            .start_measured(&container, listener, slot, occupant)
            .await?;
        let guest = guest_process(&link)?;
        self.is_guest(&container, &link).await?;
        let mut isolation = self.isolation(&link)?;
        minimum(&isolation)?;
        let pid = guest_pid(&link)?;
        let (counters, switch) = (Counters::of_process(pid), Switch::of_process(pid));
        isolation.unwatched = counters.unwatched();
        let gateway = self.gateway(&occupant.rights, &link, record).await?;
        let rights = occupant.rights.clone();
        Ok(Sandbox {
            container,
            isolation,
            rights,
            link,
            guest,
            switch,
            watch: Watch::new(counters, disk),
            gateway: Some(gateway),
            guard,
        })
    }

    fn place(&self, occupant: &Occupant, user: (u32, u32)) -> Result<Place, SandboxError> {
        let guest = guest_binary(&self.cache)?;
        Ok(Place {
            image: occupant.image.clone(),
            user,
            keep_id: self.engine.report().rootless,
            guest,
        })
    }

    /// Measures the files that the sandbox is given while its container starts: nothing else runs
    /// in it yet.
    async fn start_measured(
        &self,
        container: &ContainerId,
        listener: Listener,
        slot: &Slot,
        occupant: &Occupant,
    ) -> Result<(Link, Disk), SandboxError> {
        let roots = [slot.work(), slot.home()];
        let given = watch::given(roots, occupant.rights.resources.disk);
        let measured = async { given.await.map_err(SandboxError::Slot) };
        futures_util::future::try_join(self.start(container, listener), measured).await
    }

    /// Starts the container and accepts its guest, whichever comes first: the guest usually
    /// connects before the engine's answer.
    async fn start(
        &self,
        container: &ContainerId,
        listener: Listener,
    ) -> Result<Link, SandboxError> {
        let started = async {
            self.engine
                .start(container)
                .await
                .map_err(SandboxError::from)
        };
        let accepted = async { listener.accept(CONNECT).await.map_err(SandboxError::from) };
        let ended = self.ended(container);
        tokio::select! {
            both = futures_util::future::try_join(started, accepted) => Ok(both?.1),
            died = ended => Err(died),
        }
    }

    /// Makes sure that whoever connected is the container's first process, and no other of this
    /// host that could reach the socket.
    async fn is_guest(&self, container: &ContainerId, link: &Link) -> Result<(), SandboxError> {
        let state = self.engine.inspect(container).await?;
        let guest = link
            .hello()
            .guest_pid
            .and_then(|pid| u32::try_from(pid).ok());
        if state.pid.is_some() && state.pid == guest {
            Ok(())
        } else {
            Err(SandboxError::Stranger)
        }
    }

    /// Resolves when the container has ended; looks four times a second, only during a start.
    async fn ended(&self, container: &ContainerId) -> SandboxError {
        loop {
            tokio::time::sleep(Duration::from_millis(250)).await;
            match self.engine.inspect(container).await {
                Ok(state)
                    if !state.running && state.exit_code.is_some() && state.status != "created" =>
                {
                    return SandboxError::Died {
                        code: state.exit_code.unwrap_or(-1),
                        reason: state.error,
                    };
                }
                Ok(_) => {}
                Err(cause) => return cause.into(),
            }
        }
    }

    fn isolation(&self, link: &Link) -> Result<Isolation, SandboxError> {
        let mut found = of_process(guest_pid(link)?).map_err(SandboxError::Slot)?;
        found.landlock_abi = link.hello().landlock_abi;
        let report = self.engine.report();
        found.cgroup_limits = report.limits;
        found.runtime = format!("{} {}", report.runtime, report.runtime_version)
            .trim_end()
            .to_owned();
        Ok(found)
    }

    async fn gateway(
        &self,
        rights: &Rights,
        link: &Link,
        record: Arc<dyn Fn(Record) + Send + Sync>,
    ) -> Result<Gateway, SandboxError> {
        let dns = link.dns().await?;
        let (udp, tcp) = dns;
        let config = Config {
            egress: rights.egress.clone(),
            role: rights.role.clone(),
            dns: DnsSockets { udp, tcp },
            doors: Arc::new(LinkDoors(link.clone())),
            record,
            resolver: Arc::clone(&self.resolver),
            limits: Limits::default(),
        };
        Ok(Gateway::start(config, &self.threads)?)
    }
}

fn guest_pid(link: &Link) -> Result<u32, Shortfall> {
    let pid = link.hello().guest_pid;
    pid.and_then(|pid| u32::try_from(pid).ok())
        .ok_or(Shortfall::UNSEEN)
}

/// Takes hold of the guest's process, whatever its number is given to later.
fn guest_process(link: &Link) -> Result<Arc<OwnedFd>, SandboxError> {
    let pid = link.hello().guest_pid.and_then(Pid::from_raw);
    let opened = pidfd_open(pid.ok_or(Shortfall::UNSEEN)?, PidfdFlags::empty());
    let opened = opened.map_err(|cause| SandboxError::Slot(cause.into()))?;
    Ok(Arc::new(opened))
}

/// Opens the gateway's listeners inside the sandbox, through the link.
struct LinkDoors(Link);

impl Doors for LinkDoors {
    fn open(&self, at: SocketAddr) -> BoxFuture<'static, io::Result<std::net::TcpListener>> {
        let link = self.0.clone();
        Box::pin(async move { link.listen(at).await.map_err(io::Error::other) })
    }
}
