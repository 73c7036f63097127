//! The checked form of a role's rights: what the rest of Loki sees of a policy.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use serde::Serialize;

use super::{Delivery, DeniedRequests, HostKind, Layer, RequestRule};
use crate::name::{HostName, Role};

/// Everything one role may do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rights {
    /// Whose rights these are.
    pub role: Role,
    /// One sentence on what the role is for.
    pub description: String,
    /// The image its sandboxes start from, such as `base`.
    pub image: String,
    /// Files of the worktree.
    pub files: Files,
    /// Kinds of files that the host runs which it may change without a person's approval.
    pub host_executable: Vec<HostKind>,
    /// Programs that may run.
    pub programs: Vec<Program>,
    /// Who allowed each program of the image, by its bare name.
    pub program_origins: BTreeMap<String, Origin>,
    /// Where it may connect to.
    pub egress: Egress,
    /// Caps.
    pub resources: Resources,
    /// How fast it may go.
    pub rates: Rates,
    /// What a machine must enforce before anything of this role starts.
    pub minimum: Minimum,
    /// Names of the secrets it may be given.
    pub secrets: Vec<String>,
    /// Those of them whose values it sees, and how; the others stay at the gateway.
    pub deliveries: Vec<Delivery>,
    /// Who said each field, by its name in the file (`image`, `write`, `memory`, `landlock`, …): a
    /// single value's own line, a list's first line. A field that is not here has its default.
    pub origins: BTreeMap<&'static str, Origin>,
}

impl Rights {
    /// Returns whether the role may change nothing in the worktree.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.files.write.0.is_empty()
    }

    /// Returns the names of the kinds of files that the host runs which the role may change
    /// without a person's approval.
    #[must_use]
    pub fn host_kinds(&self) -> BTreeSet<String> {
        let kinds = self.host_executable.iter();
        kinds.map(|granted| granted.kind.clone()).collect()
    }

    /// Says whose a value such as `resources.memory` is and where it was set, as a fragment.
    #[must_use]
    pub fn who_set(&self, key: &str) -> String {
        let field = key.rsplit('.').next().unwrap_or(key);
        let place = match self.origins.get(field) {
            Some(origin) => format!("set in {origin}"),
            None => "a default".to_owned(),
        };
        let role = &self.role;
        format!("`{key}` of role `{role}`, {place}: see `loki policy show {role}`")
    }
}

/// Which files of the worktree a role may see and change. Reading includes everything that may be
/// written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Files {
    /// What may be read.
    pub read: Globs,
    /// What may be created, changed and removed.
    pub write: Globs,
}

impl Files {
    /// Returns what may be seen: what may be read, and what may be written.
    #[must_use]
    pub fn visible(&self) -> Globs {
        Globs([self.read.0.as_slice(), &self.write.0].concat())
    }
}

/// A list of globs; empty matches nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Globs(pub Vec<Glob>);

/// One glob over paths relative to the worktree, `/` between components. `*` stays within a
/// component, `**` spans components.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Glob {
    /// The text as written, checked: relative, no `..`, no empty component.
    pub text: String,
    /// Where it was written.
    pub origin: Origin,
    /// What `deny` entries take out of it; empty takes nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<Self>,
}

/// Where a rule was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Origin {
    /// The policy file, as shown to people.
    pub file: String,
    /// The line in it, from 1.
    pub line: usize,
    /// Whose file it is.
    pub layer: Layer,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A program that may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Program {
    /// A program of the image, found by its bare name.
    Image(String),
    /// Programs built in the worktree (`./target/**`, held without the `./`).
    Worktree(Glob),
}

/// Where a role may connect to; empty is nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Egress {
    /// Allowed hosts.
    pub rules: Vec<EgressRule>,
    /// Names pinned to an address by the organisation or the user.
    pub hosts: Vec<HostEntry>,
    /// Hosts that no rule opens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<DeniedHost>,
    /// Whether a person is asked before a connection is denied that a rule could allow.
    #[serde(skip_serializing_if = "is_false")]
    pub ask: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A host that a `deny` entry closes, whatever the rules say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeniedHost {
    /// Which names.
    pub names: DeniedNames,
    /// On which port; none is every port.
    pub port: Option<u16>,
    /// Which requests it closes there; none is everything, the connection included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<DeniedRequests>,
    /// Where it was written.
    pub origin: Origin,
}

/// Names a denial covers. Unlike a rule's wildcard it reaches all the way down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum DeniedNames {
    /// Every name: `*`.
    All,
    /// Exactly this name.
    Exact(HostName),
    /// Any name below this one, at any depth: `*.example.com`.
    Below(HostName),
}

/// One allowed host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EgressRule {
    /// Which names.
    pub host: HostPattern,
    /// On which port.
    pub port: u16,
    /// What is spoken there.
    pub protocol: Protocol,
    /// What may be asked there; none is anything, and then nothing is inspected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Box<RequestRule>>,
    /// Where the rule was written.
    pub origin: Origin,
}

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TLS; the server name must equal the name asked for. The default of port 443.
    Tls,
    /// Plain HTTP. The default of port 80.
    Http,
    /// Any bytes. The default of port 22.
    Tcp,
}

/// Names a rule covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum HostPattern {
    /// Exactly this name.
    Exact(HostName),
    /// Any name with exactly one more label in front of this one: `*.example.com`.
    Wildcard(HostName),
}

/// A name pinned to an address, the only way to loopback and private addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostEntry {
    /// The name.
    pub name: HostName,
    /// What is dialled instead of a resolved address; the port replaces the asked one.
    pub to: SocketAddr,
    /// The file of the certificates that its TLS server is checked against where its traffic is
    /// inspected; none is those of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Where the entry was written.
    pub origin: Origin,
}

/// Caps of one sandbox.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resources {
    /// Processors, such as `1.5`.
    pub cpus: f64,
    /// Bytes of memory; swap is never added.
    pub memory: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Bytes that the agent may write to worktree and home, to one file, and to /tmp.
    pub disk: u64,
    /// Wall clock of one attempt.
    pub timeout: Duration,
    /// How long an agent may neither print, compute nor talk.
    pub idle_timeout: Duration,
    /// Bytes of output kept.
    pub log: u64,
}

/// How much a role may do in a minute; none is as much as it likes. Calls and bytes are counted per
/// role and egress rule, over all its sandboxes; writes per sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rates {
    /// Connections and, where requests are seen, requests that leave through the gateway.
    pub api_calls_per_minute: Option<u32>,
    /// The same, of all the role's sandboxes under all rules in one run.
    pub api_calls_per_run: Option<u32>,
    /// Opens for writing, creates, renames and unlinks. More wait, none fails.
    pub file_writes_per_minute: Option<u32>,
    /// Bytes through the gateway, both ways.
    pub network_bytes_per_minute: Option<u64>,
    /// Bytes through the gateway, both ways, of all the role's sandboxes in one run.
    pub network_bytes_per_run: Option<u64>,
    /// Where writes are not counted, such as build directories.
    pub uncounted: Globs,
}

/// What must be enforced on a sandbox, else nothing starts. The default is the strictest that every
/// supported machine can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Minimum {
    /// The lowest Landlock ABI, from 1.
    pub landlock: u32,
    /// Whether memory, processes and CPU must be held by cgroups. Only an organisation's or a
    /// user's policy may give this up (`cgroup: none`).
    pub cgroup: bool,
    /// Whether writes must be counted.
    pub write_meter: bool,
}

impl Default for Minimum {
    fn default() -> Self {
        Self {
            landlock: 1,
            cgroup: true,
            write_meter: false,
        }
    }
}
