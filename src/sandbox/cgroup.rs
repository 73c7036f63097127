//! What the kernel counts of a sandbox: refused memory and processes, processor time, traffic.
//!
//! Read on the host, from the cgroup of the container's first process, on cgroup v1, v2 and
//! hybrids. It sets no cap: the engine did. A counter that this host cannot read is left out and
//! named in [`Counters::unwatched`]. [`Switch`] ends a cgroup as a whole.

use std::{fs::File, os::unix::fs::FileExt, path::PathBuf, time::Duration};

use crate::event::Limit;

use super::hierarchy::Hierarchies;

/// Longest file of counters that is read; `/proc/PID/net/netstat` is the longest, about 4 KiB.
const LONGEST: usize = 16 * 1024;

/// Open files of counters; reading one again gives its value of that moment.
#[derive(Debug, Default)]
pub(super) struct Counters {
    memory: Option<File>,
    memory_now: Option<File>,
    memory_peak: Option<File>,
    processes: Option<File>,
    processes_now: Option<File>,
    nanoseconds: Option<File>,
    microseconds: Option<File>,
    traffic: Option<File>,
    members: Option<File>,
}

impl Counters {
    /// Opens the counters of the cgroup that a process of this host is in.
    pub(super) fn of_process(pid: u32) -> Self {
        let hierarchies = Hierarchies::apart_from_us(pid);
        let open = |controller: &str, files: &[&str]| {
            let groups = hierarchies.groups(controller);
            let each = groups
                .iter()
                .flat_map(|group| files.iter().map(|file| group.directory.join(file)));
            each.filter_map(|path| File::open(path).ok()).next()
        };
        Self {
            memory: open("memory", &["memory.oom_control", "memory.events"]),
            memory_now: open("memory", &["memory.usage_in_bytes", "memory.current"]),
            memory_peak: open("memory", &["memory.max_usage_in_bytes", "memory.peak"]),
            processes: open("pids", &["pids.events"]),
            processes_now: open("pids", &["pids.current"]),
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
        number(self.memory_peak.as_ref()?)
    }

    /// Bytes of memory in use.
    pub(super) fn memory_now(&self) -> Option<u64> {
        number(self.memory_now.as_ref()?)
    }

    /// Processes and threads there are.
    pub(super) fn processes_now(&self) -> Option<u64> {
        number(self.processes_now.as_ref()?)
    }

    /// Processes that the kernel refused to start.
    pub(super) fn refused_processes(&self) -> Option<u64> {
        after(&text(self.processes.as_ref()?)?, "max")
    }

    /// Processor time used so far, of processes that ended too.
    pub(super) fn processor(&self) -> Option<Duration> {
        if let Some(file) = &self.nanoseconds {
            return number(file).map(Duration::from_nanos);
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
        let hierarchies = Hierarchies::apart_from_us(pid);
        let found = Self::WRITES.iter().flat_map(|(controller, file, value)| {
            let groups = hierarchies.groups(controller);
            groups
                .into_iter()
                .map(move |group| (group.directory.join(file), *value))
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

/// Reads a file that holds one number. These are read often.
fn number(file: &File) -> Option<u64> {
    let mut buffer = [0; 32];
    let length = file.read_at(&mut buffer, 0).ok()?;
    let text = std::str::from_utf8(buffer.get(..length)?).ok()?;
    text.trim().parse().ok()
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
