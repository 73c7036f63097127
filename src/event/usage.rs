//! What a sandbox has used.

use serde::{Deserialize, Serialize};

/// What a sandbox has used, since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Opens for writing, creates, renames and unlinks that counted; 0 without a write meter.
    pub writes: u64,
    /// Those of them that had to wait.
    pub writes_delayed: u64,
    /// How long those waited, together, in milliseconds.
    pub writes_delayed_ms: u64,
    /// Connections, and requests where they are seen, that were let out.
    pub calls: u64,
    /// Those of them that had to wait.
    pub calls_delayed: u64,
    /// How long those waited, together, in milliseconds.
    pub calls_delayed_ms: u64,
    /// Calls that would have had to wait too long.
    pub calls_refused: u64,
    /// Bytes from the sandbox.
    pub sent: u64,
    /// Bytes to the sandbox.
    pub received: u64,
}

impl Usage {
    /// Returns this with each number that `change` makes of it and the other's.
    #[must_use]
    pub fn with(self, other: Self, change: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            writes: change(self.writes, other.writes),
            writes_delayed: change(self.writes_delayed, other.writes_delayed),
            writes_delayed_ms: change(self.writes_delayed_ms, other.writes_delayed_ms),
            calls: change(self.calls, other.calls),
            calls_delayed: change(self.calls_delayed, other.calls_delayed),
            calls_delayed_ms: change(self.calls_delayed_ms, other.calls_delayed_ms),
            calls_refused: change(self.calls_refused, other.calls_refused),
            sent: change(self.sent, other.sent),
            received: change(self.received, other.received),
        }
    }
}
