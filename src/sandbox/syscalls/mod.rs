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
mod tests;
