//! What the runs of one process share: slots, memory, providers that rest, breakers that are open.
//!
//! ```text
//!  driver of run A ─ask─▶ gate closed? provider rests? breaker open? ── a slot free? ── its turn?
//!  driver of run B ─ask─▶     ── memory for one more of this role? ──▶ Ticket: given back on drop
//! ```
//!
//! A driver asks before each claim and keeps the ticket as long as the attempt lasts. What may go is
//! decided by [`Ledger`], a plain value. Of several runs that want a slot the one that holds fewest
//! goes first, and of those the one that was served longest ago, so none waits for more than the
//! others' attempts under way. It refuses to order the tasks of one run: that is the queue's.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::name::{Role, RunId};

/// Attempts that one processor is trusted with: most of their time they wait for a model.
const PER_PROCESSOR: usize = 50;
/// How long after its begin an attempt has not used memory yet that it soon will.
const SETTLES: Duration = Duration::from_secs(1);
/// Which part of its limit that is: most agents never come near it.
const SOON: u64 = 4;
/// How soon memory is looked at again.
const LOOKS: Duration = Duration::from_secs(1);

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
/// Tells how many bytes of memory are free, none where that cannot be known.
pub type Memory = Arc<dyn Fn() -> Option<u64> + Send + Sync>;
/// Says why a run may claim nothing for a role now, if it may not: such as a budget that is used up.
pub type Gate = Arc<dyn Fn(&RunId, &Role) -> Option<String> + Send + Sync>;

/// What the runs of one process share.
pub struct Admission {
    ledger: Mutex<Ledger>,
    clock: Clock,
    memory: Memory,
    gate: Option<Gate>,
    changed: watch::Sender<u64>,
}

/// What an attempt would take.
#[derive(Debug, Clone, Copy)]
pub struct Want<'a> {
    /// Who would work.
    pub role: &'a Role,
    /// The provider that would be asked.
    pub provider: &'a str,
    /// The most memory that it may use, in bytes.
    pub memory: u64,
}

/// Why an attempt may not begin now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
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
    /// A gate is closed, for this reason.
    Gate(String),
}

impl Hold {
    /// Returns whether only this role is held, not what else the run would do.
    #[must_use]
    pub fn is_of_role(&self) -> bool {
        matches!(self, Self::Breaker(_) | Self::Gate(_))
    }
}

impl Admission {
    /// Makes an admission of so many attempts at once, on this machine.
    #[must_use]
    pub fn new(slots: usize, clock: Clock) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            ledger: Mutex::new(Ledger::new(slots.min(processors * PER_PROCESSOR))),
            clock,
            memory: Arc::new(free_memory),
            gate: None,
            changed: watch::Sender::new(0),
        }
    }

    /// Lets a gate decide, too.
    #[must_use]
    pub fn gated(mut self, gate: Gate) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Measures memory in another way.
    #[must_use]
    pub fn measured(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// Returns what time it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Gives a run a seat, from which it asks.
    #[must_use]
    pub fn join(self: &Arc<Self>, run: &RunId) -> Seat {
        self.ledger().join(run);
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
pub struct Seat {
    admission: Arc<Admission>,
    run: RunId,
    changes: watch::Receiver<u64>,
}

impl Seat {
    /// Returns what time it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.admission.now()
    }

    /// Asks for an attempt.
    ///
    /// # Errors
    ///
    /// Says what holds it. Whoever is told that every slot is taken or that it is another's turn is
    /// remembered as waiting, until he asks again or says with [`Self::rest`] that he does not.
    pub fn ask(&self, want: &Want<'_>) -> Result<Ticket, Hold> {
        let asked = self.ask_ledger(want);
        if !matches!(asked, Ok(()) | Err(Hold::Slots | Hold::Turn)) {
            // What holds it now is not for others to wait for.
            self.rest();
        }
        asked.map(|()| Ticket {
            admission: Arc::clone(&self.admission),
            run: self.run.clone(),
        })
    }

    fn ask_ledger(&self, want: &Want<'_>) -> Result<(), Hold> {
        let (admission, now) = (&self.admission, self.now());
        if let Some(reason) = admission
            .gate
            .as_ref()
            .and_then(|gate| gate(&self.run, want.role))
        {
            return Err(Hold::Gate(reason));
        }
        // Measured before the ledger is held, for all runs share that.
        let free = (admission.memory)();
        admission.ledger().ask(&self.run, want, (now, free))
    }

    /// Says that the run wants nothing now.
    pub fn rest(&self) {
        if self.admission.ledger().rest(&self.run) {
            self.admission.tell();
        }
    }

    /// Leaves a provider alone until then, in every run.
    pub fn spare(&self, provider: &str, until: Timestamp) {
        self.admission.ledger().spare(provider, until);
    }

    /// Tells every run that a role gets nothing from a provider until then, or again.
    pub fn trip(&self, (role, provider): (&Role, &str), until: Option<Timestamp>) {
        self.admission.ledger().trip((role, provider), until);
        self.admission.tell();
    }

    /// Returns when to ask again by oneself after having been held.
    #[must_use]
    pub fn again(&self, hold: &Hold) -> Option<Timestamp> {
        match hold {
            Hold::Slots | Hold::Turn | Hold::Gate(_) => None,
            Hold::Memory(_) => self.now().checked_add(LOOKS).ok(),
            Hold::Provider(until) | Hold::Breaker(until) => Some(*until),
        }
    }

    /// Waits until something was given back.
    pub async fn changed(&mut self) {
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
pub struct Ticket {
    admission: Arc<Admission>,
    run: RunId,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.ledger().give_back(&self.run);
        self.admission.tell();
    }
}

/// Returns how much memory the kernel says can be had without swapping.
fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Who holds what. A plain value: it knows neither time nor machine but as it is told.
#[derive(Debug, Clone)]
struct Ledger {
    slots: usize,
    runs: BTreeMap<RunId, Member>,
    served: u64,
    /// When something was given lately, and how much memory it will soon use.
    recent: Vec<(Timestamp, u64)>,
    resting: BTreeMap<String, Timestamp>,
    open: BTreeMap<(Role, String), Timestamp>,
}

#[derive(Debug, Clone, Default)]
struct Member {
    /// Seats: a run that was taken up again may have two for a moment.
    seats: usize,
    held: usize,
    waiting: bool,
    served: u64,
}

impl Ledger {
    fn new(slots: usize) -> Self {
        Self {
            slots: slots.max(1),
            runs: BTreeMap::new(),
            served: 0,
            recent: Vec::new(),
            resting: BTreeMap::new(),
            open: BTreeMap::new(),
        }
    }

    fn join(&mut self, run: &RunId) {
        self.runs.entry(run.clone()).or_default().seats += 1;
    }

    fn leave(&mut self, run: &RunId) {
        if let Some(member) = self.runs.get_mut(run) {
            member.seats = member.seats.saturating_sub(1);
            member.waiting = false;
        }
        self.forget(run);
    }

    fn give_back(&mut self, run: &RunId) {
        if let Some(member) = self.runs.get_mut(run) {
            member.held = member.held.saturating_sub(1);
        }
        self.forget(run);
    }

    fn forget(&mut self, run: &RunId) {
        let gone = |member: &Member| member.seats == 0 && member.held == 0;
        if self.runs.get(run).is_some_and(gone) {
            self.runs.remove(run);
        }
    }

    fn rest(&mut self, run: &RunId) -> bool {
        let member = self.runs.get_mut(run);
        member.is_some_and(|member| std::mem::take(&mut member.waiting))
    }

    fn spare(&mut self, provider: &str, until: Timestamp) {
        let known = self.resting.entry(provider.to_owned()).or_insert(until);
        *known = (*known).max(until);
    }

    fn trip(&mut self, (role, provider): (&Role, &str), until: Option<Timestamp>) {
        let key = (role.clone(), provider.to_owned());
        match until {
            Some(until) => drop(self.open.insert(key, until)),
            None => drop(self.open.remove(&key)),
        }
    }

    fn ask(
        &mut self,
        run: &RunId,
        want: &Want<'_>,
        (now, free): (Timestamp, Option<u64>),
    ) -> Result<(), Hold> {
        let later = |until: Option<&Timestamp>| until.copied().filter(|until| *until > now);
        if let Some(until) = later(self.resting.get(want.provider)) {
            return Err(Hold::Provider(until));
        }
        let key = (want.role.clone(), want.provider.to_owned());
        if let Some(until) = later(self.open.get(&key)) {
            return Err(Hold::Breaker(until));
        }
        self.turn(run)?;
        self.fits(want.memory, (now, free))?;
        self.served += 1;
        let member = self.runs.entry(run.clone()).or_default();
        member.held += 1;
        member.waiting = false;
        member.served = self.served;
        self.recent.push((now, want.memory / SOON));
        Ok(())
    }

    /// Finds out whether there is a slot and no other run comes first.
    fn turn(&mut self, run: &RunId) -> Result<(), Hold> {
        let held: usize = self.runs.values().map(|member| member.held).sum();
        let rank = |member: &Member| (member.held, member.served);
        let mine = self.runs.get(run).map_or((0, 0), rank);
        let before = |(other, member): (&RunId, &Member)| {
            other != run && member.waiting && rank(member) < mine
        };
        let hold = if held >= self.slots {
            Hold::Slots
        } else if self.runs.iter().any(before) {
            Hold::Turn
        } else {
            return Ok(());
        };
        self.runs.entry(run.clone()).or_default().waiting = true;
        Err(hold)
    }

    /// Finds out whether there is memory for one more, counting that the latest have not used theirs
    /// yet. Where nothing runs there is always: it can only end by being tried.
    fn fits(&mut self, wanted: u64, (now, free): (Timestamp, Option<u64>)) -> Result<(), Hold> {
        self.recent
            .retain(|(given, _)| now.duration_since(*given).unsigned_abs() < SETTLES);
        let nothing_runs = self.runs.values().all(|member| member.held == 0);
        let promised: u64 = self
            .recent
            .iter()
            .map(|(_, memory)| *memory)
            .fold(0, u64::saturating_add);
        match free {
            Some(free) if !nothing_runs && free.saturating_sub(promised) < wanted => {
                Err(Hold::Memory(free))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
