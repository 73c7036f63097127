//! Every answer of the filter, by running it as the kernel would.

use super::*;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

fn judged(program: &[u64], data: &[u32; 16]) -> u32 {
    counted(program, data).0
}

/// Runs one filter as the kernel would; returns its answer and the number of steps to it.
fn counted(program: &[u64], data: &[u32; 16]) -> (u32, usize) {
    let (mut at, mut accumulator, mut steps) = (0, 0, 0);
    loop {
        steps += 1;
        let instruction = program[at];
        let (code, k) = (
            instruction & 0xffff,
            u32::try_from(instruction >> 32).unwrap(),
        );
        let [_, _, jt, jf, ..] = instruction.to_le_bytes();
        let jump = |taken: bool| usize::from(if taken { jt } else { jf });
        at += 1 + match code {
            0x20 => {
                accumulator = data[k as usize / 4];
                0
            }
            0x54 => {
                accumulator &= k;
                0
            }
            0x05 => k as usize,
            0x15 => jump(accumulator == k),
            0x25 => jump(accumulator > k),
            0x35 => jump(accumulator >= k),
            0x06 => return (k, steps),
            other => panic!("unknown instruction {other:#x}"),
        };
    }
}

fn on(arch: u32, call: u32, arguments: &[u64]) -> u32 {
    let mut data = [0; 16];
    (data[0], data[1]) = (call, arch);
    for (index, argument) in arguments.iter().enumerate() {
        data[4 + 2 * index] = u32::try_from(argument & 0xffff_ffff).unwrap();
        data[5 + 2 * index] = u32::try_from(argument >> 32).unwrap();
    }
    judged(&filter(), &data)
}

fn verdict(call: c_long, arguments: &[u64]) -> u32 {
    on(ARCH, u32::try_from(call).unwrap(), arguments)
}

fn errno(number: i32) -> u32 {
    ERRNO | number.cast_unsigned()
}

#[test]
fn everything_on_the_lists_is_refused() {
    for call in DENIED {
        assert_eq!(verdict(*call, &[]), errno(libc::EPERM), "call {call}");
    }
    for call in MISSING {
        assert_eq!(verdict(*call, &[]), errno(libc::ENOSYS), "call {call}");
    }
}

/// What agents never need, by the kernel's own numbers: a name, a call, its first arguments and
/// the answer. Refusing here must not depend on an engine's filter.
#[cfg(target_arch = "x86_64")]
const REFUSED: [(&str, u32, &[u64], i32); 66] = [
    ("unshare user", 272, &[0x1000_0000], libc::EPERM),
    ("unshare time", 272, &[0x80], libc::EPERM),
    ("clone user", 56, &[0x1000_0011], libc::EPERM),
    ("clone3", 435, &[], libc::ENOSYS),
    ("setns", 308, &[], libc::EPERM),
    ("mount", 165, &[], libc::EPERM),
    ("umount2", 166, &[], libc::EPERM),
    ("pivot_root", 155, &[], libc::EPERM),
    ("chroot", 161, &[], libc::EPERM),
    ("open_tree", 428, &[], libc::EPERM),
    ("move_mount", 429, &[], libc::EPERM),
    ("fsopen", 430, &[], libc::EPERM),
    ("fsconfig", 431, &[], libc::EPERM),
    ("fsmount", 432, &[], libc::EPERM),
    ("fspick", 433, &[], libc::EPERM),
    ("mount_setattr", 442, &[], libc::EPERM),
    ("statmount", 457, &[], libc::ENOSYS),
    ("listmount", 458, &[], libc::ENOSYS),
    ("open_tree_attr", 467, &[], libc::EPERM),
    ("name_to_handle_at", 303, &[], libc::EPERM),
    ("open_by_handle_at", 304, &[], libc::EPERM),
    ("bpf", 321, &[], libc::EPERM),
    ("perf_event_open", 298, &[], libc::EPERM),
    ("userfaultfd", 323, &[], libc::EPERM),
    ("fanotify_init", 300, &[], libc::EPERM),
    ("lookup_dcookie", 212, &[], libc::EPERM),
    ("add_key", 248, &[], libc::EPERM),
    ("request_key", 249, &[], libc::EPERM),
    ("keyctl", 250, &[], libc::EPERM),
    ("io_uring_setup", 425, &[], libc::ENOSYS),
    ("io_uring_enter", 426, &[], libc::ENOSYS),
    ("io_uring_register", 427, &[], libc::ENOSYS),
    ("kexec_load", 246, &[], libc::EPERM),
    ("kexec_file_load", 320, &[], libc::EPERM),
    ("init_module", 175, &[], libc::EPERM),
    ("finit_module", 313, &[], libc::EPERM),
    ("delete_module", 176, &[], libc::EPERM),
    ("swapon", 167, &[], libc::EPERM),
    ("swapoff", 168, &[], libc::EPERM),
    ("reboot", 169, &[], libc::EPERM),
    ("acct", 163, &[], libc::EPERM),
    ("quotactl", 179, &[], libc::EPERM),
    ("quotactl_fd", 443, &[], libc::EPERM),
    ("syslog", 103, &[], libc::EPERM),
    ("vhangup", 153, &[], libc::EPERM),
    ("sethostname", 170, &[], libc::EPERM),
    ("setdomainname", 171, &[], libc::EPERM),
    ("settimeofday", 164, &[], libc::EPERM),
    ("clock_settime", 227, &[], libc::EPERM),
    ("iopl", 172, &[], libc::EPERM),
    ("ioperm", 173, &[], libc::EPERM),
    ("modify_ldt", 154, &[], libc::EPERM),
    (
        "personality: pages executable",
        135,
        &[0x0040_0000],
        libc::EPERM,
    ),
    ("socket raw", 41, &[2, 3, 1], libc::EPERM),
    ("socket raw, version 6", 41, &[10, 3, 58], libc::EPERM),
    ("socket ping", 41, &[2, 2, 1], libc::EPERM),
    ("socket sctp", 41, &[2, 5, 132], libc::EPERM),
    ("socket packet", 41, &[17, 3, 0x300], libc::EPERM),
    ("socket vsock", 41, &[40, 1, 0], libc::EPERM),
    ("socket alg", 41, &[38, 5, 0], libc::EPERM),
    ("socket key", 41, &[15, 3, 2], libc::EPERM),
    ("socket bluetooth", 41, &[31, 3, 1], libc::EPERM),
    ("socket xdp", 41, &[44, 3, 0], libc::EPERM),
    ("netlink audit", 41, &[16, 3, 9], libc::EPERM),
    ("netlink netfilter", 41, &[16, 3, 12], libc::EPERM),
    ("typing into a terminal", 16, &[0, 0x5412], libc::EPERM),
];

#[cfg(target_arch = "x86_64")]
#[test]
fn what_agents_never_need_is_refused_by_number() {
    for (name, call, arguments, answer) in REFUSED {
        assert_eq!(on(ARCH, call, arguments), errno(answer), "{name}");
    }
}

#[test]
fn ordinary_work_is_allowed() {
    let calls = [
        libc::SYS_read,
        libc::SYS_openat,
        libc::SYS_execve,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_memfd_create,
        libc::SYS_memfd_secret,
        libc::SYS_process_vm_writev,
        libc::SYS_kcmp,
        libc::SYS_pidfd_open,
        libc::SYS_get_mempolicy,
        libc::SYS_sched_setaffinity,
        libc::SYS_rseq,
        libc::SYS_membarrier,
        libc::SYS_inotify_init1,
        libc::SYS_seccomp,
        libc::SYS_landlock_create_ruleset,
    ];
    for call in calls {
        assert_eq!(verdict(call, &[]), ALLOW, "call {call}");
    }
}

#[test]
fn threads_are_made_and_namespaces_are_not() {
    let thread = 0x003d_0f00;
    let child = libc::SIGCHLD.cast_unsigned().into();
    assert_eq!(verdict(libc::SYS_clone, &[thread]), ALLOW);
    assert_eq!(verdict(libc::SYS_clone, &[child]), ALLOW);
    assert_eq!(verdict(libc::SYS_unshare, &[0x400]), ALLOW);
    for flag in NAMESPACES {
        let flag = unsigned(flag);
        assert_eq!(
            verdict(libc::SYS_unshare, &[flag | 0x400]),
            errno(libc::EPERM)
        );
        if flag != 0x80 {
            assert_eq!(
                verdict(libc::SYS_clone, &[flag | child]),
                errno(libc::EPERM)
            );
        }
    }
}

#[test]
fn only_local_and_internet_sockets_are_made() {
    let socket = |family, kind, protocol| verdict(libc::SYS_socket, &[family, kind, protocol]);
    let cloexec = 0x8_0000;
    for family in [1, 2, 10] {
        assert_eq!(socket(family, 1 | cloexec, 0), ALLOW);
        assert_eq!(socket(family, 2 | cloexec, 0), ALLOW);
    }
    // What getaddrinfo does.
    assert_eq!(socket(16, 3 | cloexec, 0), ALLOW);
    for denied in (0..48).filter(|family| ![1, 2, 10, 16].contains(family)) {
        assert_eq!(socket(denied, 1, 0), errno(libc::EPERM), "family {denied}");
    }
    assert_eq!(socket(1, 5 | cloexec, 0), ALLOW);
    for (kind, protocol) in [(1, 6), (2 | cloexec, 17)] {
        assert_eq!(socket(2, kind, protocol), ALLOW);
        assert_eq!(socket(10, kind, protocol), ALLOW);
    }
    let refused = [
        (2, 3, 1),
        (10, 3 | cloexec, 58),
        (2, 10, 3),
        (16, 3, 9),
        (2, 1, 262),
        (2, 1 | cloexec, 132),
        (10, 5, 0),
        (2, 6, 33),
        (2, 2, 136),
        (1, 3, 0),
    ];
    for (family, kind, protocol) in refused {
        assert_eq!(socket(family, kind, protocol), errno(libc::EPERM));
    }
    // The kernel reads 32 bits; so does the filter.
    assert_eq!(socket(0x1_0000_0000 | 40, 1, 0), errno(libc::EPERM));
    assert_eq!(verdict(libc::SYS_socketpair, &[1, 1, 0]), ALLOW);
    assert_eq!(
        verdict(libc::SYS_socketpair, &[30, 1, 0]),
        errno(libc::EPERM)
    );
}

#[test]
fn nothing_is_typed_into_a_terminal() {
    assert_eq!(verdict(libc::SYS_ioctl, &[1, libc::TCGETS]), ALLOW);
    for request in TERMINAL_INJECTIONS {
        assert_eq!(verdict(libc::SYS_ioctl, &[1, request]), errno(libc::EPERM));
        let high = request | 1 << 32;
        assert_eq!(verdict(libc::SYS_ioctl, &[1, high]), errno(libc::EPERM));
    }
}

#[test]
fn pid_1_is_neither_signalled_nor_hindered() {
    for call in AIMED {
        assert_eq!(verdict(call, &[1]), errno(libc::EPERM), "call {call}");
        assert_eq!(verdict(call, &[0]), ALLOW, "call {call}");
        assert_eq!(verdict(call, &[4711]), ALLOW, "call {call}");
    }
    for (call, process) in [(libc::SYS_setpriority, 0), (libc::SYS_ioprio_set, 1)] {
        for (kind, who) in [(process, 1), (process + 1, 1), (process + 2, 0)] {
            assert_eq!(verdict(call, &[kind, who]), errno(libc::EPERM));
        }
        assert_eq!(verdict(call, &[process, 0]), ALLOW);
        assert_eq!(verdict(call, &[process, 11]), ALLOW);
        assert_eq!(verdict(call, &[process + 1, 0]), ALLOW);
    }
}

#[test]
fn personalities_are_asked_for_and_not_set() {
    for allowed in PERSONALITIES {
        assert_eq!(verdict(libc::SYS_personality, &[allowed]), ALLOW);
    }
    // Another system, 32 bits, predictable addresses, pages that are executable when read.
    for odd in [1, 8, 0x0004_0000, 0x0040_0000] {
        assert_eq!(verdict(libc::SYS_personality, &[odd]), errno(libc::EPERM));
    }
}

#[test]
fn other_architectures_are_killed() {
    let i386 = 0x4000_0003;
    assert_eq!(on(i386, 1, &[]), KILL);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn x32_calls_do_not_exist() {
    assert_eq!(on(ARCH, X32_BIT | 1, &[]), errno(libc::ENOSYS));
    assert_eq!(on(ARCH, X32_BIT | 321, &[]), errno(libc::ENOSYS));
}

#[test]
fn the_filter_fits_into_the_kernel() {
    assert!(filter().len() < 4096);
}

/// Answers as the kernel does for several filters: kill counts before errno, errno before allow.
fn judged_apart(parts: &[Vec<u64>], data: &[u32; 16]) -> u32 {
    let verdicts: Vec<_> = parts.iter().map(|part| judged(part, data)).collect();
    let first = |action| {
        let mut all = verdicts.iter();
        all.find(|verdict| **verdict >> 16 == action >> 16)
    };
    *first(KILL).or(first(ERRNO)).unwrap_or(&ALLOW)
}

#[test]
fn one_filter_answers_as_its_parts() {
    let whole = filter();
    let packed = |part: &BpfProgram| part.iter().map(pack).collect();
    let parts: Vec<Vec<u64>> = parts().0.iter().map(packed).collect();
    proptest::proptest!(|(arguments: [u32; 12], small in 0_u32..600, arch: u32)| {
        let mut data = [0; 16];
        data[4..].copy_from_slice(&arguments);
        let numbers = [small, small | 0x4000_0000, arguments[0], 0x3fff_ffff, u32::MAX];
        let aimed = [small % 64, arguments[1], arguments[2] % 16];
        for (number, arch) in numbers.into_iter().flat_map(|n| [(n, ARCH), (n, arch)]) {
            for first in aimed {
                (data[0], data[1], data[4]) = (number, arch, first);
                proptest::prop_assert_eq!(judged(&whole, &data), judged_apart(&parts, &data));
            }
        }
    });
}

#[test]
fn calls_that_nobody_looks_at_are_let_by_in_a_few_steps() {
    let (whole, (_, asked)) = (filter(), parts());
    let mut steps = 0;
    let mut calls = 0;
    for call in (0..500).filter(|call| !asked.contains(call)) {
        let mut data = [0; 16];
        (data[0], data[1]) = (call, ARCH);
        steps += counted(&whole, &data).1;
        calls += 1;
    }
    assert!(steps < 14 * calls, "{steps} steps for {calls} calls");
}
