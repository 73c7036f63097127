//! What a pool holds, for all who ask at once. No call of an engine is made here.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::{git::Ahead, policy::AgentPool};

use super::{
    super::{launch::Launcher, prepare::Prepared},
    Claimed, Contents, Failure, Grounds, Kind, Standing,
    asked::Asked,
    state::{Failed, Idle, LONGEST, Preparing, State, Turn},
};

/// The pause after a failure; each further one doubles it.
const PAUSE: Duration = Duration::from_secs(1);

/// Everything a pool knows, and what it makes slots with.
pub(super) struct Stock {
    pub(super) launcher: Launcher,
    pub(super) grounds: Grounds,
    pub(super) settings: AgentPool,
    state: Mutex<State>,
    /// Told whenever there may be something to do.
    pub(super) changed: Notify,
}

/// What a claim gets.
pub(super) enum Offer {
    /// A slot that stood ready.
    Ready(Box<Claimed>),
    /// The next one of those that are being made ready.
    Soon(oneshot::Receiver<Claimed>),
    /// Nothing.
    None,
}

/// That a sandbox stands for somebody. Drop it when it does no longer.
pub struct Lease {
    stock: Arc<Stock>,
    number: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stock
            .change(|state| state.claimed.remove(&self.number));
        self.stock.changed.notify_one();
    }
}

impl Stock {
    pub(super) fn new(launcher: Launcher, grounds: Grounds, settings: AgentPool) -> Self {
        let state = State::new(launcher.crowd.part());
        Self {
            launcher,
            grounds,
            settings,
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what there is, and has the other pools of the process know how many that are.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let changed = change(&mut state);
        state.tell();
        changed
    }

    pub(super) fn foresee(&self, asked: Vec<Asked>) {
        self.state().asked = asked;
        self.changed.notify_one();
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    /// Takes a slot out: it is nobody else's from now on, and never comes back.
    pub(super) fn claim(self: &Arc<Self>, kind: Kind) -> (Offer, Lease) {
        let empty = Kind {
            contents: Contents::Empty,
            ..kind.clone()
        };
        let (offer, number) = self.change(|state| {
            let kinds = [&kind, &empty];
            let ready = kinds.into_iter().find_map(|kind| state.take_ready(kind));
            let offer = match ready {
                Some(claimed) => Offer::Ready(Box::new(claimed)),
                None => {
                    let soon = kinds.into_iter().find_map(|kind| state.promise(kind));
                    soon.map_or(Offer::None, Offer::Soon)
                }
            };
            match &offer {
                Offer::Ready(_) => state.warm += 1,
                Offer::Soon(_) | Offer::None => state.cold += 1,
            }
            state.last += 1;
            state.claimed.insert(state.last, kind.clone());
            (offer, state.last)
        });
        self.changed.notify_one();
        let stock = Arc::clone(self);
        (offer, Lease { stock, number })
    }

    /// Decides what is to be done next, and takes note that it is.
    pub(super) fn turn(&self) -> Turn {
        let lacks = self.state().lacks(&self.settings);
        // Measured while the state is free, for every claim needs that.
        let room = lacks.then(|| self.launcher.crowd.room());
        self.change(|state| state.turn(&self.settings, room))
    }

    /// Gives a slot that was made ready to whoever waits for it, else puts it on the shelf.
    pub(super) fn made(&self, number: u64, (prepared, ahead): (Prepared, Option<Ahead>)) {
        let since = (self.grounds.now)();
        self.change(|state| {
            state.failure = None;
            let Some(Preparing { kind, promised }) = state.preparing.remove(&number) else {
                return;
            };
            let claimed = Claimed {
                prepared,
                ahead,
                stood: false,
            };
            let left = match promised {
                // Whoever waited may have been ended meanwhile.
                Some(promised) => promised.send(claimed).err(),
                None => Some(claimed),
            };
            state.idle.extend(left.map(|claimed| Idle {
                number,
                kind,
                prepared: claimed.prepared,
                ahead: claimed.ahead,
                since,
            }));
        });
    }

    /// Takes note that a slot could not be made ready.
    pub(super) fn unmade(&self, number: u64, why: &str) {
        self.change(|state| state.preparing.remove(&number));
        self.failed(why);
    }

    /// Takes note of a failure: nothing is made ready for a while.
    pub(super) fn failed(&self, why: &str) {
        let now = (self.grounds.now)();
        let mut state = self.state();
        let times = state.failure.as_ref().map_or(0, |last| last.told.times) + 1;
        let pause = PAUSE
            .saturating_mul(2_u32.saturating_pow(times - 1))
            .min(LONGEST);
        state.failure = Some(Failed {
            told: Failure {
                at: now,
                reason: why.chars().take(500).collect(),
                times,
                again: now.saturating_add(pause).unwrap_or(now),
            },
            again: Instant::now() + pause,
        });
    }

    /// Takes a slot off the shelf whose guest is gone.
    pub(super) fn lost(&self, number: u64) -> Option<Idle> {
        self.change(|state| {
            let at = state.idle.iter().position(|idle| idle.number == number)?;
            Some(state.idle.remove(at))
        })
    }

    /// Says what the pool holds.
    pub(super) fn standing(&self) -> Standing {
        self.state().standing((&self.grounds, &self.settings))
    }
}
