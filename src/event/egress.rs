//! What a gateway decided about, and who answered.

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
