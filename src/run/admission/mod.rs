//! What the runs of one process share: slots, memory, providers that rest, breakers that are open.
//!
//! ```text
//!  driver of run A ─ask─▶ provider rests? breaker open? ── a slot free? ── its turn?
//!  driver of run B ─ask─▶ ── memory for one more of this role? ──▶ Ticket: given back on drop
//! ```
//!
//! A driver asks before each claim and keeps the ticket as long as the attempt lasts. What may go is
//! decided by [`Ledger`], a plain value. Of several runs that want a slot, or memory, the one that holds
//! fewest goes first, and of those the one that was served longest ago, so none waits for more than
//! the others' attempts under way: one that wants much memory gets it once they have ended, for
//! smaller ones do not pass it. It refuses to order the tasks of one run: that is the queue's.

mod ledger;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::{
    name::{Role, RunId},
    sandbox::memory,
};

use ledger::Ledger;

/// Attempts that one processor is trusted with: most of their time they wait for a model.
const PER_PROCESSOR: usize = 50;
/// How soon memory is looked at again.
const LOOKS: Duration = Duration::from_secs(1);

/// Tells the time.
type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
/// Tells how many bytes of memory are free for one who may use so many, none where that cannot be
/// known.
type Memory = Arc<dyn Fn(u64) -> Option<u64> + Send + Sync>;

/// What the runs of one process share.
pub struct Admission {
    ledger: Mutex<Ledger>,
    clock: Clock,
    memory: Memory,
    changed: watch::Sender<u64>,
}

/// What an attempt would take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Want<'a> {
    /// Who would work.
    pub(super) role: &'a Role,
    /// The provider that would be asked.
    pub(super) provider: &'a str,
    /// The most memory that it may use, in bytes.
    pub(super) memory: u64,
}

/// Why an attempt may not begin now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hold {
    /// Every slot is taken.
    Slots,
    /// Another run has the next turn.
    Turn,
    /// So much memory is free, and that is too little.
    Memory(u64),
    /// The provider is left alone until then.
    Provider(Timestamp),
    /// Another run found that the role gets nothing from the provider until then.
    Breaker(Timestamp),
    /// A budget is used up, in these words.
    Budget(String),
}

impl Hold {
    /// Returns whether only this role is held, not what else the run would do.
    pub(super) fn is_of_role(&self) -> bool {
        matches!(self, Self::Breaker(_) | Self::Budget(_))
    }
}

impl Admission {
    /// Makes an admission of so many attempts at once, on this machine, and never of more than the
    /// run asks for that asks for most.
    #[must_use]
    pub fn new(slots: usize, clock: Clock) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            ledger: Mutex::new(Ledger::new(slots.min(processors * PER_PROCESSOR))),
            clock,
            memory: Arc::new(|most| Some(memory::Memory::read()?.free_for(most))),
            changed: watch::Sender::new(0),
        }
    }

    /// Measures memory in another way.
    #[cfg(test)]
    fn measured(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// Gives a run a seat, from which it asks for so many attempts at once.
    pub(super) fn join(self: &Arc<Self>, run: &RunId, parallel: usize) -> Seat {
        self.ledger().join(run, parallel);
        // There may be more slots now.
        self.tell();
        Seat {
            admission: Arc::clone(self),
            run: run.clone(),
            changes: self.changed.subscribe(),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has whoever waits ask again.
    fn tell(&self) {
        self.changed
            .send_modify(|changes| *changes = changes.wrapping_add(1));
    }
}

/// Where a run asks from. Given up when it is dropped.
pub(super) struct Seat {
    admission: Arc<Admission>,
    run: RunId,
    changes: watch::Receiver<u64>,
}

impl Seat {
    /// Returns what time it is.
    pub(super) fn now(&self) -> Timestamp {
        (self.admission.clock)()
    }

    /// Asks for an attempt.
    ///
    /// # Errors
    ///
    /// Says what holds it. Whoever is told that every slot is taken, that it is another's turn or that
    /// there is too little memory is remembered as waiting, until he asks again or says with
    /// [`Self::rest`] that he does not.
    pub(super) fn ask(&self, want: &Want<'_>) -> Result<Ticket, Hold> {
        let (admission, now) = (&self.admission, self.now());
        // Measured before the ledger is held, for all runs share that.
        let free = (admission.memory)(want.memory);
        let asked = admission.ledger().ask(&self.run, want, (now, free));
        if matches!(asked, Err(Hold::Provider(_) | Hold::Breaker(_))) {
            // What holds it now is not for others to wait for.
            self.rest();
        }
        asked.map(|()| Ticket {
            admission: Arc::clone(admission),
            run: self.run.clone(),
        })
    }

    /// Says that the run wants nothing now.
    pub(super) fn rest(&self) {
        if self.admission.ledger().rest(&self.run) {
            self.admission.tell();
        }
    }

    /// Leaves a provider alone until then, in every run.
    pub(super) fn spare(&self, provider: &str, until: Timestamp) {
        self.admission.ledger().spare(provider, until);
    }

    /// Tells every run that a role gets nothing from a provider until then, or again.
    pub(super) fn trip(&self, (role, provider): (&Role, &str), until: Option<Timestamp>) {
        self.admission.ledger().trip((role, provider), until);
        self.admission.tell();
    }

    /// Returns when to ask again by oneself after having been held.
    pub(super) fn again(&self, hold: &Hold) -> Option<Timestamp> {
        match hold {
            Hold::Slots | Hold::Turn | Hold::Budget(_) => None,
            Hold::Memory(_) => self.now().checked_add(LOOKS).ok(),
            Hold::Provider(until) | Hold::Breaker(until) => Some(*until),
        }
    }

    /// Waits until something was given back.
    pub(super) async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            // The seat itself holds the other end.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.admission.ledger().leave(&self.run);
        self.admission.tell();
    }
}

/// The right to one attempt, for as long as it lives.
pub(super) struct Ticket {
    admission: Arc<Admission>,
    run: RunId,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.ledger().give_back(&self.run);
        self.admission.tell();
    }
}

#[cfg(test)]
mod tests;
