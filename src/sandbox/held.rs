//! What limits the kernel holds a sandbox to, read from the files of its own cgroup instead of
//! believed of the engine; and, where there are none, the limit of processes in its own user
//! namespace.
//!
//! A limit of any ancestor holds as well, so the least counts: some runtimes put the processes one
//! level below the limits.

use std::{fs, path::Path};

use crate::{
    event::{Held, HeldBy},
    policy::Rights,
};

use super::hierarchy::{Group, Hierarchies};

/// The first kernel that counts processes per user namespace; before, the limit of one sandbox
/// would count every process of the user.
const COUNTS_IN_NAMESPACES: (u32, u32) = (5, 14);
/// Old cgroups write "no limit" as the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 62;

/// Linux's number of the limit of processes, the same on every machine we build for.
const LIMIT_PROCESSES: u32 = 6;

/// Reads what its cgroups hold a sandbox's first process to; none where they cannot be seen from
/// here.
pub(super) fn in_cgroups(pid: u32) -> Option<Held> {
    let groups = Groups::of(&Hierarchies::of_process(pid));
    groups.seen().then(|| groups.read())
}

/// Returns what holds a sandbox without cgroups: `RLIMIT_NPROC`, which the guest sets on every
/// program (see [`limits`]) or does not start it, where the kernel counts it for the sandbox alone.
pub(super) fn in_namespace(pid: u32, processes: u64) -> Held {
    let own_users = read(&format!("/proc/{pid}/uid_map")) != read("/proc/self/uid_map");
    if !own_users || kernel() < COUNTS_IN_NAMESPACES {
        return Held::default();
    }
    Held {
        by: HeldBy::Rlimit,
        processes: Some(processes),
        ..Held::default()
    }
}

/// The limits that a program needs besides its role's, for what is held by them to hold.
pub(super) fn limits(held: &Held) -> Option<(u32, u64)> {
    let by_rlimit = held.by == HeldBy::Rlimit;
    held.processes
        .filter(|_| by_rlimit)
        .map(|processes| (LIMIT_PROCESSES, processes))
}

/// What cannot be read says nothing.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The running kernel's version, its first two numbers.
fn kernel() -> (u32, u32) {
    let release = read("/proc/sys/kernel/osrelease");
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// A process's cgroups, one for each controller that limits; the same one in all where there is one
/// hierarchy.
#[derive(Debug, Default, PartialEq, Eq)]
struct Groups {
    memory: Option<Group>,
    pids: Option<Group>,
    cpu: Option<Group>,
}

impl Groups {
    fn of(hierarchies: &Hierarchies) -> Self {
        let first = |controller| hierarchies.groups(controller).into_iter().next();
        Self {
            memory: first("memory"),
            pids: first("pids"),
            cpu: first("cpu"),
        }
    }

    /// Whether the directory of the limit of memory is there to be read.
    fn seen(&self) -> bool {
        let directory = self.memory.as_ref().map(|group| &group.directory);
        directory.is_some_and(|directory| directory.is_dir())
    }

    fn read(&self) -> Held {
        let memory = self.memory.as_ref().and_then(|group| {
            let file = if group.unified {
                "memory.max"
            } else {
                "memory.limit_in_bytes"
            };
            least(group, |directory| number(&directory.join(file)))
        });
        let processes = self
            .pids
            .as_ref()
            .and_then(|group| least(group, |directory| number(&directory.join("pids.max"))));
        let millicpus = self
            .cpu
            .as_ref()
            .and_then(|group| least(group, |directory| processors(group, directory)));
        Held {
            by: HeldBy::Cgroup,
            memory,
            processes,
            millicpus,
        }
    }
}

/// The least of what a directory and those above it say.
fn least(group: &Group, say: impl Fn(&Path) -> Option<u64>) -> Option<u64> {
    let inside = |directory: &&Path| directory.starts_with(&group.top);
    let all = group.directory.ancestors().take_while(inside);
    all.filter_map(say).min()
}

/// A file's number; `max`, the old "no limit" and what cannot be read are none.
fn number(file: &Path) -> Option<u64> {
    let number = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (number < NO_LIMIT).then_some(number)
}

/// Thousandths of a processor: quota by period.
fn processors(group: &Group, directory: &Path) -> Option<u64> {
    let (quota, period) = if group.unified {
        let text = fs::read_to_string(directory.join("cpu.max")).ok()?;
        let (quota, period) = text.trim().split_once(' ')?;
        (quota.parse().ok()?, period.parse().ok()?)
    } else {
        // Without a limit the quota is -1, which is no such number.
        (
            number(&directory.join("cpu.cfs_quota_us"))?,
            number(&directory.join("cpu.cfs_period_us"))?,
        )
    };
    (quota * 1000u64).checked_div(period)
}

/// The limits a role is given: bytes of memory, processes, thousandths of a processor.
pub(super) fn asked(rights: &Rights) -> (u64, u64, u64) {
    let caps = &rights.resources;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of processors is a small number above 0"
    )]
    let millicpus = (caps.cpus * 1000.0).round() as u64;
    (caps.memory, u64::from(caps.pids), millicpus)
}

/// Takes the engine's word where the cgroup's files cannot be seen.
pub(super) fn believed((memory, processes, millicpus): (u64, u64, u64)) -> Held {
    Held {
        by: HeldBy::EngineSays,
        memory: Some(memory),
        processes: Some(processes),
        millicpus: Some(millicpus),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(directory: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(directory).unwrap();
        for (name, text) in files {
            let mut file = fs::File::create(directory.join(name)).unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        }
    }

    fn everywhere(group: Group) -> Groups {
        Groups {
            memory: Some(group.clone()),
            pids: Some(group.clone()),
            cpu: Some(group),
        }
    }

    #[test]
    fn the_least_of_all_levels_holds_and_no_level_beyond_the_mount_counts() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("top");
        let (scope, inner) = (top.join("scope"), top.join("scope/container"));
        put(folder.path(), &[("memory.max", "1\n")]);
        let scope_files = [
            ("memory.max", "4096\n"),
            ("pids.max", "64\n"),
            ("cpu.max", "50000 100000\n"),
        ];
        put(&scope, &scope_files);
        let inner_files = [
            ("memory.max", "max\n"),
            ("pids.max", "max\n"),
            ("cpu.max", "max 100000\n"),
        ];
        put(&inner, &inner_files);
        let found = everywhere(Group {
            directory: inner,
            top,
            unified: true,
        })
        .read();
        assert_eq!(
            (found.memory, found.processes, found.millicpus),
            (Some(4096), Some(64), Some(500))
        );
    }

    #[test]
    fn an_old_cgroup_without_limits_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("pids.max", "max\n"),
            ("cpu.cfs_quota_us", "-1\n"),
            ("cpu.cfs_period_us", "100000\n"),
        ];
        put(folder.path(), &files);
        let groups = everywhere(Group {
            directory: folder.path().to_owned(),
            top: folder.path().to_owned(),
            unified: false,
        });
        let found = groups.read();
        assert_eq!(
            (found.memory, found.processes, found.millicpus),
            (None, None, None)
        );
        put(
            folder.path(),
            &[("cpu.cfs_quota_us", "150000\n"), ("pids.max", "7\n")],
        );
        let found = groups.read();
        assert_eq!((found.processes, found.millicpus), (Some(7), Some(1500)));
    }

    #[test]
    fn processes_are_not_counted_for_the_sandbox_alone_without_a_namespace_of_its_own() {
        assert_eq!(in_namespace(std::process::id(), 64), Held::default());
        assert_eq!(limits(&Held::default()), None);
        let held = Held {
            by: HeldBy::Rlimit,
            processes: Some(64),
            ..Held::default()
        };
        assert_eq!(limits(&held), Some((6, 64)));
        let by_cgroup = Held {
            by: HeldBy::Cgroup,
            ..held
        };
        assert_eq!(limits(&by_cgroup), None);
    }

    #[test]
    fn this_kernel_has_a_version() {
        assert!(kernel() > (3, 0));
    }
}
