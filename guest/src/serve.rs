//! The loop of PID 1: requests from the link, ends of children, nothing else.

use std::{collections::HashMap, io, os::fd::OwnedFd};

use loki_guest::{
    LINK_PATH, Packet, Reply, Request, VERSION, WireError, decode_request, encode_reply, receive,
    send,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::AsFd,
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
    process::{
        DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus, kill_process_group,
        set_dumpable_behavior, wait,
    },
};

use crate::{
    exec::{self, Refusal},
    rules::Landlock,
    sockets,
    streams::{self, Streams},
    sys,
};

/// Children reaped before the link has its turn.
const REAPED_AT_ONCE: usize = 64;
const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Who may still wait to be reaped.
#[derive(PartialEq, Eq)]
enum Left {
    Nobody,
    Perhaps,
}

/// Serves the link until it ends, which is no error.
///
/// # Errors
/// When the link cannot be opened, or a message on it is not one of the protocol.
pub(crate) fn run() -> io::Result<()> {
    sys::close_inherited();
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let ended = sys::child_ends()?;
    let mut guest = Guest {
        link: open_link()?,
        landlock: Landlock::new(sys::landlock_abi()),
        running: HashMap::new(),
    };
    match guest.serve(&ended) {
        Err(WireError::Closed | WireError::Os(Errno::PIPE)) => Ok(()),
        other => Ok(other?),
    }
}

fn open_link() -> io::Result<OwnedFd> {
    let kind = (
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
    );
    let link = socket_with(kind.0, kind.1, kind.2, None)?;
    connect(&link, &SocketAddrUnix::new(LINK_PATH)?)?;
    Ok(link)
}

struct Guest {
    link: OwnedFd,
    landlock: Landlock,
    /// Which exec a process leads; those that an orphan left to PID 1 are not in here.
    running: HashMap<Pid, u32>,
}

impl Guest {
    fn serve(&mut self, ended: &OwnedFd) -> Result<(), WireError> {
        let hello = Reply::Hello {
            version: VERSION,
            landlock_abi: self.landlock.abi,
            write_meter: sys::has_write_meter(),
        };
        self.reply(&hello, Vec::new())?;
        let mut left = Left::Nobody;
        loop {
            let mut ready = [
                PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.link.as_fd(), PollFlags::IN),
            ];
            let timeout = (left == Left::Perhaps).then_some(&AT_ONCE);
            match poll(&mut ready, timeout) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            let [children, link] = ready.map(|fd| !fd.revents().is_empty());
            if children {
                sys::drain(ended)?;
            }
            if children || left == Left::Perhaps {
                left = self.reap()?;
            }
            if link {
                let packet = receive(self.link.as_fd())?;
                self.answer(&packet)?;
            }
        }
    }

    fn answer(&mut self, packet: &Packet) -> Result<(), WireError> {
        let (done, id, outcome) = match decode_request(packet)? {
            Request::Exec(exec) => {
                let outcome = self.exec(&exec, streams::pipes);
                (Reply::Started { id: exec.id }, exec.id, outcome)
            }
            Request::Terminal {
                exec,
                rows,
                columns,
            } => {
                let outcome = self.exec(&exec, || streams::terminal(rows, columns));
                (Reply::Started { id: exec.id }, exec.id, outcome)
            }
            Request::Listen { id, at } => (Reply::Bound { id }, id, sockets::listen(at)),
            Request::Dns { id } => (Reply::Bound { id }, id, sockets::dns()),
            Request::Signal { id, signal } => {
                self.signal(id, signal);
                return Ok(());
            }
            Request::Prepare { landlock, paths } => {
                self.landlock.prepare(landlock, &paths);
                return Ok(());
            }
        };
        match outcome {
            Ok(descriptors) => match self.reply(&done, descriptors) {
                // A user may have so many descriptors in flight, and agents have the same user: one
                // that sends itself thousands must not end the sandbox of another.
                Err(WireError::Os(errno @ Errno::TOOMANYREFS)) => {
                    self.abandon(id);
                    self.refuse(
                        id,
                        &Refusal {
                            step: "send",
                            errno,
                        },
                    )
                }
                sent => sent,
            },
            Err(refusal) => self.refuse(id, &refusal),
        }
    }

    fn refuse(&self, id: u32, refusal: &Refusal) -> Result<(), WireError> {
        let (step, errno) = (refusal.step.to_owned(), refusal.errno.raw_os_error());
        self.reply(&Reply::Refused { id, step, errno }, Vec::new())
    }

    /// Ends a program that the host will never hear of.
    fn abandon(&mut self, id: u32) {
        self.signal(id, Signal::KILL.as_raw());
        self.running.retain(|_, running| *running != id);
    }

    fn exec(
        &mut self,
        exec: &loki_guest::Exec,
        open: impl FnOnce() -> Result<Streams, Errno>,
    ) -> Result<Vec<OwnedFd>, Refusal> {
        let started = exec::start(exec, open, &mut self.landlock)?;
        self.running.insert(started.leader, exec.id);
        let mut passed = started.host;
        passed.extend(started.listener);
        Ok(passed)
    }

    /// Signals the group of an exec; one that has ended is left alone, its number may be another's.
    fn signal(&self, id: u32, signal: i32) {
        let leader = self.running.iter().find(|(_, running)| **running == id);
        if let (Some((leader, _)), Some(signal)) = (leader, Signal::from_named_raw(signal)) {
            // Its only failure here is that the group has ended, which `reap` reports.
            kill_process_group(*leader, signal).ok();
        }
    }

    /// Reaps what has ended, up to a number: an agent that makes orphans without end must not keep
    /// PID 1 from the link.
    fn reap(&mut self) -> Result<Left, WireError> {
        for _ in 0..REAPED_AT_ONCE {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if let Some(id) = self.running.remove(&pid) {
                        self.reply(&exited(id, status), Vec::new())?;
                    }
                }
                Ok(None) | Err(Errno::CHILD) => return Ok(Left::Nobody),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(Left::Perhaps)
    }

    fn reply(&self, reply: &Reply, descriptors: Vec<OwnedFd>) -> Result<(), WireError> {
        send(self.link.as_fd(), &encode_reply(reply, descriptors)?)
    }
}

fn exited(id: u32, status: WaitStatus) -> Reply {
    let signal = status.terminating_signal().unwrap_or(0);
    let code = status.exit_status().unwrap_or(128 + signal);
    Reply::Exited { id, code, signal }
}
