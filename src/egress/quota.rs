//! What a role may use of names, of connections to one host, and of bytes in a whole run: over all
//! its sandboxes together.
//!
//! Unlike the pace in [`super::limits`] the bytes of a run are an end: once they are used up,
//! nothing more passes.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use crate::name::{HostName, Role};

const MINUTE: Duration = Duration::from_secs(60);

/// The quotas of all roles of an orchestrator.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    names: Mutex<HashMap<Role, NamesAMinute>>,
    hosts: Mutex<HashMap<(Role, HostName), Arc<Semaphore>>>,
}

impl Quotas {
    /// Returns whether a role may ask for one more name, `most` in a minute.
    pub(super) fn affords(
        &self,
        role: &Role,
        name: &HostName,
        (most, now): (usize, Instant),
    ) -> bool {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names
            .entry(role.clone())
            .or_default()
            .affords(name, most, now)
    }

    /// Takes one of the `most` connections that a role may have to one host, once there is one
    /// left; none when there is none within `limit`.
    pub(super) async fn connection(
        &self,
        (role, host): (&Role, &HostName),
        most: usize,
        limit: Duration,
    ) -> Option<OwnedSemaphorePermit> {
        let seats = {
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            // Hosts that nobody is connected to are forgotten: a wildcard has many.
            if hosts.len() >= FORGET {
                hosts.retain(|_, seats| seats.available_permits() < most);
            }
            let seats = hosts
                .entry((role.clone(), host.clone()))
                .or_insert_with(|| Arc::new(Semaphore::new(most)));
            Arc::clone(seats)
        };
        timeout(limit, seats.acquire_owned()).await.ok()?.ok()
    }
}

/// How many hosts are remembered before those without a connection are forgotten.
const FORGET: usize = 4096;

/// What a role used in a run: its calls, and the bytes it passed both ways.
#[derive(Debug, Default)]
pub(super) struct Total {
    calls: AtomicU32,
    bytes: AtomicU64,
    passed: Notify,
}

impl Total {
    /// Adds bytes and returns whether they, and all before, are within `most`.
    pub(super) fn add(&self, count: u64, most: Option<u64>) -> bool {
        let before = self.bytes.fetch_add(count, Ordering::Relaxed);
        let is_within = most.is_none_or(|most| before.saturating_add(count) <= most);
        if !is_within {
            self.passed.notify_waiters();
        }
        is_within
    }

    /// Adds a call and returns whether it, and all before, are within `most`.
    pub(super) fn call(&self, most: u32) -> bool {
        let next = |calls: u32| (calls < most).then_some(calls + 1);
        self.calls
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok()
    }

    /// The calls so far, as far as they are limited.
    pub(super) fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The bytes so far.
    pub(super) fn used(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Resolves once more than `most` bytes were asked to pass, with how many.
    pub(super) async fn passed(&self, most: u64) -> u64 {
        loop {
            let passed = self.passed.notified();
            tokio::pin!(passed);
            // Before the look, so that a notice between the two is not missed.
            passed.as_mut().enable();
            let used = self.used();
            if used > most {
                return used;
            }
            passed.await;
        }
    }
}

/// How many different names were asked for within this minute. A pure value.
#[derive(Debug, Default)]
struct NamesAMinute {
    since: Option<Instant>,
    seen: HashSet<HostName>,
}

impl NamesAMinute {
    fn affords(&mut self, name: &HostName, most: usize, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= MINUTE {
            self.since = Some(now);
            self.seen.clear();
        }
        if self.seen.contains(name) {
            return true;
        }
        self.seen.len() < most && self.seen.insert(name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> HostName {
        format!("x{n}.test").parse().unwrap()
    }

    fn role(name: &str) -> Role {
        name.parse().unwrap()
    }

    #[test]
    fn a_role_counts_different_names_and_starts_again_each_minute() {
        let start = Instant::now();
        let quotas = Quotas::default();
        let asks = |role: &str, n, at| quotas.affords(&self::role(role), &name(n), (2, at));
        assert!(asks("eng-qa", 1, start));
        assert!(asks("eng-qa", 2, start));
        assert!(!asks("eng-qa", 3, start));
        assert!(asks("eng-qa", 1, start), "a known name costs nothing");
        assert!(asks("eng-api", 3, start), "another role has its own");
        assert!(!asks("eng-qa", 3, start + Duration::from_secs(59)));
        assert!(asks("eng-qa", 3, start + MINUTE));
    }

    #[tokio::test(start_paused = true)]
    async fn connections_of_a_role_to_a_host_wait_for_each_other() {
        let quotas = Quotas::default();
        let short = Duration::from_secs(1);
        let (qa, host) = (role("eng-qa"), name(1));
        let first = quotas.connection((&qa, &host), 1, short).await;
        assert!(first.is_some());
        assert!(quotas.connection((&qa, &host), 1, short).await.is_none());
        assert!(quotas.connection((&qa, &name(2)), 1, short).await.is_some());
        let other = role("eng-api");
        assert!(quotas.connection((&other, &host), 1, short).await.is_some());
        drop(first);
        assert!(quotas.connection((&qa, &host), 1, short).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_without_a_connection_are_forgotten() {
        let quotas = Quotas::default();
        let qa = role("eng-qa");
        let kept = quotas.connection((&qa, &name(0)), 1, MINUTE).await;
        for n in 1..2 * FORGET {
            assert!(
                quotas
                    .connection((&qa, &name(n)), 1, MINUTE)
                    .await
                    .is_some()
            );
        }
        assert!(quotas.hosts.lock().unwrap().len() <= FORGET);
        assert!(
            quotas
                .connection((&qa, &name(0)), 1, MINUTE)
                .await
                .is_none()
        );
        drop(kept);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_leak_uses_the_bytes_of_a_run_up() {
        let total = Total::default();
        let most = Some(100 * 4096);
        let within = (0..200).filter(|_| total.add(4096, most)).count();
        assert_eq!(within, 100);
        assert_eq!(total.passed(100 * 4096).await, 200 * 4096);
        let waits = timeout(MINUTE, total.passed(200 * 4096)).await;
        assert!(waits.is_err(), "exactly all is not more");
    }
}
