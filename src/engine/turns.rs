//! How many changes an engine is asked for at once.
//!
//! An engine on a few processors that is asked for many containers at once answers none of these
//! calls in time, and no others either: those that come later wait here, where no time limit runs.

use std::thread::available_parallelism;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Changes at once for each processor: an engine waits for the kernel about as long as it computes.
const EACH: usize = 2;
/// Changes at once on the smallest machine.
const LEAST: usize = 4;

/// The turns of one engine.
#[derive(Debug)]
pub(super) struct Turns(Semaphore);

impl Turns {
    /// Makes as many as this machine's processors are good for.
    pub(super) fn of_machine() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self::new(LEAST.max(EACH * processors))
    }

    fn new(most: usize) -> Self {
        Self(Semaphore::new(most))
    }

    /// Waits for a turn, in the order of asking; it ends when what is returned is dropped.
    pub(super) async fn next(&self) -> SemaphorePermit<'_> {
        let turn = self.0.acquire().await;
        turn.expect("nobody closes it")
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn who_comes_later_waits_for_a_turn_to_end() {
        let turns = Turns::new(2);
        let next = || turns.next().now_or_never();
        let (first, second) = (next().unwrap(), next().unwrap());
        let mut third = Box::pin(turns.next());
        assert!((&mut third).now_or_never().is_none());
        drop(first);
        let third = third.now_or_never().expect("a turn ended");
        assert!(next().is_none());
        drop((second, third));
        assert!(next().is_some());
        assert!(Turns::of_machine().0.available_permits() >= LEAST);
    }
}
