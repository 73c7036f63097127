//! A sandbox that stands: runs programs in it, and ends it.

use std::sync::Arc;

use loki_guest::Confinement;

use crate::{
    egress::Gateway,
    engine::{ContainerId, Engine},
    event::Isolation,
    link::{Ended, Link, Process, Size, Terminal},
    policy::{Program, Rights},
};

use super::{
    confine::{Grant, confinement},
    launch::SandboxError,
};

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
    let set = ENVIRONMENT.iter().any(|(each, _)| *each == name);
    set || name.starts_with("LOKI_") || name.starts_with("LD_")
}

/// A standing sandbox. Dropping it ends everything in it at once; [`Sandbox::end`] also waits
/// until the engine has removed the container.
pub struct Sandbox {
    pub(super) container: ContainerId,
    pub(super) isolation: Isolation,
    pub(super) rights: Rights,
    pub(super) link: Link,
    pub(super) gateway: Option<Gateway>,
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
        self.run(argv, env, confinement(&self.rights, grant)).await
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
        let held = confinement(&self.rights, &Grant::default());
        let link = &self.link;
        let started = link.exec_on_terminal(argv.to_vec(), self.environment(env), held, size);
        Ok(started.await?)
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
        let (argv, env) = (argv.to_vec(), self.environment(env));
        Ok(self.link.exec(argv, env, "/work", held).await?)
    }

    /// Returns the whole environment of a program: nothing of this machine's is in it.
    fn environment(&self, env: &[(String, String)]) -> Vec<(String, String)> {
        let role = ("LOKI_ROLE", self.rights.role.as_str());
        let own = ENVIRONMENT.iter().copied().chain([role]);
        own.map(|(name, value)| (name.to_owned(), value.to_owned()))
            .chain(env.iter().cloned())
            .collect()
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
