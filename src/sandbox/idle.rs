//! When an agent counts as idle: pure, fed with what was seen.

use std::time::Duration;

use tokio::time::Instant;

/// Who used at least one part in so many of one processor since the last look was busy. An agent
/// that only waits for an answer and turns a spinner stays well below.
const BUSY: u32 = 50;

/// What was seen of a sandbox so far: numbers that only grow. None is what this host cannot see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Activity {
    /// Bytes of output.
    pub(super) output: u64,
    /// Processor time of all its processes, ended ones too.
    pub(super) processor: Option<Duration>,
    /// Segments with data, sent or received.
    pub(super) traffic: Option<u64>,
}

impl Activity {
    /// Returns whether anything ran in the sandbox since then, as far as can be seen: without
    /// processor time nothing is taken, written, sent or started.
    pub(super) fn ran_since(&self, before: &Self) -> bool {
        self.processor.is_none() || self.processor != before.processor
    }
}

/// How long there was no activity.
#[derive(Debug)]
pub(super) struct Idleness {
    seen: Activity,
    looked: Instant,
    since: Instant,
}

impl Idleness {
    /// Starts with what there is now.
    pub(super) fn new(now: Instant, seen: Activity) -> Self {
        Self {
            seen,
            looked: now,
            since: now,
        }
    }

    /// Looks again, and returns how long nothing has happened.
    pub(super) fn look(&mut self, now: Instant, seen: Activity) -> Duration {
        if seen.output != self.seen.output
            || seen.traffic != self.seen.traffic
            || self.computed(now, seen)
        {
            self.since = now;
        }
        (self.seen, self.looked) = (seen, now);
        now - self.since
    }

    fn computed(&self, now: Instant, seen: Activity) -> bool {
        let pair = seen.processor.zip(self.seen.processor);
        let used = pair.map_or(Duration::ZERO, |(now, before)| now.saturating_sub(before));
        !used.is_zero() && used * BUSY >= now - self.looked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const STILL: Activity = Activity {
        output: 7,
        processor: Some(SECOND),
        traffic: Some(3),
    };

    /// Looks once a second and returns how long it was idle at the end.
    fn idle_after(each: impl Fn(u32) -> Activity) -> Duration {
        let start = Instant::now();
        let mut idle = Idleness::new(start, each(0));
        (1..=10).fold(Duration::ZERO, |_, n| {
            idle.look(start + SECOND * n, each(n))
        })
    }

    #[test]
    fn nothing_at_all_is_idle() {
        assert_eq!(idle_after(|_| STILL), SECOND * 10);
        let unseen = Activity {
            processor: None,
            traffic: None,
            ..STILL
        };
        assert_eq!(idle_after(|_| unseen), SECOND * 10);
    }

    #[test]
    fn a_quiet_agent_with_a_busy_child_is_not_idle() {
        let busy = |n| Activity {
            processor: Some(Duration::from_millis(20) * n),
            ..STILL
        };
        assert_eq!(idle_after(busy), Duration::ZERO);
    }

    #[test]
    fn a_timer_that_ticks_is_not_work() {
        let ticking = |n| Activity {
            processor: Some(Duration::from_millis(19) * n),
            ..STILL
        };
        assert_eq!(idle_after(ticking), SECOND * 10);
    }

    #[test]
    fn output_and_traffic_start_the_wait_anew() {
        let spoke = |n: u32| Activity {
            output: u64::from(n.min(4)),
            ..STILL
        };
        assert_eq!(idle_after(spoke), SECOND * 6);
        let sent = |n: u32| Activity {
            traffic: Some(u64::from(n.min(7))),
            ..STILL
        };
        assert_eq!(idle_after(sent), SECOND * 3);
    }
}
