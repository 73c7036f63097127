//! Sandboxes that stand ready before anybody needs them.
//!
//! ```text
//!            foresee: what may be claimed soon
//!                 │        ┌──claim──▶ promised ──made──┐
//!                 │        │                            ▼
//!  refill ──▶ preparing ───┴──▶ idle ──claim──▶ its occupant's alone, destroyed afterwards
//!    ▲            │ failed       │ guest gone, or no longer wanted
//!    └── pause ◀──┘              └──▶ ended, its files removed
//! ```
//!
//! A slot is of one `Kind`: the whole blueprint of its container, and what stands in its
//! worktree. It is only ever given to a claim of exactly this blueprint, and files in it only to
//! whoever may read exactly these. A claim that finds no slot starts cold, by the same code; a pool
//! never makes a claim fail. Slots that no task can need any more are ended, all of them at the end
//! of the run. The pool does not know tasks and decides no order.

mod asked;
mod crowd;
mod refill;
mod standing;
mod state;
mod stock;

#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{sync::Mutex, task::JoinSet};

use crate::{
    git::{Ahead, Repository},
    name::{Role, RunId},
    policy::{AgentPool, Globs, Rights},
};

use super::{
    key::Key,
    launch::{Launcher, Occupant},
    prepare::Prepared,
    slot::Home,
};

pub use crowd::Crowd;
pub use standing::{Failure, SCHEMA, Shelf, Standing};
pub use stock::Lease;

use asked::Asked;
use stock::{Offer, Stock};

/// How long the end of a pool waits for an engine that does not answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What stands in a worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// Nothing yet: whoever claims the slot fills it.
    Empty,
    /// The run's files, as far as these globs show them, and a private repository of them.
    Task(Globs),
    /// All of the run's files, for a check.
    Copy,
}

/// What slots must have in common to be alike.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kind {
    key: Key,
    contents: Contents,
}

/// What will be claimed soon.
#[derive(Debug, Clone)]
pub struct Want {
    /// What the role may do.
    pub rights: Arc<Rights>,
    /// The image, by digest.
    pub image: String,
    /// What will be put into its home: contents do not matter here.
    pub home: Vec<Home>,
    /// What is to stand in the worktree.
    pub contents: Contents,
    /// How many will be claimed that nobody has claimed yet: for so many slots are made ready.
    pub coming: u32,
    /// How many may still be claimed, claims on their way included: so many are not ended.
    pub open: u32,
}

/// Whose slots they are.
#[derive(Clone)]
pub struct Grounds {
    /// The run.
    pub run: RunId,
    /// The user's repository.
    pub repository: Arc<Repository>,
    /// The label of the repository.
    pub label: String,
    /// Loki's directory in it.
    pub state: PathBuf,
    /// Where time comes from.
    pub now: fn() -> Timestamp,
}

/// A slot that was claimed.
pub struct Claimed {
    /// The container; bind it, or end it.
    pub prepared: Prepared,
    /// Its files, if it has any.
    pub ahead: Option<Ahead>,
    /// Whether it stood ready when it was asked for. Else it was waited for.
    pub stood: bool,
}

/// The slots of one run. Dropping it ends them; [`Pool::end`] also waits for that.
pub struct Pool {
    stock: Arc<Stock>,
    refilling: Mutex<JoinSet<()>>,
}

impl Pool {
    /// Makes an empty pool. Nothing is made ready before something is foreseen.
    #[must_use]
    pub fn new(launcher: Launcher, grounds: Grounds, settings: AgentPool) -> Self {
        Self {
            stock: Arc::new(Stock::new(launcher, grounds, settings)),
            refilling: Mutex::default(),
        }
    }

    /// Returns whether the files of a role are to stand ready, too.
    #[must_use]
    pub fn pre_warmed(&self, role: &Role) -> bool {
        let roles = self.stock.settings.pre_warm_roles.as_ref();
        roles.is_none_or(|roles| roles.contains(role))
    }

    /// Returns how many slots of a kind stand ready at most.
    #[must_use]
    pub fn min_idle(&self) -> u32 {
        self.stock.settings.min_idle
    }

    /// Returns whether slots are made ready at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.min_idle() > 0
    }

    /// Takes note of everything that may be claimed from now on, in place of what was noted before.
    /// Must run inside a tokio runtime.
    pub fn foresee(&self, wants: Vec<Want>) {
        if !self.is_on() {
            return;
        }
        let asked = Asked::all(&self.stock.launcher, wants);
        let nothing = asked.is_empty();
        self.stock.foresee(asked);
        // Whoever holds it is ending the pool.
        if let Ok(mut refilling) = self.refilling.try_lock()
            && refilling.is_empty()
            && !nothing
        {
            refilling.spawn(refill::refill(Arc::clone(&self.stock)));
        }
    }

    /// Takes a slot for an occupant, one with these contents if there is one, else an empty one, else
    /// one that is being made ready, which is there sooner than any other would be; none when there
    /// is none of them. The lease says that a sandbox stands for somebody, either way.
    pub async fn claim(
        &self,
        occupant: &Occupant,
        contents: &Contents,
    ) -> (Option<Claimed>, Lease) {
        let key = self.stock.launcher.key(occupant);
        let contents = contents.clone();
        let (offer, lease) = self.stock.claim(Kind { key, contents });
        let claimed = match offer {
            Offer::Ready(claimed) => Some(*claimed),
            // One that comes to nothing is told by whoever makes it.
            Offer::Soon(soon) => soon.await.ok(),
            Offer::None => None,
        };
        (claimed, lease)
    }

    /// Says what the pool holds now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.stock.standing()
    }

    /// Says that a claimed slot was of no use.
    pub fn was_of_no_use(&self, why: &str) {
        self.stock.failed(why);
    }

    /// Ends every slot and makes no more.
    pub async fn end(&self) {
        self.stock.close();
        let mut refilling = self.refilling.lock().await;
        let ended = async { while refilling.join_next().await.is_some() {} };
        // What an engine that does not answer leaves is swept at the next start.
        tokio::time::timeout(PATIENCE, ended).await.ok();
        refilling.shutdown().await;
    }
}
