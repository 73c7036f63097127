//! What events are made of.

use serde::{Deserialize, Serialize};

/// What an egress decision was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EgressKind {
    /// A name was asked for.
    Name,
    /// A connection was opened.
    Connect,
    /// Something was asked on a connection.
    Request,
    /// A connection waits for a person, who is asked whether to open it.
    Ask,
}

/// What the cache did for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheUse {
    /// It answered: the server was not asked.
    Hit,
    /// The server said that the kept answer has not changed, and that was given.
    Validated,
}

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
