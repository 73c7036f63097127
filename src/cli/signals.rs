//! Signals, the signal files, the requests of `loki egress allow`, `approve`, `reject` and `task`, and
//! the inbox, as requests to a run. Hang-up drains; Ctrl-C drains, and stops the second time; TERM
//! stops.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinSet,
};

use crate::{
    egress::Opening,
    journal::{JournalError, Requests, Signal, Signals, Unbelieved},
    run::{Answer, Control},
    task::{Decision, TaskRequest},
};

use super::{task::Intake, ui};

/// Why signals cannot be watched.
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

/// Starts watching, until the receiver is dropped.
pub(super) fn watch(state: &Path) -> Result<(mpsc::Receiver<Control>, Caught), WatchError> {
    let (mut interrupt, mut hangup, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
        signal(SignalKind::terminate())?,
    );
    Signal::clear(state)?;
    let mut files = Signals::watch(state)?;
    let mut requests = Requests::watch(state)?;
    let (send, receive) = mpsc::channel(4);
    let mut intake = Intake::watch(state, send.clone())?;
    let mut answers = JoinSet::new();
    let caught = Caught::default();
    let number = Arc::clone(&caught.0);
    #[expect(
        clippy::disallowed_methods,
        reason = "ends by itself when the run drops its receiver"
    )]
    drop(tokio::spawn(async move {
        let mut interrupts = 0;
        loop {
            let control = tokio::select! {
                _ = interrupt.recv() => {
                    interrupts += 1;
                    number.store(2, Ordering::Relaxed);
                    if interrupts == 1 { Control::Drain("Ctrl-C (once more ends running agents)".to_owned()) }
                    else { Control::Stop("Ctrl-C".to_owned()) }
                }
                _ = hangup.recv() => {
                    number.store(1, Ordering::Relaxed);
                    Control::Drain("hang-up".to_owned())
                }
                _ = terminate.recv() => {
                    number.store(15, Ordering::Relaxed);
                    Control::Stop("signal TERM".to_owned())
                }
                Some(signal) = files.next() => match signal {
                    Signal::Stop => Control::Drain("`.loki/STOP`".to_owned()),
                    Signal::Pause | Signal::Resume => continue,
                },
                Some(request) = requests.next() => match asked(request) {
                    Some(control) => control,
                    None => continue,
                },
                Some(dropped) = intake.next() => {
                    intake.take(&dropped).await;
                    continue;
                }
                Some(_) = answers.join_next() => continue,
                () = send.closed() => return,
            };
            let control = heard(control, &mut answers);
            if send.send(control).await.is_err() {
                return;
            }
        }
    }));
    Ok((receive, caught))
}

/// Has what becomes of a change told to whoever watches, where it is refused.
fn heard(control: Control, answers: &mut JoinSet<()>) -> Control {
    let Control::Change(request, _) = control else {
        return control;
    };
    let (answer, mut told) = Answer::new();
    answers.spawn(async move {
        if let Some(Err(why)) = told.recv().await {
            ui::warning(format!("a request is refused: {}", ui::visible(&why)));
        }
    });
    Control::Change(request, answer)
}

/// Reads a request. One that says nothing is told to whoever watches, and is nothing.
fn asked(request: Result<String, Unbelieved>) -> Option<Control> {
    let read = request.map_err(|cause| cause.to_string()).and_then(|text| {
        if let Ok(decision) = serde_json::from_str::<Decision>(&text) {
            return Ok(Control::Decide(decision));
        }
        if let Ok(request) = serde_json::from_str::<TaskRequest>(&text) {
            return Ok(Control::Change(Box::new(request), Answer::new().0));
        }
        let opening = serde_json::from_str::<Opening>(&text);
        opening
            .map(Control::Open)
            .map_err(|cause| cause.to_string())
    });
    read.inspect_err(|why| ui::warning(format!("a request is passed over: {}", ui::visible(why))))
        .ok()
}
