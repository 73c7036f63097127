//! Who holds what of what runs share, who waits for it, and whose turn it is.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::name::{Role, RunId};

use super::{Hold, Want};

/// How long after its begin an attempt has not used memory yet that it soon will.
const SETTLES: Duration = Duration::from_secs(1);
/// Which part of its limit that is: most agents never come near it.
const SOON: u64 = 4;

/// Who holds what. A plain value: it knows neither time nor machine but as it is told.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    /// The most attempts at once, whatever runs want.
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
    /// How many attempts it wants at once.
    parallel: usize,
    held: usize,
    waiting: bool,
    served: u64,
}

impl Ledger {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots: slots.max(1),
            runs: BTreeMap::new(),
            served: 0,
            recent: Vec::new(),
            resting: BTreeMap::new(),
            open: BTreeMap::new(),
        }
    }

    pub(super) fn join(&mut self, run: &RunId, parallel: usize) {
        let member = self.runs.entry(run.clone()).or_default();
        member.seats += 1;
        member.parallel = parallel;
    }

    pub(super) fn leave(&mut self, run: &RunId) {
        if let Some(member) = self.runs.get_mut(run) {
            member.seats = member.seats.saturating_sub(1);
            member.waiting = false;
        }
        self.forget(run);
    }

    pub(super) fn give_back(&mut self, run: &RunId) {
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

    pub(super) fn rest(&mut self, run: &RunId) -> bool {
        let member = self.runs.get_mut(run);
        member.is_some_and(|member| std::mem::take(&mut member.waiting))
    }

    pub(super) fn spare(&mut self, provider: &str, until: Timestamp) {
        let known = self.resting.entry(provider.to_owned()).or_insert(until);
        *known = (*known).max(until);
    }

    pub(super) fn trip(&mut self, (role, provider): (&Role, &str), until: Option<Timestamp>) {
        let key = (role.clone(), provider.to_owned());
        match until {
            Some(until) => drop(self.open.insert(key, until)),
            None => drop(self.open.remove(&key)),
        }
    }

    pub(super) fn ask(
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
        let held = self
            .turn(run)
            .and_then(|()| self.fits(want.memory, (now, free)));
        let member = self.runs.entry(run.clone()).or_default();
        // Who waits for memory is not passed by others that want less, either.
        member.waiting = held.is_err();
        held?;
        self.served += 1;
        member.held += 1;
        member.served = self.served;
        self.recent.push((now, want.memory / SOON));
        Ok(())
    }

    /// Returns how many attempts there may be at once: as many as the run wants that wants most.
    fn slots(&self) -> usize {
        let wanted = self.runs.values().map(|member| member.parallel).max();
        wanted.map_or(self.slots, |wanted| wanted.clamp(1, self.slots))
    }

    /// Finds out whether there is a slot and no other run comes first.
    fn turn(&self, run: &RunId) -> Result<(), Hold> {
        let held: usize = self.runs.values().map(|member| member.held).sum();
        let rank = |member: &Member| (member.held, member.served);
        let mine = self.runs.get(run).map_or((0, 0), rank);
        let before = |(other, member): (&RunId, &Member)| {
            other != run && member.waiting && rank(member) < mine
        };
        if held >= self.slots() {
            Err(Hold::Slots)
        } else if self.runs.iter().any(before) {
            Err(Hold::Turn)
        } else {
            Ok(())
        }
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
