//! A sandbox that stands: runs programs in it, watches its caps, and ends it.

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use loki_guest::Confinement;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Signal, pidfd_send_signal},
};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::{
    egress::Gateway,
    engine::{ContainerId, Engine, EngineError},
    event::{Held, Isolation, Load, Overrun, Usage, millis},
    git,
    link::{Ended, Link, LinkError, Meter, Process, Size, Terminal, meter_filter},
    policy::{Program, Rights},
};

use super::{
    cgroup::Switch,
    confine::{Grant, confinement},
    fault::SandboxError,
    held::limits,
    meter, trust,
    watch::{Spoken, Watch, out_of_memory},
};

/// How long the dead are waited for: a process in the kernel's hands may take its time.
const DEATH: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};
/// How long an engine may take to notice that a container has ended.
const NOTICE: Duration = Duration::from_secs(2);

/// What every program finds in its environment, besides `LOKI_ROLE`.
const ENVIRONMENT: [(&str, &str); 6] = [
    (
        "PATH",
        "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
    ),
    ("HOME", "/home/agent"),
    ("USER", "agent"),
    ("LOGNAME", "agent"),
    ("LANG", "C.UTF-8"),
    ("TMPDIR", "/tmp"),
];

/// Returns whether Loki alone sets this variable inside a sandbox, or it tells the loader what else
/// to load.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    let set = ENVIRONMENT.into_iter().chain(trust::environment());
    set.map(|(each, _)| each).any(|each| each == name)
        || name.starts_with("LOKI_")
        || name.starts_with("LD_")
}

/// A standing sandbox. Dropping it ends everything in it at once; [`Sandbox::end`] also waits
/// until the engine has removed the container.
pub struct Sandbox {
    pub(super) container: ContainerId,
    pub(super) isolation: Isolation,
    pub(super) rights: Arc<Rights>,
    pub(super) landlock: u32,
    pub(super) link: Link,
    /// The first process, whose end is the end of all.
    pub(super) guest: Arc<OwnedFd>,
    pub(super) switch: Switch,
    pub(super) watch: Watch,
    pub(super) gateway: Option<Gateway>,
    pub(super) meter: Option<Meter>,
    pub(super) guard: Guard,
    /// Secrets that the role's programs find in their environment.
    pub(super) variables: Vec<(String, Zeroizing<String>)>,
    pub(super) repository: Repository,
}

/// How far the agent's private repository was made ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repository {
    /// There is none yet.
    None,
    /// It holds what stands in the worktree.
    Made,
    /// The worktree has changed since.
    Outdated,
}

impl Sandbox {
    /// The container's id.
    #[must_use]
    pub fn container(&self) -> &str {
        self.container.as_str()
    }

    /// What is enforced.
    #[must_use]
    pub fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    /// Runs a program with the role's rights and nothing else.
    ///
    /// # Errors
    /// When the program cannot be run, or cannot be confined, or the link is lost.
    pub async fn exec(
        &self,
        argv: &[String],
        env: &[(String, String)],
        grant: &Grant,
    ) -> Result<Process, SandboxError> {
        let held = self.metered(self.held(&self.rights, grant));
        let mut process = self.run(argv, &self.with_secrets(env), held).await?;
        self.count_writes(process.meter.take())?;
        Ok(process)
    }

    /// Runs a program like [`Sandbox::exec`], on a terminal of its own.
    ///
    /// # Errors
    /// Those of [`Sandbox::exec`].
    pub async fn exec_on_terminal(
        &self,
        argv: &[String],
        env: &[(String, String)],
        size: Size,
    ) -> Result<(Terminal, Ended), SandboxError> {
        let held = self.metered(self.held(&self.rights, &Grant::default()));
        let link = &self.link;
        let started = link.exec_on_terminal(
            argv.to_vec(),
            self.environment(&self.with_secrets(env)),
            held,
            size,
        );
        let (mut terminal, ended) = started.await?;
        self.count_writes(terminal.meter.take())?;
        Ok((terminal, ended))
    }

    fn metered(&self, held: Confinement) -> Confinement {
        Confinement {
            meter: self.meter.as_ref().map(|_| meter_filter()),
            ..held
        }
    }

    /// Has the meter serve what a program's filter notifies.
    fn count_writes(&self, listener: Option<OwnedFd>) -> Result<(), LinkError> {
        match self.meter.as_ref().zip(listener) {
            Some((meter, listener)) => meter.watch(listener),
            None => Ok(()),
        }
    }

    /// What was used since the start, writes of our own not counted.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let writes = self.meter.as_ref().map(Meter::writes).unwrap_or_default();
        let network = self.gateway.as_ref().map(Gateway::usage);
        let processor = self.watch.processor().unwrap_or_default();
        Usage {
            cpu_ms: millis(processor),
            ..meter::usage(writes, network.unwrap_or_default())
        }
    }

    /// What is held now: memory, processes, disk.
    #[must_use]
    pub fn load(&self) -> Load {
        self.watch.load()
    }

    /// Makes the agent's private repository on `/work/.git`: one commit of what it was given. Where
    /// one was made ahead, it is emptied and made anew, if anything else stands there now.
    /// Runs inside, with the rights to run git and nothing more.
    ///
    /// # Errors
    /// Those of [`Sandbox::exec`].
    pub async fn make_repository(&self, commands: &[Vec<&str>]) -> Result<(), SandboxError> {
        let anew = git::private_repository_anew();
        let commands = match self.repository {
            Repository::Made => return Ok(()),
            Repository::Outdated => anew.as_slice(),
            Repository::None => commands,
        };
        let here = (self.landlock, &self.isolation.held);
        repository_commands(&self.link, here, &self.rights, commands).await
    }

    /// Adds the secrets of the role to a program's variables.
    fn with_secrets(&self, env: &[(String, String)]) -> Vec<(String, String)> {
        let secrets = self.variables.iter();
        let secrets = secrets.map(|(name, value)| (name.clone(), value.as_str().to_owned()));
        secrets.chain(env.iter().cloned()).collect()
    }

    pub(super) async fn run(
        &self,
        argv: &[String],
        env: &[(String, String)],
        held: Confinement,
    ) -> Result<Process, SandboxError> {
        let (argv, env) = (argv.to_vec(), self.environment(env));
        Ok(self.link.exec(argv, env, "/work", held).await?)
    }

    /// Returns what the kernel holds programs with these rights to, here.
    pub(super) fn held(&self, rights: &Rights, grant: &Grant) -> Confinement {
        here((self.landlock, &self.isolation.held), rights, grant)
    }

    fn environment(&self, env: &[(String, String)]) -> Vec<(String, String)> {
        environment(&self.rights, env)
    }

    /// Resolves when the link is lost: the container was killed, or ran out of memory as a whole.
    pub async fn lost(&self) {
        self.link.lost().await;
    }

    /// Resolves once a program that runs here passes a cap; `spoken` is what it said. Time and
    /// idleness count from this call. The cap on the log is not looked at: whoever keeps one does.
    pub async fn overrun(&self, spoken: &Spoken) -> Overrun {
        let watched = self.watch.overrun(&self.rights.resources, spoken);
        match &self.gateway {
            Some(gateway) => tokio::select! {
                over = watched => over,
                over = gateway.overrun() => over,
            },
            None => watched.await,
        }
    }

    /// Looks once more after a program ended, or the link was lost, and returns the cap that was
    /// passed by then.
    pub async fn overrun_at_end(&self) -> Option<Overrun> {
        let caps = &self.rights.resources;
        match self.watch.at_end(caps).await {
            None if self.link.is_lost() => {
                let killed = timeout(NOTICE, self.ran_out_of_memory()).await;
                (killed == Ok(true)).then(|| out_of_memory(caps, None))
            }
            seen => seen,
        }
    }

    /// Asks the engine whether the whole container ran out of memory, once it has noticed.
    async fn ran_out_of_memory(&self) -> bool {
        loop {
            match self.guard.engine.inspect(&self.container).await {
                Ok(state) if state.running => sleep(Duration::from_millis(50)).await,
                Ok(state) => return state.oom_killed,
                Err(_) => return false,
            }
        }
    }

    /// Kills every process of the sandbox, and returns once the last is dead: as a rule within
    /// 100 ms. The container is still to be removed by [`Sandbox::end`].
    pub async fn kill(&self) {
        self.strike();
        let guest = Arc::clone(&self.guest);
        // The kernel ends the first process after all others.
        let wait = move || poll(&mut [PollFd::new(&*guest, PollFlags::IN)], Some(&DEATH)).ok();
        // Fails only when the runtime ends, and everything with it.
        tokio::task::spawn_blocking(wait).await.ok();
    }

    /// Does at once what kills everything inside, in every way there is, and does not wait.
    fn strike(&self) {
        // A write that is held can be killed, but where an engine freezes first, not frozen.
        if let Some(meter) = &self.meter {
            meter.release();
        }
        self.link.sever();
        self.switch.throw();
        // Refused where it is dead already, or another user's: then the guest must do.
        pidfd_send_signal(&*self.guest, Signal::KILL).ok();
    }

    /// Ends everything in the sandbox and removes the container.
    ///
    /// # Errors
    /// The engine's; the guest has ended everything inside even then.
    pub async fn end(mut self) -> Result<(), SandboxError> {
        self.strike();
        if let Some(gateway) = self.gateway.take() {
            gateway.close().await;
        }
        self.guard.end().await?;
        Ok(())
    }
}

/// What the kernel holds programs with these rights to, on a sandbox of this Landlock and these
/// limits.
fn here((landlock, held): (u32, &Held), rights: &Rights, grant: &Grant) -> Confinement {
    let mut confinement = confinement(rights, grant);
    confinement.landlock = landlock;
    confinement.limits.extend(limits(held));
    confinement
}

/// Returns the whole environment of a program: nothing of this machine's is in it.
fn environment(rights: &Rights, env: &[(String, String)]) -> Vec<(String, String)> {
    let role = ("LOKI_ROLE", rights.role.as_str());
    let own = ENVIRONMENT
        .iter()
        .copied()
        .chain(trust::environment())
        .chain([role]);
    own.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .chain(env.iter().cloned())
        .collect()
}

/// Runs programs that make the private repository, with the rights to run git and nothing more.
pub(super) async fn repository_commands(
    link: &Link,
    held: (u32, &Held),
    rights: &Rights,
    commands: &[Vec<&str>],
) -> Result<(), SandboxError> {
    let rights = Rights {
        programs: vec![Program::Image("git".to_owned())],
        deliveries: Vec::new(),
        ..rights.clone()
    };
    for argv in commands {
        let argv: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
        let confined = here(held, &rights, &Grant::default());
        let (env, said) = (environment(&rights, &[]), argv.join(" "));
        let mut process = link.exec(argv, env, "/work", confined).await?;
        drop(process.stdin.take());
        let code = process.wait().await?.code;
        if code != 0 {
            return Err(SandboxError::NoRepository {
                command: said,
                code,
            });
        }
    }
    Ok(())
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.strike();
    }
}

/// Removes the container when a launch fails half-way or a sandbox is dropped.
pub(super) struct Guard {
    engine: Arc<dyn Engine>,
    container: Option<ContainerId>,
}

impl Guard {
    /// Takes a container into its care.
    pub(super) fn new(engine: &Arc<dyn Engine>, container: ContainerId) -> Self {
        Self {
            engine: Arc::clone(engine),
            container: Some(container),
        }
    }

    /// The container.
    pub(super) fn container(&self) -> &ContainerId {
        self.container
            .as_ref()
            .expect("only `end` takes it, and with it the guard")
    }

    /// Removes the container and waits until the engine has done so.
    pub(super) async fn end(&mut self) -> Result<(), EngineError> {
        match self.container.take() {
            Some(container) => self.engine.remove(&container).await,
            None => Ok(()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(container) = self.container.take() else {
            return;
        };
        let engine = Arc::clone(&self.engine);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // A removal that fails here is found by label at the next start.
            drop(runtime.spawn(async move { engine.remove(&container).await.ok() }));
        }
    }
}
