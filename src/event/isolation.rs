//! What is enforced on a sandbox, as its record says it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Limit;

/// What was really enforced on a sandbox, read back after the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// The agent's user inside, as seen by the host's kernel.
    pub uid: u32,
    /// Effective, permitted and bounding capabilities are all empty.
    pub no_capabilities: bool,
    /// `no_new_privs` is set.
    pub no_new_privs: bool,
    /// Our own seccomp filter is installed.
    pub seccomp: bool,
    /// Landlock ABI in force, 0 when none.
    pub landlock_abi: u32,
    /// Memory, process and CPU caps are enforced by cgroups.
    pub cgroup_limits: bool,
    /// The only network interface is `lo`.
    pub no_network: bool,
    /// Writes are counted and kept to the role's pace.
    #[serde(default)]
    pub write_meter: bool,
    /// The OCI runtime, such as `runc`.
    pub runtime: String,
    /// The engine and its version, such as `podman 4.3.1`.
    #[serde(default)]
    pub engine: String,
    /// Versions of the engine's other parts, such as `containerd` and `conmon`, where it tells them.
    #[serde(default)]
    pub components: BTreeMap<String, String>,
    /// Whether the engine runs without root.
    #[serde(default)]
    pub rootless: bool,
    /// The host's cgroups: `v1`, `hybrid`, `v2` or `none`.
    #[serde(default)]
    pub cgroup: String,
    /// SELinux labels containers on this host, and this one runs without a label.
    #[serde(default)]
    pub selinux_label_off: bool,
    /// What of the newest Landlock ABI that Loki uses this kernel does not have.
    #[serde(default)]
    pub landlock_lacks: Vec<String>,
    /// What the kernel holds the sandbox to.
    #[serde(default)]
    pub held: Held,
    /// Caps that the kernel holds here, but whose overrun this host cannot see. Usually none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unwatched: Vec<Limit>,
    /// Where no program can be run from, of what the agent may fill: `/home/agent`, `/tmp`, `/work`.
    #[serde(default)]
    pub noexec: Vec<String>,
}

/// Limits that hold for all of a sandbox together; none is not held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// How these numbers are known and held.
    pub by: HeldBy,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// Thousandths of a processor.
    pub millicpus: Option<u64>,
}

/// How limits are known and held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldBy {
    /// By nothing.
    #[default]
    Nothing,
    /// By cgroups, whose files were read after the start.
    Cgroup,
    /// By cgroups as the engine says: their files cannot be read from here.
    EngineSays,
    /// Processes only, by `RLIMIT_NPROC` in a user namespace of the sandbox's own.
    Rlimit,
}
