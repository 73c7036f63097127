//! What a person can type about a run that is to begin: what is done, and how `loki start` and
//! `loki plan` go about it.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{budget, held::args::Stay, landing::args as landing};

/// The work that `loki start` does and `loki plan` looks at.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    /// The specification, a Markdown file
    pub(super) spec: PathBuf,
    /// Run every agent in a sandbox: always on, there is no other mode
    #[arg(long)]
    pub(super) sandbox: bool,
    /// Which agent program works: claude, command or replay
    #[arg(long)]
    pub(super) provider: Option<String>,
    /// With --provider command: a script of this machine or a program of the image, with
    /// arguments after spaces
    #[arg(long, value_name = "PROGRAM")]
    pub(super) command: Option<String>,
    /// With --provider replay: the macro directory
    #[arg(long = "macro", value_name = "DIR")]
    pub(super) replayed: Option<PathBuf>,
    /// Further policy files, on top of the built-in, organisation's and user's
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Vec<PathBuf>,
    /// How many agents work at once
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(super) parallel: u16,
    /// Do each task in a session of its own, small related ones, too
    #[arg(long)]
    pub(super) no_batch: bool,
}

/// `loki start`.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    #[command(flatten)]
    pub(super) job: Job,
    /// Once the run is done: push its branch and open a pull request (see `loki ship`)
    #[arg(long)]
    pub(super) ship: bool,
    /// Only say what this would do and probably need, as `loki plan` does; with --json as JSON
    #[arg(long, conflicts_with = "detach")]
    pub(super) plan_only: bool,
    #[command(flatten)]
    pub(super) stay: Stay,
    #[command(flatten)]
    pub(super) budget: budget::Given,
    #[command(flatten)]
    pub(super) to: landing::To,
}

/// `loki plan`.
#[derive(Debug, Args)]
pub(super) struct Plan {
    #[command(flatten)]
    job: Job,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    budget: budget::Given,
}

impl From<Plan> for Start {
    fn from(plan: Plan) -> Self {
        let stay = Stay {
            json: plan.json,
            ..Stay::default()
        };
        Self {
            job: plan.job,
            ship: false,
            plan_only: true,
            stay,
            budget: plan.budget,
            to: landing::To::default(),
        }
    }
}
