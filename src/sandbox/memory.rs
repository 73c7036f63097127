//! How much memory there is for sandboxes: what the machine has free, and what every limit leaves
//! that this process stands under. Pages of files count as free: the kernel takes them back.

use std::{fs, path::Path};

use super::hierarchy::{Group, Hierarchies};

/// Memory that there is, and how much of it is free, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bound {
    total: u64,
    free: u64,
}

/// The memory that there is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    machine: Bound,
    limits: Vec<Bound>,
}

impl Memory {
    /// Reads how much there is; none where that cannot be known.
    #[must_use]
    pub fn read() -> Option<Self> {
        let machine = of_machine(&fs::read_to_string("/proc/meminfo").ok()?)?;
        let groups = Hierarchies::of_process(std::process::id()).groups("memory");
        let limits = groups.iter().flat_map(limits).collect();
        Some(Self { machine, limits })
    }

    /// Returns how much is free for one who may use so much. A limit that is smaller than that is
    /// none of those he stands under: engines often put sandboxes elsewhere than this process.
    #[must_use]
    pub fn free_for(&self, most: u64) -> u64 {
        let limits = self.limits.iter().filter(|limit| limit.total >= most);
        let free = limits.map(|limit| limit.free).min();
        free.map_or(self.machine.free, |free| free.min(self.machine.free))
    }

    /// Returns how many of this size there is room for, if one part in `reserve` of all memory is to
    /// stay free.
    #[must_use]
    pub fn room(&self, (size, reserve): (u64, u64)) -> u64 {
        let room = |of: &Bound| of.free.saturating_sub(of.total / reserve) / size;
        let all = self.limits.iter().chain([&self.machine]);
        all.map(room).min().unwrap_or(0)
    }
}

fn of_machine(table: &str) -> Option<Bound> {
    let field = |name: &str| {
        let line = table.lines().find_map(|line| line.strip_prefix(name))?;
        let number = line.strip_prefix(':')?.split_whitespace().next()?;
        number.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Bound {
        total: field("MemTotal")?,
        free: field("MemAvailable")?,
    })
}

/// Every limit that a cgroup and those above it set.
fn limits(group: &Group) -> Vec<Bound> {
    let (most, used, files) = if group.unified {
        (
            "memory.max",
            "memory.current",
            ["active_file", "inactive_file"],
        )
    } else {
        (
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            ["total_active_file", "total_inactive_file"],
        )
    };
    let inside = group.directory.ancestors();
    let inside = inside.take_while(|directory| directory.starts_with(&group.top));
    let read = |path: &Path| -> Option<u64> { fs::read_to_string(path).ok()?.trim().parse().ok() };
    let limit = |directory: &Path| {
        let total = read(&directory.join(most))?;
        let used = read(&directory.join(used))?;
        let kept = fs::read_to_string(directory.join("memory.stat")).unwrap_or_default();
        let kept: u64 = files.iter().filter_map(|name| counted(&kept, name)).sum();
        let free = total.saturating_sub(used.saturating_sub(kept));
        Some(Bound { total, free })
    };
    inside.filter_map(limit).collect()
}

/// Returns a number of a table of `name number` lines.
fn counted(table: &str, name: &str) -> Option<u64> {
    let mut lines = table.lines().filter_map(|line| line.split_once(' '));
    let (_, number) = lines.find(|(key, _)| *key == name)?;
    number.trim().parse().ok()
}

#[cfg(test)]
impl Memory {
    /// A machine without limits.
    pub(super) fn of(total: u64, free: u64) -> Self {
        Self {
            machine: Bound { total, free },
            limits: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const SLOT: (u64, u64) = (32 << 20, 4);

    #[test]
    fn a_part_of_the_memory_is_left_to_those_who_work() {
        let of = |free| Memory::of(8 * GIB, free).room(SLOT);
        assert_eq!(of(2 * GIB), 0);
        assert_eq!(of(0), 0);
        assert_eq!(of(2 * GIB + SLOT.0), 1);
        assert_eq!(of(8 * GIB), 6 * GIB / SLOT.0);
    }

    #[test]
    fn the_least_counts_but_no_limit_that_holds_not_even_one() {
        let limit = |total, free| Bound { total, free };
        let memory = Memory {
            limits: vec![limit(4 * GIB, GIB), limit(GIB, 0)],
            ..Memory::of(8 * GIB, 2 * GIB)
        };
        let free = [GIB / 2, 2 * GIB, 4 * GIB, 5 * GIB].map(|most| memory.free_for(most));
        assert_eq!(free, [0, GIB, GIB, 2 * GIB]);
        assert_eq!(memory.room(SLOT), 0);
        assert_eq!(Memory::of(GIB, 9).free_for(8 * GIB), 9);
    }

    #[test]
    fn the_machines_memory_is_read_and_what_cannot_be_read_is_none() {
        let table = "MemTotal:       16384 kB\nMemFree:  1 kB\nMemAvailable:   8192 kB\n";
        let read = of_machine(table).unwrap();
        assert_eq!((read.total, read.free), (16 << 20, 8 << 20));
        for odd in [
            "",
            "MemTotal: 1 kB\n",
            "MemTotal: x kB\nMemAvailable: 1 kB\n",
        ] {
            assert_eq!(of_machine(odd), None, "{odd}");
        }
        let here = Memory::read().unwrap();
        assert!(here.free_for(u64::MAX) > 1 << 20, "{here:?}");
    }

    #[test]
    fn a_limit_of_any_level_counts_and_pages_of_files_are_free() {
        let folder = tempfile::tempdir().unwrap();
        let (top, inner) = (folder.path().join("top"), folder.path().join("top/inner"));
        std::fs::create_dir_all(&inner).unwrap();
        let put = |directory: &Path, file: &str, text: &str| {
            let mut file = fs::File::create(directory.join(file)).unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        };
        for (unified, most, used, prefix) in [
            (true, "memory.max", "memory.current", ""),
            (
                false,
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_",
            ),
        ] {
            put(&top, most, "4096\n");
            put(&top, used, "1024\n");
            put(&inner, most, "2048\n");
            put(&inner, used, "2000\n");
            let stat = format!("anon 7\n{prefix}inactive_file 900\n{prefix}active_file 100\n");
            put(&inner, "memory.stat", &stat);
            put(folder.path(), most, "1\n");
            put(folder.path(), used, "1\n");
            let group = Group {
                directory: inner.clone(),
                top: top.clone(),
                unified,
            };
            let found = limits(&group).into_iter().map(|one| (one.total, one.free));
            assert_eq!(found.collect::<Vec<_>>(), [(2048, 1048), (4096, 3072)]);
            put(&inner, most, "max\n");
            assert_eq!(limits(&group).len(), 1);
        }
    }
}
