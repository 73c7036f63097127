//! What a person can type after `loki policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{
    name::{Role, RunId},
    policy::{Act, Egress, Protocol, decide},
};

/// `loki policy …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PolicyVerb {
    /// Report every fault of all policy files
    Check(Check),
    /// Show what a role may do and where each right was written
    Show(Show),
    /// Say whether a role may do something, by which rule, and what holds it to that
    Explain(Explain),
    /// Print the JSON Schema of policy files, for editors
    Schema,
    /// Compare what two policies give each role; exits 1 when they differ
    Diff(Diff),
    /// Ask every recorded decision again under the policy given; exits 1 when one would change
    Replay(Replay),
    /// Write the policy with the least rights that a recorded run needed
    Suggest(Suggest),
    /// Show what this project's own policy would widen and, once agreed, let it
    Trust(Trust),
}

/// `loki policy trust`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Trust {
    /// Trust without asking
    #[arg(long)]
    pub(in crate::cli) yes: bool,
    /// Take the trust back
    #[arg(long, conflicts_with = "yes")]
    pub(in crate::cli) remove: bool,
}

/// `loki policy check`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    /// Files to check on top of the built-in, organisation's and user's
    pub(in crate::cli) files: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// Policy files and the form of the answer, which all verbs have.
#[derive(Debug, Args)]
pub(in crate::cli) struct Asked {
    /// Further policy files, on top of the built-in, organisation's and user's
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) policy: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// `loki policy show`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// Whose rights (default: one line for each role)
    pub(in crate::cli) role: Option<String>,
    /// With what this agent program needs in addition, as in a run of it
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) provider: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) asked: Asked,
}

/// `loki policy explain`.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("question").required(true).multiple(true)
    .args(["write", "read", "execute", "connect"]))]
pub(in crate::cli) struct Explain {
    /// Whose rights
    pub(in crate::cli) role: String,
    /// May it create, change or remove this file?
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) write: Vec<String>,
    /// May it read this file?
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) read: Vec<String>,
    /// May this program run? A bare name, or a path
    #[arg(long, value_name = "PROGRAM")]
    pub(in crate::cli) execute: Vec<String>,
    /// May it connect there?
    #[arg(long, value_name = "HOST:PORT")]
    pub(in crate::cli) connect: Vec<String>,
    /// With this method, rather than any at all
    #[arg(long, value_name = "METHOD", requires = "connect")]
    pub(in crate::cli) method: Option<String>,
    /// For this path there (default: `/`)
    #[arg(long, value_name = "PATH", requires = "connect")]
    pub(in crate::cli) path: Option<String>,
    /// With what this agent program needs in addition, as in a run of it
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) provider: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) asked: Asked,
}

impl Explain {
    /// Returns the connections and the requests that are asked about: with a method or a path each
    /// connection is a request.
    pub(super) fn connections(&self, egress: &Egress) -> (Vec<String>, Vec<String>) {
        if self.method.is_none() && self.path.is_none() {
            return (self.connect.clone(), Vec::new());
        }
        let method = self.method.as_deref().unwrap_or("GET");
        let path = self.path.as_deref().unwrap_or("/");
        let request = |host: &String| {
            let scheme = if speaks_http(egress, host) {
                "http"
            } else {
                "https"
            };
            format!("{method} {scheme}://{host}{path}")
        };
        let (whole, without): (Vec<&String>, Vec<&String>) =
            self.connect.iter().partition(|host| host.contains(':'));
        // One without a port is no question, and is told so as it is without a method.
        (
            without.into_iter().cloned().collect(),
            whole.into_iter().map(request).collect(),
        )
    }
}

/// Returns whether plain HTTP is spoken on `HOST:PORT`: as a rule says, else as is usual.
fn speaks_http(egress: &Egress, host: &str) -> bool {
    let permit = match format!("connect {host}").parse() {
        Ok(Act::Connect(target)) => decide(egress, &target).ok(),
        _ => None,
    };
    permit.map_or(host.ends_with(":80"), |permit| {
        permit.protocol() == Protocol::Http
    })
}

/// `loki policy diff`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Diff {
    /// The earlier policy: a file, or `current` or `-` for what is in force
    pub(in crate::cli) before: PathBuf,
    /// The later policy, likewise
    pub(in crate::cli) after: PathBuf,
    /// Compare only this role
    #[arg(long)]
    pub(in crate::cli) role: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) asked: Asked,
}

/// `loki policy replay`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Replay {
    /// Which run (default: all)
    #[arg(long)]
    pub(in crate::cli) run: Option<RunId>,
    #[command(flatten)]
    pub(in crate::cli) asked: Asked,
}

/// `loki policy suggest`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Suggest {
    /// Which run (default: the newest)
    #[arg(long)]
    pub(in crate::cli) run: Option<RunId>,
    /// Only this role
    #[arg(long)]
    pub(in crate::cli) role: Option<Role>,
    /// Policy files that the run was started with
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) policy: Vec<PathBuf>,
}
