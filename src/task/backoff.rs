//! How long to leave a provider alone that was busy.
//!
//! ```text
//! n-th time in a row:  base × 2^(n−1), at most `longest`; of that between half and all by chance
//! the provider said how long at least: never less     it said until when: then, and a little more
//! ```
//!
//! The chance is drawn from what names the attempt, so that a journal that is folded again, and a
//! test, come to the same time, and a hundred agents that were refused at once do not come back at
//! once.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    digest::Digest,
    name::{RunId, TaskId},
};

/// What is waited after a time that the provider itself named, at most.
const SPREAD: Duration = Duration::from_secs(10);

/// How a busy provider is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub base: Duration,
    /// The longest.
    pub longest: Duration,
    /// How often one task may be put off in a row before it is given up.
    pub most: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(60),
            longest: Duration::from_secs(3600),
            most: 50,
        }
    }
}

/// A number between 0 and 1 that belongs to one attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chance(f64);

impl Chance {
    /// Draws it.
    #[must_use]
    pub fn of(run: &RunId, task: &TaskId, attempt: u32) -> Self {
        let digest = Digest::of(format!("{run}/{task}/{attempt}").as_bytes());
        let first: [u8; 4] = [digest.0[0], digest.0[1], digest.0[2], digest.0[3]];
        Self(f64::from(u32::from_be_bytes(first)) / f64::from(u32::MAX))
    }
}

impl Backoff {
    /// Returns how long to wait after having been put off `times` in a row, this one included, at
    /// least `floor`.
    #[must_use]
    pub fn wait(&self, times: u32, floor: Duration, chance: Chance) -> Duration {
        let doubled = 2_u32.saturating_pow(times.saturating_sub(1));
        let whole = self.base.saturating_mul(doubled).min(self.longest);
        let drawn = whole.mul_f64(0.5 + chance.0 / 2.0);
        if drawn >= floor {
            return drawn;
        }
        floor.saturating_add(SPREAD.min(floor / 10).mul_f64(chance.0))
    }

    /// Returns when to try again what its provider refuses until a time that it named. One that lies
    /// in the past is the same as none.
    #[must_use]
    pub fn after(&self, stated: Timestamp, now: Timestamp, chance: Chance) -> Timestamp {
        let stated = stated.max(now);
        later(stated, SPREAD.mul_f64(chance.0))
    }
}

/// Returns the time that is so much later, or the last there is.
pub(crate) fn later(from: Timestamp, wait: Duration) -> Timestamp {
    from.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::*;

    fn chance(attempt: u32) -> Chance {
        Chance::of(&"r1".parse().unwrap(), &"store".parse().unwrap(), attempt)
    }

    #[test]
    fn waits_double_up_to_the_longest_and_are_never_less_than_was_asked_for() {
        let backoff = Backoff::default();
        for (times, whole) in [
            (1, 60),
            (2, 120),
            (3, 240),
            (6, 1920),
            (7, 3600),
            (50, 3600),
        ] {
            let wait = backoff.wait(times, Duration::ZERO, chance(times));
            assert!(wait <= Duration::from_secs(whole), "{times}: {wait:?}");
            assert!(wait * 2 >= Duration::from_secs(whole), "{times}: {wait:?}");
        }
        let floor = Duration::from_secs(7200);
        let asked = backoff.wait(1, floor, chance(1));
        assert!(asked >= floor && asked <= floor + SPREAD);
        // A test of a run may not want to wait at all.
        let none = Backoff {
            base: Duration::ZERO,
            ..backoff
        };
        assert_eq!(none.wait(9, Duration::ZERO, chance(1)), Duration::ZERO);
    }

    #[test]
    fn a_time_that_was_named_is_kept_to() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let backoff = Backoff::default();
        let stated = later(now, Duration::from_secs(18_000));
        let until = backoff.after(stated, now, chance(1));
        assert!(until >= stated && until <= later(stated, SPREAD));
        let past = backoff.after(Timestamp::MIN, now, chance(1));
        assert!(past >= now && past <= later(now, SPREAD));
        assert_eq!(
            backoff.after(Timestamp::MAX, now, chance(1)),
            Timestamp::MAX
        );
    }

    #[test]
    fn the_chance_belongs_to_the_attempt_and_differs_from_the_next() {
        assert_eq!(chance(1), chance(1));
        let drawn: Vec<f64> = (0..200).map(|attempt| chance(attempt).0).collect();
        assert!(drawn.iter().all(|one| (0.0..=1.0).contains(one)));
        let low = drawn.iter().filter(|one| **one < 0.5).count();
        assert!((50..150).contains(&low), "{low} of 200 are low");
    }

    proptest! {
        #[test]
        fn no_number_of_times_overflows(times in any::<u32>(), floor in any::<u64>(), base in any::<u64>()) {
            let backoff = Backoff { base: Duration::from_secs(base), ..Backoff::default() };
            let floor = Duration::from_secs(floor);
            let wait = backoff.wait(times, floor, chance(times));
            prop_assert!(wait >= floor);
            later(Timestamp::UNIX_EPOCH, wait);
        }
    }
}
