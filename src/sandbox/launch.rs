//! Starts sandboxes: container, link, gateway, in that order, or nothing at all.

use std::{io, net::SocketAddr, os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use loki_guest::NEWEST_LANDLOCK;
use tokio::sync::{RwLock, oneshot};

use crate::{
    egress::{Config, DnsSockets, Doors, Gateway, Limits, Record, Resolve, SecretValues, Threads},
    engine::{ContainerId, ContainerSpec, Engine, EngineError, Mount},
    event::Isolation,
    link::{Link, Listener, guest_binary},
    policy::Rights,
    redact::{Redactor, Values},
};

use super::{
    blueprint::{Labels, Place, blueprint},
    cgroup::{Counters, Switch},
    confine::writable_directories,
    disk::Disk,
    fault::SandboxError,
    given, held,
    isolation::{Shortfall, landlock_lacks, limits_hold, minimum, of_process},
    meter,
    slot::{Home, Slot},
    standing::{Guard, Sandbox},
    sweep::end_own,
    trust,
    watch::{self, Watch},
};

/// How long a container may take until its guest connects; the engine's own start is in it.
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
    pub rights: Rights,
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
    /// Held for reading while a container is being created.
    creating: Arc<RwLock<()>>,
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
            creating: Arc::default(),
        }
    }

    /// Removes every container that this process made for a repository, those included that the
    /// engine was still making when their launch was given up. Returns once it lists none any more.
    ///
    /// # Errors
    /// The engine's, or that a container still stands after 20 s.
    pub async fn end_own(&self, repository: &str) -> Result<(), EngineError> {
        drop(self.creating.write().await);
        end_own(self.engine.as_ref(), repository).await
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
        slot.furnish(
            user,
            &occupant.home,
            &writable_directories(&occupant.rights),
        )
        .and_then(|()| trust::write(slot, &self.threads.trust()))
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
        let spec = given::add(spec, &occupant.given, (slot, user))?;
        let guard = self.create(spec).await?;
        let container = guard.container().clone();
        let (link, disk) = self
            .start_measured(&container, listener, slot, occupant)
            .await?;
        let guest = guest_process(&link)?;
        self.is_guest(&container, &link).await?;
        let pid = guest_pid(&link)?;
        let (counters, switch) = (Counters::of_process(pid), Switch::of_process(pid));
        let meter = meter::start(&occupant.rights, &link)?;
        let isolation = Isolation {
            unwatched: counters.unwatched(),
            write_meter: meter.is_some(),
            ..self.isolation(&link, &occupant.rights)?
        };
        minimum(&isolation, &occupant.rights.minimum)?;
        let gateway = self.gateway(&occupant.rights, &link, record).await?;
        let rights = occupant.rights.clone();
        let mut sandbox = Sandbox {
            container,
            isolation,
            rights,
            landlock: self.landlock,
            link,
            guest,
            switch,
            watch: Watch::new(counters, disk),
            gateway: Some(gateway),
            meter,
            guard,
            variables: Vec::new(),
        };
        sandbox.deliver(&self.kept).await?;
        Ok(sandbox)
    }

    async fn create(&self, spec: ContainerSpec) -> Result<Guard, SandboxError> {
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

    fn place(&self, occupant: &Occupant, user: (u32, u32)) -> Result<Place, SandboxError> {
        let guest = guest_binary(&self.cache)?;
        Ok(Place {
            image: occupant.image.clone(),
            user,
            keep_id: self.engine.report().rootless,
            guest,
            home_runs: occupant.home.iter().any(|file| file.executable),
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

    fn isolation(&self, link: &Link, rights: &Rights) -> Result<Isolation, SandboxError> {
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
