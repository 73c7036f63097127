//! What a person can ask about the work of a task.

use clap::{Args, Subcommand};

/// `loki approve`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Approve {
    /// The task, or RUN/TASK; RUN may be the beginning of its name
    pub(super) work: String,
    /// Only these paths (default: all that wait)
    pub(super) paths: Vec<String>,
    /// The run (default: the newest)
    #[arg(long)]
    pub(super) run: Option<String>,
    /// Approve without asking
    #[arg(long)]
    pub(super) yes: bool,
    /// Approve exactly the contents with this digest, without asking; its first 12 digits do
    #[arg(long, value_name = "DIGEST")]
    pub(super) digest: Vec<String>,
}

/// `loki reject`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Reject {
    /// The task, or RUN/TASK
    pub(super) work: String,
    /// Why: the next attempt is told
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
    /// The run (default: the newest)
    #[arg(long)]
    pub(super) run: Option<String>,
}

/// `loki diff`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Diff {
    /// A task or RUN/TASK: its newest work; a run, or nothing: all that has landed
    pub(super) work: Option<String>,
    /// The run (default: the newest)
    #[arg(long)]
    pub(super) run: Option<String>,
}

/// `loki show`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// The task, or RUN/TASK
    pub(super) work: String,
    /// The run (default: the newest)
    #[arg(long)]
    pub(super) run: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `loki apply`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Apply {
    /// The run, or the beginning of its name (default: the newest)
    pub(super) run: Option<String>,
    /// Move this branch of yours, which need not exist, instead of your checkout
    #[arg(long, value_name = "BRANCH")]
    pub(super) to: Option<String>,
}

/// `loki drop`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Drop {
    /// The run, the task or RUN/TASK
    pub(super) work: String,
    /// The run of the task (default: the newest)
    #[arg(long)]
    pub(super) run: Option<String>,
    /// Delete without asking
    #[arg(long)]
    pub(super) yes: bool,
}

/// `loki gate …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum GateVerb {
    /// List the kinds of files that the host runs: a change to one waits for a person
    Kinds(super::super::args::Json),
    /// List the patterns by which texts are told to look like secrets
    Patterns(super::super::args::Json),
}
