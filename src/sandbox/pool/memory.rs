//! How many more slots this machine's memory has room for.

use std::fs;

use super::super::hierarchy::{Group, Hierarchies};

/// What a slot costs that waits: its guest, the engine's programs beside it, its files.
pub(super) const SLOT: u64 = 32 << 20;
/// This part of all memory is left to those who work.
const RESERVE: u64 = 4;

/// Memory that there is, and how much of it is free, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Memory {
    total: u64,
    free: u64,
}

/// Returns how many more slots may be made ready now: as many as the least of this machine and the
/// limits of this process have room for. Where nothing can be read there is room for none.
pub(super) fn room() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let Some(machine) = of_machine(&machine) else {
        return 0;
    };
    let groups = Hierarchies::of_process(std::process::id()).groups("memory");
    let limits = groups.iter().flat_map(limits);
    limits.chain([machine]).map(slots).min().unwrap_or(0)
}

fn slots(memory: Memory) -> u64 {
    memory.free.saturating_sub(memory.total / RESERVE) / SLOT
}

fn of_machine(table: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = table.lines().find_map(|line| line.strip_prefix(name))?;
        let number = line.strip_prefix(':')?.split_whitespace().next()?;
        number.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Memory {
        total: field("MemTotal")?,
        free: field("MemAvailable")?,
    })
}

/// Every limit that a cgroup and those above it set.
fn limits(group: &Group) -> Vec<Memory> {
    let (most, used) = if group.unified {
        ("memory.max", "memory.current")
    } else {
        ("memory.limit_in_bytes", "memory.usage_in_bytes")
    };
    let inside = group.directory.ancestors();
    let inside = inside.take_while(|directory| directory.starts_with(&group.top));
    let read = |path: std::path::PathBuf| fs::read_to_string(path).ok()?.trim().parse().ok();
    let limit = |directory: &std::path::Path| {
        let total: u64 = read(directory.join(most))?;
        let used: u64 = read(directory.join(used))?;
        let free = total.saturating_sub(used);
        Some(Memory { total, free })
    };
    inside.filter_map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_quarter_of_the_memory_is_left_to_those_who_work() {
        let of = |free| {
            slots(Memory {
                total: 8 * GIB,
                free,
            })
        };
        assert_eq!(of(2 * GIB), 0);
        assert_eq!(of(0), 0);
        assert_eq!(of(2 * GIB + SLOT), 1);
        assert_eq!(of(8 * GIB), 6 * GIB / SLOT);
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
        assert!(of_machine(&fs::read_to_string("/proc/meminfo").unwrap()).is_some());
    }

    #[test]
    fn a_limit_of_any_level_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (top, inner) = (folder.path().join("top"), folder.path().join("top/inner"));
        std::fs::create_dir_all(&inner).unwrap();
        let put = |directory: &std::path::Path, file: &str, text: &str| {
            let mut file = fs::File::create(directory.join(file)).unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        };
        put(&top, "memory.max", "4096\n");
        put(&top, "memory.current", "1024\n");
        put(&inner, "memory.max", "max\n");
        put(&inner, "memory.current", "512\n");
        put(folder.path(), "memory.max", "1\n");
        put(folder.path(), "memory.current", "1\n");
        let group = Group {
            directory: inner,
            top,
            unified: true,
        };
        let found = limits(&group);
        assert_eq!(
            found,
            [Memory {
                total: 4096,
                free: 3072
            }]
        );
    }
}
