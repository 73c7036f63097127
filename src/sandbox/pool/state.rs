//! What a pool holds at this moment, and what follows from it: a value that knows no engine.

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use crate::{git::Ahead, policy::AgentPool};

use super::{
    super::{prepare::Prepared, sweep::owner},
    Claimed, Contents, Failure, Grounds, Kind, SCHEMA, Shelf, Standing, Want,
    asked::Asked,
    crowd::{Count, Full, Part},
};

/// How many slots are made ready at once: more would only wait for the engine, and those who work
/// wait with them.
const AT_ONCE: usize = 2;
/// The longest pause.
pub(super) const LONGEST: Duration = Duration::from_secs(60);

/// A slot that waits.
pub(super) struct Idle {
    pub(super) number: u64,
    pub(super) kind: Kind,
    pub(super) prepared: Prepared,
    pub(super) ahead: Option<Ahead>,
    pub(super) since: jiff::Timestamp,
}

/// Everything a pool knows.
pub(super) struct State {
    pub(super) asked: Vec<Asked>,
    pub(super) idle: Vec<Idle>,
    pub(super) preparing: BTreeMap<u64, Preparing>,
    pub(super) claimed: BTreeMap<u64, Kind>,
    pub(super) last: u64,
    pub(super) warm: u64,
    pub(super) cold: u64,
    room: Option<u64>,
    pub(super) failure: Option<Failed>,
    pub(super) closed: bool,
    part: Part,
}

/// A slot that is being made ready.
pub(super) struct Preparing {
    pub(super) kind: Kind,
    /// Who waits for it.
    pub(super) promised: Option<oneshot::Sender<Claimed>>,
}

/// A failure, and when it is tried again.
pub(super) struct Failed {
    pub(super) told: Failure,
    pub(super) again: Instant,
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

impl State {
    /// Holds nothing yet.
    pub(super) fn new(part: Part) -> Self {
        Self {
            asked: Vec::new(),
            idle: Vec::new(),
            preparing: BTreeMap::new(),
            claimed: BTreeMap::new(),
            last: 0,
            warm: 0,
            cold: 0,
            room: None,
            failure: None,
            closed: false,
            part,
        }
    }

    /// Tells the other pools of the process how many there are.
    pub(super) fn tell(&mut self) {
        // Whoever waits for one that is being made ready counts already.
        let free = self.preparing.values().filter(|one| one.is_free());
        self.part.is(Count {
            all: self.idle.len() + free.count() + self.claimed.len(),
            preparing: self.preparing.len(),
        });
    }

    /// Takes one off the shelf. One whose guest is gone is about to be taken away.
    pub(super) fn take_ready(&mut self, kind: &Kind) -> Option<Claimed> {
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
    pub(super) fn promise(&mut self, kind: &Kind) -> Option<oneshot::Receiver<Claimed>> {
        let free = |one: &&mut Preparing| one.kind == *kind && one.is_free();
        let preparing = self.preparing.values_mut().find(free)?;
        let (promised, soon) = oneshot::channel();
        preparing.promised = Some(promised);
        Some(soon)
    }

    /// Returns whether another is wanted, and not put off.
    pub(super) fn lacks(&self, settings: &AgentPool) -> bool {
        self.wanted(settings).is_some() && self.pause().is_none()
    }

    /// Decides what is to be done next, and takes note that it is. `room` is what there was when
    /// [`Self::lacks`] was asked.
    pub(super) fn turn(&mut self, settings: &AgentPool, room: Option<u64>) -> Turn {
        if self.closed {
            return match self.idle.pop() {
                Some(idle) => Turn::End(Box::new(idle)),
                None => Turn::Over,
            };
        }
        if let Some(at) = self.surplus(settings.min_idle) {
            return Turn::End(Box::new(self.idle.remove(at)));
        }
        let Some(wanted) = self.wanted(settings).cloned() else {
            return Turn::Wait(None);
        };
        if let Some(again) = self.pause() {
            return Turn::Wait(Some(again));
        }
        // Whatever has it wanted only now also has it looked at again.
        let Some(room) = room else {
            return Turn::Wait(None);
        };
        self.room = Some(room);
        match self.part.grows((settings.max_total as usize, room)) {
            Ok(()) => {}
            Err(Full::Places) => return Turn::Wait(None),
            Err(Full::Memory) => return Turn::Wait(Some(Instant::now() + LONGEST)),
        }
        self.last += 1;
        let number = self.last;
        let preparing = Preparing {
            kind: wanted.kind,
            promised: None,
        };
        self.preparing.insert(number, preparing);
        Turn::Make(number, Box::new(wanted.want))
    }

    /// Returns until when nothing is tried, if that is to come.
    fn pause(&self) -> Option<Instant> {
        let again = self.failure.as_ref()?.again;
        (again > Instant::now()).then_some(again)
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
    fn wanted(&self, settings: &AgentPool) -> Option<&Asked> {
        if self.preparing.len() >= AT_ONCE {
            return None;
        }
        self.asked.iter().find(|asked| {
            let idle = self.idle.iter().filter(|idle| idle.kind == asked.kind);
            let coming = self.preparing.values().filter(|one| one.is_free());
            let coming = coming.filter(|one| one.kind == asked.kind);
            let have = idle.count() + coming.count();
            have < asked.coming.min(settings.min_idle) as usize
        })
    }

    /// Says what there is.
    pub(super) fn standing(&self, (grounds, settings): (&Grounds, &AgentPool)) -> Standing {
        Standing {
            schema: SCHEMA,
            run: grounds.run.clone(),
            owner: owner(),
            at: (grounds.now)(),
            min_idle: settings.min_idle,
            max_total: settings.max_total,
            claimed: number(self.claimed.len()),
            room: self.room,
            warm: self.warm,
            cold: self.cold,
            failure: self.failure.as_ref().map(|failure| failure.told.clone()),
            kinds: self
                .kinds()
                .into_iter()
                .map(|kind| self.shelf(kind, settings))
                .collect(),
        }
    }

    /// Returns each kind that is wanted or held, once.
    fn kinds(&self) -> Vec<&Kind> {
        let asked = self.asked.iter().map(|asked| &asked.kind);
        let idle = self.idle.iter().map(|idle| &idle.kind);
        let preparing = self.preparing.values().map(|one| &one.kind);
        let mut kinds: Vec<&Kind> = Vec::new();
        for kind in asked
            .chain(idle)
            .chain(preparing)
            .chain(self.claimed.values())
        {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds
    }

    fn shelf(&self, kind: &Kind, settings: &AgentPool) -> Shelf {
        let asked = self.asked.iter().find(|asked| asked.kind == *kind);
        let idle: Vec<&Idle> = self.idle.iter().filter(|idle| idle.kind == *kind).collect();
        let preparing = self.preparing.values().filter(|one| one.kind == *kind);
        let claimed = self.claimed.values().filter(|one| *one == kind);
        Shelf {
            key: kind.key.short(),
            image: kind.key.image().to_owned(),
            files: kind.contents.word().to_owned(),
            roles: asked.map(|asked| asked.roles.clone()).unwrap_or_default(),
            wanted: asked.map_or(0, |asked| asked.coming.min(settings.min_idle)),
            idle: number(idle.len()),
            preparing: number(preparing.count()),
            claimed: number(claimed.count()),
            since: idle.iter().map(|idle| idle.since).min(),
        }
    }
}

fn number(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
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
