//! Signals, the signal files, the requests of `loki egress allow`, `approve` and `reject`, and the
//! inbox, as requests to the runs of this process. Hang-up drains; Ctrl-C drains, and stops the second
//! time; TERM stops.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use tokio::{
    signal::unix::{Signal as UnixSignal, SignalKind, signal},
    task::JoinSet,
};

use crate::{
    egress::Opening,
    journal::{JournalError, Requests, Signal, Signals, Unbelieved},
    name::RunId,
    run::{Control, Held},
    task::Decision,
};

use super::{task::Intake, ui};

/// Why nothing can be heard from outside.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    /// The signals themselves.
    #[error("signals cannot be watched: {0}")]
    Process(#[from] io::Error),
    /// The signal files.
    #[error(transparent)]
    Files(#[from] JournalError),
}

/// Which signal asked for the end, 0 for none.
#[derive(Debug, Clone, Default)]
pub(super) struct Caught(Arc<AtomicU8>);

impl Caught {
    /// Returns the signal's number.
    pub(super) fn signal(&self) -> Option<u8> {
        Some(self.0.load(Ordering::Relaxed)).filter(|number| *number != 0)
    }
}

/// Waits for the first signal that asks this process to end, and returns its number.
pub(super) async fn first() -> io::Result<u8> {
    let (mut interrupt, mut hangup, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
        signal(SignalKind::terminate())?,
    );
    Ok(tokio::select! {
        _ = interrupt.recv() => 2,
        _ = hangup.recv() => 1,
        _ = terminate.recv() => 15,
    })
}

/// Everything that asks something of the runs of this process from outside.
pub(super) struct Listening {
    interrupt: UnixSignal,
    hangup: UnixSignal,
    terminate: UnixSignal,
    files: Signals,
    requests: Requests,
    intake: Intake,
}

/// The seat of this terminal's own run, if it has one, and which signal that run was told of.
type Own = (Option<u64>, Caught);

impl Listening {
    /// Begins to listen. Requests and signal files of an orchestrator before are taken away.
    pub(super) fn begin(state: &Path) -> Result<Self, WatchError> {
        Signal::clear(state)?;
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            files: Signals::watch(state)?,
            requests: Requests::watch(state)?,
            intake: Intake::watch(state)?,
        })
    }

    /// Passes on what is asked, for as long as this is waited for. What comes from the terminal is
    /// about its own run; Ctrl-C is about the others once that is over; TERM and `.loki/STOP` are
    /// about all.
    pub(super) async fn route(mut self, held: Arc<Held>, own: Own) {
        let mut inbox = JoinSet::new();
        inbox.spawn(self.intake.route(Arc::clone(&held)));
        let mut interrupts = Interrupts::default();
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => interrupts.one_more(&held, &own),
                _ = self.hangup.recv() => {
                    // Others have terminals of their own, or want none.
                    tell_own(&held, &own, (1, &Control::Drain("hang-up".to_owned())));
                }
                _ = self.terminate.recv() => {
                    own.1.0.store(15, Ordering::Relaxed);
                    held.ends(&Control::Stop("signal TERM".to_owned()));
                }
                Some(signal) = self.files.next() => if signal == Signal::Stop {
                    held.ends(&Control::Drain("`.loki/STOP`".to_owned()));
                },
                Some(request) = self.requests.next() => pass_on(&held, request),
            }
        }
    }
}

/// How often Ctrl-C was typed.
#[derive(Default)]
struct Interrupts {
    /// At the run of this terminal.
    own: u32,
    /// At all others, once that is over.
    others: u32,
}

impl Interrupts {
    fn one_more(&mut self, held: &Held, own: &Own) {
        let control = |before| match before {
            0 => Control::Drain("Ctrl-C (once more ends running agents)".to_owned()),
            _ => Control::Stop("Ctrl-C".to_owned()),
        };
        if tell_own(held, own, (2, &control(self.own))) {
            self.own += 1;
        } else {
            held.ends(&control(self.others));
            self.others += 1;
        }
    }
}

/// Tells this terminal's own run of a signal; returns whether there is one.
fn tell_own(held: &Held, (seat, caught): &Own, (number, control): (u8, &Control)) -> bool {
    let told = seat.is_some_and(|seat| held.tell_seat(seat, control.clone()));
    if told {
        caught.0.store(number, Ordering::Relaxed);
    }
    told
}

/// What a person asks of a run by a file in `.loki/requests`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    /// Of which.
    pub(super) run: RunId,
    /// What.
    pub(super) asks: Asks,
}

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Asks {
    /// To open a host to a role.
    Open(Opening),
    /// To let waiting work land, or not.
    Decide(Decision),
}

/// Passes a request on to its run. One that says nothing is told to whoever watches, and is nothing.
fn pass_on(held: &Held, request: Result<String, Unbelieved>) {
    let read = request
        .map_err(|cause| cause.to_string())
        .and_then(|text| serde_json::from_str(&text).map_err(|cause| cause.to_string()))
        .and_then(|Request { run, asks }| {
            let control = match asks {
                Asks::Open(opening) => Control::Open(opening),
                Asks::Decide(decision) => Control::Decide(decision),
            };
            let heard = held.tell(&run, control);
            heard
                .then_some(())
                .ok_or_else(|| format!("run {run} does not go on here"))
        });
    if let Err(why) = read {
        ui::warning(format!("a request is passed over: {}", ui::visible(&why)));
    }
}
