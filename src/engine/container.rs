//! What a container is asked to be, and what the engine says it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

/// The engine's own id of a container.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct ContainerId(pub String);

impl ContainerId {
    /// Returns the id as the engine wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A directory or file of the host, seen in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The path on the host; it must exist.
    pub source: PathBuf,
    /// The absolute path in the container.
    pub target: String,
    /// Whether the container may only read it.
    pub read_only: bool,
}

/// A file system in memory. It counts towards the container's memory limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// The absolute path in the container.
    pub target: String,
    /// The size in bytes.
    pub size: u64,
    /// The most files it may hold, where the engine can say so (see `EngineReport::tmpfs_inodes`).
    pub inodes: u64,
    /// The permission bits of its root.
    pub mode: u32,
    /// Whether programs on it may run.
    pub exec: bool,
}

/// Everything that a sandbox's container is asked to be, apart from what holds for every one:
/// no network, read-only root, no capabilities, no new privileges, namespaces of its own, no log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerSpec {
    /// The container's name.
    pub name: String,
    /// The image, by id (`sha256:…`) or by digest.
    pub image: String,
    /// The user and group ids of the first process; never 0.
    pub user: (u32, u32),
    /// Rootless Podman: the ids are the same inside as outside.
    pub keep_id: bool,
    /// The program and its arguments; the image's own entry point is not used.
    pub entrypoint: Vec<String>,
    /// Environment variables of the first process.
    pub env: BTreeMap<String, String>,
    /// Labels, by which leftovers are found.
    pub labels: BTreeMap<String, String>,
    /// Bind mounts.
    pub mounts: Vec<Mount>,
    /// Targets of bind mounts from which no program may run, where the engine can say so: Podman
    /// can, Docker's API has no word for it.
    pub noexec: BTreeSet<String>,
    /// File systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// The memory limit in bytes, swap included.
    pub memory: u64,
    /// The most processes and threads.
    pub pids: u32,
    /// The processor share, in processors.
    pub cpus: f64,
    /// Resource limits: name without prefix (`nofile`), soft and hard value. `core` is always 0.
    pub ulimits: Vec<(String, u64, u64)>,
    /// The size of /dev/shm in bytes.
    pub shm_size: u64,
    /// Kernel settings of the container's namespaces, besides the one that frees low ports.
    pub sysctls: BTreeMap<String, String>,
    /// The host name inside.
    pub hostname: String,
    /// Another OCI runtime than the engine's default.
    pub runtime: Option<String>,
}

/// A container as the engine reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ContainerState {
    /// The engine's id.
    pub id: String,
    /// The word the engine uses: `created`, `running`, `exited`, …
    pub status: String,
    /// Whether its first process runs.
    pub running: bool,
    /// The host's process id of the first process, while it runs.
    pub pid: Option<u32>,
    /// The exit code, once it has ended.
    pub exit_code: Option<i64>,
    /// Whether the kernel killed it for its memory limit.
    pub oom_killed: bool,
    /// What went wrong at its start; empty if nothing.
    pub error: String,
    /// The OCI runtime; where the engine's answer leaves it out, its default.
    pub runtime: String,
    /// Whether every capability is dropped and none added.
    pub capabilities_dropped: bool,
    /// Whether it asked for no new privileges.
    pub no_new_privileges: bool,
    /// Whether it asked to run without a label of SELinux.
    pub label_off: bool,
    /// Whether the root file system is read-only.
    pub read_only_root: bool,
    /// The network mode; `none` for every sandbox.
    pub network_mode: String,
    /// `uid:gid` as configured.
    pub user: String,
    /// The memory limit in bytes; 0 is none.
    pub memory: u64,
    /// The limit of processes; 0 is none.
    pub pids: u64,
    /// The image's id.
    pub image: String,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Listed {
    /// The container.
    pub id: ContainerId,
    /// Its name, without a slash.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The word the engine uses for its state.
    pub state: String,
}

/// An image of the engine.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Image {
    /// `sha256:` and the hash of its configuration: what containers are made from and journals record.
    pub id: String,
    /// The name it was asked for by.
    pub reference: String,
    /// Its size in bytes, as the engine counts.
    pub size: u64,
}
