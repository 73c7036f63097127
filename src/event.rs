//! The events of a run. A run is the list of its events: each is journalled before it is acted
//! on, and queue, status and listings are folds of them.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest,
    finding::Finding,
    name::{Role, RunId, TaskId},
    task::Task,
};

/// Everything that can happen in a run. Stored as JSON with the variant under `type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the fields are described in docs/journal.md, once"
)]
pub enum Event {
    /// A run begins. Always the first event.
    RunStarted {
        run: RunId,
        loki: String,
        spec: String,
        spec_sha256: String,
        title: String,
        provider: String,
        base: String,
        branch: String,
        engine: String,
        policy_sha256: String,
    },
    /// The plan: every task of the run.
    Planned { tasks: Vec<Task> },
    /// A task is claimed for its `attempt` (from 1); `version` is the version claimed.
    TaskClaimed {
        task: TaskId,
        version: u64,
        attempt: u32,
    },
    /// A sandbox stands and is confined.
    SandboxStarted {
        sandbox: String,
        task: Option<TaskId>,
        role: Role,
        container: String,
        image: String,
        isolation: Isolation,
    },
    /// What a sandbox has used since its start: while it stands, when that changed, and at its end.
    SandboxUsed {
        sandbox: String,
        task: Option<TaskId>,
        role: Role,
        usage: Usage,
    },
    /// A sandbox and everything in it is gone.
    SandboxEnded { sandbox: String },
    /// A program in a sandbox went over a cap and is about to be ended, and the sandbox with it.
    /// Units are those of [`Overrun`].
    Overrun {
        sandbox: String,
        task: Option<TaskId>,
        role: Role,
        limit: Limit,
        allowed: u64,
        seen: u64,
    },
    /// The agent's program ended. `code` is its exit code, 128 + n for signal n.
    AgentEnded {
        task: TaskId,
        attempt: u32,
        code: i32,
        elapsed_ms: u64,
        reason: Option<String>,
    },
    /// A decision on a name or a connection. Equal ones within a second are one, with a count.
    Egress {
        sandbox: String,
        task: Option<TaskId>,
        role: Role,
        kind: EgressKind,
        host: String,
        port: Option<u16>,
        allowed: bool,
        rule: Option<String>,
        reason: Option<String>,
        count: u64,
    },
    /// A connection through the gateway ended.
    EgressClosed {
        sandbox: String,
        role: Role,
        host: String,
        port: u16,
        sent: u64,
        received: u64,
        elapsed_ms: u64,
        #[serde(default)]
        waited_ms: u64,
    },
    /// The hand-over gate looked at what an agent left. Empty `breaches` is a pass.
    Gated {
        task: TaskId,
        attempt: u32,
        files: usize,
        breaches: Vec<Breach>,
    },
    /// The host committed an agent's work on the task's branch.
    Committed {
        task: TaskId,
        attempt: u32,
        commit: String,
    },
    /// A check ran in a sandbox without network. `task` is none for the checks of the whole run.
    Checked {
        task: Option<TaskId>,
        command: String,
        passed: bool,
        tests: Option<u64>,
        tail: String,
        elapsed_ms: u64,
    },
    /// A reviewer's verdict.
    Reviewed {
        task: TaskId,
        role: Role,
        passed: bool,
        findings: Vec<Finding>,
    },
    /// An attempt failed; `retry` says whether the task goes back to the queue.
    TaskFailed {
        task: TaskId,
        version: u64,
        attempt: u32,
        reason: String,
        retry: bool,
    },
    /// The task's commit could not be merged; it goes back to the queue on the new base.
    TaskConflicted {
        task: TaskId,
        version: u64,
        attempt: u32,
        files: Vec<String>,
    },
    /// The run's branch is about to move from `from` to `commit`: on the disk before it does.
    Landing {
        task: TaskId,
        attempt: u32,
        from: String,
        commit: String,
    },
    /// The task is done; `commit` is the run branch's new head, none when it changed nothing.
    TaskDone {
        task: TaskId,
        version: u64,
        attempt: u32,
        commit: Option<String>,
    },
    /// A person or a signal asked the run to end: `drain` lets running agents finish.
    StopRequested { by: String, drain: bool },
    /// The run ended.
    RunEnded {
        outcome: Outcome,
        reason: Option<String>,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every task landed and every check passed.
    Done,
    /// Something failed.
    Failed,
    /// A person stopped it.
    Stopped,
}

/// What an egress decision was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EgressKind {
    /// A name was asked for.
    Name,
    /// A connection was opened.
    Connect,
}

/// What a cap is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Bytes of memory, files in memory included.
    Memory,
    /// Processes and threads at once.
    Processes,
    /// Bytes written to the worktree and the home directory.
    Disk,
    /// Files created in the worktree and the home directory.
    Files,
    /// Levels of directories within each other.
    Depth,
    /// Looks in a row that could not see all of its files.
    Unseen,
    /// Bytes of output.
    Log,
    /// Wall clock.
    Time,
    /// Time without output, work or traffic.
    Idle,
}

/// A cap that was passed. Its text says by how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct Overrun {
    /// Which cap.
    pub limit: Limit,
    /// The cap: bytes, a count, or milliseconds for times.
    pub allowed: u64,
    /// What was seen when it was noticed, in the same unit. A refused process is not there to be
    /// counted: then it is the cap.
    pub seen: u64,
}

impl Overrun {
    fn sentence(&self) -> String {
        let (allowed, seen) = (self.allowed, self.seen);
        match self.limit {
            Limit::Memory => format!("it needed more memory than its {}", bytes(allowed)),
            Limit::Processes => format!("it started more processes than its {allowed}"),
            Limit::Disk => format!(
                "it wrote {} to disk and may write {}",
                bytes(seen),
                bytes(allowed)
            ),
            Limit::Files => format!("it created {seen} files and may create {allowed}"),
            Limit::Depth => {
                format!("it nested directories {seen} deep and may nest them {allowed} deep")
            }
            Limit::Unseen => {
                format!("its files could not be looked at {seen} times in a row")
            }
            Limit::Log => format!(
                "it printed {} and may print {}",
                bytes(seen),
                bytes(allowed)
            ),
            Limit::Time => format!("it ran for {}, which is its limit", seconds(allowed)),
            Limit::Idle => format!(
                "it printed, computed, sent and received nothing for {}, which is its limit",
                seconds(allowed)
            ),
        }
    }
}

impl Limit {
    /// Returns the policy's key that sets the cap. Files go with the bytes, see docs/limits.md.
    #[must_use]
    pub fn key(self) -> Option<&'static str> {
        Some(match self {
            Self::Memory => "resources.memory",
            Self::Processes => "resources.pids",
            Self::Disk | Self::Files => "resources.disk",
            Self::Depth | Self::Unseen => return None,
            Self::Log => "resources.log",
            Self::Time => "resources.timeout",
            Self::Idle => "resources.idle_timeout",
        })
    }
}

/// A number of bytes for people, with the largest unit that leaves at least 1.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let unit = (UNITS.len()).min((count.max(1).ilog2() / 10) as usize);
    let Some(name) = unit.checked_sub(1).and_then(|at| UNITS.get(at)) else {
        return format!("{count} bytes");
    };
    let tenths = (u128::from(count) * 10) >> (10 * unit);
    format!("{}.{} {name}", tenths / 10, tenths % 10).replace(".0 ", " ")
}

/// A number of milliseconds for people.
fn seconds(millis: u64) -> String {
    format!("{} s", millis as f64 / 1000.0)
}

/// Why work may not leave a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breach {
    /// The rule, such as `write-globs`.
    pub rule: String,
    /// The path, hidden characters escaped.
    pub path: String,
    /// One sentence.
    pub message: String,
}

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

/// What a sandbox has used, since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Opens for writing, creates, renames and unlinks that counted; 0 without a write meter.
    pub writes: u64,
    /// Those of them that had to wait.
    pub writes_delayed: u64,
    /// How long those waited, together, in milliseconds.
    pub writes_delayed_ms: u64,
    /// Connections, and requests where they are seen, that were let out.
    pub calls: u64,
    /// Those of them that had to wait.
    pub calls_delayed: u64,
    /// How long those waited, together, in milliseconds.
    pub calls_delayed_ms: u64,
    /// Calls that would have had to wait too long.
    pub calls_refused: u64,
    /// Bytes from the sandbox.
    pub sent: u64,
    /// Bytes to the sandbox.
    pub received: u64,
}

impl Usage {
    /// Returns this with each number that `change` makes of it and the other's.
    #[must_use]
    pub fn with(self, other: Self, change: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            writes: change(self.writes, other.writes),
            writes_delayed: change(self.writes_delayed, other.writes_delayed),
            writes_delayed_ms: change(self.writes_delayed_ms, other.writes_delayed_ms),
            calls: change(self.calls, other.calls),
            calls_delayed: change(self.calls_delayed, other.calls_delayed),
            calls_delayed_ms: change(self.calls_delayed_ms, other.calls_delayed_ms),
            calls_refused: change(self.calls_refused, other.calls_refused),
            sent: change(self.sent, other.sent),
            received: change(self.received, other.received),
        }
    }
}

/// How long something took, as whole milliseconds for events.
#[must_use]
pub fn millis(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// One event as it stands in the journal: numbered, timed and chained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number in the run, from 1, without gaps.
    pub seq: u64,
    /// When it was written, UTC, whole microseconds.
    pub ts: Timestamp,
    /// The hash of the record before it, zeros for the first.
    pub prev: Digest,
    /// What happened.
    pub event: Event,
    /// The hash of this record, which covers everything above.
    pub hash: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overrun_says_what_was_allowed_and_seen_in_units_of_people() {
        let said = |limit, allowed, seen| {
            Overrun {
                limit,
                allowed,
                seen,
            }
            .to_string()
        };
        assert_eq!(
            said(Limit::Disk, 4 << 30, (4 << 30) + (600 << 20)),
            "it wrote 4.5 GiB to disk and may write 4 GiB"
        );
        assert_eq!(
            said(Limit::Memory, 1500 << 10, 0),
            "it needed more memory than its 1.4 MiB"
        );
        assert_eq!(
            said(Limit::Log, 1000, u64::MAX),
            "it printed 16777215.9 TiB and may print 1000 bytes"
        );
        assert_eq!(
            said(Limit::Time, 90_000, 90_001),
            "it ran for 90 s, which is its limit"
        );
    }
}
