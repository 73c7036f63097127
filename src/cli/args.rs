//! What a person can type.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use serde::{Deserialize, Serialize};

pub(super) use super::job::{Job, Plan, Start};
use super::{
    advisories::args::AdvisoriesVerb,
    asked,
    audit::args as audit,
    budget,
    cache::args as cache,
    checkpoint::args as checkpoint,
    egress::args as egress,
    held::args::{Attach, Stay, Stop},
    landing::args as landing,
    policy::args::PolicyVerb,
    pool::PoolVerb,
    secrets::args as secrets,
    task::args::TaskVerb,
    work::args as work,
};
use crate::name::{CheckpointId, Role, RunId};

/// Turns a specification into reviewed, tested, merged code with AI coding agents, each in a
/// container that can do only what its role may do.
#[derive(Debug, Parser)]
#[command(
    name = "loki",
    version,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(super) struct Cli {
    /// Container engine: docker, podman or unix:///path/to/socket (default: LOKI_ENGINE, then
    /// what is found)
    #[arg(long, global = true, value_name = "ENGINE")]
    pub(super) engine: Option<String>,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a specification to merged, tested code on branch `loki/RUN`
    Start(Start),
    /// Say what a start would do and probably need: tasks, order, cost; starts nothing
    Plan(Plan),
    /// Say where budgets are set and shown
    #[command(hide = true)]
    Budget(budget::NoVerb),
    /// Go on with a run whose orchestrator died, or that stopped or waits for a person
    Resume(Resume),
    /// Watch a run that goes on until it ends, and exit as it does; Ctrl-C only ends the watching
    Attach(Attach),
    /// Hold runs: what `loki start --detach` starts
    #[command(hide = true)]
    Orchestrate,
    /// Show what a run is doing or has done
    Status(Shown),
    /// Print what agents wrote, by task
    Logs(Logs),
    /// Print the journal of a run
    Events(Events),
    /// Ask runs to end: agents finish, nothing new starts
    Stop(Stop),
    /// List the tasks of a run, add some, cancel them, try them anew
    #[command(subcommand)]
    Task(TaskVerb),
    /// Take back what a task landed, by a commit on the run's branch
    Revert(landing::Revert),
    /// Push a run's branch and open a pull request for it
    Ship(landing::Ship),
    /// Say where a commit comes from: what was asked, which task, what was checked
    Why(landing::Why),
    /// Say which task wrote a line
    BlameTask(landing::BlameTask),
    /// Show a task: where it stands, what was kept of its work, what waits for you
    Show(work::Show),
    /// Print what a task made, or what has landed in a run, as a patch
    Diff(work::Diff),
    /// Look at work that waits for you, and let it land
    Approve(work::Approve),
    /// Refuse work that waits for you; the next attempt is told why
    Reject(work::Reject),
    /// Move your checkout, or a branch of yours, forward to what has landed in a run
    Apply(work::Apply),
    /// Delete the branches and the kept work of a run or a task
    Drop(work::Drop),
    /// List what the hand-over gate looks for
    #[command(subcommand)]
    Gate(work::GateVerb),
    /// Run, list and remove sandboxes
    #[command(subcommand)]
    Sandbox(SandboxVerb),
    /// Check policies, and ask what they allow
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Keep what programs need and nobody should see, encrypted
    Secrets(secrets::Secrets),
    /// Keep known advisories, which packages are vetted with before they are let in
    #[command(subcommand)]
    Advisories(AdvisoriesVerb),
    /// Show what sandboxes connected to, and open a host to a role
    #[command(subcommand)]
    Egress(EgressVerb),
    /// Keep, look at and unpack signed copies of what sandboxes wrote
    #[command(subcommand)]
    Checkpoint(checkpoint::Verb),
    /// List and remove what installs made and is kept for the next run
    #[command(subcommand)]
    Cache(cache::Verb),
    /// Seal journals, verify them, and turn them into what other tools read
    #[command(subcommand)]
    Audit(audit::Verb),
    /// Say what this machine gives and what is missing
    Doctor(Json),
    /// Build and list sandbox images
    #[command(subcommand)]
    Image(ImageVerb),
    /// List the roles and what they may do
    #[command(subcommand)]
    Agents(AgentsVerb),
    /// Show the sandboxes that stand ready for each run that goes on here
    #[command(subcommand)]
    Pool(PoolVerb),
    /// Show, then remove, what Loki made in this repository
    Clean(Clean),
    /// Print the version
    Version(Json),
}

/// `loki resume`.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resume {
    /// The run (default: the newest that is not over)
    pub(super) run: Option<RunId>,
    /// Make again the attempt at this task that was cut off, although it may have changed something
    /// outside; `all` means every such task
    #[arg(long, value_name = "TASK")]
    pub(super) repeat: Vec<String>,
    /// Go on under the policy as it is now, where it has changed
    #[arg(long)]
    pub(super) accept_policy: bool,
    /// Go on with the specification as it is now, where it has changed; the plan stays
    #[arg(long)]
    pub(super) accept_spec: bool,
    /// How many agents work at once (default: as at the start)
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(super) parallel: Option<u16>,
    /// Do each task in a session of its own, small related ones, too
    #[arg(long)]
    pub(super) no_batch: bool,
    #[command(flatten)]
    pub(super) stay: Stay,
    #[command(flatten)]
    pub(super) budget: budget::Given,
}

/// A run to look at.
#[derive(Debug, Args)]
pub(super) struct Shown {
    /// The run (default: the newest)
    #[arg(long)]
    pub(super) run: Option<RunId>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `loki events`.
#[derive(Debug, Args)]
pub(super) struct Events {
    #[command(flatten)]
    pub(super) shown: Shown,
    /// Keep printing as events come
    #[arg(short, long)]
    pub(super) follow: bool,
}

/// `loki logs`.
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// The task (default: all)
    pub(super) task: Option<String>,
    /// The run (default: the newest)
    #[arg(long)]
    pub(super) run: Option<RunId>,
}

/// `loki clean`.
#[derive(Debug, Args)]
pub(super) struct Clean {
    /// Remove without asking
    #[arg(long)]
    pub(super) yes: bool,
    /// Also remove the run branches, which hold the landed work
    #[arg(long)]
    pub(super) branches: bool,
}

/// A verb whose only choice is JSON.
#[derive(Debug, Args)]
pub(super) struct Json {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `loki sandbox …`.
#[derive(Debug, Subcommand)]
pub(super) enum SandboxVerb {
    /// Run a program with a role's rights on a throw-away copy of HEAD; exits with its code
    Run(SandboxRun),
    /// Open a shell with a role's rights on a throw-away copy of HEAD
    Shell(SandboxShell),
    /// List sandboxes on this engine
    Ls(Json),
    /// Remove sandboxes
    Rm(SandboxRm),
    /// Attack sandboxes of this machine and sign what came of it; exit 0 only when nothing failed
    Attest(SandboxAttest),
}

/// `loki sandbox attest`.
#[derive(Debug, Args)]
pub(super) struct SandboxAttest {
    /// Whose rights
    #[arg(long, default_value = "eng-backend")]
    pub(super) role: Role,
    /// Further policy files
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Vec<PathBuf>,
    /// Only these rows, such as N1,K6
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub(super) only: Vec<String>,
    /// Print the signed attestation as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Save the signed attestation
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Check a saved attestation instead of making one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "out", "policy", "role"])]
    pub(super) verify: Option<PathBuf>,
    /// With --verify: the public key to trust (default: this user's own)
    #[arg(long, value_name = "PUB", requires = "verify")]
    pub(super) key: Option<String>,
}

/// `loki sandbox shell`, and what it has in common with `loki sandbox run`.
#[derive(Debug, Args)]
pub(super) struct SandboxShell {
    /// Whose rights
    #[arg(long)]
    pub(super) role: Role,
    /// Further policy files
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Vec<PathBuf>,
    /// The commit to make the copy of: a branch, tag or id (default: HEAD)
    #[arg(long, value_name = "REF")]
    pub(super) worktree: Option<String>,
    /// Begin with the files of a checkpoint, home directory included, instead of a commit's
    #[arg(long, value_name = "ID", conflicts_with = "worktree")]
    pub(super) checkpoint: Option<CheckpointId>,
    /// A variable of the program's environment; may be given again
    #[arg(long, value_name = "NAME=VALUE", value_parser = asked::variable)]
    pub(super) env: Vec<(String, String)>,
    /// End everything after this time, such as 30s or 5m, with exit code 124
    #[arg(long, value_name = "TIME", value_parser = asked::time)]
    pub(super) timeout: Option<Duration>,
    /// What may be reached: what the policy says, or nothing
    #[arg(long, value_enum, default_value_t = asked::Network::Policy)]
    pub(super) network: asked::Network,
}

/// `loki sandbox run`.
#[derive(Debug, Args)]
pub(super) struct SandboxRun {
    #[command(flatten)]
    pub(super) sandbox: SandboxShell,
    /// Give the program a terminal (default: when all its streams are one here)
    #[arg(short, long, overrides_with = "no_tty")]
    pub(super) tty: bool,
    /// Give the program pipes, whatever its streams are here
    #[arg(short = 'T', long)]
    pub(super) no_tty: bool,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    pub(super) argv: Vec<String>,
}

/// `loki sandbox rm`.
#[derive(Debug, Args)]
pub(super) struct SandboxRm {
    /// Containers to remove, by id or name
    #[arg(required_unless_present = "all")]
    pub(super) containers: Vec<String>,
    /// All sandboxes whose orchestrator is dead
    #[arg(long, conflicts_with = "containers")]
    pub(super) all: bool,
}

/// `loki egress …`.
#[derive(Debug, Subcommand)]
pub(super) enum EgressVerb {
    /// Print each decision and each connection that ended
    Log(egress::Log),
    /// Sum calls and bytes by host
    Top(egress::Sums),
    /// Sum denials, each with the rule that would allow it
    Denied(egress::Sums),
    /// Open a host to a role: once, for this run, or for good
    Allow(egress::Allow),
}

/// `loki image …`.
#[derive(Debug, Subcommand)]
pub(super) enum ImageVerb {
    /// Build images that are missing
    Build(ImageBuild),
    /// List Loki's images on this engine
    List(Json),
}

/// `loki image build`.
#[derive(Debug, Args)]
pub(super) struct ImageBuild {
    /// Which, such as `node`, or `node+claude` with an agent's program (default: base)
    #[arg(default_value = "base")]
    pub(super) names: Vec<String>,
}

/// `loki agents …`.
#[derive(Debug, Subcommand)]
pub(super) enum AgentsVerb {
    /// List the roles
    List(Json),
}
