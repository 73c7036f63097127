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
    /// Processor time, in milliseconds; 0 where it cannot be read.
    #[serde(default)]
    pub cpu_ms: u64,
}

impl Usage {
    /// Returns this without what every sandbox uses that has run at all: its processor time.
    #[must_use]
    pub fn counted(self) -> Self {
        Self { cpu_ms: 0, ..self }
    }

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
            cpu_ms: change(self.cpu_ms, other.cpu_ms),
        }
    }
}

/// What a sandbox holds at one moment; 0 is also what cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Bytes of memory in use.
    pub memory: u64,
    /// The most bytes of memory that were ever in use.
    pub memory_peak: u64,
    /// Processes and threads.
    pub processes: u64,
    /// Bytes on the disk, beyond what it was given.
    pub disk: u64,
    /// Files on the disk, those it was given too.
    pub files: u64,
}

impl Load {
    /// Returns whether this says something else than an earlier look: a quarter more or less.
    #[must_use]
    pub fn differs(&self, earlier: &Self) -> bool {
        let pairs = [
            (self.memory, earlier.memory),
            (self.processes, earlier.processes),
            (self.disk, earlier.disk),
        ];
        pairs
            .iter()
            .any(|(now, then)| now.abs_diff(*then) > (*then).max(*now) / 4)
    }

    /// Returns both together: what is held adds up, of peaks the higher counts.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            memory: self.memory.saturating_add(other.memory),
            memory_peak: self.memory_peak.max(other.memory_peak),
            processes: self.processes.saturating_add(other.processes),
            disk: self.disk.saturating_add(other.disk),
            files: self.files.saturating_add(other.files),
        }
    }
}
