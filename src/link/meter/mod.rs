//! The write meter of one sandbox: counts its writes and keeps them to a pace.
//!
//! ```text
//! agent: open for writing ─► kernel holds the call ─► listener ─┐ (passed over the link)
//!                                                               ▼
//!                                  thread: exempt? its turn? ─► the call goes on
//! ```
//! It delays and counts. It refuses to decide: what it lets go on is then judged by Landlock, and it
//! kills nobody. Each sandbox has a thread of its own, so that one agent's writes delay no other's,
//! nor an exec.

mod calls;
mod place;
mod queue;
mod serve;

use std::{
    io,
    num::NonZeroU32,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use rustix::event::{EventfdFlags, eventfd};

pub use calls::meter_filter;

use super::{LinkError, while_trying};
use crate::policy::Globs;
use serve::{Command, Server};

/// How fast a sandbox may write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pace {
    /// Writes a minute; none only counts. A whole minute's worth may come at once.
    pub per_minute: Option<NonZeroU32>,
    /// Where in the worktree writes neither count nor wait.
    pub exempt: Globs,
}

/// What a meter has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Writes {
    /// Writes that counted.
    pub counted: u64,
    /// Those of them that had to wait.
    pub delayed: u64,
    /// How long those waited, together.
    pub waited: Duration,
}

/// Counters that the thread writes and anyone reads.
#[derive(Debug, Default)]
struct Tally {
    counted: AtomicU64,
    delayed: AtomicU64,
    waited_us: AtomicU64,
}

/// The meter of one sandbox. Dropped, it serves no more: what then still runs cannot write.
#[derive(Debug)]
pub struct Meter {
    commands: Option<mpsc::Sender<Command>>,
    /// Tells the thread to look for commands, or that there will be none.
    wake: Arc<OwnedFd>,
    tally: Arc<Tally>,
    thread: Option<JoinHandle<()>>,
}

impl Meter {
    /// Starts a meter that nothing is under yet.
    ///
    /// # Errors
    /// When the system has no thread or descriptor left.
    pub fn start(pace: Pace) -> Result<Self, LinkError> {
        let failed = "start a write meter";
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let wake = Arc::new(wake.map_err(while_trying(failed))?);
        let tally = Arc::new(Tally::default());
        let (commands, ordered) = mpsc::channel();
        let server = Server::new(pace, Arc::clone(&wake), ordered, Arc::clone(&tally));
        let thread = std::thread::Builder::new()
            .name("writes".to_owned())
            .spawn(move || server.run())
            .map_err(while_trying(failed))?;
        Ok(Self {
            commands: Some(commands),
            wake,
            tally,
            thread: Some(thread),
        })
    }

    /// Serves a program's listener until the last process under it is gone.
    ///
    /// # Errors
    /// When the descriptor is no listener, or the thread is gone; the program cannot write then.
    pub fn watch(&self, listener: OwnedFd) -> Result<(), LinkError> {
        use std::os::fd::AsFd;
        let failed = "watch the writes of a program";
        loki_guest::notify::accept(listener.as_fd()).map_err(while_trying(failed))?;
        self.order(Command::Watch(listener))
            .map_err(while_trying(failed))
    }

    /// Lets all who wait go on, and delays nobody from now on: before a pause, for what waits here
    /// cannot be frozen, and before the end.
    pub fn release(&self) {
        // A thread that is gone holds nobody.
        self.order(Command::Release).ok();
    }

    /// Returns what was counted so far.
    #[must_use]
    pub fn writes(&self) -> Writes {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Writes {
            counted: read(&self.tally.counted),
            delayed: read(&self.tally.delayed),
            waited: Duration::from_micros(read(&self.tally.waited_us)),
        }
    }

    fn order(&self, command: Command) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let commands = self.commands.as_ref().ok_or_else(gone)?;
        commands.send(command).map_err(|_| gone())?;
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        // It fails only when it is full of wake-ups that were not looked at yet.
        rustix::io::write(&self.wake, &1_u64.to_ne_bytes()).ok();
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        drop(self.commands.take());
        self.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already and must not become a second one here.
            drop(thread.join());
        }
    }
}
