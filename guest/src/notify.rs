//! The kernel's seccomp notifications, for who serves a listener: safe functions over its requests.
//!
//! A notification says that a call is about to happen and holds it until it is answered. The only
//! answer here lets it happen: the arguments are the caller's to change meanwhile, so nothing here
//! may decide on a right. A listener that is closed makes every held and later call fail with
//! `ENOSYS`, so it is kept until it reports that nobody is left.

use std::{
    mem::zeroed,
    os::fd::{AsRawFd, BorrowedFd},
};

use rustix::{fs::readlink, io::Errno};

/// What `/proc` calls a listener.
const KIND: &[u8] = b"anon_inode:seccomp notify";
/// Wake whoever waits on the processor of the waker: 3 instead of 60 microseconds.
const SYNC_WAKE_UP: u64 = 1;
/// No page is smaller, so a read that ends at a multiple of it stays within one.
const PAGE: u64 = 4096;

/// A call that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// What an answer names.
    pub id: u64,
    /// The calling thread's number as this process sees it, 0 when it cannot.
    pub pid: u32,
    /// The call's number.
    pub call: i32,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// The kernel's structure with room behind it, should a newer kernel write a longer one.
#[repr(C)]
struct Room {
    notice: libc::seccomp_notif,
    spare: [u64; 32],
}

/// Returns whether notifications here are of a size that [`receive`] has room for.
#[must_use]
pub fn fits() -> bool {
    // SAFETY: the structure is three plain numbers, which the call fills.
    let (said, sizes) = unsafe {
        let mut sizes: libc::seccomp_notif_sizes = zeroed();
        let operation = libc::SECCOMP_GET_NOTIF_SIZES;
        let said = libc::syscall(libc::SYS_seccomp, operation, 0, &raw mut sizes);
        (said, sizes)
    };
    said == 0
        && usize::from(sizes.seccomp_notif) <= size_of::<Room>()
        && usize::from(sizes.seccomp_notif_resp) <= size_of::<libc::seccomp_notif_resp>()
}

/// Makes sure that a descriptor is a listener, and asks for the fast wake-up where the kernel has
/// it (6.6).
///
/// # Errors
/// `EINVAL` when it is something else; what the kernel says when it cannot be looked at.
pub fn accept(listener: BorrowedFd<'_>) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", listener.as_raw_fd());
    if readlink(path, Vec::new())?.as_bytes() != KIND {
        return Err(Errno::INVAL);
    }
    // SAFETY: the request takes its argument as a number; an older kernel refuses it, and is slower.
    unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS,
            SYNC_WAKE_UP,
        )
    };
    Ok(())
}

/// Takes the next call that waits. Blocks when none does: to be called when `poll` says one is there.
///
/// # Errors
/// `ENOENT` when the caller was killed meanwhile, `EINTR`.
pub fn receive(listener: BorrowedFd<'_>) -> Result<Notice, Errno> {
    // SAFETY: the structure is plain numbers, all zero as the kernel demands, and has room behind
    // it for a longer one; `fits` says whether that is enough.
    let notice = unsafe {
        let mut room: Room = zeroed();
        let request = libc::SECCOMP_IOCTL_NOTIF_RECV;
        checked(libc::ioctl(
            listener.as_raw_fd(),
            request,
            &raw mut room.notice,
        ))?;
        room.notice
    };
    Ok(Notice {
        id: notice.id,
        pid: notice.pid,
        call: notice.data.nr,
        arguments: notice.data.args,
    })
}

/// Lets a call happen.
///
/// # Errors
/// `ENOENT` when its caller is gone.
pub fn proceed(listener: BorrowedFd<'_>, id: u64) -> Result<(), Errno> {
    let mut answer = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: 0,
        flags: libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
    };
    // SAFETY: the answer is whole and outlives the call.
    let said = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            &raw mut answer,
        )
    };
    checked(said)
}

/// Returns whether a call still waits: its caller may have been killed.
#[must_use]
pub fn waits(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the number is whole, outlives the call, and is only read.
    let said = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
            &raw const id,
        )
    };
    said == 0
}

/// Reads bytes of another process's memory, never past the end of the first page.
///
/// # Errors
/// `EPERM` where the host's settings forbid it, `EFAULT`, `ESRCH`.
pub fn peek(pid: u32, address: u64, into: &mut [u8]) -> Result<usize, Errno> {
    let left_of_page = usize::try_from(PAGE - address % PAGE).unwrap_or(0);
    let length = into.len().min(left_of_page);
    let local = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: length,
    };
    let remote = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(usize::try_from(address).unwrap_or(0)),
        iov_len: length,
    };
    let pid = libc::pid_t::try_from(pid).map_err(|_| Errno::SRCH)?;
    // SAFETY: the kernel writes at most `length` bytes into `into`, which is borrowed for the call;
    // the remote address is checked by the kernel and never dereferenced here.
    let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(read).map_err(|_| last_error())
}

fn checked(returned: libc::c_int) -> Result<(), Errno> {
    if returned < 0 {
        Err(last_error())
    } else {
        Ok(())
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn only_a_listener_passes_for_one() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(accept(file.as_fd()), Err(Errno::INVAL));
        assert_eq!(receive(file.as_fd()), Err(Errno::NOTTY));
        assert_eq!(proceed(file.as_fd(), 1), Err(Errno::NOTTY));
        assert!(!waits(file.as_fd(), 1));
    }

    #[test]
    fn this_kernel_has_notifications_of_a_known_size() {
        assert!(fits());
    }

    #[test]
    fn memory_is_read_up_to_the_end_of_its_page() {
        let pages = vec![7_u8; 3 * 4096];
        let start = pages.as_ptr() as u64;
        let last = (start / PAGE + 2) * PAGE - 3;
        let mut into = [0; 64];
        assert_eq!(peek(std::process::id(), last, &mut into), Ok(3));
        assert_eq!(into[..4], [7, 7, 7, 0]);
        assert_eq!(peek(std::process::id(), 0, &mut into), Err(Errno::FAULT));
    }
}
