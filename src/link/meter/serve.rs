//! The thread of a meter: takes each held call at once, so that no signal can restart it, and
//! answers it when its turn has come.

use std::{
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, TryRecvError},
    },
    time::Duration,
};

use governor::clock::MonotonicClock;
use loki_guest::notify::{Notice, proceed, receive, waits};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{Pace, Tally, place, queue::Queue};
use crate::policy::Matcher;

/// What is asked of the thread.
#[derive(Debug)]
pub(super) enum Command {
    /// Serve one more listener.
    Watch(OwnedFd),
    /// Hold nobody any more.
    Release,
}

/// Whether the meter goes on.
#[derive(PartialEq, Eq)]
enum Flow {
    Goes,
    Ends,
}

/// A call that was taken from its listener.
struct Held {
    listener: Rc<OwnedFd>,
    id: u64,
}

pub(super) struct Server {
    wake: Arc<OwnedFd>,
    ordered: Receiver<Command>,
    tally: Arc<Tally>,
    pace: Pace,
}

impl Server {
    pub(super) fn new(
        pace: Pace,
        wake: Arc<OwnedFd>,
        ordered: Receiver<Command>,
        tally: Arc<Tally>,
    ) -> Self {
        Self {
            wake,
            ordered,
            tally,
            pace,
        }
    }

    /// Serves until nobody can order anything any more.
    pub(super) fn run(self) {
        let mut round = Round {
            server: &self,
            exempt: self.pace.exempt.matcher(),
            listeners: Vec::new(),
            queue: Queue::new(self.pace.per_minute, MonotonicClock),
        };
        while round.serve() == Flow::Goes {}
    }
}

struct Round<'a> {
    server: &'a Server,
    exempt: Matcher<'a>,
    listeners: Vec<Rc<OwnedFd>>,
    queue: Queue<Held, MonotonicClock>,
}

impl Round<'_> {
    fn serve(&mut self) -> Flow {
        let ready = match self.ready() {
            Ok(ready) => ready,
            Err(Errno::INTR) => return Flow::Goes,
            // Nothing else can fail but memory, and then everything here is at an end.
            Err(_) => return Flow::Ends,
        };
        if let Some((wake, listeners)) = ready.split_first() {
            for (listener, events) in self.listeners.clone().iter().zip(listeners) {
                self.look(listener, *events);
            }
            if !wake.is_empty() && self.obey() == Flow::Ends {
                return Flow::Ends;
            }
        }
        for (held, waited) in self.queue.due(lives) {
            self.server.let_go(&held, waited);
        }
        Flow::Goes
    }

    /// Waits until something is to be done, and returns what each descriptor is ready for, the
    /// waking one first.
    fn ready(&self) -> Result<Vec<PollFlags>, Errno> {
        // `poll` and not `epoll`: through the latter the kernel's fast wake-up gets lost.
        let mut asked = vec![PollFd::new(&self.server.wake, PollFlags::IN)];
        let listeners = self.listeners.iter();
        asked.extend(listeners.map(|listener| PollFd::new(&**listener, PollFlags::IN)));
        let timeout = self.queue.wait().map(timespec);
        poll(&mut asked, timeout.as_ref())?;
        Ok(asked.iter().map(PollFd::revents).collect())
    }

    fn look(&mut self, listener: &Rc<OwnedFd>, events: PollFlags) {
        if events.contains(PollFlags::IN) {
            // A caller that was killed meanwhile needs no answer.
            if let Ok(notice) = receive(listener.as_fd()) {
                self.take(listener, &notice);
            }
        } else if !events.is_empty() {
            self.listeners.retain(|other| !Rc::ptr_eq(other, listener));
            self.queue
                .retain(|held| !Rc::ptr_eq(&held.listener, listener));
        }
    }

    fn take(&mut self, listener: &Rc<OwnedFd>, notice: &Notice) {
        let held = Held {
            listener: Rc::clone(listener),
            id: notice.id,
        };
        if place::is_exempt(notice, &self.exempt) {
            return held.go();
        }
        add(&self.server.tally.counted, 1);
        if let Some(held) = self.queue.arrive(held) {
            held.go();
        }
        self.queue.bury(lives);
    }

    fn obey(&mut self) -> Flow {
        // Its count does not matter, only that it is read: else it would wake again at once.
        rustix::io::read(&self.server.wake, &mut [0; 8]).ok();
        loop {
            match self.server.ordered.try_recv() {
                Ok(Command::Watch(listener)) => self.listeners.push(Rc::new(listener)),
                Ok(Command::Release) => {
                    for (held, waited) in self.queue.release() {
                        self.server.let_go(&held, waited);
                    }
                }
                Err(TryRecvError::Empty) => return Flow::Goes,
                Err(TryRecvError::Disconnected) => return Flow::Ends,
            }
        }
    }
}

impl Server {
    fn let_go(&self, held: &Held, waited: Duration) {
        add(&self.tally.delayed, 1);
        let waited = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        add(&self.tally.waited_us, waited);
        held.go();
    }
}

impl Held {
    fn go(&self) {
        // It fails only when the caller is gone.
        proceed(self.listener.as_fd(), self.id).ok();
    }
}

fn lives(held: &Held) -> bool {
    waits(held.listener.as_fd(), held.id)
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// At least the time, and never none: a timeout that rounds to nothing would spin.
fn timespec(wait: Duration) -> Timespec {
    let wait = wait.max(Duration::from_micros(1));
    Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(wait.subsec_nanos()),
    }
}
