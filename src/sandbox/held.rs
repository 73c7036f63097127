//! What limits the kernel holds a sandbox to, read from the files of its own cgroup instead of
//! believed of the engine; and, where there are none, the limit of processes in its own user
//! namespace.
//!
//! A limit of any ancestor holds as well, so the least counts: some runtimes put the processes one
//! level below the limits.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::event::{Held, HeldBy};

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
    let groups = Groups::of(
        &read(&format!("/proc/{pid}/cgroup")),
        &read("/proc/self/mountinfo"),
    );
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

/// The directories of a process's cgroup, one for each controller that limits; the same one in all
/// where there is one hierarchy.
#[derive(Debug, Default, PartialEq, Eq)]
struct Groups {
    memory: Option<Group>,
    pids: Option<Group>,
    cpu: Option<Group>,
}

/// A directory, and the mount it lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    directory: PathBuf,
    top: PathBuf,
    unified: bool,
}

impl Groups {
    /// Joins `/proc/PID/cgroup` with `/proc/self/mountinfo`.
    fn of(groups: &str, mounts: &str) -> Self {
        let find = |controller: &str| {
            groups
                .lines()
                .filter_map(|line| {
                    let mut parts = line.splitn(3, ':').skip(1);
                    Some((parts.next()?, parts.next()?))
                })
                .find(|(names, _)| names.split(',').any(|name| name == controller))
                .and_then(|(_, path)| group(path, controller, mounts))
        };
        let unified = || find("").filter(|group| group.unified);
        Self {
            memory: find("memory").or_else(unified),
            pids: find("pids").or_else(unified),
            cpu: find("cpu").or_else(unified),
        }
    }
}

/// Finds where a cgroup's path is mounted. A controller without a name is the one new hierarchy.
fn group(path: &str, controller: &str, mounts: &str) -> Option<Group> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        let wanted = match controller {
            "" => kind == "cgroup2",
            name => kind == "cgroup" && options.split(',').any(|option| option == name),
        };
        let mut before = before.split(' ').skip(3);
        let (root, top) = (before.next()?, Path::new(before.next()?));
        let inside = Path::new(path).strip_prefix(root).ok()?;
        wanted.then(|| Group {
            directory: top.join(inside),
            top: top.to_owned(),
            unified: kind == "cgroup2",
        })
    })
}

impl Groups {
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

#[cfg(test)]
mod tests {
    use super::*;

    const OLD_MOUNTS: &str = "\
25 24 0:22 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
29 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:6 - cgroup cgroup rw,cpu,cpuacct
31 25 0:28 / /sys/fs/cgroup/memory rw,nosuid shared:8 - cgroup cgroup rw,memory
32 25 0:29 / /sys/fs/cgroup/pids rw,nosuid shared:9 - cgroup cgroup rw,pids
33 25 0:30 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw
";
    const NEW_MOUNTS: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";

    fn at(group: Option<&Group>) -> &str {
        group.unwrap().directory.to_str().unwrap()
    }

    #[test]
    fn old_cgroups_have_a_directory_for_each_controller() {
        let text = "9:pids:/docker/x\n8:memory:/docker/x\n5:cpu,cpuacct:/docker/x\n1:name=systemd:/y\n0::/\n";
        let found = Groups::of(text, OLD_MOUNTS);
        assert_eq!(at(found.memory.as_ref()), "/sys/fs/cgroup/memory/docker/x");
        assert_eq!(at(found.pids.as_ref()), "/sys/fs/cgroup/pids/docker/x");
        assert_eq!(
            at(found.cpu.as_ref()),
            "/sys/fs/cgroup/cpu,cpuacct/docker/x"
        );
    }

    #[test]
    fn new_cgroups_have_one_directory_for_all() {
        let text = "0::/user.slice/libpod-x.scope/container\n";
        let found = Groups::of(text, NEW_MOUNTS);
        let wanted = "/sys/fs/cgroup/user.slice/libpod-x.scope/container";
        for group in [found.memory, found.pids, found.cpu] {
            assert_eq!(at(group.as_ref()), wanted);
        }
        assert_eq!(Groups::of("", NEW_MOUNTS), Groups::default());
        assert_eq!(Groups::of(text, ""), Groups::default());
    }

    #[test]
    fn a_part_of_the_hierarchy_that_is_mounted_elsewhere_is_found_there() {
        let mounts = "30 23 0:26 /box /cg rw - cgroup2 cgroup2 rw\n";
        let found = Groups::of("0::/box/in\n", mounts);
        assert_eq!(at(found.pids.as_ref()), "/cg/in");
        // What lies outside of it cannot be read from here.
        assert_eq!(Groups::of("0::/other\n", mounts), Groups::default());
    }

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
