//! The host's end of the link to the guest, PID 1 of a sandbox.
//!
//! The link passes descriptors, not bytes: stdio pipes and listening sockets are opened inside the
//! sandbox and served here. It knows nothing of rights or roles; whoever calls says what a program
//! may do. It never reconnects: a link that is lost means that nothing runs there any more.
//!
//! ```text
//! Listener::bind ── accept ──► Link ── exec ──► Process (stdin, stdout, stderr, wait), or Terminal
//!   (socket file, unlinked)     │ ├── listen ─► TCP listener inside the sandbox
//!                               │ └── dns ────► UDP and TCP on 127.0.0.1:53 inside
//!        listener of held writes ──► Meter (a thread of its own)
//!                               └─ one driver task owns the connection and who waits for what
//! ```

mod driver;
mod guest;
mod listener;
mod meter;
mod streams;
mod terminal;

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use loki_guest::{Confinement, Exec, PathRule, Request, WireError};
use rustix::io::Errno;
use tokio::{
    net::unix::pipe,
    sync::{mpsc, oneshot},
    task::JoinSet,
};

pub use guest::{guest_binary, guest_path};
pub use listener::Listener;
pub use meter::{Meter, Pace, Writes, meter_filter};
pub use streams::{Ended, Streams};
pub use terminal::{Size, Terminal, resize};

use driver::{Order, Waiting};

/// Exit code of a program that is there but may not or cannot run, as shells have it.
const NOT_EXECUTABLE: i32 = 126;
/// Exit code of a program that is not there, as shells have it.
const NOT_FOUND: i32 = 127;

/// What can go wrong between the host and a guest.
#[expect(
    clippy::module_name_repetitions,
    reason = "an error is named after what failed"
)]
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The link has ended, and with it everything in the sandbox.
    #[error("the link to the sandbox is lost; everything in it has ended")]
    Lost,
    /// The guest could not do what was asked; nothing runs because of it.
    #[error("the sandbox refused at step `{step}`: {}", io::Error::from_raw_os_error(*errno))]
    Refused {
        /// Which step, such as `exec`, `landlock` or `bind`.
        step: String,
        /// The operating system's error number.
        errno: i32,
    },
    /// No guest came within this time.
    #[error("no guest connected within {} ms; look at the container's state", .0.as_millis())]
    Timeout(Duration),
    /// The guest speaks another version of the protocol.
    #[error(
        "the guest speaks link version {guest}, this Loki speaks {}; run one build of Loki",
        loki_guest::VERSION
    )]
    Version {
        /// The guest's version.
        guest: u32,
    },
    /// A message was not one of the protocol, or is over its cap.
    #[error("the link to the sandbox broke its protocol")]
    Protocol(#[from] WireError),
    /// A socket or pipe of the link could not be used.
    #[error("cannot {doing}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The guest binary could not be put in place.
    #[error("cannot unpack the guest to `{}`", path.display())]
    Unpack {
        /// Where to.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl LinkError {
    /// Returns the exit code that a shell would have given for a program that did not start: 127
    /// when it is missing, 126 when it may not or cannot run, none when something else failed.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        let Self::Refused { step, errno } = self else {
            return None;
        };
        match Errno::from_raw_os_error(*errno) {
            _ if step != "exec" => None,
            Errno::NOENT | Errno::NOTDIR => Some(NOT_FOUND),
            Errno::ACCESS | Errno::PERM | Errno::NOEXEC | Errno::ISDIR => Some(NOT_EXECUTABLE),
            _ => None,
        }
    }
}

/// Gives an I/O error the deed that it stopped.
fn while_trying<E: Into<io::Error>>(doing: &'static str) -> impl Fn(E) -> LinkError {
    move |source| LinkError::Io {
        doing,
        source: source.into(),
    }
}

/// What the guest said first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The guest's process number on the host, as the kernel tells it; none when the host cannot
    /// see it.
    pub guest_pid: Option<i32>,
    /// Landlock ABI of the kernel inside, 0 when none.
    pub landlock_abi: u32,
    /// Whether the kernel inside can hold writes for a [`Meter`].
    pub write_meter: bool,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, or 128 + signal number.
    pub code: i32,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
}

/// A connection to one guest. Clones share it; when the last is dropped the connection closes, and
/// the guest kills everything and exits.
#[derive(Debug, Clone)]
pub struct Link {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    hello: Hello,
    /// The same socket once more, to end it without waiting for the driver's turn.
    socket: OwnedFd,
    orders: mpsc::Sender<Order>,
    last_id: AtomicU32,
    /// Owns the driver, which owns the connection: dropping this ends both.
    _driver: JoinSet<()>,
}

impl Link {
    /// Returns what the guest said first.
    #[must_use]
    pub fn hello(&self) -> Hello {
        self.shared.hello
    }

    /// Starts a program under confinement, with the whole environment given.
    ///
    /// A call that is dropped before it returns leaves nothing running.
    ///
    /// # Errors
    /// [`LinkError::Refused`] when it does not run; [`LinkError::exit_code`] tells a missing program
    /// from a forbidden one.
    pub async fn exec(
        &self,
        argv: Vec<String>,
        env: Vec<(String, String)>,
        cwd: &str,
        confinement: Confinement,
    ) -> Result<Process, LinkError> {
        let id = self.next_id();
        let metered = confinement.meter.is_some();
        let request = Request::Exec(Exec {
            id,
            argv,
            env,
            cwd: cwd.to_owned(),
            confinement,
        });
        let (exit, ended) = oneshot::channel();
        let mut passed = self
            .ask(request, |answer| Waiting {
                id,
                answer,
                exit: Some(exit),
            })
            .await?;
        let meter = metered.then(|| passed.pop()).flatten();
        let [stdin, stdout, stderr] = exactly(passed)?;
        let pipe = while_trying("use a pipe of the program");
        Ok(Process {
            id,
            stdin: Some(pipe::Sender::from_owned_fd(stdin).map_err(&pipe)?),
            stdout: pipe::Receiver::from_owned_fd(stdout).map_err(&pipe)?,
            stderr: pipe::Receiver::from_owned_fd(stderr).map_err(&pipe)?,
            meter,
            ended,
            exit: None,
        })
    }

    /// Sends a signal to the process group of a program; one that has ended is left alone.
    ///
    /// # Errors
    /// [`LinkError::Lost`].
    pub async fn signal(&self, id: u32, signal: i32) -> Result<(), LinkError> {
        let order = Order {
            request: Request::Signal { id, signal },
            waiting: None,
        };
        self.shared
            .orders
            .send(order)
            .await
            .map_err(|_| LinkError::Lost)
    }

    /// Has the guest make ready what the first program with these rules needs, so that its start
    /// does not wait for that. A program that finds nothing ready starts all the same.
    ///
    /// # Errors
    /// [`LinkError::Lost`].
    pub async fn prepare(&self, landlock: u32, paths: Vec<PathRule>) -> Result<(), LinkError> {
        let order = Order {
            request: Request::Prepare { landlock, paths },
            waiting: None,
        };
        let sent = self.shared.orders.send(order).await;
        sent.map_err(|_| LinkError::Lost)
    }

    /// Opens a TCP listener inside the sandbox, non-blocking, to be served here.
    ///
    /// # Errors
    /// [`LinkError::Refused`] when the address is taken or not local to the sandbox.
    pub async fn listen(&self, at: SocketAddr) -> Result<TcpListener, LinkError> {
        let id = self.next_id();
        let bound = self
            .ask(Request::Listen { id, at }, |answer| {
                Waiting::bound(id, answer)
            })
            .await?;
        let [tcp] = exactly(bound)?;
        served_here(TcpListener::from(tcp), TcpListener::set_nonblocking)
    }

    /// Opens the sandbox's name server on 127.0.0.1:53, non-blocking, to be served here.
    ///
    /// # Errors
    /// [`LinkError::Refused`] when the port is taken or privileged inside.
    pub async fn dns(&self) -> Result<(UdpSocket, TcpListener), LinkError> {
        let id = self.next_id();
        let bound = self
            .ask(Request::Dns { id }, |answer| Waiting::bound(id, answer))
            .await?;
        let [udp, tcp] = exactly(bound)?;
        Ok((
            served_here(UdpSocket::from(udp), UdpSocket::set_nonblocking)?,
            served_here(TcpListener::from(tcp), TcpListener::set_nonblocking)?,
        ))
    }

    /// Ends the link now, whoever else holds a clone: the guest kills everything and exits.
    pub fn sever(&self) {
        // Fails only where the other end is gone already, which is what is wanted.
        rustix::net::shutdown(&self.shared.socket, rustix::net::Shutdown::Both).ok();
    }

    /// Waits until the link has ended, at once when it has.
    pub async fn lost(&self) {
        self.shared.orders.closed().await;
    }

    /// Returns whether the link has ended.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.shared.orders.is_closed()
    }

    fn next_id(&self) -> u32 {
        self.shared.last_id.fetch_add(1, Ordering::Relaxed)
    }

    async fn ask(
        &self,
        request: Request,
        waiting: impl FnOnce(driver::Answer) -> Waiting,
    ) -> Result<Vec<OwnedFd>, LinkError> {
        let (answer, answered) = oneshot::channel();
        let order = Order {
            request,
            waiting: Some(waiting(answer)),
        };
        self.shared
            .orders
            .send(order)
            .await
            .map_err(|_| LinkError::Lost)?;
        answered.await.map_err(|_| LinkError::Lost)?
    }
}

fn exactly<const N: usize>(descriptors: Vec<OwnedFd>) -> Result<[OwnedFd; N], LinkError> {
    let malformed = WireError::Malformed("other descriptors than were asked for");
    descriptors
        .try_into()
        .map_err(|_| LinkError::Protocol(malformed))
}

/// Passed sockets keep the flags that the guest gave them; here nothing may block.
fn served_here<S>(
    socket: S,
    set_nonblocking: impl FnOnce(&S, bool) -> io::Result<()>,
) -> Result<S, LinkError> {
    set_nonblocking(&socket, true).map_err(while_trying("make a passed socket non-blocking"))?;
    Ok(socket)
}

/// A program that runs in a sandbox. Dropping it does not end the program.
#[derive(Debug)]
pub struct Process {
    /// What [`Link::signal`] takes.
    pub id: u32,
    /// Its standard input; taken and dropped, the program reads its end.
    pub stdin: Option<pipe::Sender>,
    /// Its standard output. Stays open as long as anything that it started holds it.
    pub stdout: pipe::Receiver,
    /// Its standard error.
    pub stderr: pipe::Receiver,
    /// Where its writes are held, if it has a meter, to be given to [`Meter::watch`]. Dropped, the
    /// program cannot write.
    pub meter: Option<OwnedFd>,
    ended: oneshot::Receiver<Exit>,
    exit: Option<Exit>,
}

impl Process {
    /// Waits until the program itself has ended, whatever still holds its pipes. Safe to cancel and
    /// to call again.
    ///
    /// # Errors
    /// [`LinkError::Lost`].
    pub async fn wait(&mut self) -> Result<Exit, LinkError> {
        if let Some(exit) = self.exit {
            return Ok(exit);
        }
        let exit = (&mut self.ended).await.map_err(|_| LinkError::Lost)?;
        self.exit = Some(exit);
        Ok(exit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_and_a_forbidden_one_have_the_codes_of_shells() {
        let refused = |step: &str, errno: Errno| {
            LinkError::Refused {
                step: step.to_owned(),
                errno: errno.raw_os_error(),
            }
            .exit_code()
        };
        assert_eq!(refused("exec", Errno::NOENT), Some(127));
        assert_eq!(refused("exec", Errno::ACCESS), Some(126));
        assert_eq!(refused("exec", Errno::NOEXEC), Some(126));
        assert_eq!(refused("cwd", Errno::NOENT), None);
        assert_eq!(refused("landlock", Errno::NOSYS), None);
        assert_eq!(LinkError::Lost.exit_code(), None);
    }
}
