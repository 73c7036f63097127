//! Watches a sandbox while a program runs in it, and says when a cap is passed.
//!
//! The kernel holds memory, processes and processor time, and the size of files and of file
//! systems in memory; here it is only noticed that it had to. Disk, time and idleness are held
//! here. Whoever watches decides what follows; see docs/limits.md for what is and is not seen.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    event::{Limit, Overrun, millis},
    policy::Resources,
};

use super::{
    cgroup::Counters,
    disk::Disk,
    idle::{Activity, Idleness},
};

/// How often is looked: often enough that a full disk is noticed within 2 s.
const LOOK: Duration = Duration::from_millis(500);

/// Bytes of output so far; shared between who passes the output on and who watches.
#[derive(Debug, Clone, Default)]
pub struct Spoken(Arc<AtomicU64>);

impl Spoken {
    /// Adds to what was said and returns the sum.
    pub fn add(&self, bytes: usize) -> u64 {
        let more = bytes as u64;
        self.0.fetch_add(more, Ordering::Relaxed) + more
    }

    fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is watched of one sandbox.
#[derive(Debug)]
pub(super) struct Watch {
    counters: Arc<Counters>,
    disk: Arc<Mutex<Disk>>,
}

impl Watch {
    /// Begins before anything runs: `disk` is what the sandbox was given.
    pub(super) fn new(counters: Counters, disk: Disk) -> Self {
        Self {
            counters: Arc::new(counters),
            disk: Arc::new(Mutex::new(disk)),
        }
    }

    /// Resolves once a cap is passed; starts the clocks of time and idleness.
    pub(super) async fn overrun(&self, caps: &Resources, spoken: &Spoken) -> Overrun {
        let begun = Instant::now();
        let mut idle = Idleness::new(begun, self.activity(spoken));
        loop {
            let left = caps.timeout.saturating_sub(begun.elapsed());
            sleep(left.min(caps.idle_timeout).min(LOOK)).await;
            let now = Instant::now();
            let quiet = idle.look(now, self.activity(spoken));
            let over = self
                .refused(caps)
                .or_else(|| past(Limit::Time, caps.timeout, now - begun))
                .or_else(|| past(Limit::Idle, caps.idle_timeout, quiet));
            if let Some(over) = over.or(self.disk(When::Due).await) {
                return over;
            }
        }
    }

    /// Looks one last time, after the program ended.
    pub(super) async fn at_end(&self, caps: &Resources) -> Option<Overrun> {
        match self.refused(caps) {
            None => self.disk(When::Now).await,
            refused => refused,
        }
    }

    /// What the kernel had to refuse.
    fn refused(&self, caps: &Resources) -> Option<Overrun> {
        let counters = &self.counters;
        if counters.out_of_memory().is_some_and(|killed| killed > 0) {
            return Some(out_of_memory(caps, counters.memory_peak()));
        }
        let refused = counters.refused_processes().filter(|refused| *refused > 0);
        refused.map(|_| Overrun {
            limit: Limit::Processes,
            allowed: caps.pids.into(),
            seen: caps.pids.into(),
        })
    }

    fn activity(&self, spoken: &Spoken) -> Activity {
        Activity {
            output: spoken.so_far(),
            processor: self.counters.processor(),
            traffic: self.counters.traffic(),
        }
    }

    /// Walks the disk away from the async threads. A walk that fails is made again at the next
    /// look.
    async fn disk(&self, when: When) -> Option<Overrun> {
        let (disk, counters, now) = (
            Arc::clone(&self.disk),
            Arc::clone(&self.counters),
            Instant::now(),
        );
        let walk = move || {
            let mut disk = disk.lock().unwrap_or_else(PoisonError::into_inner);
            let processor = counters.processor();
            let due = when == When::Now || disk.is_due(now, processor);
            due.then(|| disk.walk(processor, &counters.members()).ok().flatten())
        };
        tokio::task::spawn_blocking(walk).await.ok()??
    }
}

/// When the disk is walked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Due,
    Now,
}

/// Measures what a sandbox is given, away from the async threads.
pub(super) async fn given(roots: [PathBuf; 2], cap: u64) -> io::Result<Disk> {
    tokio::task::spawn_blocking(move || Disk::given(roots, cap))
        .await
        .map_err(io::Error::other)?
}

/// The kernel killed for want of memory.
pub(super) fn out_of_memory(caps: &Resources, peak: Option<u64>) -> Overrun {
    Overrun {
        limit: Limit::Memory,
        allowed: caps.memory,
        seen: peak.unwrap_or(caps.memory).max(caps.memory),
    }
}

fn past(limit: Limit, allowed: Duration, seen: Duration) -> Option<Overrun> {
    (seen >= allowed).then(|| Overrun {
        limit,
        allowed: millis(allowed),
        seen: millis(seen),
    })
}
