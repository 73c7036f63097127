//! The system calls that have no safe wrapper. All unsafe code of PID 1 is in this file.
//!
//! The guest has one thread, so that a forked child may do whatever its parent may.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_ulong},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use rustix::{io::Errno, process::Pid};

const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
const FIRST_INHERITED: RawFd = 3;
const INHERITED_MAX: RawFd = 4096;

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn checked(returned: c_int) -> Result<c_int, Errno> {
    if returned < 0 {
        Err(last_error())
    } else {
        Ok(returned)
    }
}

/// Forks. Returns the child's process in the parent and nothing in the child.
pub(crate) fn fork() -> Result<Option<Pid>, Errno> {
    // SAFETY: the guest has one thread, so the child's copy of every lock and of the heap is whole.
    let pid = checked(unsafe { libc::fork() })?;
    Ok(Pid::from_raw(pid))
}

/// Ends the process at once, running nothing of the parent's that would run at exit.
pub(crate) fn exit_now(code: c_int) -> ! {
    // SAFETY: takes no pointer and does not return.
    unsafe { libc::_exit(code) }
}

/// Kills every process of the PID namespace but PID 1 itself.
pub(crate) fn kill_everything() {
    // SAFETY: takes no pointer. `main` made sure that this is PID 1, so "everything" is the sandbox.
    // Failing means that nobody is left.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// Closes what the container runtime may have leaked into PID 1 (CVE-2024-21626).
pub(crate) fn close_inherited() {
    // SAFETY: called first thing, before the guest owns any descriptor of its own; the standard
    // library opens none. Descriptors that are not open make the calls fail, which is fine.
    unsafe {
        if libc::syscall(libc::SYS_close_range, FIRST_INHERITED, c_int::MAX, 0) != 0 {
            for descriptor in FIRST_INHERITED..INHERITED_MAX {
                libc::close(descriptor);
            }
        }
    }
}

/// Blocks SIGCHLD and returns a non-blocking descriptor that is readable when one has come.
pub(crate) fn child_ends() -> Result<OwnedFd, Errno> {
    // SAFETY: `set` is initialised by sigemptyset before anything reads it and outlives the calls;
    // the descriptor is new and owned by nobody else.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        checked(libc::sigprocmask(
            libc::SIG_BLOCK,
            &raw const set,
            ptr::null_mut(),
        ))?;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        Ok(OwnedFd::from_raw_fd(checked(libc::signalfd(
            -1,
            &raw const set,
            flags,
        ))?))
    }
}

/// Forgets the signals that made the descriptor readable.
pub(crate) fn drain(ended: &OwnedFd) -> Result<(), Errno> {
    match rustix::io::read(ended, &mut [0; 512]) {
        Ok(_) | Err(Errno::INTR | Errno::AGAIN) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Gives the child the signals of a fresh process: none blocked, none ignored, whatever the engine
/// or the standard library left (Podman leaves 32 ignored, the library SIGPIPE).
pub(crate) fn reset_signals() -> Result<(), Errno> {
    const LAST: c_int = 64;
    /// The kernel's `sigaction` with the default action, no flags and an empty mask.
    const DEFAULT: [u64; 4] = [0; 4];
    const MASK_BYTES: usize = 8;
    // SAFETY: `set` is initialised by sigemptyset and outlives its call. `DEFAULT` is as large as
    // the kernel's structure and names no handler that could run; the C library's own call would
    // refuse the signals it reserves. KILL and STOP refuse, having no other action anyway.
    unsafe {
        for signal in 1..=LAST {
            let (new, old) = (DEFAULT.as_ptr(), ptr::null_mut::<u64>());
            libc::syscall(libc::SYS_rt_sigaction, signal, new, old, MASK_BYTES);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        checked(libc::sigprocmask(
            libc::SIG_SETMASK,
            &raw const set,
            ptr::null_mut(),
        ))
        .map(drop)
    }
}

/// Makes `number` (0, 1 or 2) the given pipe end, open across execve.
pub(crate) fn duplicate_onto(end: BorrowedFd<'_>, number: RawFd) -> Result<(), Errno> {
    // SAFETY: takes no pointer; only the child's standard streams, which nothing owns, are replaced.
    checked(unsafe { libc::dup2(end.as_raw_fd(), number) }).map(drop)
}

/// Lowers a resource limit, soft and hard; one that is lower already stays.
pub(crate) fn lower_limit(resource: u32, limit: u64) -> Result<(), Errno> {
    let pid = 0;
    let mut now = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `now` and `lower` are whole and outlive their calls; the kernel checks `resource`.
    unsafe {
        checked(libc::prlimit64(
            pid,
            resource as _,
            ptr::null(),
            &raw mut now,
        ))?;
        let limit = limit.min(now.rlim_max);
        let lower = libc::rlimit64 {
            rlim_cur: limit,
            rlim_max: limit,
        };
        checked(libc::prlimit64(
            pid,
            resource as _,
            &raw const lower,
            ptr::null_mut(),
        ))?;
    }
    Ok(())
}

/// Returns the kernel's Landlock ABI, 0 when it has none.
pub(crate) fn landlock_abi() -> u32 {
    let (call, flags) = (
        libc::SYS_landlock_create_ruleset,
        LANDLOCK_CREATE_RULESET_VERSION,
    );
    // SAFETY: with this flag the kernel reads no attribute; it asks for a null one of no size.
    let version = unsafe { libc::syscall(call, ptr::null::<u8>(), 0_usize, flags) };
    u32::try_from(version).unwrap_or(0)
}

/// Puts the calling process, and all it will start, under the ruleset for good.
pub(crate) fn restrict_self(ruleset: BorrowedFd<'_>) -> Result<(), Errno> {
    let (call, flags) = (libc::SYS_landlock_restrict_self, 0_u32);
    // SAFETY: takes no pointer; the descriptor is open as long as it is borrowed.
    match unsafe { libc::syscall(call, ruleset.as_raw_fd(), flags) } {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}

/// A held call is not restarted by each signal, as Go's preemption would do for ever.
const LISTENER_FLAGS: c_ulong =
    libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;

/// Returns whether the kernel knows the flags of a listener (5.19).
pub(crate) fn has_write_meter() -> bool {
    let mode = libc::c_long::from(libc::SECCOMP_SET_MODE_FILTER);
    // SAFETY: the kernel checks the flags, then refuses the null program: nothing is installed.
    let said = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            mode,
            LISTENER_FLAGS,
            ptr::null::<libc::sock_fprog>(),
        )
    };
    said == -1 && last_error() == Errno::FAULT && loki_guest::notify::fits()
}

/// A seccomp program in the kernel's form.
pub(crate) struct Filter(Vec<libc::sock_filter>);

impl Filter {
    /// Unpacks the link's form: `code` in bits 0–15, `jt` 16–23, `jf` 24–31, `k` 32–63.
    pub(crate) fn new(instructions: &[u64]) -> Self {
        let unpack = |instruction: &u64| {
            let [code_low, code_high, jt, jf, k @ ..] = instruction.to_le_bytes();
            let code = u16::from_le_bytes([code_low, code_high]);
            libc::sock_filter {
                code,
                jt,
                jf,
                k: u32::from_le_bytes(k),
            }
        };
        Self(instructions.iter().map(unpack).collect())
    }

    /// Puts the calling process, and all it will start, under the filter for good.
    pub(crate) fn install(&self) -> Result<(), Errno> {
        self.set(0).map(drop)
    }

    /// Does the same and returns what the filter's notifications come from, closed on exec.
    pub(crate) fn install_with_listener(&self) -> Result<OwnedFd, Errno> {
        let listener = self.set(LISTENER_FLAGS)?;
        // SAFETY: the descriptor is new and owned by nobody else.
        Ok(unsafe { OwnedFd::from_raw_fd(listener) })
    }

    fn set(&self, flags: c_ulong) -> Result<RawFd, Errno> {
        let len = u16::try_from(self.0.len()).map_err(|_| Errno::INVAL)?;
        let program = libc::sock_fprog {
            len,
            filter: self.0.as_ptr().cast_mut(),
        };
        let mode = libc::c_long::from(libc::SECCOMP_SET_MODE_FILTER);
        // SAFETY: `program` points at `len` whole instructions that live through the call; the
        // kernel copies and checks them and writes to neither.
        let said = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
        RawFd::try_from(said)
            .ok()
            .filter(|said| *said >= 0)
            .ok_or_else(last_error)
    }
}

/// Becomes another program. Returns only why not.
pub(crate) fn execve(program: &CStr, argv: &[CString], env: &[CString]) -> Errno {
    let pointers = |words: &[CString]| -> Vec<*const c_char> {
        words
            .iter()
            .map(|word| word.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end in a null pointer and, like the strings they point at, outlive the
    // call, which on success never returns.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    last_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_unpack_to_the_fields_of_the_kernel() {
        let packed = 0x0000_0004_0201_0015_u64 | (0x7fff_0000_u64 << 32);
        let Filter(program) = Filter::new(&[packed]);
        let [one] = program.as_slice() else {
            panic!("one instruction")
        };
        assert_eq!((one.code, one.jt, one.jf, one.k), (0x15, 1, 2, 0x7fff_0004));
    }

    #[test]
    fn a_filter_too_long_for_the_kernel_is_refused_before_the_call() {
        assert_eq!(Filter::new(&vec![0; 70_000]).install(), Err(Errno::INVAL));
    }
}
