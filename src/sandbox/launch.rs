//! Starts sandboxes: container, link, gateway, in that order, or nothing at all. What of it needs
//! no role yet is [`Launcher::prepare`]; the rest is [`Launcher::bind`].

use std::{io, net::SocketAddr, os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use loki_guest::NEWEST_LANDLOCK;
use tokio::{
    sync::{Notify, RwLock, oneshot},
    time::Instant,
};

use crate::{
    egress::{Config, DnsSockets, Doors, Gateway, Limits, Record, Resolve, SecretValues, Threads},
    engine::{ContainerId, ContainerSpec, Engine, EngineError, Mount},
    event::Isolation,
    link::{Link, LinkError, Listener, guest_path},
    name::RunId,
    policy::Rights,
    redact::{Redactor, Values},
};

use super::{
    blueprint::{Labels, Place},
    fault::SandboxError,
    held,
    isolation::{Shortfall, landlock_lacks, limits_hold, of_process},
    pool::Crowd,
    slot::{Home, Slot},
    standing::{Guard, Sandbox},
    sweep::end_own,
};

/// How long a guest may take to connect once the engine has said that its container is started.
const CONNECT: Duration = Duration::from_secs(60);
/// First of the user ids given to sandboxes by a root orchestrator. Systemd's table of well-known
/// ids leaves 0x70000000 to 0x7FFFFFFF unused.
const FIRST_UID: u32 = 0x7000_0000;

/// Who a sandbox is for.
#[derive(Debug, Clone)]
pub struct Occupant {
    /// Its name, unique on this engine: part of the container's name.
    pub name: String,
    /// What it may do.
    pub rights: Arc<Rights>,
    /// Labels of the container.
    pub labels: Labels,
    /// Files put into its home.
    pub home: Vec<Home>,
    /// The image, by digest.
    pub image: String,
    /// What else is mounted, such as packages that were installed.
    pub given: Vec<Mount>,
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
    /// Gives the credentials that gateways add to requests; at first there is none.
    pub secrets: SecretValues,
    /// The newest Landlock ABI that sandboxes use, where the kernel has it. No policy sets it.
    pub landlock: u32,
    /// What secrets are delivered from.
    pub(super) kept: Arc<Values>,
    /// Keeps secret values out of what is said and kept of sandboxes.
    pub redactor: Redactor,
    /// What stands in this process, whoever started it.
    pub crowd: Crowd,
    /// Held for reading while a container is being created.
    creating: Arc<RwLock<()>>,
    /// When all its sandboxes are looked at together, and again in even steps: one waking for all.
    pub(super) beat: Instant,
}

impl Launcher {
    /// Joins what starting sandboxes needs; they use the newest Landlock there is.
    #[must_use]
    pub fn new(
        engine: Arc<dyn Engine>,
        cache: PathBuf,
        threads: Arc<Threads>,
        resolver: Arc<dyn Resolve>,
    ) -> Self {
        Self {
            engine,
            cache,
            threads,
            resolver,
            secrets: Arc::new(|_| None),
            landlock: NEWEST_LANDLOCK,
            kept: Arc::default(),
            redactor: Redactor::default(),
            crowd: Crowd::default(),
            creating: Arc::default(),
            beat: Instant::now(),
        }
    }

    /// Removes every container that this process made for a repository, those included that the
    /// engine was still making when their launch was given up. Returns once it lists none any more.
    ///
    /// # Errors
    /// The engine's, or that a container still stands after 20 s.
    pub async fn end_own(&self, repository: &str) -> Result<(), EngineError> {
        drop(self.creating.write().await);
        end_own(self.engine.as_ref(), (repository, None)).await
    }

    /// Does what [`Launcher::end_own`] does for the containers of one run alone.
    ///
    /// # Errors
    /// The engine's, or that a container still stands after 20 s.
    pub async fn end_run(&self, repository: &str, run: &RunId) -> Result<(), EngineError> {
        drop(self.creating.write().await);
        end_own(self.engine.as_ref(), (repository, Some(run))).await
    }

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
        let prepared = self.prepare(occupant, slot, user).await?;
        self.bind(prepared, occupant, record).await
    }

    pub(super) async fn create(&self, spec: ContainerSpec) -> Result<Guard, SandboxError> {
        let engine = Arc::clone(&self.engine);
        let made = async move {
            let made = engine.create(&spec).await;
            made.map(|container| Guard::new(&engine, container))
        };
        Ok(self.see_through(made).await??)
    }

    /// Makes a container in a task of its own, which [`Launcher::end_own`] waits for: of a request
    /// that its caller gives up half-way nobody would hear whether the engine fulfilled it.
    ///
    /// # Errors
    /// When the program is ending.
    pub async fn see_through<T: Send + 'static>(
        &self,
        making: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, SandboxError> {
        let creating = Arc::clone(&self.creating).read_owned().await;
        let (tell, told) = oneshot::channel();
        drop(tokio::runtime::Handle::current().spawn(async move {
            // What nobody waits for any more is dropped: a guard removes its container then.
            tell.send(making.await).ok();
            drop(creating);
        }));
        // Only a runtime that is being torn down drops the task.
        let gone = |_| SandboxError::Slot(io::Error::other("the program is ending"));
        told.await.map_err(gone)
    }

    /// Returns what of this machine the container of an occupant depends on.
    pub(super) fn place(&self, occupant: &Occupant, user: (u32, u32)) -> Place {
        Place {
            image: occupant.image.clone(),
            user,
            keep_id: self.engine.report().rootless,
            guest: guest_path(&self.cache),
            home_runs: occupant.home.iter().any(|file| file.executable),
        }
    }

    /// Starts the container and accepts its guest, whichever comes first: the guest usually
    /// connects before the engine's answer.
    pub(super) async fn start(
        &self,
        container: &ContainerId,
        listener: Listener,
    ) -> Result<Link, SandboxError> {
        let answered = Notify::new();
        let started = async {
            let started = self.engine.start(container).await;
            answered.notify_one();
            started.map_err(SandboxError::from)
        };
        // The engine may have others to start first.
        let accepted = async {
            let accepted = listener.accept(Duration::MAX).await;
            accepted.map_err(SandboxError::from)
        };
        let ended = async {
            answered.notified().await;
            let ended = tokio::time::timeout(CONNECT, self.ended(container)).await;
            ended.unwrap_or_else(|_late| LinkError::Timeout(CONNECT).into())
        };
        tokio::select! {
            both = futures_util::future::try_join(started, accepted) => Ok(both?.1),
            died = ended => Err(died),
        }
    }

    /// Resolves when the container has ended; looks four times a second, only while its guest is
    /// waited for although it has started.
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

    pub(super) fn isolation(
        &self,
        link: &Link,
        rights: &Rights,
    ) -> Result<Isolation, SandboxError> {
        let hello = link.hello();
        let pid = guest_pid(link)?;
        let report = self.engine.report();
        let landlock_abi = hello.landlock_abi.min(self.landlock).min(NEWEST_LANDLOCK);
        let asked = held::asked(rights);
        let held = match held::in_cgroups(pid) {
            Some(held) if report.limits => held,
            None if report.limits => held::believed(asked),
            _ => held::in_namespace(pid, asked.1),
        };
        Ok(Isolation {
            landlock_abi,
            landlock_lacks: landlock_lacks(landlock_abi),
            cgroup_limits: limits_hold(&held, asked),
            held,
            runtime: words(&report.runtime, &report.runtime_version),
            engine: words(report.name, &report.version),
            components: report.components.clone(),
            rootless: report.rootless,
            cgroup: report.cgroup.to_string(),
            selinux_label_off: report.selinux,
            ..of_process(pid).map_err(SandboxError::Slot)?
        })
    }

    pub(super) fn gateway(
        &self,
        rights: &Rights,
        (link, dns): (&Link, DnsSockets),
        record: Arc<dyn Fn(Record) + Send + Sync>,
    ) -> Result<Gateway, SandboxError> {
        let config = Config {
            egress: rights.egress.clone(),
            role: rights.role.clone(),
            dns,
            doors: Arc::new(LinkDoors(link.clone())),
            record,
            resolver: Arc::clone(&self.resolver),
            rates: rights.rates.clone(),
            limits: Limits::within(files()),
            secrets: Arc::clone(&self.secrets),
        };
        Ok(Gateway::start(config, &self.threads)?)
    }
}

/// Returns how many files this process may open.
fn files() -> u64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.unwrap_or(u64::MAX)
}

fn words(name: &str, version: &str) -> String {
    format!("{name} {version}").trim_end().to_owned()
}

pub(super) fn guest_pid(link: &Link) -> Result<u32, Shortfall> {
    let pid = link.hello().guest_pid;
    pid.and_then(|pid| u32::try_from(pid).ok())
        .ok_or(Shortfall::UNSEEN)
}

/// Takes hold of the guest's process, whatever its number is given to later.
pub(super) fn guest_process(link: &Link) -> Result<Arc<OwnedFd>, SandboxError> {
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
