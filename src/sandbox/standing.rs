//! A sandbox that stands: runs programs in it, and ends it.

use std::sync::Arc;

use loki_guest::Confinement;

use crate::{
    egress::Gateway,
    engine::{ContainerId, Engine},
    event::{Isolation, Usage},
    link::{Link, Meter, Process, meter_filter},
    policy::{Program, Rights},
};

use super::{
    confine::{Grant, confinement},
    launch::SandboxError,
    meter,
};

/// A standing sandbox. Dropping it ends everything in it at once; [`Sandbox::end`] also waits
/// until the engine has removed the container.
pub struct Sandbox {
    pub(super) container: ContainerId,
    pub(super) isolation: Isolation,
    pub(super) rights: Rights,
    pub(super) link: Link,
    pub(super) gateway: Option<Gateway>,
    pub(super) meter: Option<Meter>,
    pub(super) guard: Guard,
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
        let mut held = confinement(&self.rights, grant);
        held.meter = self.meter.as_ref().map(|_| meter_filter());
        let mut process = self.run(argv, env, held).await?;
        if let Some((meter, listener)) = self.meter.as_ref().zip(process.meter.take()) {
            meter.watch(listener)?;
        }
        Ok(process)
    }

    /// What was used since the start, writes of our own not counted.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let writes = self.meter.as_ref().map(Meter::writes).unwrap_or_default();
        let network = self.gateway.as_ref().map(Gateway::usage);
        meter::usage(writes, network.unwrap_or_default())
    }

    /// Makes the agent's private repository on `/work/.git`: one commit of what it was given.
    /// Runs inside, with the rights to run git and nothing more.
    ///
    /// # Errors
    /// Those of [`Sandbox::exec`].
    pub async fn make_repository(&self, commands: &[Vec<&str>]) -> Result<(), SandboxError> {
        let rights = Rights {
            programs: vec![Program::Image("git".to_owned())],
            ..self.rights.clone()
        };
        for argv in commands {
            let argv: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
            let mut process = self
                .run(&argv, &[], confinement(&rights, &Grant::default()))
                .await?;
            drop(process.stdin.take());
            let code = process.wait().await?.code;
            if code != 0 {
                return Err(SandboxError::NoRepository {
                    command: argv.join(" "),
                    code,
                });
            }
        }
        Ok(())
    }

    async fn run(
        &self,
        argv: &[String],
        env: &[(String, String)],
        held: Confinement,
    ) -> Result<Process, SandboxError> {
        let mut whole: Vec<(String, String)> = [
            (
                "PATH",
                "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
            ),
            ("HOME", "/home/agent"),
            ("USER", "agent"),
            ("LOGNAME", "agent"),
            ("LANG", "C.UTF-8"),
            ("TMPDIR", "/tmp"),
            ("LOKI_ROLE", self.rights.role.as_str()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        whole.extend(env.iter().cloned());
        Ok(self.link.exec(argv.to_vec(), whole, "/work", held).await?)
    }

    /// Resolves when the link is lost: the container was killed, or ran out of memory as a whole.
    pub async fn lost(&self) {
        self.link.lost().await;
    }

    /// Ends everything in the sandbox and removes the container.
    ///
    /// # Errors
    /// The engine's; the guest has ended everything inside even then.
    pub async fn end(mut self) -> Result<(), SandboxError> {
        // A write that is held can be killed, but where an engine freezes first, not frozen.
        if let Some(meter) = &self.meter {
            meter.release();
        }
        if let Some(gateway) = self.gateway.take() {
            gateway.close().await;
        }
        if let Some(container) = self.guard.container.take() {
            self.guard.engine.remove(&container).await?;
        }
        Ok(())
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
