//! What the hand-over gate says of work.

use serde::{Deserialize, Serialize};

/// Why work may not leave a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breach {
    /// The rule, such as `write-globs`.
    pub rule: String,
    /// The path, hidden characters escaped.
    pub path: String,
    /// One sentence.
    pub message: String,
}

/// What a person must approve before work may land.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// The rule, such as `host-executable`.
    pub rule: String,
    /// The path, hidden characters escaped.
    pub path: String,
    /// Which kind of file that the host runs; none by another rule.
    pub kind: Option<String>,
    /// Names path, mode and contents: an approval is for exactly these.
    pub digest: String,
    /// One sentence.
    pub message: String,
}
