//! What can be asked about the branch of a run.

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::name::{RunId, TaskId};

/// Where a branch is shipped to.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[command(next_help_heading = "Shipping")]
pub(in crate::cli) struct To {
    /// A remote of the repository, or an address: https://HOST/OWNER/NAME, git@HOST:OWNER/NAME
    /// (default: origin)
    #[arg(long, value_name = "REMOTE")]
    pub(in crate::cli) remote: Option<String>,
    /// The branch that the pull request is merged into (default: the repository's own)
    #[arg(long, value_name = "BRANCH")]
    pub(in crate::cli) base: Option<String>,
    /// The kept secret that is the token (default: GITHUB_TOKEN, then GH_TOKEN)
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) token: Option<String>,
    /// Open the pull request as a draft
    #[arg(long)]
    pub(in crate::cli) draft: bool,
}

impl To {
    /// Returns whether anything of it was said.
    pub(in crate::cli) fn is_said(&self) -> bool {
        self.remote.is_some() || self.base.is_some() || self.token.is_some() || self.draft
    }
}

/// `loki ship`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Ship {
    /// The run (default: the newest)
    pub(in crate::cli) run: Option<RunId>,
    /// Ship although a task was taken back after the checks had run; the pull request says so
    #[arg(long)]
    pub(in crate::cli) unchecked: bool,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
    #[command(flatten)]
    pub(in crate::cli) to: To,
}

/// `loki revert`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Revert {
    /// The task
    pub(in crate::cli) task: TaskId,
    /// The run (default: the newest)
    #[arg(long)]
    pub(in crate::cli) run: Option<RunId>,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// `loki why`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Why {
    /// The commit: a branch, tag or id
    pub(in crate::cli) commit: String,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// `loki blame-task`.
#[derive(Debug, Args)]
pub(in crate::cli) struct BlameTask {
    /// A line of a file, such as src/app.rs:12
    #[arg(value_name = "FILE:LINE")]
    pub(in crate::cli) place: String,
    /// Look at the file as it is in this commit (default: as it is in the checkout)
    #[arg(long, value_name = "REF")]
    pub(in crate::cli) at: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
