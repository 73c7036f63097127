//! Watches a sandbox while a program runs in it, and says when a cap is passed.
//!
//! The kernel holds memory, processes and processor time, and the size of files and of file
//! systems in memory; here it is only noticed that it had to. Disk, time and idleness are held
//! here. Whoever watches decides what follows; see docs/limits.md for what is and is not seen.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::{
    event::{Limit, Load, Overrun, millis},
    policy::Resources,
};

use super::{
    cgroup::Counters,
    disk::Disk,
    idle::{Activity, Idleness},
};

/// How often is looked: often enough that a full disk is noticed within 2 s.
const LOOK: Duration = Duration::from_millis(500);
/// Looks at the disk that may fail in a row. An agent could see to it that all do.
const BLIND: u64 = 3;

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
#[derive(Debug, Clone)]
pub(super) struct Watch {
    counters: Arc<Counters>,
    disk: Arc<Mutex<Disk>>,
    /// Looks at the disk that failed since one did not.
    blind: Arc<AtomicU64>,
    /// Bytes and files on the disk, as the last walk found them.
    held: Arc<[AtomicU64; 2]>,
    /// From when on is looked, in steps of [`LOOK`].
    beat: Instant,
}

impl Watch {
    /// Begins before anything runs: `disk` is what the sandbox was given. Those with the same beat are
    /// looked at together.
    pub(super) fn new(counters: Counters, disk: Disk, beat: Instant) -> Self {
        Self {
            counters: Arc::new(counters),
            disk: Arc::new(Mutex::new(disk)),
            blind: Arc::default(),
            held: Arc::default(),
            beat,
        }
    }

    /// Processor time used so far; none where it cannot be read.
    pub(super) fn processor(&self) -> Option<Duration> {
        self.counters.processor()
    }

    /// What is held now; of the disk what the last walk found.
    pub(super) fn load(&self) -> Load {
        let counters = &self.counters;
        let [disk, files] = &*self.held;
        Load {
            memory: counters.memory_now().unwrap_or_default(),
            memory_peak: counters.memory_peak().unwrap_or_default(),
            processes: counters.processes_now().unwrap_or_default(),
            disk: disk.load(Ordering::Relaxed),
            files: files.load(Ordering::Relaxed),
        }
    }

    /// Resolves once a cap is passed; starts the clocks of time and idleness.
    pub(super) async fn overrun(&self, caps: &Resources, spoken: &Spoken) -> Overrun {
        let begun = Instant::now();
        let mut seen = self.activity(spoken, None);
        let mut idle = Idleness::new(begun, seen);
        let mut beat = interval_at(self.beat, LOOK);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let left = caps.timeout.saturating_sub(begun.elapsed());
            timeout(left.min(caps.idle_timeout), beat.tick()).await.ok();
            let now = Instant::now();
            let before = seen;
            seen = self.activity(spoken, Some(before));
            let quiet = idle.look(now, seen);
            let refused = match seen.ran_since(&before) {
                true => self.refused(caps),
                false => None,
            };
            let over = refused
                .or_else(|| past(Limit::Time, caps.timeout, now - begun))
                .or_else(|| past(Limit::Idle, caps.idle_timeout, quiet));
            if let Some(over) = over.or(self.disk(When::Due(seen.processor)).await) {
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

    /// What was seen so far. Where nothing ran since `before`, nothing was sent or taken either.
    fn activity(&self, spoken: &Spoken, before: Option<Activity>) -> Activity {
        let seen = Activity {
            output: spoken.so_far(),
            processor: self.counters.processor(),
            traffic: None,
        };
        let still = before.filter(|before| !seen.ran_since(before));
        let traffic = still.map_or_else(|| self.counters.traffic(), |before| before.traffic);
        Activity { traffic, ..seen }
    }

    /// Walks the disk away from the async threads, unless nothing ran since. A walk that fails is
    /// made again at the next look; who lets too many fail has passed a cap.
    async fn disk(&self, when: When) -> Option<Overrun> {
        if matches!(when, When::Due(processor) if self.lock_disk().is_still(processor)) {
            return None;
        }
        let watch = self.clone();
        let now = Instant::now();
        tokio::task::spawn_blocking(move || watch.walk(when, now))
            .await
            .ok()?
    }

    fn walk(&self, when: When, now: Instant) -> Option<Overrun> {
        let mut disk = self.lock_disk();
        let processor = self.counters.processor();
        if matches!(when, When::Due(_)) && !disk.is_due(now, processor) {
            return None;
        }
        let Ok(over) = disk.walk(processor, &self.counters.members()) else {
            return unseen(self.blind.fetch_add(1, Ordering::Relaxed) + 1);
        };
        self.blind.store(0, Ordering::Relaxed);
        let (bytes, files) = disk.held();
        self.held[0].store(bytes, Ordering::Relaxed);
        self.held[1].store(files, Ordering::Relaxed);
        over
    }

    fn lock_disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the disk is walked.
#[derive(Clone, Copy)]
enum When {
    /// Where it is worth it, now that so much processor time was used.
    Due(Option<Duration>),
    Now,
}

/// Measures what a sandbox is given, away from the async threads.
pub(super) async fn given(roots: [PathBuf; 2], cap: u64) -> io::Result<Disk> {
    tokio::task::spawn_blocking(move || Disk::given(roots, cap))
        .await
        .map_err(io::Error::other)?
}

/// So many looks at the disk failed in a row.
fn unseen(failed: u64) -> Option<Overrun> {
    (failed > BLIND).then_some(Overrun {
        limit: Limit::Unseen,
        allowed: BLIND,
        seen: failed,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_that_cannot_be_looked_at_ends_the_sandbox() {
        let place = tempfile::tempdir().unwrap();
        let roots = ["work", "home"].map(|name| place.path().join(name));
        for root in &roots {
            std::fs::create_dir(root).unwrap();
        }
        let disk = given(roots, 1 << 20).await.unwrap();
        let watch = Watch::new(Counters::default(), disk, Instant::now());
        place.close().unwrap();
        let long = Duration::from_secs(3600);
        let caps = Resources {
            cpus: 1.0,
            memory: 1 << 30,
            pids: 64,
            disk: 1 << 20,
            timeout: long,
            idle_timeout: long,
            log: 1 << 20,
        };
        let spoken = Spoken::default();
        let over = tokio::time::timeout(LOOK * 20, watch.overrun(&caps, &spoken)).await;
        assert_eq!(over.expect("nobody noticed").limit, Limit::Unseen);
    }
}
