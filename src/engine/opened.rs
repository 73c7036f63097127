//! The one container that is no sandbox: what an attack must succeed in, so that its failing in a
//! sandbox shows something. Root with capabilities, without a filter, with a writable root.
//!
//! A type of its own, so that no sandbox becomes one by a wrong field. It still refuses what would
//! concern the host: it has no mount, no device and no network but its own `lo`, it is limited in
//! memory, processes and time, and it carries the label by which leftovers are swept.

use std::collections::BTreeMap;

use bollard::{
    container::LogOutput,
    exec::{CreateExecOptions, StartExecOptions, StartExecResults},
    models::{ContainerCreateBody, HostConfig, ResourcesUlimits},
    query_parameters::CreateContainerOptions,
};
use futures_util::StreamExt;

use super::{
    ContainerId, ContainerState, Engine, EngineError,
    body::{Dialect, shared},
    call::{ASK, CHANGE, absent, within},
    client::Client,
};

/// Bytes of memory, swap included.
const MEMORY: i64 = 256 << 20;
/// Processes and threads.
const PROCESSES: i64 = 128;
/// How long the container lives if nobody removes it, in seconds.
const LIFE: &str = "180";
/// Bytes of output that are kept of one program.
const OUTPUT: usize = 256 << 10;
/// What a control needs. Not `privileged`: on a host that lacks a capability itself, Docker fails to
/// grant all.
const CAPABILITIES: [&str; 16] = [
    "AUDIT_CONTROL",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETUID",
    "SYS_ADMIN",
    "SYS_CHROOT",
    "SYS_PTRACE",
];

/// A container that is open on purpose. All that can be chosen is its image and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    name: String,
    image: String,
    labels: BTreeMap<String, String>,
}

impl Opened {
    /// The label `loki.run` of every such container.
    pub const RUN: &'static str = "attest-control";

    /// Describes one. The image is given by id or digest, `repository` and `owner` as for sandboxes.
    #[must_use]
    pub fn new(image: &str, repository: &str, owner: &str) -> Self {
        let labels = [
            ("loki.run", Self::RUN),
            ("loki.task", "control"),
            ("loki.role", "none"),
            ("loki.repository", repository),
            ("loki.owner", owner),
        ];
        Self {
            name: format!("loki-{}-{owner}", Self::RUN),
            image: image.to_owned(),
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        }
    }
}

/// An opened container that runs. Only the engine makes one, so that no program is ever run as
/// root in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedContainer(ContainerId);

impl OpenedContainer {
    /// Returns the container, to be removed.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.0
    }
}

/// What a program in an opened container said and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Its output, cut at 256 KiB.
    pub stdout: String,
    /// Its complaints, cut likewise.
    pub stderr: String,
    /// Its exit code, none when the engine does not know.
    pub code: Option<i64>,
}

impl Client {
    pub(super) async fn open_checked(
        &self,
        opened: &Opened,
    ) -> Result<OpenedContainer, EngineError> {
        let options = CreateContainerOptions {
            name: Some(opened.name.clone()),
            ..CreateContainerOptions::default()
        };
        let call = format!("create the container `{}`", opened.name);
        let create = self
            .docker
            .create_container(Some(options), body(opened, &self.dialect));
        let created = within(&call, CHANGE, create).await;
        let id = ContainerId(absent(created, "image", &opened.image)?.id);
        match self.start_checked(&id).await {
            Ok(()) => Ok(OpenedContainer(id)),
            Err(fault) => {
                self.remove(&id).await?;
                Err(fault)
            }
        }
    }

    async fn start_checked(&self, id: &ContainerId) -> Result<(), EngineError> {
        let faults = faults(&self.inspect(id).await?, &self.dialect);
        if !faults.is_empty() {
            return Err(EngineError::Mismatch { faults });
        }
        self.start(id).await
    }

    pub(super) async fn run_in(
        &self,
        container: &OpenedContainer,
        argv: &[String],
    ) -> Result<Said, EngineError> {
        let id = container.id();
        let call = format!("run a program in the container `{id}`");
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(argv.to_vec()),
            user: Some("0:0".to_owned()),
            ..CreateExecOptions::default()
        };
        let created = within(&call, ASK, self.docker.create_exec(id.as_str(), options)).await;
        let exec = absent(created, "container", id.as_str())?.id;
        let start = self.docker.start_exec(&exec, None::<StartExecOptions>);
        let mut said = Said::default();
        if let StartExecResults::Attached { output, .. } = within(&call, ASK, start).await? {
            let read = async {
                said = collect(output).await?;
                Ok(())
            };
            within(&call, CHANGE, read).await?;
        }
        said.code = within(&call, ASK, self.docker.inspect_exec(&exec))
            .await?
            .exit_code;
        Ok(said)
    }
}

async fn collect(
    mut output: impl futures_util::Stream<Item = Result<LogOutput, bollard::errors::Error>> + Unpin,
) -> Result<Said, bollard::errors::Error> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(piece) = output.next().await {
        let (to, message) = match piece? {
            LogOutput::StdErr { message } => (&mut stderr, message),
            LogOutput::StdOut { message } | LogOutput::Console { message } => {
                (&mut stdout, message)
            }
            LogOutput::StdIn { .. } => continue,
        };
        to.extend(message.iter().take(OUTPUT.saturating_sub(to.len())));
    }
    Ok(Said {
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        code: None,
    })
}

fn body(opened: &Opened, dialect: &Dialect) -> ContainerCreateBody {
    ContainerCreateBody {
        hostname: Some("opened".to_owned()),
        user: Some("0:0".to_owned()),
        cmd: Some(Vec::new()),
        image: Some(opened.image.clone()),
        // The first process is none of the programs, as it is none of the agent's in a sandbox. It
        // holds what S1 looks for, and ends by itself if this program is killed.
        entrypoint: Some(vec!["sleep".to_owned(), LIFE.to_owned()]),
        env: Some(vec!["CANARY_KEY=canary-in-the-environment".to_owned()]),
        labels: Some(opened.labels.clone().into_iter().collect()),
        host_config: Some(host_config(dialect)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(dialect: &Dialect) -> HostConfig {
    let limit = |value| dialect.limits.then_some(value);
    HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(CAPABILITIES.map(str::to_owned).into()),
        security_opt: Some(security_options(dialect)),
        // Empty, not absent: nothing of /proc and /sys is hidden.
        masked_paths: (!dialect.podman).then(Vec::new),
        readonly_paths: (!dialect.podman).then(Vec::new),
        readonly_rootfs: Some(false),
        memory: limit(MEMORY),
        memory_swap: limit(MEMORY),
        pids_limit: limit(PROCESSES),
        nano_cpus: limit(1_000_000_000),
        ulimits: Some(ulimits(dialect)),
        ..shared()
    }
}

fn security_options(dialect: &Dialect) -> Vec<String> {
    let mut options = vec!["seccomp=unconfined", "apparmor=unconfined"];
    if dialect.podman {
        options.push("unmask=ALL");
    }
    if dialect.selinux {
        options.push("label=disable");
    }
    options.into_iter().map(str::to_owned).collect()
}

fn ulimits(dialect: &Dialect) -> Vec<ResourcesUlimits> {
    let ulimit = |name: &str, value| ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(value),
        hard: Some(value),
    };
    let mut all = vec![ulimit("core", 0), ulimit("nofile", 1024)];
    if let (true, Some(nproc)) = (dialect.podman, dialect.nproc) {
        all.push(ulimit("nproc", i64::try_from(nproc).unwrap_or(i64::MAX)));
    }
    all
}

/// What must hold of an opened container too; each difference is one sentence.
fn faults(found: &ContainerState, dialect: &Dialect) -> Vec<String> {
    let mut faults = Vec::new();
    if found.network_mode != "none" {
        faults.push(format!(
            "network is `{}` instead of `none`",
            found.network_mode
        ));
    }
    let limited =
        i64::try_from(found.memory) == Ok(MEMORY) && i64::try_from(found.pids) == Ok(PROCESSES);
    if dialect.limits && !limited {
        faults.push("memory and processes are not limited".to_owned());
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn docker() -> Dialect {
        Dialect {
            podman: false,
            selinux: false,
            limits: true,
            runtime: "runc".to_owned(),
            nproc: Some(100),
        }
    }

    fn podman() -> Dialect {
        Dialect {
            podman: true,
            ..docker()
        }
    }

    #[test]
    fn an_opened_container_has_no_network_no_mount_and_limits_on_every_engine() {
        let opened = Opened::new("sha256:0", "r", "1-2");
        for dialect in [docker(), podman()] {
            let body = body(&opened, &dialect);
            assert_eq!(body.labels.unwrap()["loki.run"], "attest-control");
            let host = body.host_config.unwrap();
            assert_eq!(host.network_mode.as_deref(), Some("none"));
            assert_eq!(host.privileged, Some(false));
            assert_eq!((host.mounts, host.binds, host.devices), (None, None, None));
            assert_eq!((host.pid_mode, host.extra_hosts), (None, None));
            assert_eq!(host.memory, Some(MEMORY));
            assert_eq!(host.memory_swap, Some(MEMORY));
            assert_eq!(host.pids_limit, Some(PROCESSES));
        }
    }

    #[test]
    fn one_with_a_network_or_without_limits_is_not_started() {
        let held = ContainerState {
            network_mode: "none".to_owned(),
            memory: 256 << 20,
            pids: 128,
            ..ContainerState::default()
        };
        assert_eq!(faults(&held, &docker()), Vec::<String>::new());
        let bridged = ContainerState {
            network_mode: "bridge".to_owned(),
            ..held.clone()
        };
        assert_eq!(faults(&bridged, &docker()).len(), 1);
        let unlimited = ContainerState { memory: 0, ..held };
        assert_eq!(faults(&unlimited, &podman()).len(), 1);
    }
}
