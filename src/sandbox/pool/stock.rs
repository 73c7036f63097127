//! What a pool holds at this moment, and what it should. No call of an engine is made here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::{git::Ahead, policy::AgentPool};

use super::{
    super::{launch::Launcher, prepare::Prepared, sweep::owner},
    Claimed, Contents, Failure, Grounds, Kind, SCHEMA, Shelf, Standing, Want,
    asked::Asked,
    memory,
};

/// How many slots are made ready at once: more would only wait for the engine, and those who work
/// wait with them.
const AT_ONCE: usize = 2;
/// The pause after a failure; each further one doubles it.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// A slot that waits.
pub(super) struct Idle {
    pub(super) number: u64,
    pub(super) kind: Kind,
    pub(super) prepared: Prepared,
    pub(super) ahead: Option<Ahead>,
    pub(super) since: jiff::Timestamp,
}

/// Everything a pool knows.
pub(super) struct Stock {
    pub(super) launcher: Launcher,
    pub(super) grounds: Grounds,
    pub(super) settings: AgentPool,
    state: Mutex<State>,
    /// Told whenever there may be something to do.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    idle: Vec<Idle>,
    preparing: BTreeMap<u64, Preparing>,
    claimed: BTreeMap<u64, Kind>,
    last: u64,
    warm: u64,
    cold: u64,
    room: Option<u64>,
    failure: Option<Failed>,
    closed: bool,
}

/// A slot that is being made ready.
struct Preparing {
    kind: Kind,
    /// Who waits for it.
    promised: Option<oneshot::Sender<Claimed>>,
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

struct Failed {
    told: Failure,
    again: Instant,
}

/// What is to be done now.
pub(super) enum Turn {
    /// Make this ready, under this number.
    Make(u64, Box<Want>),
    /// End this.
    End(Box<Idle>),
    /// Nothing, before this time if there is one.
    Wait(Option<Instant>),
    /// Nothing any more.
    Over,
}

/// That a sandbox stands for somebody. Drop it when it does no longer.
pub struct Lease {
    stock: Arc<Stock>,
    number: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stock.state().claimed.remove(&self.number);
        self.stock.changed.notify_one();
    }
}

impl Stock {
    pub(super) fn new(launcher: Launcher, grounds: Grounds, settings: AgentPool) -> Self {
        Self {
            launcher,
            grounds,
            settings,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut state = self.state();
        let empty = Kind {
            contents: Contents::Empty,
            ..kind.clone()
        };
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
        let number = state.last;
        state.claimed.insert(number, kind);
        drop(state);
        self.changed.notify_one();
        let stock = Arc::clone(self);
        (offer, Lease { stock, number })
    }

    /// Decides what is to be done next, and takes note that it is.
    pub(super) fn turn(&self) -> Turn {
        let mut state = self.state();
        if state.closed {
            return match state.idle.pop() {
                Some(idle) => Turn::End(Box::new(idle)),
                None => Turn::Over,
            };
        }
        if let Some(at) = state.surplus(self.settings.min_idle) {
            return Turn::End(Box::new(state.idle.remove(at)));
        }
        let Some(want) = state.wanted(&self.settings) else {
            return Turn::Wait(None);
        };
        if let Some(again) = state.failure.as_ref().map(|failure| failure.again)
            && again > Instant::now()
        {
            return Turn::Wait(Some(again));
        }
        let room = memory::room();
        state.room = Some(room);
        if room <= state.preparing.len() as u64 {
            return Turn::Wait(Some(Instant::now() + LONGEST));
        }
        state.last += 1;
        let number = state.last;
        let preparing = Preparing {
            kind: want.kind.clone(),
            promised: None,
        };
        state.preparing.insert(number, preparing);
        Turn::Make(number, Box::new(want.want))
    }

    /// Gives a slot that was made ready to whoever waits for it, else puts it on the shelf.
    pub(super) fn made(&self, number: u64, (prepared, ahead): (Prepared, Option<Ahead>)) {
        let mut state = self.state();
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
        let since = (self.grounds.now)();
        state.idle.extend(left.map(|claimed| Idle {
            number,
            kind,
            prepared: claimed.prepared,
            ahead: claimed.ahead,
            since,
        }));
    }

    /// Takes note that a slot could not be made ready.
    pub(super) fn unmade(&self, number: u64, why: &str) {
        self.state().preparing.remove(&number);
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
        let mut state = self.state();
        let at = state.idle.iter().position(|idle| idle.number == number)?;
        Some(state.idle.remove(at))
    }

    /// Says what the pool holds.
    pub(super) fn standing(&self) -> Standing {
        let state = self.state();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let mut kinds: Vec<&Kind> = Vec::new();
        let asked = state.asked.iter().map(|asked| &asked.kind);
        let held = state.idle.iter().map(|idle| &idle.kind);
        let preparing = || state.preparing.values().map(|one| &one.kind);
        let others = preparing().chain(state.claimed.values());
        for kind in asked.chain(held).chain(others) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let standing = |kind: &Kind| {
            let asked = state.asked.iter().find(|asked| asked.kind == *kind);
            let idle = || state.idle.iter().filter(|idle| idle.kind == *kind);
            let alike = |one: &&Kind| **one == *kind;
            Shelf {
                key: kind.key.short(),
                image: kind.key.image().to_owned(),
                files: kind.contents.word().to_owned(),
                roles: asked.map(|asked| asked.roles.clone()).unwrap_or_default(),
                wanted: asked.map_or(0, |asked| asked.coming.min(self.settings.min_idle)),
                idle: count(idle().count()),
                preparing: count(preparing().filter(alike).count()),
                claimed: count(state.claimed.values().filter(alike).count()),
                since: idle().map(|idle| idle.since).min(),
            }
        };
        Standing {
            schema: SCHEMA,
            run: self.grounds.run.clone(),
            owner: owner(),
            at: (self.grounds.now)(),
            min_idle: self.settings.min_idle,
            max_total: self.settings.max_total,
            claimed: count(state.claimed.len()),
            room: state.room,
            warm: state.warm,
            cold: state.cold,
            failure: state.failure.as_ref().map(|failure| failure.told.clone()),
            kinds: kinds.into_iter().map(standing).collect(),
        }
    }
}

impl State {
    /// Takes one off the shelf. One whose guest is gone is about to be taken away.
    fn take_ready(&mut self, kind: &Kind) -> Option<Claimed> {
        let fits = |idle: &Idle| idle.kind == *kind && !idle.prepared.is_lost();
        let at = self.idle.iter().position(fits)?;
        let Idle {
            prepared, ahead, ..
        } = self.idle.remove(at);
        Some(Claimed {
            prepared,
            ahead,
            stood: true,
        })
    }

    /// Promises the oldest of those that are being made ready and are nobody's yet.
    fn promise(&mut self, kind: &Kind) -> Option<oneshot::Receiver<Claimed>> {
        let free = |one: &&mut Preparing| one.kind == *kind && one.is_free();
        let preparing = self.preparing.values_mut().find(free)?;
        let (promised, soon) = oneshot::channel();
        preparing.promised = Some(promised);
        Some(soon)
    }

    /// Finds a slot that nobody can need any more.
    fn surplus(&self, most: u32) -> Option<usize> {
        self.idle.iter().position(|idle| {
            let asked = self.asked.iter().find(|asked| asked.kind == idle.kind);
            let keep = asked.map_or(0, |asked| asked.open.min(most));
            let alike = self.idle.iter().filter(|one| one.kind == idle.kind);
            alike.count() > keep as usize
        })
    }

    /// Finds what should be made ready next.
    fn wanted(&self, settings: &AgentPool) -> Option<Asked> {
        // Whoever waits for one counts already.
        let free = || self.preparing.values().filter(|one| one.is_free());
        let all = self.idle.len() + free().count() + self.claimed.len();
        if self.preparing.len() >= AT_ONCE || all >= settings.max_total as usize {
            return None;
        }
        let lacks = |asked: &&Asked| {
            let idle = self.idle.iter().filter(|idle| idle.kind == asked.kind);
            let coming = free().filter(|one| one.kind == asked.kind);
            let have = idle.count() + coming.count();
            have < asked.coming.min(settings.min_idle) as usize
        };
        self.asked.iter().find(lacks).cloned()
    }
}

impl Preparing {
    /// Whether nobody waits for it.
    fn is_free(&self) -> bool {
        self.promised
            .as_ref()
            .is_none_or(oneshot::Sender::is_closed)
    }
}

impl Contents {
    fn word(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Task(_) => "task",
            Self::Copy => "copy",
        }
    }
}
