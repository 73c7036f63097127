//! What is really enforced on a sandbox, read from the kernel after the start, and the minimum
//! below which nothing runs.

use std::{borrow::Cow, fs, io, path::PathBuf};

use crate::{
    event::{Held, HeldBy, Isolation},
    policy::Minimum,
};

/// One thing missing for the minimum isolation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("isolation is below the minimum: {missing}; {next}")]
pub struct Shortfall {
    /// What is not enforced.
    pub missing: Cow<'static, str>,
    /// What to do about it.
    pub next: Cow<'static, str>,
}

impl Shortfall {
    /// What an engine without cgroup limits lacks; known before anything is started.
    pub const NO_LIMITS: Self = Self::new(
        "memory and process limits are not enforced (rootless on cgroup v1 or hybrid hosts has none)",
        "use rootful Docker or Podman, or a host with cgroup v2; or accept it in ~/.config/loki/policies: `minimum_isolation: { default: { cgroup: none } }`",
    );
    /// The guest's process cannot be seen from here, so nothing can be read back.
    pub(super) const UNSEEN: Self = Self::new(
        "the sandbox's processes cannot be seen from this host",
        "run Loki on the engine's own host",
    );

    const fn new(missing: &'static str, next: &'static str) -> Self {
        Self {
            missing: Cow::Borrowed(missing),
            next: Cow::Borrowed(next),
        }
    }
}

/// Checks what is enforced against the least that is accepted. Non-root, no capabilities,
/// no-new-privileges, seccomp, Landlock and no network but `lo` can be given up by nobody. Who
/// accepts that cgroups hold nothing still has processes held in the sandbox's own user namespace.
///
/// # Errors
/// The first thing that is missing.
pub fn minimum(found: &Isolation, least: &Minimum) -> Result<(), Shortfall> {
    let see = "see `loki doctor`";
    let demands = [
        (
            found.uid != 0,
            Shortfall::new(
                "the agent would be root",
                "use an engine that maps users, see `loki doctor`",
            ),
        ),
        (
            found.no_capabilities,
            Shortfall::new("capabilities are left", see),
        ),
        (
            found.no_new_privs,
            Shortfall::new("`no_new_privs` is not set", see),
        ),
        (
            found.seccomp,
            Shortfall::new(
                "no seccomp filter",
                "use a kernel and engine with seccomp, see `loki doctor`",
            ),
        ),
        (
            found.landlock_abi >= least.landlock.max(1),
            landlock(found, least),
        ),
        (found.cgroup_limits || !least.cgroup, Shortfall::NO_LIMITS),
        (
            found.cgroup_limits || found.held.processes.is_some(),
            Shortfall::new(
                "not even the number of processes is held",
                "use rootless Podman on a kernel 5.14 or newer, see `loki doctor`",
            ),
        ),
        (
            found.no_network,
            Shortfall::new("there is a network interface besides `lo`", see),
        ),
        (
            found.write_meter || !least.write_meter,
            Shortfall::new(
                "writes are not counted",
                "use a kernel 5.19 or newer, or remove `write_meter` from `minimum_isolation`",
            ),
        ),
    ];
    demands
        .into_iter()
        .find(|(held, _)| !held)
        .map_or(Ok(()), |(_, short)| Err(short))
}

fn landlock(found: &Isolation, least: &Minimum) -> Shortfall {
    if found.landlock_abi == 0 {
        return Shortfall::new(
            "no Landlock",
            "use a kernel 5.13 or newer with `landlock` in `lsm=`, see `loki doctor`",
        );
    }
    Shortfall {
        missing: Cow::Owned(format!(
            "Landlock ABI {} is in force, the policy asks for {}",
            found.landlock_abi, least.landlock
        )),
        next: Cow::Borrowed(
            "use a newer kernel, or lower `landlock` in `minimum_isolation`; docs/security.md says what each has",
        ),
    }
}

/// Says what of the newest Landlock ABI in use an older one cannot hold.
pub(super) fn landlock_lacks(abi: u32) -> Vec<String> {
    let since = [
        (
            2,
            "renaming and linking across directories, which is always refused",
        ),
        (3, "truncating files that may only be read"),
        (5, "ioctl on devices"),
        (6, "signals and abstract sockets within the sandbox"),
    ];
    let lacks = since.into_iter().filter(|(first, _)| abi < *first);
    lacks.map(|(_, what)| what.to_owned()).collect()
}

/// Whether cgroups hold at least as much as was asked for: memory in bytes, processes, thousandths
/// of a processor.
pub(super) fn limits_hold(held: &Held, asked: (u64, u64, u64)) -> bool {
    let within = |found: Option<u64>, asked: u64| found.is_some_and(|found| found <= asked);
    match held.by {
        HeldBy::EngineSays => true,
        HeldBy::Cgroup => {
            within(held.memory, asked.0)
                && within(held.processes, asked.1)
                && within(held.millicpus, asked.2)
        }
        HeldBy::Nothing | HeldBy::Rlimit => false,
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
        noexec: noexec(&fs::read_to_string(format!("/proc/{pid}/mountinfo"))?),
        no_network: only_loopback(&fs::read_to_string(format!("/proc/{pid}/net/dev"))?),
        ..Isolation::default()
    })
}

/// Returns which of the places that an agent may fill are mounted without execution, from
/// `/proc/PID/mountinfo`: the fifth field is the place, the sixth its options.
fn noexec(table: &str) -> Vec<String> {
    let holds = |line: &&str, place: &str| {
        let mut fields = line.split(' ').skip(4);
        fields.next() == Some(place)
            && fields
                .next()
                .is_some_and(|options| options.split(',').any(|option| option == "noexec"))
    };
    ["/home/agent", "/tmp", "/work"]
        .into_iter()
        .filter(|place| table.lines().any(|line| holds(&line, place)))
        .map(str::to_owned)
        .collect()
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
            ..Isolation::default()
        }
    }

    #[test]
    fn everything_enforced_passes() {
        assert_eq!(minimum(&full(), &Minimum::default()), Ok(()));
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
            assert!(minimum(&found, &Minimum::default()).is_err(), "{found:?}");
        }
    }

    #[test]
    fn a_policy_that_accepts_no_cgroups_still_wants_processes_held() {
        let accepting = Minimum {
            cgroup: false,
            ..Minimum::default()
        };
        let mut found = Isolation {
            cgroup_limits: false,
            ..full()
        };
        let fault = minimum(&found, &accepting).unwrap_err();
        assert!(fault.missing.contains("number of processes"), "{fault}");
        found.held = Held {
            by: HeldBy::Rlimit,
            processes: Some(64),
            ..Held::default()
        };
        assert_eq!(minimum(&found, &accepting), Ok(()));
        assert_eq!(
            minimum(&found, &Minimum::default()),
            Err(Shortfall::NO_LIMITS)
        );
    }

    #[test]
    fn a_policy_may_ask_for_more_than_the_least() {
        let of = |landlock| Minimum {
            landlock,
            ..Minimum::default()
        };
        assert_eq!(minimum(&full(), &of(0)), Ok(()));
        let fault = minimum(&full(), &of(3)).unwrap_err().to_string();
        assert!(
            fault.contains("ABI 1") && fault.contains("asks for 3"),
            "{fault}"
        );
        let newer = Isolation {
            landlock_abi: 3,
            ..full()
        };
        assert_eq!(minimum(&newer, &of(3)), Ok(()));
        let metered = Minimum {
            write_meter: true,
            ..Minimum::default()
        };
        assert!(minimum(&full(), &metered).is_err());
    }

    #[test]
    fn limits_hold_only_when_each_is_as_low_as_asked() {
        let held = Held {
            by: HeldBy::Cgroup,
            memory: Some(4096),
            processes: Some(64),
            millicpus: Some(500),
        };
        let asked = (4096, 64, 500);
        assert!(limits_hold(&held, asked));
        let weaker: [fn(&mut Held); 5] = [
            |h| h.memory = None,
            |h| h.memory = Some(8192),
            |h| h.processes = Some(65),
            |h| h.millicpus = None,
            |h| h.by = HeldBy::Rlimit,
        ];
        for weaken in weaker {
            let mut found = held.clone();
            weaken(&mut found);
            assert!(!limits_hold(&found, asked), "{found:?}");
        }
    }

    #[test]
    fn each_older_landlock_lacks_more() {
        let counts = [1, 2, 3, 4, 5, 6, 7].map(|abi| landlock_lacks(abi).len());
        assert_eq!(counts, [4, 3, 2, 2, 1, 0, 0]);
    }

    #[test]
    fn a_second_interface_is_network() {
        let head = "Inter-| Receive\n face |bytes\n";
        assert!(only_loopback(&format!("{head}    lo: 0 0\n")));
        assert!(!only_loopback(&format!("{head}    lo: 0 0\n  eth0: 0 0\n")));
        assert!(!only_loopback(head));
    }
}
