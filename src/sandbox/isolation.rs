//! What is really enforced on a sandbox, read from the kernel after the start, and the minimum
//! below which nothing runs.

use std::{fs, io, path::PathBuf};

use crate::event::Isolation;

/// One thing missing for the minimum isolation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("isolation is below the minimum: {missing}; {next}")]
pub struct Shortfall {
    /// What is not enforced.
    pub missing: &'static str,
    /// What to do about it.
    pub next: &'static str,
}

impl Shortfall {
    /// What an engine without cgroup limits lacks; known before anything is started.
    pub const NO_LIMITS: Self = Self {
        missing: "memory and process limits are not enforced (rootless on cgroup v1 or hybrid hosts has none)",
        next: "use rootful Docker or Podman, or a host with cgroup v2",
    };
    /// The guest's process cannot be seen from here, so nothing can be read back.
    pub(super) const UNSEEN: Self = Self {
        missing: "the sandbox's processes cannot be seen from this host",
        next: "run Loki on the engine's own host",
    };
}

/// Checks the minimum: non-root, no capabilities, no-new-privileges, seccomp, Landlock ABI 1,
/// cgroup limits, and no network but `lo`.
///
/// # Errors
/// The first thing that is missing.
pub fn minimum(found: &Isolation) -> Result<(), Shortfall> {
    let demands = [
        (
            found.uid != 0,
            "the agent would be root",
            "use an engine that maps users, see `loki doctor`",
        ),
        (
            found.no_capabilities,
            "capabilities are left",
            "see `loki doctor`",
        ),
        (
            found.no_new_privs,
            "`no_new_privs` is not set",
            "see `loki doctor`",
        ),
        (
            found.seccomp,
            "no seccomp filter",
            "use a kernel and engine with seccomp, see `loki doctor`",
        ),
        (
            found.landlock_abi >= 1,
            "no Landlock",
            "use a kernel 5.13 or newer with `landlock` in `lsm=`, see `loki doctor`",
        ),
        (
            found.cgroup_limits,
            Shortfall::NO_LIMITS.missing,
            Shortfall::NO_LIMITS.next,
        ),
        (
            found.no_network,
            "there is a network interface besides `lo`",
            "see `loki doctor`",
        ),
    ];
    match demands.into_iter().find(|(held, ..)| !held) {
        None => Ok(()),
        Some((_, missing, next)) => Err(Shortfall { missing, next }),
    }
}

/// Reads from `/proc` what the kernel enforces on the guest, whose children inherit all of it.
///
/// # Errors
/// When `/proc` cannot be read, such as for a process that just ended.
pub(super) fn of_process(pid: u32) -> io::Result<Isolation> {
    let status = fs::read_to_string(PathBuf::from(format!("/proc/{pid}/status")))?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
            .unwrap_or_default()
    };
    let empty = |name: &str| field(name).chars().all(|c| c == '0') && !field(name).is_empty();
    Ok(Isolation {
        uid: field("Uid")
            .split_whitespace()
            .nth(1)
            .and_then(|uid| uid.parse().ok())
            .unwrap_or(0),
        no_capabilities: ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
            .into_iter()
            .all(empty),
        no_new_privs: field("NoNewPrivs") == "1",
        seccomp: field("Seccomp") == "2",
        no_network: only_loopback(&fs::read_to_string(format!("/proc/{pid}/net/dev"))?),
        ..Isolation::default()
    })
}

/// Returns whether `/proc/net/dev` lists `lo` and nothing else. Two heading lines come first.
fn only_loopback(table: &str) -> bool {
    let mut names = table
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim());
    names.next() == Some("lo") && names.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Isolation {
        Isolation {
            uid: 7,
            no_capabilities: true,
            no_new_privs: true,
            seccomp: true,
            landlock_abi: 1,
            cgroup_limits: true,
            no_network: true,
            write_meter: false,
            runtime: "runc".to_owned(),
        }
    }

    #[test]
    fn everything_enforced_passes() {
        assert_eq!(minimum(&full()), Ok(()));
    }

    #[test]
    fn each_missing_part_refuses() {
        let weaker: [fn(&mut Isolation); 7] = [
            |i| i.uid = 0,
            |i| i.no_capabilities = false,
            |i| i.no_new_privs = false,
            |i| i.seccomp = false,
            |i| i.landlock_abi = 0,
            |i| i.cgroup_limits = false,
            |i| i.no_network = false,
        ];
        for weaken in weaker {
            let mut found = full();
            weaken(&mut found);
            assert!(minimum(&found).is_err(), "{found:?}");
        }
    }

    #[test]
    fn a_second_interface_is_network() {
        let head = "Inter-| Receive\n face |bytes\n";
        assert!(only_loopback(&format!("{head}    lo: 0 0\n")));
        assert!(!only_loopback(&format!("{head}    lo: 0 0\n  eth0: 0 0\n")));
        assert!(!only_loopback(head));
    }
}
