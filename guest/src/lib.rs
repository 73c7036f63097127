//! The link protocol between the host and PID 1 of a sandbox.
//!
//! One `SOCK_SEQPACKET` connection; each message is one [`postcard`] value plus descriptors
//! (`SCM_RIGHTS`). A request over [`INLINE_MAX`] bytes travels in a memfd; replies are always
//! small, so the host reads no file that a guest could choose.

#![deny(unsafe_code)]

#[expect(
    unsafe_code,
    reason = "the requests of a seccomp listener have no safe wrapper; each call has its proof"
)]
pub mod notify;
mod wire;

use std::net::SocketAddr;

pub use wire::{
    Packet, WireError, decode_reply, decode_request, encode_reply, encode_request, receive, send,
};

use serde::{Deserialize, Serialize};

/// Version of this protocol; both sides must agree.
pub const VERSION: u32 = 3;
/// Where the guest binary is mounted.
pub const GUEST_PATH: &str = "/loki/guest";
/// Where the socket of the link is mounted.
pub const LINK_PATH: &str = "/loki/link/socket";
/// Largest message sent as a packet; a larger one is sent as a memfd.
pub const INLINE_MAX: usize = 64 * 1024;
/// Largest message at all: what one `execve` can take, with room for the rules.
pub const MESSAGE_MAX: usize = 4 * 1024 * 1024;
/// Most descriptors that travel with one message.
pub const DESCRIPTORS_MAX: usize = 4;
/// Directory trees that an agent may write: rules on paths in them follow no symbolic link, or an
/// agent could turn a right on its own directory into a right on any other.
pub const AGENT_TREES: [&str; 3] = ["/work", "/tmp", "/home/agent"];

/// The newest Landlock ABI whose rights are used.
pub const NEWEST_LANDLOCK: u32 = 6;

/// What the host asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Runs a program under confinement. Answered by [`Reply::Started`] or [`Reply::Refused`].
    Exec(Exec),
    /// Sends a signal to the process group of an exec that was started.
    Signal {
        /// The exec.
        id: u32,
        /// The signal number.
        signal: i32,
    },
    /// Binds a TCP listener. Answered by [`Reply::Bound`] with the socket.
    Listen {
        /// Chosen by the host.
        id: u32,
        /// Address and port inside the sandbox.
        at: SocketAddr,
    },
    /// Binds UDP and TCP on 127.0.0.1:53. Answered by [`Reply::Bound`] with both sockets, UDP first.
    Dns {
        /// Chosen by the host.
        id: u32,
    },
    /// Runs a program under confinement on a terminal of its own, which controls it. Answered like
    /// [`Request::Exec`]. The host resizes the terminal later on the end that it gets.
    Terminal {
        /// The program.
        exec: Exec,
        /// Lines of the terminal.
        rows: u16,
        /// Characters in a line.
        columns: u16,
    },
    /// Makes a ruleset of these rules ready for an exec that will name them all, as far as they are
    /// about the image. Not answered: an exec that finds nothing ready makes its own.
    Prepare {
        /// As in [`Confinement::landlock`].
        landlock: u32,
        /// As in [`Confinement::paths`].
        paths: Vec<PathRule>,
    },
}

/// What the guest answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// First message.
    Hello {
        /// [`VERSION`] of the guest.
        version: u32,
        /// Landlock ABI of the kernel, 0 when none.
        landlock_abi: u32,
        /// Whether [`Confinement::meter`] can be held.
        write_meter: bool,
    },
    /// The program runs; carries stdin (write end), stdout and stderr (read ends), or the host's end
    /// of its terminal; and where it has a meter its listener.
    Started {
        /// The exec.
        id: u32,
    },
    /// The program ended.
    Exited {
        /// The exec.
        id: u32,
        /// Exit code, or 128 + signal number.
        code: i32,
        /// The signal that ended it, 0 for none.
        signal: i32,
    },
    /// The sockets asked for.
    Bound {
        /// The request.
        id: u32,
    },
    /// A request could not be done.
    Refused {
        /// The request.
        id: u32,
        /// Which step failed, such as `exec` or `landlock`.
        step: String,
        /// The operating system's error number, 0 for none.
        errno: i32,
    },
}

/// A program to run, with everything it may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// Chosen by the host, never reused on a link.
    pub id: u32,
    /// Program and arguments. A program without `/` is looked up in `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub cwd: String,
    /// What the kernel holds it to.
    pub confinement: Confinement,
}

/// What the kernel holds a program and all its children to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Landlock rules; what no rule allows is denied. Paths that do not exist are skipped.
    pub paths: Vec<PathRule>,
    /// The seccomp filters, all of them in force: one filter has one answer for what it matches.
    /// One `u64` per BPF instruction: `code` in bits 0–15, `jt` 16–23, `jf` 24–31, `k` 32–63.
    pub filters: Vec<Vec<u64>>,
    /// A further filter, in the same form, whose notifications the host serves.
    pub meter: Option<Vec<u64>>,
    /// `(resource, limit)` pairs for setrlimit, soft and hard; they lower, they never raise.
    pub limits: Vec<(u32, u64)>,
    /// The newest Landlock ABI to use, up to [`NEWEST_LANDLOCK`]; the kernel's own where that is
    /// lower. 0 is refused, as a kernel without Landlock is.
    pub landlock: u32,
}

/// One Landlock rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRule {
    /// Absolute path; or a bare program name, looked up in the usual program directories
    /// (each match gets the rule, on the file its symlinks lead to).
    pub path: String,
    /// Reading files and listing directories.
    pub read: bool,
    /// Creating, changing, renaming and removing.
    pub write: bool,
    /// Executing.
    pub execute: bool,
}
