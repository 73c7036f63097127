//! What a role may use of a host in a minute: calls wait for their turn, and bytes are read no
//! faster than they are allowed.
//!
//! One budget per role and rule, shared by all sandboxes of the role, so that many agents together
//! stay within it, and a wildcard's names with them. Nothing is dropped: a call waits, within a
//! bound, in the order it came; bytes wait as long as it takes, and the sender's window with them.

use std::{
    collections::HashMap,
    io,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    event::{Usage, millis},
    name::Role,
    policy::Rates,
};

use super::quota::Total;

/// Bytes are counted in pieces of this size: a limiter's cells are 32-bit.
const PIECE: u64 = 1024;
const ONE: NonZeroU32 = NonZeroU32::MIN;

/// The budgets of all gateways of a run.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    by_rule: Mutex<HashMap<Role, HashMap<String, Arc<Budget>>>>,
    totals: Mutex<HashMap<Role, Arc<Total>>>,
    /// Of all runs of this process: what is allowed in a minute is not allowed once for each.
    paces: Arc<Mutex<HashMap<PaceOf, Arc<Pace>>>>,
}

/// A role, a rule and what it allows in a minute: runs under other policies have their own.
type PaceOf = (Role, String, Option<u32>, Option<u64>);

/// What was used of one budget in the minute before this orchestrator started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// How long before.
    pub ago: Duration,
    /// Calls that were let out.
    pub calls: u64,
    /// Bytes that passed, both ways.
    pub bytes: u64,
}

impl Budgets {
    /// Returns what a role has left under a rule; at these rates when it is the first to ask.
    pub(super) fn of(&self, role: &Role, rule: &str, rates: &Rates) -> Arc<Budget> {
        let mut budgets = self.by_rule.lock().unwrap_or_else(PoisonError::into_inner);
        let known = budgets.get(role).and_then(|of_role| of_role.get(rule));
        if let Some(budget) = known {
            return Arc::clone(budget);
        }
        let (calls, bytes) = (rates.api_calls_per_minute, rates.network_bytes_per_minute);
        let of = (role.clone(), rule.to_owned(), calls, bytes);
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let pace = paces
            .entry(of)
            .or_insert_with(|| Arc::new(Pace::new(rates)));
        let budget = Arc::new(Budget::new(rates, Arc::clone(pace), self.total(role)));
        let of_role = budgets.entry(role.clone()).or_default();
        of_role.insert(rule.to_owned(), Arc::clone(&budget));
        budget
    }

    /// Returns budgets of another run: the same minute, and all of its own bytes and calls.
    pub(super) fn beside(&self) -> Self {
        Self {
            paces: Arc::clone(&self.paces),
            ..Self::default()
        }
    }

    /// Returns what a role has used of its bytes of the run, under all rules.
    pub(super) fn total(&self, role: &Role) -> Arc<Total> {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(totals.entry(role.clone()).or_default())
    }
}

/// What is left of one role's minute under one rule.
#[derive(Debug)]
pub(super) struct Budget {
    pace: Arc<Pace>,
    /// Of the role, in the whole run.
    total: Arc<Total>,
    most: Option<u64>,
    most_calls: Option<u32>,
}

/// What is left of the minute itself.
#[derive(Debug)]
struct Pace {
    calls: Option<Bucket>,
    bytes: Option<Bucket>,
    /// Bytes ever taken, so that parts of a piece are not lost.
    taken: AtomicU64,
}

impl Pace {
    fn new(rates: &Rates) -> Self {
        let pieces = |bytes: u64| u32::try_from(bytes / PIECE).unwrap_or(u32::MAX);
        Self {
            calls: rates.api_calls_per_minute.map(Bucket::new),
            bytes: rates.network_bytes_per_minute.map(pieces).map(Bucket::new),
            taken: AtomicU64::new(0),
        }
    }
}

impl Budget {
    fn new(rates: &Rates, pace: Arc<Pace>, total: Arc<Total>) -> Self {
        Self {
            pace,
            total,
            most: rates.network_bytes_per_run,
            most_calls: rates.api_calls_per_run,
        }
    }

    /// Takes what was used before, in the order of time, as far as it still counts.
    pub(super) fn charge(&self, past: &[Past]) {
        let calls = past.iter().map(|past| (past.ago, past.calls));
        let pieces = past.iter().map(|past| (past.ago, past.bytes / PIECE));
        if let Some(bucket) = &self.pace.calls {
            bucket.charge(calls);
        }
        if let Some(bucket) = &self.pace.bytes {
            bucket.charge(pieces);
        }
    }

    /// Takes one call, after a wait of at most `within`; returns how long that was.
    pub(super) async fn call(&self, within: Duration) -> Result<Duration, TooMany> {
        if let Some(most) = self.most_calls.filter(|most| self.total.calls() >= *most) {
            return Err(TooMany::OfRun { most });
        }
        let waited = match &self.pace.calls {
            None => Duration::ZERO,
            Some(calls) => calls.take(ONE, Some(within)).await?,
        };
        match self.most_calls {
            // Others may have made the last ones meanwhile.
            Some(most) if !self.total.call(most) => Err(TooMany::OfRun { most }),
            _ => Ok(waited),
        }
    }

    /// Returns the role's bytes of the run when all of them are used up, so that nothing more may
    /// pass.
    pub(super) fn spent(&self) -> Option<u64> {
        self.most.filter(|most| self.total.used() >= *most)
    }

    /// Takes bytes, after a wait as long as it needs to be; returns how long that was.
    ///
    /// # Errors
    ///
    /// When the role has not as many left in the run: then they may not pass.
    pub(super) async fn bytes(&self, count: usize) -> io::Result<Duration> {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        if !self.total.add(count, self.most) {
            return Err(io::Error::other(
                "the role has used up its bytes of the run",
            ));
        }
        Ok(self.in_pace(count).await)
    }

    async fn in_pace(&self, count: u64) -> Duration {
        let Some(bytes) = &self.pace.bytes else {
            return Duration::ZERO;
        };
        let before = self.pace.taken.fetch_add(count, Ordering::Relaxed);
        let mut pieces = before.wrapping_add(count) / PIECE - before / PIECE;
        let mut waited = Duration::ZERO;
        while let Some(some) = bytes.at_once(pieces) {
            // Without a bound nothing is refused.
            waited += bytes.take(some, None).await.unwrap_or_default();
            pieces -= u64::from(some.get());
        }
        waited
    }
}

/// Why a call may not go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooMany {
    /// It would have had to wait longer than it may.
    #[error("rate: over {per_minute} calls a minute")]
    AMinute {
        /// How many a minute there may be.
        per_minute: NonZeroU32,
        /// When the next may come.
        retry_after: Duration,
    },
    /// The role has made all that it may make in a run.
    #[error("calls: the role has used up its {most} calls of the run")]
    OfRun {
        /// How many.
        most: u32,
    },
}

impl TooMany {
    /// Returns when the next may come; none for never in this run.
    pub(super) fn retry_after(self) -> Option<Duration> {
        match self {
            Self::AMinute { retry_after, .. } => Some(retry_after),
            Self::OfRun { .. } => None,
        }
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, Ticks, NoOpMiddleware<Duration>>;

/// So much a minute; a whole minute's worth may come at once.
#[derive(Debug)]
struct Bucket {
    per_minute: NonZeroU32,
    limiter: Limiter,
    clock: Ticks,
    /// Held by whoever is next, also while it waits: first come, first served.
    turn: tokio::sync::Mutex<()>,
}

impl Bucket {
    /// None a minute is the least there is: nothing at all is said by having no rule.
    fn new(per_minute: u32) -> Self {
        let per_minute = NonZeroU32::new(per_minute).unwrap_or(ONE);
        let clock = Ticks(Instant::now());
        Self {
            per_minute,
            limiter: RateLimiter::direct_with_clock(Quota::per_minute(per_minute), clock),
            clock,
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// Returns how much of `wanted` can be taken at once, none when nothing is wanted.
    fn at_once(&self, wanted: u64) -> Option<NonZeroU32> {
        NonZeroU32::new(u32::try_from(wanted).unwrap_or(u32::MAX))
            .map(|wanted| wanted.min(self.per_minute))
    }

    /// Takes what of earlier use, oldest first, a minute's pace has not given back by now.
    fn charge(&self, past: impl Iterator<Item = (Duration, u64)>) {
        let a_minute = f64::from(self.per_minute.get());
        let regained = |time: Duration| a_minute * time.as_secs_f64() / 60.0;
        let (mut used, mut before) = (0.0, None);
        for (ago, cells) in past {
            let since = before.map_or(Duration::ZERO, |before: Duration| {
                before.saturating_sub(ago)
            });
            used = (used - regained(since)).max(0.0) + cells as f64;
            used = used.min(a_minute);
            before = Some(ago);
        }
        used -= regained(before.unwrap_or_default());
        // Whole cells, begun ones too: at most a minute's, and below 0 none.
        let left = NonZeroU32::new(used.ceil() as u32).and_then(|cells| self.left(cells));
        debug_assert_eq!(left, None, "a fresh bucket has a minute's worth");
    }

    async fn take(&self, cells: NonZeroU32, within: Option<Duration>) -> Result<Duration, TooMany> {
        let start = Instant::now();
        let too_many = |retry_after| TooMany::AMinute {
            per_minute: self.per_minute,
            retry_after,
        };
        let deadline = within.map(|within| start + within);
        let turn = match (self.turn.try_lock(), deadline) {
            (Ok(turn), _) if self.left(cells).is_none() => {
                drop(turn);
                return Ok(Duration::ZERO);
            }
            (Ok(turn), _) => turn,
            (Err(_), None) => self.turn.lock().await,
            (Err(_), Some(deadline)) => timeout_at(deadline, self.turn.lock())
                .await
                .map_err(|_late| too_many(Duration::from_secs(60) / self.per_minute.get()))?,
        };
        while let Some(wait) = self.left(cells) {
            if deadline.is_some_and(|deadline| Instant::now() + wait > deadline) {
                return Err(too_many(wait));
            }
            sleep(wait).await;
        }
        drop(turn);
        Ok(start.elapsed())
    }

    /// Takes so much, or returns how long until there is so much.
    fn left(&self, cells: NonZeroU32) -> Option<Duration> {
        match self.limiter.check_n(cells) {
            Ok(Ok(())) => None,
            Ok(Err(not_until)) => Some(not_until.wait_time_from(self.clock.now())),
            Err(_more_than_a_minutes) => unreachable!("`at_once` never gives more"),
        }
    }
}

/// The runtime's time, so that waiting and counting go by one clock.
#[derive(Debug, Clone, Copy)]
struct Ticks(Instant);

impl Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What one gateway has let out so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    calls: AtomicU64,
    delayed: AtomicU64,
    delayed_ms: AtomicU64,
    refused: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From the sandbox.
    Out,
    /// To the sandbox.
    In,
}

impl Tally {
    /// Counts a call by what became of it.
    pub(super) fn call(&self, became: Result<Duration, TooMany>) {
        match became {
            Err(_) => add(&self.refused, 1),
            Ok(waited) => {
                add(&self.calls, 1);
                add(&self.delayed, u64::from(!waited.is_zero()));
                add(&self.delayed_ms, millis(waited));
            }
        }
    }

    /// Counts bytes that passed.
    pub(super) fn bytes(&self, way: Way, count: u64) {
        match way {
            Way::Out => add(&self.sent, count),
            Way::In => add(&self.received, count),
        }
    }

    /// Returns the network's part of what was used.
    pub(super) fn usage(&self) -> Usage {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Usage {
            calls: read(&self.calls),
            calls_delayed: read(&self.delayed),
            calls_delayed_ms: read(&self.delayed_ms),
            calls_refused: read(&self.refused),
            sent: read(&self.sent),
            received: read(&self.received),
            ..Usage::default()
        }
    }
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const BOUND: Duration = Duration::from_secs(30);

    fn budget(calls: Option<u32>, bytes: Option<u64>) -> Budget {
        let rates = Rates {
            api_calls_per_minute: calls,
            network_bytes_per_minute: bytes,
            ..Rates::default()
        };
        Budget::new(&rates, Arc::new(Pace::new(&rates)), Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn calls_over_the_limit_wait_and_then_are_refused_with_a_time() {
        let budget = budget(Some(60), None);
        for _ in 0..60 {
            assert_eq!(budget.call(BOUND).await, Ok(Duration::ZERO));
        }
        let waited = budget.call(BOUND).await.unwrap();
        assert!(
            waited >= SECOND && waited < SECOND + SECOND / 100,
            "{waited:?}"
        );
        let refused = budget.call(SECOND / 2).await.unwrap_err();
        let after = refused.retry_after().unwrap();
        assert!(after > SECOND / 2 && after <= SECOND);
        assert_eq!(refused.to_string(), "rate: over 60 calls a minute");
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_are_served_in_turn_and_none_waits_beyond_the_bound() {
        let budget = budget(Some(60), None);
        let start = Instant::now();
        let all = (0..200).map(|_| budget.call(BOUND));
        let became = futures_util::future::join_all(all).await;
        let passed = became.iter().filter(|one| one.is_ok()).count();
        assert!((88..=90).contains(&passed), "{passed}");
        assert!(start.elapsed() <= BOUND + SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_wait_as_long_as_they_must_and_none_is_refused() {
        let budget = budget(None, Some(60 * 1024));
        assert_eq!(budget.bytes(60 * 1024).await.unwrap(), Duration::ZERO);
        let waited = budget.bytes(120 * 1024).await.unwrap();
        assert!(
            waited >= 119 * SECOND && waited < 122 * SECOND,
            "{waited:?}"
        );
        for _ in 0..1023 {
            assert_eq!(budget.bytes(1).await.unwrap(), Duration::ZERO);
        }
        assert!(
            budget.bytes(1).await.unwrap() > Duration::ZERO,
            "parts add up"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_used_before_a_restart_counts_as_far_as_it_is_not_regained() {
        let past = |ago, calls| Past {
            ago: Duration::from_secs(ago),
            calls,
            bytes: calls * PIECE,
        };
        for (before, left) in [
            (vec![], 60),
            (vec![past(0, 60)], 0),
            (vec![past(30, 60)], 30),
            (vec![past(61, 60)], 60),
            (vec![past(50, 10), past(20, 50)], 30),
            (vec![past(55, 600), past(0, 5)], 50),
        ] {
            let budget = budget(Some(60), Some(60 * PIECE));
            budget.charge(&before);
            let mut free = 0;
            while budget.call(Duration::ZERO).await == Ok(Duration::ZERO) {
                free += 1;
            }
            assert_eq!(free, left, "{before:?}");
            let bytes = usize::try_from(left * PIECE).unwrap();
            assert_eq!(
                budget.bytes(bytes).await.unwrap(),
                Duration::ZERO,
                "{before:?}"
            );
            assert!(
                budget.bytes(1024).await.unwrap() > Duration::ZERO,
                "{before:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_calls_of_a_run_are_an_end_under_all_rules_together() {
        let rates = Rates {
            api_calls_per_run: Some(100),
            ..Rates::default()
        };
        let (budgets, role) = (Budgets::default(), "eng-qa".parse().unwrap());
        let rules = ["a.test:443", "b.test:443"].map(|rule| budgets.of(&role, rule, &rates));
        let all = (0..300).map(|n| rules[n % 2].call(BOUND));
        let became = futures_util::future::join_all(all).await;
        assert_eq!(became.iter().filter(|one| one.is_ok()).count(), 100);
        let refused = rules[0].call(BOUND).await.unwrap_err();
        assert_eq!(
            (refused, refused.retry_after()),
            (TooMany::OfRun { most: 100 }, None)
        );
        let other = budgets.of(&"eng-api".parse().unwrap(), "a.test:443", &rates);
        assert!(other.call(BOUND).await.is_ok(), "another role has its own");
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_nothing_waits() {
        let budget = budget(None, None);
        for _ in 0..1000 {
            assert_eq!(budget.call(Duration::ZERO).await, Ok(Duration::ZERO));
        }
        assert_eq!(budget.bytes(usize::MAX).await.unwrap(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn runs_share_the_minute_and_not_what_each_may_use_up() {
        let rates = Rates {
            api_calls_per_minute: Some(10),
            api_calls_per_run: Some(6),
            ..Rates::default()
        };
        let (first, role) = (Budgets::default(), "eng-qa".parse().unwrap());
        let second = first.beside();
        let of = |budgets: &Budgets, rates| budgets.of(&role, "a.test:443", rates);
        for _ in 0..6 {
            let call = of(&first, &rates).call(Duration::ZERO).await;
            assert_eq!(call, Ok(Duration::ZERO));
        }
        assert_eq!(
            of(&first, &rates).call(Duration::ZERO).await,
            Err(TooMany::OfRun { most: 6 })
        );
        for _ in 0..4 {
            let call = of(&second, &rates).call(Duration::ZERO).await;
            assert_eq!(call, Ok(Duration::ZERO));
        }
        let eleventh = of(&second, &rates).call(Duration::ZERO).await;
        assert!(matches!(eleventh, Err(TooMany::AMinute { .. })));
        let other = Rates {
            api_calls_per_minute: Some(20),
            ..Rates::default()
        };
        let third = first.beside();
        assert!(
            of(&third, &other).call(Duration::ZERO).await.is_ok(),
            "a run under another policy has a minute of its own"
        );
    }

    #[test]
    fn sandboxes_of_one_role_share_a_rule_and_others_do_not() {
        let (budgets, rates) = (Budgets::default(), Rates::default());
        let of = |role: &str, rule| budgets.of(&role.parse().unwrap(), rule, &rates);
        let first = of("eng-backend", "a.test:443 (x:1)");
        assert!(Arc::ptr_eq(&first, &of("eng-backend", "a.test:443 (x:1)")));
        assert!(!Arc::ptr_eq(
            &first,
            &of("eng-frontend", "a.test:443 (x:1)")
        ));
        assert!(!Arc::ptr_eq(&first, &of("eng-backend", "b.test:443 (x:2)")));
    }
}
