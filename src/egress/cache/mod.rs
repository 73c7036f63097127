//! Answers that are given again, for rules that say so (`cache: 24h`).
//!
//! ```text
//! allowed GET ─▶ asked (role, server, URL, credential, headers) ─▶ shelf ─▶ fresh ─▶ given again
//!                                                       │ none          └▶ stale ─▶ "changed?" ─┐
//!                                                       ▼                                       ▼
//!                                                  the server ◀──────────────────────────── the server
//!                                                       │ streams on, and beside it            │ 304
//!                                                       ▼                                       ▼
//!                                                  draft ─ whole? ─▶ shelf              the kept one again
//! ```
//!
//! What may be kept, and for how long it counts, is said by HTTP's own rules (RFC 9111) as those of
//! a private cache, and never longer than the rule says. Each role has a cache of its own: what one
//! was answered, another never sees. A file is believed only when it was written here for exactly
//! this question: a key outside of the repository vouches for each. Refuses to keep what is not
//! whole, what sets a cookie, what holds a secret, and what a credential was given for unless the
//! server says that it is everybody's. Nothing here decides whether a request is allowed.

mod asked;
mod draft;
mod key;
mod semantics;
mod shelf;
mod stream;
mod sweep;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use hyper::{HeaderMap, StatusCode};
use tokio::{
    sync::Semaphore,
    task::{JoinSet, spawn_blocking},
};

use crate::redact::Redactor;

pub(super) use asked::{Asked, Sent};
use draft::Draft;
pub(super) use draft::Meta;
pub(super) use semantics::Standing;
pub(super) use shelf::Found;
use shelf::Shelf;
use stream::Give;
pub(super) use stream::{Keeping, given};

/// Answers that are written down at once; further ones pass without being kept.
const DRAFTS: usize = 16;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes of all answers of all roles together.
    pub all: u64,
    /// Bytes of one answer's body.
    pub one: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            all: 1 << 30,
            one: 32 << 20,
        }
    }
}

/// Why answers cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A directory or file cannot be used.
    #[error("answers cannot be kept: cannot {doing} `{}`", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file that vouches for kept answers is not this user's alone.
    #[error(
        "answers cannot be kept: `{}` is not a file of 32 bytes that this user alone can read; remove it, and a new one is made",
        path.display()
    )]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("answers cannot be kept: the system gave no random bytes for their key")]
    Chance,
}

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The answers that are kept for the roles of one repository.
pub struct Answers {
    shelf: Arc<Shelf>,
    redactor: Redactor,
    drafts: Arc<Semaphore>,
    /// What writes answers down; they outlive the gateway that passed them, by a moment.
    writers: Mutex<JoinSet<()>>,
    clock: Clock,
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

impl Answers {
    /// Opens those below `state`, the `.loki` of a repository, vouched for by the key in a file
    /// elsewhere. Both are made when they are missing. Nothing that `redactor` finds is kept.
    ///
    /// # Errors
    /// When a directory cannot be made or is a link, or the key is not this user's alone.
    pub fn open(
        (state, room): (&Path, Room),
        key: &Path,
        redactor: Redactor,
        clock: Clock,
    ) -> Result<Self, CacheError> {
        Ok(Self {
            shelf: Arc::new(Shelf::open(state, key::read_or_make(key)?, room)?),
            redactor,
            drafts: Arc::new(Semaphore::new(DRAFTS)),
            writers: Mutex::default(),
            clock,
        })
    }

    /// Returns what is asked, when an answer to it may be given again or be kept.
    pub(super) fn asked(&self, sent: &Sent<'_>) -> Option<Asked> {
        Asked::new(sent, self.shelf.key())
    }

    /// Returns the kept answer to a question, fresh or not, once it has been checked.
    pub(super) async fn find(&self, asked: &Asked) -> Option<(Found, Standing)> {
        let (shelf, own) = (Arc::clone(&self.shelf), asked.clone());
        let found = spawn_blocking(move || shelf.find(&own)).await.ok()??;
        let standing = semantics::standing(&found.meta, asked, (self.clock)());
        Some((found, standing))
    }

    /// Removes what is kept for an address, for it has just been changed.
    pub(super) async fn forget(&self, asked: &Asked) {
        let (shelf, asked) = (Arc::clone(&self.shelf), asked.clone());
        // What could not be removed is found out again when it is asked for.
        drop(spawn_blocking(move || shelf.forget(&asked)).await);
    }

    /// Begins to keep an answer whose head has come; none when it may not be kept. `length` is that
    /// of its body, as far as it is said.
    pub(super) async fn begin(
        &self,
        asked: &Asked,
        (status, headers): (StatusCode, &HeaderMap),
        length: Option<u64>,
    ) -> Option<Give> {
        let one = self.shelf.room().one;
        if length.is_some_and(|length| length > one) {
            return None;
        }
        let meta = semantics::kept(asked, (status, headers), (self.clock)())?;
        let mut search = self.redactor.search();
        if search.finds(meta.line().as_bytes()) {
            return None;
        }
        let seat = Arc::clone(&self.drafts).try_acquire_owned().ok()?;
        let (shelf, asked) = (Arc::clone(&self.shelf), asked.clone());
        let draft = spawn_blocking(move || Draft::begin(&shelf, &asked, &meta)).await;
        let draft = draft.ok()?.ok()?;
        let (give, pieces) = stream::way();
        let search = self.redactor.search();
        let write = stream::write((draft, search, length), pieces, seat);
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        while writers.try_join_next().is_some() {}
        writers.spawn(write);
        Some(give)
    }

    /// Takes a 304 to a question for a kept answer: returns the kept one with the new head, none
    /// when the server did not speak of that one.
    pub(super) async fn confirm(
        &self,
        asked: &Asked,
        found: Found,
        headers: &HeaderMap,
    ) -> Option<Found> {
        let now = (self.clock)();
        let meta = semantics::confirmed(&found.meta, asked, headers, now)?;
        if self.redactor.finds(meta.line().as_bytes()) {
            return None;
        }
        let kept = Found {
            meta: meta.clone(),
            body: found.body.clone(),
        };
        let (shelf, asked) = (Arc::clone(&self.shelf), asked.clone());
        // Given again all the same where it cannot be written.
        let renew = move || {
            Draft::begin(&shelf, &asked, &meta)?
                .copy(&found.body)?
                .keep()
        };
        drop(spawn_blocking(renew).await);
        Some(kept)
    }

    /// Returns how long ago the server made an answer, as far as is known, in seconds.
    pub(super) fn age(&self, meta: &Meta, asked: &Asked) -> u64 {
        semantics::age(meta, asked, (self.clock)()).as_secs()
    }
}
