//! How long it took until a sandbox stood.

use serde::{Deserialize, Serialize};

/// How a sandbox came to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Its container stood ready before anybody asked for it.
    pub warm: bool,
    /// Microseconds from the request until a program could run in it, its worktree included.
    pub elapsed_us: u64,
}
