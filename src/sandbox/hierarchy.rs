//! Where the cgroups of a process are on this host: version 1, version 2 and hybrids of both.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What is mounted here, and which cgroups a process is in.
#[derive(Debug)]
pub(super) struct Hierarchies {
    mounts: String,
    groups: String,
}

/// A cgroup's directory, and the mount it lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) directory: PathBuf,
    /// Where its hierarchy is mounted: no directory above it is one of a cgroup.
    pub(super) top: PathBuf,
    /// It is of version 2.
    pub(super) unified: bool,
}

impl Hierarchies {
    /// Reads those of a process of this host; what cannot be read has none.
    pub(super) fn of_process(pid: u32) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            mounts: read("/proc/self/mountinfo"),
            groups: read(&format!("/proc/{pid}/cgroup")),
        }
    }

    /// Reads those of a process without the ones that this process is in too: rootless engines leave
    /// a sandbox there where they may make none, and then they are not the sandbox's.
    pub(super) fn apart_from_us(pid: u32) -> Self {
        let ours = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let Self { mounts, groups } = Self::of_process(pid);
        let groups = apart(&groups, &ours);
        Self { mounts, groups }
    }

    /// Returns where a controller's files may be: version 1, then version 2. Whatever lies outside
    /// of what is mounted here is left out.
    pub(super) fn groups(&self, controller: &str) -> Vec<Group> {
        let named = |names: &str| names.split(',').any(|name| name == controller);
        let old = self.path(named).and_then(|path| {
            self.mounted(path, |kind, options| kind == "cgroup" && named(options))
        });
        let new = self
            .path(str::is_empty)
            .and_then(|path| self.mounted(path, |kind, _| kind == "cgroup2"));
        old.into_iter().chain(new).collect()
    }

    /// Returns the process's path in the hierarchy whose controllers are wanted.
    fn path(&self, wanted: impl Fn(&str) -> bool) -> Option<&str> {
        self.groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            wanted(fields.next()?).then(|| fields.next()).flatten()
        })
    }

    /// Returns where a path of the hierarchy with such a kind and options is mounted.
    fn mounted(&self, path: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<Group> {
        self.mounts.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut after = after.split(' ');
            let (kind, options) = (after.next()?, after.nth(1)?);
            let mut before = before.split(' ').skip(3);
            let (root, top) = (before.next()?, Path::new(before.next()?));
            let inside = Path::new(path).strip_prefix(root).ok()?;
            wanted(kind, options).then(|| Group {
                directory: top.join(inside),
                top: top.to_owned(),
                unified: kind == "cgroup2",
            })
        })
    }
}

/// Returns the lines of a table of cgroups whose cgroup is none of `ours` nor above one.
fn apart(groups: &str, ours: &str) -> String {
    let parts = |line: &str| {
        let (hierarchy, path) = line.split_at(line.find(":/")?);
        Some((hierarchy.to_owned(), path.get(1..)?.to_owned()))
    };
    let ours: Vec<_> = ours.lines().filter_map(parts).collect();
    let is_apart = |line: &&str| {
        parts(line).is_some_and(|(hierarchy, path)| {
            let above = |(other, inside): &(String, String)| {
                *other == hierarchy && Path::new(inside).starts_with(&path)
            };
            !ours.iter().any(above)
        })
    };
    let lines: Vec<&str> = groups.lines().filter(is_apart).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_or_above_us_is_left_out() {
        let ours = "4:memory:/user/me\n2:cpu,cpuacct:/\n0::/user/me/session\n";
        let theirs = "4:memory:/user/me/box\n2:cpu,cpuacct:/\n0::/user/me\n";
        assert_eq!(apart(theirs, ours), "4:memory:/user/me/box");
        assert_eq!(apart("0::/user/meow\n", ours), "0::/user/meow");
    }

    const OLD: &str = "\
25 24 0:22 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
29 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:6 - cgroup cgroup rw,cpu,cpuacct
31 25 0:28 / /sys/fs/cgroup/memory rw,nosuid shared:8 - cgroup cgroup rw,memory
32 25 0:29 / /sys/fs/cgroup/pids rw,nosuid - cgroup cgroup rw,pids
33 25 0:30 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw
";
    const NEW: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

    fn places(mounts: &str, groups: &str, controller: &str) -> Vec<String> {
        let (mounts, groups) = (mounts.to_owned(), groups.to_owned());
        let found = Hierarchies { mounts, groups }.groups(controller);
        found
            .iter()
            .map(|group| group.directory.display().to_string())
            .collect()
    }

    #[test]
    fn a_hybrid_host_has_a_directory_for_each_controller_and_then_the_unified_one() {
        let groups = "9:pids:/docker/x\n8:memory:/docker/x\n5:cpu,cpuacct:/docker/x\n\
                      1:name=systemd:/y\n0::/docker/x\n";
        for (controller, directory) in [
            ("memory", "memory"),
            ("pids", "pids"),
            ("cpu", "cpu,cpuacct"),
            ("cpuacct", "cpu,cpuacct"),
        ] {
            assert_eq!(
                places(OLD, groups, controller),
                [
                    format!("/sys/fs/cgroup/{directory}/docker/x"),
                    "/sys/fs/cgroup/unified/docker/x".to_owned(),
                ]
            );
        }
    }

    #[test]
    fn a_unified_host_has_one_directory_for_all() {
        let groups = "0::/user.slice/libpod-x.scope/container\n";
        for controller in ["memory", "pids", "cpu"] {
            assert_eq!(
                places(NEW, groups, controller),
                ["/sys/fs/cgroup/user.slice/libpod-x.scope/container"]
            );
        }
        assert!(places(NEW, "", "memory").is_empty());
        assert!(places("", groups, "memory").is_empty());
    }

    #[test]
    fn a_part_of_the_hierarchy_that_is_mounted_elsewhere_is_found_there() {
        let mounts = "30 23 0:26 /box /cg rw - cgroup2 cgroup2 rw\n";
        assert_eq!(places(mounts, "0::/box/in\n", "pids"), ["/cg/in"]);
        // What lies outside of it cannot be read from here.
        assert!(places(mounts, "0::/other\n", "pids").is_empty());
    }
}
