//! The seccomp filter of every agent: what no role needs and what has led out of sandboxes.
//!
//! What is not named is allowed: the container has no capabilities and an engine's filter of its
//! own, and Landlock guards files. `ptrace` and `process_vm_*` stay, for debuggers: Landlock limits
//! them to the agent's own children. A program for another architecture is killed.

use std::collections::{BTreeMap, BTreeSet};

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, sock_filter,
};

use super::joined::joined;

// Numbers of young calls, the same on every machine since 424.
const STATMOUNT: c_long = 457;
const LISTMOUNT: c_long = 458;
const OPEN_TREE_ATTR: c_long = 467;

/// Answered with `EPERM`, whatever the arguments.
const DENIED: &[c_long] = &[
    // Namespaces and mounts: the ways to a different view of the machine.
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    OPEN_TREE_ATTR,
    // Files by handle come around every path rule.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    // Large and young parts of the kernel that agents have no use for.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
    // Keys are not in any namespace.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // The machine itself.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// Answered with `ENOSYS`, so that programs fall back: `clone3` hides its flags behind a pointer,
/// `io_uring` does its work past every filter, and what the two mount calls tell is in `/proc` too.
const MISSING: &[c_long] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    STATMOUNT,
    LISTMOUNT,
];

/// Every flag that makes a namespace: time (unshare only), mount, cgroup, uts, ipc, user, pid, net.
const NAMESPACES: [i32; 8] = [
    0x80,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];
/// In `clone` the low byte is the signal at the child's end, so `CLONE_NEWTIME` cannot be asked for.
const CLONE_SIGNAL_MASK: i32 = 0xff;

/// Address families that programs need; netlink is how libraries list addresses.
const FAMILIES: [i32; 4] = [
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
];
/// The bits of a socket's type that are its kind.
const SOCKET_KIND: u64 = 0xf;
/// Kinds other than streams, datagrams and sequenced packets: raw and obsolete ones, those of
/// protocols that nobody here speaks, and numbers that mean nothing yet.
const ODD_KINDS: [u64; 13] = [0, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
/// What is spoken on internet sockets; 0 is the usual one of a kind. Others load parts of the kernel
/// that agents have no use for, such as SCTP, DCCP, L2TP and SMC.
const PROTOCOLS: [i32; 3] = [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP];

/// Terminal requests that type into, or take over, a terminal.
const TERMINAL_INJECTIONS: [u64; 3] = [libc::TIOCSTI, libc::TIOCLINUX, libc::TIOCSETD];

/// PID 1 inside, the guest. It has the agent's user, which for these calls is right enough.
const GUEST: i32 = 1;
/// Calls whose first argument names a process to signal, hinder or bind to a processor.
const AIMED: [c_long; 10] = [
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_prlimit64,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
];
/// What `setpriority` and `ioprio_set` count from: that is a process, the next its group, and the
/// one after that a user, all of whose processes are meant.
const PRIORITIES: [(c_long, i32); 2] = [(libc::SYS_setpriority, 0), (libc::SYS_ioprio_set, 1)];

/// Execution domains that are asked for, not set: the default one, and the question itself.
/// Debuggers warn that they cannot make addresses of their child predictable, and go on.
const PERSONALITIES: [u64; 2] = [0, 0xffff_ffff];

/// First number of the x32 calls, which carry the architecture mark of x86-64.
#[cfg(target_arch = "x86_64")]
const X32_BIT: u32 = 0x4000_0000;

/// Returns the filter, in the form of the link. It is the same for every role.
#[must_use]
pub(super) fn filter() -> Vec<u64> {
    let (filters, asked) = parts();
    joined(filters, &asked).iter().map(pack).collect()
}

/// Returns the filters by what they answer, and the numbers of all calls that they look at.
fn parts() -> (Vec<BpfProgram>, BTreeSet<u32>) {
    let denied = denials();
    let missing: Rules = MISSING.iter().map(|call| (*call, Vec::new())).collect();
    let number = |call: &i64| u32::try_from(*call).expect("calls have small numbers");
    let asked = denied.keys().chain(missing.keys()).map(number).collect();
    let compiled = [
        compiled(denied, libc::EPERM),
        compiled(missing, libc::ENOSYS),
    ];
    (compiled.into_iter().chain(foreign_calls()).collect(), asked)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn denials() -> Rules {
    let mut rules: Rules = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(
        libc::SYS_unshare,
        NAMESPACES.map(|flag| all([bits_set(0, flag)])).into(),
    );
    let clone_flags = NAMESPACES
        .iter()
        .filter(|flag| **flag & CLONE_SIGNAL_MASK == 0);
    rules.insert(
        libc::SYS_clone,
        clone_flags.map(|flag| all([bits_set(0, *flag)])).collect(),
    );
    rules.insert(libc::SYS_socket, sockets());
    rules.insert(libc::SYS_socketpair, vec![all([differs(0, libc::AF_UNIX)])]);
    rules.insert(
        libc::SYS_ioctl,
        TERMINAL_INJECTIONS
            .map(|request| all([compare(1, SeccompCmpOp::Eq, request)]))
            .into(),
    );
    let personality = PERSONALITIES.map(|allowed| compare(0, SeccompCmpOp::Ne, allowed));
    rules.insert(libc::SYS_personality, vec![all(personality)]);
    rules.extend(AIMED.map(|call| (call, vec![all([equals(0, GUEST)])])));
    rules.extend(PRIORITIES.map(|(call, process)| {
        let at_guest = |kind| all([equals(0, kind), equals(1, GUEST)]);
        let user = all([equals(0, process + 2)]);
        (call, vec![at_guest(process), at_guest(process + 1), user])
    }));
    rules
}

/// Refuses families beyond the four, netlink beyond routing, and on the internet everything that is
/// neither TCP nor UDP.
fn sockets() -> Vec<SeccompRule> {
    let (netlink, protocol) = (equals(0, libc::AF_NETLINK), differs(2, libc::NETLINK_ROUTE));
    let mut rules = vec![
        all(FAMILIES.map(|family| differs(0, family))),
        all([netlink, protocol]),
    ];
    let kind = |kind| compare(1, SeccompCmpOp::MaskedEq(SOCKET_KIND), kind);
    rules.extend(ODD_KINDS.map(|odd| all([differs(0, libc::AF_NETLINK), kind(odd)])));
    for family in [libc::AF_INET, libc::AF_INET6] {
        rules.push(all([
            equals(0, family),
            kind(unsigned(libc::SOCK_SEQPACKET)),
        ]));
        let [usual, tcp, udp] = PROTOCOLS.map(|known| differs(2, known));
        rules.push(all([equals(0, family), usual, tcp, udp]));
    }
    rules
}

/// Answers the calls of another numbering that would pass for our own with `ENOSYS`.
#[cfg(target_arch = "x86_64")]
fn foreign_calls() -> Option<BpfProgram> {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    let instruction = |code, jt, k| sock_filter { code, jt, jf: 0, k };
    Some(vec![
        instruction(LOAD_WORD, 0, 0),
        instruction(JUMP_IF_AT_LEAST, 1, X32_BIT),
        instruction(RETURN, 0, SeccompAction::Allow.into()),
        instruction(RETURN, 0, refusal(libc::ENOSYS).into()),
    ])
}

#[cfg(not(target_arch = "x86_64"))]
fn foreign_calls() -> Option<BpfProgram> {
    None
}

fn compiled(rules: Rules, errno: i32) -> BpfProgram {
    let arch = std::env::consts::ARCH
        .try_into()
        .expect("guests exist for x86_64 and aarch64 only");
    SeccompFilter::new(rules, SeccompAction::Allow, refusal(errno), arch)
        .and_then(BpfProgram::try_from)
        .expect("the rules are constants, and the tests compile them")
}

fn refusal(errno: i32) -> SeccompAction {
    SeccompAction::Errno(errno.cast_unsigned())
}

fn pack(instruction: &sock_filter) -> u64 {
    let sock_filter { code, jt, jf, k } = *instruction;
    u64::from(code) | u64::from(jt) << 16 | u64::from(jf) << 24 | u64::from(k) << 32
}

fn all<const N: usize>(conditions: [SeccompCondition; N]) -> SeccompRule {
    SeccompRule::new(conditions.into()).expect("every rule here has a condition")
}

fn equals(argument: u8, value: i32) -> SeccompCondition {
    compare(argument, SeccompCmpOp::Eq, unsigned(value))
}

fn differs(argument: u8, value: i32) -> SeccompCondition {
    compare(argument, SeccompCmpOp::Ne, unsigned(value))
}

fn bits_set(argument: u8, bits: i32) -> SeccompCondition {
    compare(
        argument,
        SeccompCmpOp::MaskedEq(unsigned(bits)),
        unsigned(bits),
    )
}

/// Compares the low half of an argument, which is all that the kernel reads of these.
fn compare(argument: u8, operation: SeccompCmpOp, value: u64) -> SeccompCondition {
    SeccompCondition::new(argument, Dword, operation, value).expect("calls have six arguments")
}

fn unsigned(value: i32) -> u64 {
    u64::from(value.cast_unsigned())
}

#[cfg(test)]
mod tests {
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
}
