//! The way to the journal: attempts hand events to the driver and wait until they are written.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    egress,
    event::{Event, Record},
    name::{Role, TaskId},
};

use super::budget::{Allowance, Budget};

/// An event on its way to the driver.
pub(super) struct Message {
    /// What happened.
    pub(super) event: Event,
    /// Told the record's number once it is written.
    pub(super) written: Option<oneshot::Sender<u64>>,
}

/// The run ended while someone still had something to record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the run ended")]
pub(super) struct Ended;

/// Where the journal is: its last record's number and time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Position {
    /// The number.
    pub(super) seq: u64,
    /// The time.
    pub(super) ts: jiff::Timestamp,
}

impl Position {
    /// Returns where the journal is after a record.
    pub(super) fn of(record: &Record) -> Self {
        Self {
            seq: record.seq,
            ts: record.ts,
        }
    }
}

/// Sends events to the driver, and knows where the journal is.
#[derive(Clone)]
pub(super) struct Recorder {
    messages: mpsc::UnboundedSender<Message>,
    position: watch::Receiver<Position>,
}

impl Recorder {
    /// Makes a recorder and the driver's end of it.
    pub(super) fn new(
        position: watch::Receiver<Position>,
    ) -> (Self, mpsc::UnboundedReceiver<Message>) {
        let (messages, receive) = mpsc::unbounded_channel();
        (Self { messages, position }, receive)
    }

    /// Returns where the journal is now.
    pub(super) fn position(&self) -> Position {
        *self.position.borrow()
    }

    /// Waits until the event is in the journal and returns its number.
    pub(super) async fn record(&self, event: Event) -> Result<u64, Ended> {
        let (written, number) = oneshot::channel();
        self.messages
            .send(Message {
                event,
                written: Some(written),
            })
            .map_err(|_| Ended)?;
        number.await.map_err(|_| Ended)
    }

    /// Returns what a sandbox's gateway calls with each decision.
    pub(super) fn egress(
        &self,
        sandbox: &str,
        task: Option<&TaskId>,
        role: &Role,
    ) -> Arc<dyn Fn(egress::Record) + Send + Sync> {
        let (sender, sandbox, task, role) = (
            self.messages.clone(),
            sandbox.to_owned(),
            task.cloned(),
            role.clone(),
        );
        let send = Box::new(move |event| {
            // After the end of the run there is no journal to write to.
            sender
                .send(Message {
                    event,
                    written: None,
                })
                .ok();
        });
        let budget = Budget::new(Allowance::default(), send);
        Arc::new(move |record| {
            let event = record.into_event(sandbox.clone(), task.clone(), role.clone());
            budget.take(event, tokio::time::Instant::now());
        })
    }
}
