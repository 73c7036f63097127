//! Who waits for their turn to write: first come, first served, at a limiter's pace.

use std::{collections::VecDeque, num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, Reference},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};

type Limiter<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Those who wait that are not looked through for the dead.
const FEW: usize = 1024;

/// Calls in the order they came. A pure value but for its clock.
pub(super) struct Queue<T, C: Clock> {
    clock: C,
    /// None lets everything through.
    limiter: Option<Limiter<C>>,
    waiting: VecDeque<(T, C::Instant)>,
    /// When the first may go.
    next: Option<C::Instant>,
    /// How many may wait before the dead among them are forgotten.
    room: usize,
}

impl<T, C: Clock + Clone> Queue<T, C> {
    /// Makes a queue for so many a minute; a whole minute's worth may come at once.
    pub(super) fn new(per_minute: Option<NonZeroU32>, clock: C) -> Self {
        let limiter = per_minute
            .map(|most| RateLimiter::direct_with_clock(Quota::per_minute(most), clock.clone()));
        Self {
            clock,
            limiter,
            waiting: VecDeque::new(),
            next: None,
            room: FEW,
        }
    }

    /// Takes one in; returns it when it may go at once.
    pub(super) fn arrive(&mut self, one: T) -> Option<T> {
        if self.waiting.is_empty() && self.may_go() {
            return Some(one);
        }
        self.waiting.push_back((one, self.clock.now()));
        None
    }

    /// Returns those whose turn has come, with how long they waited. The dead take nobody's turn.
    pub(super) fn due(&mut self, lives: impl Fn(&T) -> bool) -> Vec<(T, Duration)> {
        let mut due = Vec::new();
        if self.wait().is_none_or(|wait| !wait.is_zero()) {
            return due;
        }
        while let Some((one, since)) = self.waiting.pop_front() {
            if !lives(&one) {
                continue;
            }
            if !self.may_go() {
                self.waiting.push_front((one, since));
                break;
            }
            due.push((one, self.waited(since)));
        }
        due
    }

    /// Returns how long until the first may go; none when nobody waits.
    pub(super) fn wait(&self) -> Option<Duration> {
        let next = self.next.filter(|_| !self.waiting.is_empty())?;
        Some(next.duration_since(self.clock.now()).into())
    }

    /// Limits no more, and returns all who waited.
    pub(super) fn release(&mut self) -> Vec<(T, Duration)> {
        self.limiter = None;
        let waiting = std::mem::take(&mut self.waiting);
        waiting
            .into_iter()
            .map(|(one, since)| (one, self.waited(since)))
            .collect()
    }

    /// Forgets the dead once twice as many wait as were left the last time: an agent that starts
    /// and kills writers without end takes no memory here.
    pub(super) fn bury(&mut self, lives: impl Fn(&T) -> bool) {
        if self.waiting.len() > self.room {
            self.retain(lives);
            self.room = FEW.max(2 * self.waiting.len());
        }
    }

    /// Forgets those who wait and for whom this holds no more.
    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.waiting.retain(|(one, _)| keep(one));
    }

    fn may_go(&mut self) -> bool {
        let Some(limiter) = &self.limiter else {
            return true;
        };
        match limiter.check() {
            Ok(()) => true,
            Err(not_until) => {
                self.next = Some(not_until.earliest_possible());
                false
            }
        }
    }

    fn waited(&self, since: C::Instant) -> Duration {
        self.clock.now().duration_since(since).into()
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn queue(per_minute: u32) -> (Queue<u32, FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (
            Queue::new(NonZeroU32::new(per_minute), clock.clone()),
            clock,
        )
    }

    fn all_live(_: &u32) -> bool {
        true
    }

    #[test]
    fn a_minutes_worth_goes_at_once_and_the_rest_at_the_pace() {
        let (mut queue, clock) = queue(60);
        let at_once = (0..100).filter_map(|n| queue.arrive(n)).count();
        assert_eq!(at_once, 60);
        assert_eq!(queue.wait(), Some(SECOND));
        assert_eq!(queue.due(all_live), []);
        clock.advance(SECOND);
        assert_eq!(queue.due(all_live), [(60, SECOND)]);
        clock.advance(3 * SECOND);
        let due: Vec<u32> = queue.due(all_live).into_iter().map(|(n, _)| n).collect();
        assert_eq!(due, [61, 62, 63]);
    }

    #[test]
    fn nobody_overtakes_one_who_waits() {
        let (mut queue, clock) = queue(1);
        assert_eq!(queue.arrive(1), Some(1));
        assert_eq!(queue.arrive(2), None);
        clock.advance(60 * SECOND);
        assert_eq!(queue.arrive(3), None);
        assert_eq!(queue.due(all_live), [(2, 60 * SECOND)]);
        assert_eq!(queue.wait(), Some(60 * SECOND));
    }

    #[test]
    fn the_dead_take_nobodys_turn() {
        let (mut queue, clock) = queue(60);
        for n in 0..1060 {
            queue.arrive(n);
        }
        clock.advance(SECOND);
        assert_eq!(queue.due(|n| *n >= 1059), [(1059, SECOND)]);
        assert_eq!(queue.wait(), None);
    }

    #[test]
    fn the_dead_take_no_room() {
        let (mut queue, _clock) = queue(1);
        for n in 0..100_000 {
            queue.arrive(n);
            queue.bury(|one| n - one < 3000);
        }
        assert!(queue.waiting.len() <= 6001, "{}", queue.waiting.len());
        assert!(queue.waiting.iter().any(|(one, _)| *one == 99_999));
    }

    #[test]
    fn a_release_lets_all_go_and_holds_nobody_after() {
        let (mut queue, _clock) = queue(1);
        for n in 0..5 {
            queue.arrive(n);
        }
        assert_eq!(queue.release().len(), 4);
        assert_eq!(queue.wait(), None);
        assert_eq!(queue.arrive(9), Some(9));
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let mut queue = Queue::new(None, FakeRelativeClock::default());
        assert!((0..10_000).all(|n| queue.arrive(n) == Some(n)));
    }
}
