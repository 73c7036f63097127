//! What the kernel counts of a sandbox: refused memory and processes, processor time, traffic.
//!
//! Read on the host, from the cgroup of the container's first process, on cgroup v1, v2 and
//! hybrids. It sets no cap: the engine did. A counter that this host cannot read is left out and
//! named in [`Counters::unwatched`]. [`Switch`] ends a cgroup as a whole.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::event::Limit;

/// Longest file of counters that is read; `/proc/PID/net/netstat` is the longest, about 4 KiB.
const LONGEST: usize = 16 * 1024;

/// Open files of counters; reading one again gives its value of that moment.
#[derive(Debug, Default)]
pub(super) struct Counters {
    memory: Option<File>,
    memory_peak: Option<File>,
    processes: Option<File>,
    nanoseconds: Option<File>,
    microseconds: Option<File>,
    traffic: Option<File>,
    members: Option<File>,
}

impl Counters {
    /// Opens the counters of the cgroup that a process of this host is in.
    pub(super) fn of_process(pid: u32) -> Self {
        let (mounts, groups) = tables(pid);
        let open = |controller: &str, files: &[&str]| {
            let places = places(&mounts, &groups, controller);
            let each = places
                .iter()
                .flat_map(|place| files.iter().map(|file| place.join(file)));
            each.filter_map(|path| File::open(path).ok()).next()
        };
        Self {
            memory: open("memory", &["memory.oom_control", "memory.events"]),
            memory_peak: open("memory", &["memory.max_usage_in_bytes", "memory.peak"]),
            processes: open("pids", &["pids.events"]),
            nanoseconds: open("cpuacct", &["cpuacct.usage"]),
            microseconds: open("cpu", &["cpu.stat"]),
            traffic: File::open(format!("/proc/{pid}/net/netstat")).ok(),
            members: open("pids", &["cgroup.procs"]),
        }
    }

    /// Names the caps whose overrun cannot be seen from here.
    pub(super) fn unwatched(&self) -> Vec<Limit> {
        let seen = [
            (Limit::Memory, self.out_of_memory().is_some()),
            (Limit::Processes, self.refused_processes().is_some()),
            (
                Limit::Idle,
                self.processor().is_some() && self.traffic().is_some(),
            ),
        ];
        let unseen = seen.into_iter().filter(|(_, seen)| !seen);
        unseen.map(|(limit, _)| limit).collect()
    }

    /// Processes that the kernel killed because memory ran out.
    pub(super) fn out_of_memory(&self) -> Option<u64> {
        after(&text(self.memory.as_ref()?)?, "oom_kill")
    }

    /// The most bytes of memory that were ever in use.
    pub(super) fn memory_peak(&self) -> Option<u64> {
        text(self.memory_peak.as_ref()?)?.trim().parse().ok()
    }

    /// Processes that the kernel refused to start.
    pub(super) fn refused_processes(&self) -> Option<u64> {
        after(&text(self.processes.as_ref()?)?, "max")
    }

    /// Processor time used so far, of processes that ended too.
    pub(super) fn processor(&self) -> Option<Duration> {
        if let Some(file) = &self.nanoseconds {
            return text(file)?.trim().parse().ok().map(Duration::from_nanos);
        }
        after(&text(self.microseconds.as_ref()?)?, "usage_usec").map(Duration::from_micros)
    }

    /// The processes that are in there now, by their ids on this host; of very many the first.
    pub(super) fn members(&self) -> Vec<u32> {
        let listed = self.members.as_ref().and_then(text).unwrap_or_default();
        // The last line may be cut.
        let (whole, _) = listed.rsplit_once('\n').unwrap_or_default();
        whole.lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// TCP segments with data that were sent in the sandbox's network, by either end: the
    /// gateway's ends are in there too. Keep-alive probes carry none and do not count.
    pub(super) fn traffic(&self) -> Option<u64> {
        column(&text(self.traffic.as_ref()?)?, "TcpExt:", "TCPOrigDataSent")
    }
}

/// What ends every process of a cgroup at once, and quickly however busy they are.
#[derive(Debug, Default)]
pub(super) struct Switch(Vec<(PathBuf, &'static str)>);

impl Switch {
    /// Kills all, which the kernel does as one step (cgroup v2, Linux 5.14), and lifts the cap on
    /// processors: who dies needs some time on one too, and a fork bomb has used up its share.
    const WRITES: [(&'static str, &'static str, &'static str); 5] = [
        ("any", "cgroup.kill", "1"),
        ("cpu", "cpu.cfs_quota_us", "-1"),
        ("cpu", "cpu.shares", "262144"),
        ("cpu", "cpu.max", "max"),
        ("cpu", "cpu.weight", "10000"),
    ];

    /// Finds the cgroup that a process of this host is in.
    pub(super) fn of_process(pid: u32) -> Self {
        let (mounts, groups) = tables(pid);
        let found = Self::WRITES.iter().flat_map(|(controller, file, value)| {
            let places = places(&mounts, &groups, controller);
            places
                .into_iter()
                .map(move |place| (place.join(file), *value))
        });
        Self(found.filter(|(path, _)| path.exists()).collect())
    }

    /// Throws it. What this user may not write is left: the guest ends everything too.
    pub(super) fn throw(&self) {
        for (path, value) in &self.0 {
            let file = File::options().write(true).open(path);
            file.and_then(|file| file.write_all_at(value.as_bytes(), 0))
                .ok();
        }
    }
}

/// Reads what is mounted here, and which cgroups a process is in without us: one that holds this
/// process too, as rootless engines leave it where they may make none, is not the sandbox's.
fn tables(pid: u32) -> (String, String) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let groups = read(&format!("/proc/{pid}/cgroup"));
    let ours = read("/proc/self/cgroup");
    (read("/proc/self/mountinfo"), apart(&groups, &ours))
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

/// Returns where a controller's files of a process may be: v1, then v2.
fn places(mounts: &str, groups: &str, controller: &str) -> Vec<PathBuf> {
    let group = |wanted: &dyn Fn(&str) -> bool| {
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            (wanted(fields.next()?)).then(|| fields.next()).flatten()
        })
    };
    let v1 = group(&|names| names.split(',').any(|name| name == controller));
    let v2 = group(&str::is_empty);
    let mounted = |kind: &str, path: &str| {
        mounts.lines().find_map(|line| {
            let (mount, system) = line.split_once(" - ")?;
            let mut system = system.split(' ');
            let this = system.next()? == kind;
            let options = system.nth(1).unwrap_or_default();
            let held = kind == "cgroup2" || options.split(',').any(|name| name == controller);
            let mut mount = mount.split(' ').skip(3);
            let (root, point) = (mount.next()?, mount.next()?);
            let inside = Path::new(path).strip_prefix(root).ok()?;
            (this && held).then(|| Path::new(point).join(inside))
        })
    };
    let found = [
        v1.and_then(|path| mounted("cgroup", path)),
        v2.and_then(|path| mounted("cgroup2", path)),
    ];
    found.into_iter().flatten().collect()
}

/// Reads a file of counters from its start. One whose cgroup is gone has no text.
fn text(file: &File) -> Option<String> {
    let mut buffer = vec![0; LONGEST];
    let mut length = 0;
    loop {
        let (_, free) = buffer.split_at_mut(length);
        match file.read_at(free, length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(_) => return None,
        }
    }
    buffer.truncate(length);
    String::from_utf8(buffer).ok()
}

/// Returns the number behind a key, in lines of a key and a number.
fn after(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok()).flatten()
    })
}

/// Returns a number from a pair of lines: names, then values.
fn column(text: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(group));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut pairs = names.split(' ').zip(values.split(' '));
    pairs.find(|(found, _)| *found == name)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
31 25 0:27 / /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory
32 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn a_hybrid_host_is_read_by_controller_and_then_unified() {
        let groups = "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/docker/abc\n";
        assert_eq!(
            places(V1, groups, "memory"),
            [
                Path::new("/sys/fs/cgroup/memory/docker/abc"),
                Path::new("/sys/fs/cgroup/unified/docker/abc"),
            ]
        );
        assert_eq!(
            places(V1, groups, "cpuacct").first().unwrap(),
            Path::new("/sys/fs/cgroup/cpu,cpuacct/docker/abc")
        );
    }

    #[test]
    fn a_unified_host_has_one_place_below_what_is_mounted() {
        let mounts = "31 25 0:27 /user.slice /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let groups = "0::/user.slice/libpod-1.scope/container\n";
        assert_eq!(
            places(mounts, groups, "memory"),
            [Path::new("/sys/fs/cgroup/libpod-1.scope/container")]
        );
        assert!(places(mounts, "0::/elsewhere\n", "memory").is_empty());
        assert!(places("", groups, "memory").is_empty());
    }

    #[test]
    fn what_is_ours_or_above_us_is_left_out() {
        let ours = "4:memory:/user/me\n2:cpu,cpuacct:/\n0::/user/me/session\n";
        let theirs = "4:memory:/user/me/box\n2:cpu,cpuacct:/\n0::/user/me\n";
        assert_eq!(apart(theirs, ours), "4:memory:/user/me/box");
        assert_eq!(apart("0::/user/meow\n", ours), "0::/user/meow");
    }

    #[test]
    fn counters_are_read_by_name() {
        let events = "low 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n";
        assert_eq!(after(events, "oom_kill"), Some(1));
        assert_eq!(after(events, "oom_kil"), None);
        let table = "TcpExt: A TCPOrigDataSent B\nTcpExt: 1 22 3\nIpExt: A\nIpExt: 9\n";
        assert_eq!(column(table, "TcpExt:", "TCPOrigDataSent"), Some(22));
        assert_eq!(column(table, "TcpExt:", "C"), None);
    }

    #[test]
    fn a_counter_is_read_anew_each_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let counters = Counters {
            nanoseconds: Some(file.reopen().unwrap()),
            ..Counters::default()
        };
        for nanoseconds in [7, 12] {
            let text = format!("{nanoseconds}\n");
            file.as_file().write_all_at(text.as_bytes(), 0).unwrap();
            let seen = counters.processor();
            assert_eq!(seen, Some(Duration::from_nanos(nanoseconds)));
        }
    }

    #[test]
    fn a_cgroup_that_this_process_is_in_too_is_neither_killed_nor_counted() {
        let me = std::process::id();
        assert!(Switch::of_process(me).0.is_empty());
        let counters = Counters::of_process(me);
        assert_eq!(counters.processor(), None);
        assert!(counters.members().is_empty());
    }
}
