//! Which calls write: the one table of them, the filter made of it, and the paths that a caught
//! call names.
//!
//! Opens are told apart by their flags, in the kernel, so that reads cost nothing. `openat2` hides
//! its flags behind a pointer and is answered `ENOSYS`, which every C library and runtime expects.

#[cfg(target_arch = "x86_64")]
use libc::{
    SYS_creat, SYS_link, SYS_mkdir, SYS_mknod, SYS_open, SYS_rename, SYS_rmdir, SYS_symlink,
    SYS_unlink,
};
use libc::{SYS_linkat, SYS_mkdirat, SYS_mknodat, SYS_openat, SYS_openat2, SYS_renameat};
use libc::{SYS_renameat2, SYS_symlinkat, SYS_truncate, SYS_unlinkat, c_long};
use loki_guest::notify::Notice;

/// Where in a call's arguments a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    /// The argument that is the directory the path begins in; none for the working directory.
    directory: Option<usize>,
    /// The argument that points at the path.
    path: usize,
}

const fn here(path: usize) -> At {
    At {
        directory: None,
        path,
    }
}

const fn in_directory(directory: usize) -> At {
    At {
        directory: Some(directory),
        path: directory + 1,
    }
}

/// One call: its number, the argument with open flags where it has one, and what it changes.
struct Call {
    number: c_long,
    flags: Option<u8>,
    changes: &'static [At],
}

const fn call(number: c_long, changes: &'static [At]) -> Call {
    Call {
        number,
        flags: None,
        changes,
    }
}

/// Most frequent first.
const CALLS: &[Call] = &[
    Call {
        number: SYS_openat,
        flags: Some(2),
        changes: &[in_directory(0)],
    },
    #[cfg(target_arch = "x86_64")]
    Call {
        number: SYS_open,
        flags: Some(1),
        changes: &[here(0)],
    },
    #[cfg(target_arch = "x86_64")]
    call(SYS_creat, &[here(0)]),
    #[cfg(target_arch = "x86_64")]
    call(SYS_rename, &[here(0), here(1)]),
    call(SYS_renameat, &[in_directory(0), in_directory(2)]),
    call(SYS_renameat2, &[in_directory(0), in_directory(2)]),
    #[cfg(target_arch = "x86_64")]
    call(SYS_unlink, &[here(0)]),
    call(SYS_unlinkat, &[in_directory(0)]),
    #[cfg(target_arch = "x86_64")]
    call(SYS_rmdir, &[here(0)]),
    #[cfg(target_arch = "x86_64")]
    call(SYS_mkdir, &[here(0)]),
    call(SYS_mkdirat, &[in_directory(0)]),
    #[cfg(target_arch = "x86_64")]
    call(SYS_link, &[here(1)]),
    call(SYS_linkat, &[in_directory(2)]),
    #[cfg(target_arch = "x86_64")]
    call(SYS_symlink, &[here(1)]),
    call(SYS_symlinkat, &[in_directory(1)]),
    call(SYS_truncate, &[here(0)]),
    #[cfg(target_arch = "x86_64")]
    call(SYS_mknod, &[here(0)]),
    call(SYS_mknodat, &[in_directory(0)]),
];

/// Flags that make an open a write.
const WRITES: u32 = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC).cast_unsigned();

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
const MISSING: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// Offsets in what a filter sees, and the instructions used.
const NUMBER: u32 = 0;
const ARCH_FIELD: u32 = 4;
const ARGUMENTS: u32 = 16;
const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// An argument that a path stands in, resolved: the directory's descriptor and the path's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named {
    /// Descriptor of the directory that a relative path begins in; none for the working directory.
    pub(super) directory: Option<i32>,
    /// Where the path is in the caller's memory.
    pub(super) address: u64,
}

/// Returns the filter that holds every call that writes, in the form of the link.
#[must_use]
pub fn meter_filter() -> Vec<u64> {
    let mut program = vec![
        instruction(LOAD, [0, 0], ARCH_FIELD),
        instruction(IF_EQUAL, [1, 0], ARCH),
        // Another filter kills what comes with another architecture's numbers.
        instruction(RETURN, [0, 0], ALLOW),
        instruction(LOAD, [0, 0], NUMBER),
    ];
    program.extend(returns(SYS_openat2, MISSING));
    for call in CALLS {
        match call.flags {
            None => program.extend(returns(call.number, NOTIFY)),
            Some(argument) => program.extend([
                instruction(IF_EQUAL, [0, 4], number(call.number)),
                instruction(LOAD, [0, 0], ARGUMENTS + 8 * u32::from(argument)),
                instruction(IF_ANY_BIT, [0, 1], WRITES),
                instruction(RETURN, [0, 0], NOTIFY),
                instruction(RETURN, [0, 0], ALLOW),
            ]),
        }
    }
    program.push(instruction(RETURN, [0, 0], ALLOW));
    program
}

/// Returns what a caught call changes; none for one that is not in the table.
pub(super) fn changed(notice: &Notice) -> Option<Vec<Named>> {
    let call = CALLS
        .iter()
        .find(|call| call.number == c_long::from(notice.call))?;
    let argument = |index: usize| notice.arguments.get(index).copied();
    let named = |at: &At| {
        let directory = at.directory.map(argument).map(|fd| {
            // The kernel reads the low half.
            let [a, b, c, d, ..] = fd.unwrap_or_default().to_le_bytes();
            i32::from_le_bytes([a, b, c, d])
        });
        Some(Named {
            directory: directory.filter(|fd| *fd != libc::AT_FDCWD),
            address: argument(at.path)?,
        })
    };
    call.changes.iter().map(named).collect()
}

fn returns(call: c_long, answer: u32) -> [u64; 2] {
    [
        instruction(IF_EQUAL, [0, 1], number(call)),
        instruction(RETURN, [0, 0], answer),
    ]
}

fn number(call: c_long) -> u32 {
    u32::try_from(call).expect("calls have small numbers")
}

fn instruction(code: u16, [taken, other]: [u8; 2], k: u32) -> u64 {
    u64::from(code) | u64::from(taken) << 16 | u64::from(other) << 24 | u64::from(k) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would.
    fn judged(call: c_long, arguments: [u64; 6], arch: u32) -> u32 {
        let program = meter_filter();
        let mut data = vec![number(call), arch, 0, 0];
        for argument in arguments {
            data.extend([(argument & 0xffff_ffff) as u32, (argument >> 32) as u32]);
        }
        let (mut at, mut loaded) = (0, 0);
        loop {
            let [low, high, taken, other, k @ ..] = program[at].to_le_bytes();
            let k = u32::from_le_bytes(k);
            let jump = |yes: bool| usize::from(if yes { taken } else { other });
            at += 1 + match u16::from_le_bytes([low, high]) {
                LOAD => {
                    loaded = data[k as usize / 4];
                    0
                }
                IF_EQUAL => jump(loaded == k),
                IF_ANY_BIT => jump(loaded & k != 0),
                RETURN => return k,
                other => panic!("unknown instruction {other:#x}"),
            };
        }
    }

    fn opened(flags: i32) -> u32 {
        let flags = u64::from(flags.cast_unsigned());
        judged(SYS_openat, [0, 0, flags, 0, 0, 0], ARCH)
    }

    #[test]
    fn an_open_is_held_only_when_it_writes() {
        let reads = [
            libc::O_RDONLY,
            libc::O_RDONLY | libc::O_CLOEXEC | libc::O_DIRECTORY,
            libc::O_PATH,
        ];
        assert!(reads.into_iter().all(|flags| opened(flags) == ALLOW));
        let writes = [
            libc::O_WRONLY,
            libc::O_RDWR,
            libc::O_CREAT,
            libc::O_TRUNC,
            libc::O_TMPFILE | libc::O_RDWR,
            libc::O_WRONLY | libc::O_APPEND | libc::O_CLOEXEC,
        ];
        assert!(writes.into_iter().all(|flags| opened(flags) == NOTIFY));
    }

    #[test]
    fn every_other_call_of_the_table_is_held_and_openat2_is_not_there() {
        for call in CALLS.iter().filter(|call| call.flags.is_none()) {
            assert_eq!(judged(call.number, [0; 6], ARCH), NOTIFY, "{}", call.number);
        }
        assert_eq!(judged(SYS_openat2, [0; 6], ARCH), MISSING);
    }

    #[test]
    fn what_does_not_write_is_untouched() {
        for call in [
            libc::SYS_read,
            libc::SYS_write,
            libc::SYS_execve,
            libc::SYS_sendmsg,
            libc::SYS_statx,
            libc::SYS_ftruncate,
        ] {
            assert_eq!(judged(call, [u64::MAX; 6], ARCH), ALLOW, "{call}");
        }
        assert_eq!(judged(SYS_unlinkat, [0; 6], ARCH ^ 1), ALLOW);
    }

    fn notice(call: c_long, arguments: [u64; 6]) -> Notice {
        Notice {
            id: 1,
            pid: 1,
            call: i32::try_from(call).unwrap(),
            arguments,
        }
    }

    #[test]
    fn both_names_of_a_rename_and_the_new_one_of_a_link_are_looked_at() {
        let here = u64::from(libc::AT_FDCWD.cast_unsigned());
        let renamed = changed(&notice(SYS_renameat2, [here, 10, 7, 20, 0, 0])).unwrap();
        let at = |directory, address| Named { directory, address };
        assert_eq!(renamed, [at(None, 10), at(Some(7), 20)]);
        let linked = changed(&notice(SYS_linkat, [3, 10, 7, 20, 0, 0])).unwrap();
        assert_eq!(linked, [at(Some(7), 20)]);
        assert_eq!(changed(&notice(libc::SYS_read, [0; 6])), None);
    }
}
