//! Caps, and by how much one was passed, in words.

use serde::{Deserialize, Serialize};

/// What a cap is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Bytes of memory, files in memory included.
    Memory,
    /// Processes and threads at once.
    Processes,
    /// Bytes written to the worktree and the home directory.
    Disk,
    /// Files created in the worktree and the home directory.
    Files,
    /// Levels of directories within each other.
    Depth,
    /// Looks in a row that could not see all of its files.
    Unseen,
    /// Bytes of output.
    Log,
    /// Wall clock.
    Time,
    /// Time without output, work or traffic.
    Idle,
    /// Bytes through the gateway, of all sandboxes of the role in the run.
    Network,
}

/// A cap that was passed. Its text says by how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct Overrun {
    /// Which cap.
    pub limit: Limit,
    /// The cap: bytes, a count, or milliseconds for times.
    pub allowed: u64,
    /// What was seen when it was noticed, in the same unit. A refused process is not there to be
    /// counted: then it is the cap.
    pub seen: u64,
}

impl Overrun {
    fn sentence(&self) -> String {
        let (allowed, seen) = (self.allowed, self.seen);
        match self.limit {
            Limit::Memory => format!("it needed more memory than its {}", bytes(allowed)),
            Limit::Processes => format!("it started more processes than its {allowed}"),
            Limit::Disk => format!(
                "it wrote {} to disk and may write {}",
                bytes(seen),
                bytes(allowed)
            ),
            Limit::Files => format!("it created {seen} files and may create {allowed}"),
            Limit::Depth => {
                format!("it nested directories {seen} deep and may nest them {allowed} deep")
            }
            Limit::Unseen => {
                format!("its files could not be looked at {seen} times in a row")
            }
            Limit::Log => format!(
                "it printed {} and may print {}",
                bytes(seen),
                bytes(allowed)
            ),
            Limit::Time => format!("it ran for {}, which is its limit", seconds(allowed)),
            Limit::Network => format!(
                "its role passed {} through the gateway in this run and may pass {}",
                bytes(seen),
                bytes(allowed)
            ),
            Limit::Idle => format!(
                "it printed, computed, sent and received nothing for {}, which is its limit",
                seconds(allowed)
            ),
        }
    }
}

impl Limit {
    /// Returns the policy's key that sets the cap. Files go with the bytes, see docs/limits.md.
    #[must_use]
    pub fn key(self) -> Option<&'static str> {
        Some(match self {
            Self::Memory => "resources.memory",
            Self::Processes => "resources.pids",
            Self::Disk | Self::Files => "resources.disk",
            Self::Depth | Self::Unseen => return None,
            Self::Log => "resources.log",
            Self::Time => "resources.timeout",
            Self::Idle => "resources.idle_timeout",
            Self::Network => "rate_limits.network_bytes_per_run",
        })
    }
}

/// A number of bytes for people, with the largest unit that leaves at least 1.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let unit = (UNITS.len()).min((count.max(1).ilog2() / 10) as usize);
    let Some(name) = unit.checked_sub(1).and_then(|at| UNITS.get(at)) else {
        return format!("{count} bytes");
    };
    let tenths = (u128::from(count) * 10) >> (10 * unit);
    format!("{}.{} {name}", tenths / 10, tenths % 10).replace(".0 ", " ")
}

/// A number of milliseconds for people.
fn seconds(millis: u64) -> String {
    format!("{} s", millis as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overrun_says_what_was_allowed_and_seen_in_units_of_people() {
        let said = |limit, allowed, seen| {
            Overrun {
                limit,
                allowed,
                seen,
            }
            .to_string()
        };
        assert_eq!(
            said(Limit::Disk, 4 << 30, (4 << 30) + (600 << 20)),
            "it wrote 4.5 GiB to disk and may write 4 GiB"
        );
        assert_eq!(
            said(Limit::Memory, 1500 << 10, 0),
            "it needed more memory than its 1.4 MiB"
        );
        assert_eq!(
            said(Limit::Log, 1000, u64::MAX),
            "it printed 16777215.9 TiB and may print 1000 bytes"
        );
        assert_eq!(
            said(Limit::Time, 90_000, 90_001),
            "it ran for 90 s, which is its limit"
        );
    }
}
