//! What can be asked about runs that other processes hold.

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::{
    cli::exit::{Exit, Fault},
    name::RunId,
};

/// Who waits for a run that was begun.
#[derive(Debug, Clone, Copy, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct Stay {
    /// Come back once the run has begun; it goes on without this terminal (see `loki attach`)
    #[arg(long)]
    pub(in crate::cli) detach: bool,
    /// Print JSON (of a start with --detach: the run that was begun)
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

impl Stay {
    /// Refuses JSON where nothing is printed as such.
    pub(in crate::cli) fn check(self) -> Result<Self, Fault> {
        if self.json && !self.detach {
            return Err(Fault::new(Exit::Usage, "`--json` is for `--detach`")
                .hint("`loki attach --json` prints every event of a run that goes on"));
        }
        Ok(self)
    }
}

/// `loki attach`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Attach {
    /// The run (default: the newest that goes on here, else the newest)
    pub(in crate::cli) run: Option<RunId>,
    /// Print every event of the run as a line of JSON, the earlier ones first
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// `loki stop`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Stop {
    /// The run (default: all that go on here)
    pub(in crate::cli) run: Option<RunId>,
    /// End running agents at once
    #[arg(long)]
    pub(in crate::cli) now: bool,
}
