//! The checked form of a role's rights: what the rest of Loki sees of a policy.

use std::{net::SocketAddr, time::Duration};

use serde::Serialize;

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
    /// Programs that may run.
    pub programs: Vec<Program>,
    /// Where it may connect to.
    pub egress: Egress,
    /// Caps.
    pub resources: Resources,
}

impl Rights {
    /// Returns whether the role may change nothing in the worktree.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.files.write.0.is_empty()
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

/// A list of globs; empty matches nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Globs(pub Vec<Glob>);

impl Globs {
    /// Returns the globs compiled for many questions.
    #[must_use]
    pub fn matcher(&self) -> Matcher<'_> {
        let build = |text| {
            let mut glob = globset::GlobBuilder::new(text);
            glob.literal_separator(true).build().ok()
        };
        let globs = self.0.iter();
        let pairs = globs.filter_map(|glob| Some((glob, build(&glob.text)?.compile_matcher())));
        Matcher(pairs.collect())
    }
}

/// Globs compiled for many questions.
#[derive(Debug, Clone)]
pub struct Matcher<'a>(Vec<(&'a Glob, globset::GlobMatcher)>);

impl<'a> Matcher<'a> {
    /// Returns the first glob that covers `path`, relative to the worktree, or none.
    #[must_use]
    pub fn matches(&self, path: &str) -> Option<&'a Glob> {
        let hit = self.0.iter().find(|(_, matcher)| matcher.is_match(path));
        hit.map(|(glob, _)| *glob)
    }
}

/// One glob over paths relative to the worktree, `/` between components. `*` stays within a
/// component, `**` spans components.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Glob {
    /// The text as written, checked: relative, no `..`, no empty component.
    pub text: String,
    /// Where it was written.
    pub origin: Origin,
}

/// Where a rule was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The policy file, as shown to people.
    pub file: String,
    /// The line in it, from 1.
    pub line: usize,
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
    /// Bytes that the agent may write to one file and to /tmp.
    pub disk: u64,
    /// Wall clock of one attempt.
    pub timeout: Duration,
    /// How long an agent may be silent.
    pub idle_timeout: Duration,
    /// Bytes of output kept.
    pub log: u64,
}
