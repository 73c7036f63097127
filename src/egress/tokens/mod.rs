//! Tokens that programs of the host give, for credentials that change.
//!
//! ```text
//! request ─▶ known and not run out? ─▶ added
//!               │ no: one run for all that ask ─▶ run (host, no shell) ─▶ read ─▶ known
//!               └ failed: known too, for a while, so that no agent makes the host run it on and on
//! ```
//! Tokens are in memory alone. A command comes from a policy that no project's file can be; what it
//! prints is shown to nobody, and what it says of a failure only to people of this host.

mod output;
mod run;

use std::{
    collections::HashMap,
    ffi::OsString,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::sync::{Mutex as Turn, oneshot};
use zeroize::Zeroizing;

use super::{Clock, context::Task};

/// How long a failure is remembered.
const FAILED: Duration = Duration::from_secs(10);
/// How old a token must be before a server's 401 makes it be asked for anew.
const DOUBTED: Duration = Duration::from_secs(10);

/// How this host runs the commands of credentials.
pub struct Commands {
    /// All variables that they get.
    pub environment: Vec<(OsString, OsString)>,
    /// Tells the time.
    pub clock: Clock,
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commands").finish_non_exhaustive()
    }
}

/// Why there is no token, without anything that the command printed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoToken {
    #[error("commands are not run here")]
    Nobody,
    #[error("its command did not start: {0}")]
    Unstarted(String),
    #[error("its command ended with {how}")]
    Failed {
        how: String,
        /// The last line of what it said of that, for people of this host alone.
        line: String,
    },
    #[error("its command, or what it started, did not end within {} s", run::LONGEST.as_secs())]
    Late,
    #[error("its command printed over {} KiB", run::MOST >> 10)]
    Long,
    #[error("its command's output could not be read")]
    Unread,
    #[error("what its command printed is {0}")]
    Unfit(&'static str),
    #[error("its command was cut off: ask again")]
    CutOff,
}

impl NoToken {
    /// Returns what only people of this host are told.
    pub(super) fn aside(&self) -> Option<&str> {
        match self {
            Self::Failed { line, .. } if !line.is_empty() => Some(line),
            _ => None,
        }
    }
}

type Said = Result<Zeroizing<String>, NoToken>;

/// The tokens of all commands, for all gateways of a process.
#[derive(Default)]
pub(super) struct Tokens {
    host: OnceLock<Commands>,
    slots: Mutex<HashMap<Vec<String>, Arc<Slot>>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

/// What is known of one command.
#[derive(Default)]
struct Slot {
    known: Mutex<Option<Known>>,
    /// Held while it runs.
    turn: Arc<Turn<()>>,
}

struct Known {
    said: Said,
    since: SystemTime,
    until: SystemTime,
}

impl Tokens {
    /// Says how commands are run; only the first call counts.
    pub(super) fn run_with(&self, host: Commands) {
        drop(self.host.set(host));
    }

    /// Returns the token that a command gives, running it when none is known. A run is a task of
    /// its own: whoever asked and went away does not end it, so that nobody can have it run twice.
    pub(super) async fn of(&self, command: &[String], start: impl Fn(Task) + Send) -> Said {
        let host = self.host.get().ok_or(NoToken::Nobody)?;
        let slot = self.slot(command);
        if let Some(said) = slot.known((host.clock)()) {
            return said;
        }
        let turn = Arc::clone(&slot.turn).lock_owned().await;
        if let Some(said) = slot.known((host.clock)()) {
            return said;
        }
        let (tell, told) = oneshot::channel();
        let (command, environment) = (command.to_vec(), host.environment.clone());
        let clock = Arc::clone(&host.clock);
        start(Box::pin(async move {
            let printed = run::run(&command, environment).await;
            let said = slot.learn(printed, clock());
            drop(turn);
            // Whoever asked may be gone.
            drop(tell.send(said));
        }));
        told.await.unwrap_or(Err(NoToken::CutOff))
    }

    /// Hears that a server did not take a token: the next request asks for another one, unless this
    /// one is new.
    pub(super) fn refused(&self, command: &[String], token: &str) {
        let Some(host) = self.host.get() else {
            return;
        };
        let slot = self.slot(command);
        let mut known = slot.known.lock().unwrap_or_else(PoisonError::into_inner);
        let doubted = known.as_ref().is_some_and(|known| {
            let age = (host.clock)().duration_since(known.since);
            let is_same = known.said.as_ref().is_ok_and(|said| **said == *token);
            // A clock that was set back says nothing of an age.
            is_same && age.is_ok_and(|age| age >= DOUBTED)
        });
        if doubted {
            *known = None;
        }
    }

    fn slot(&self, command: &[String]) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(command.to_vec()).or_default())
    }
}

impl Slot {
    /// Returns what was said, while that counts.
    fn known(&self, now: SystemTime) -> Option<Said> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.as_ref()?;
        (known.since <= now && now < known.until).then(|| known.said.clone())
    }

    fn learn(&self, printed: Result<Zeroizing<Vec<u8>>, NoToken>, now: SystemTime) -> Said {
        let read = printed.and_then(|printed| output::read(&printed, now));
        let (said, counts) = match read {
            Ok((token, counts)) => (Ok(token), counts),
            Err(none) => (Err(none), FAILED),
        };
        let known = Known {
            said: said.clone(),
            since: now,
            until: now.checked_add(counts).unwrap_or(now + output::BARE),
        };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        said
    }
}

#[cfg(test)]
mod tests;
