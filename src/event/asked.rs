//! How a person asked for a run.

use serde::{Deserialize, Serialize};

/// How a person asked for a run: what going on with it in the same way takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Where it was asked; relative paths begin there.
    pub directory: String,
    /// The program of `--command`.
    pub command: Option<String>,
    /// The directory of `--macro`.
    pub replayed: Option<String>,
    /// The files of `--policy`.
    pub policy: Vec<String>,
    /// How many agents work at once.
    pub parallel: u16,
}
