//! The way to the journal: attempts hand events to the driver and wait until they are written.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::{
    egress,
    event::Event,
    name::{Role, TaskId},
};

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

/// Sends events to the driver.
#[derive(Clone)]
pub(super) struct Recorder(mpsc::UnboundedSender<Message>);

impl Recorder {
    /// Makes a recorder and the driver's end of it.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Message>) {
        let (send, receive) = mpsc::unbounded_channel();
        (Self(send), receive)
    }

    /// Waits until the event is in the journal and returns its number.
    pub(super) async fn record(&self, event: Event) -> Result<u64, Ended> {
        let (written, number) = oneshot::channel();
        self.0.send(Message { event, written: Some(written) }).map_err(|_| Ended)?;
        number.await.map_err(|_| Ended)
    }

    /// Returns what a sandbox's gateway calls with each decision.
    pub(super) fn egress(&self, sandbox: &str, task: Option<&TaskId>, role: &Role) -> Arc<dyn Fn(egress::Record) + Send + Sync> {
        let (sender, sandbox, task, role) = (self.0.clone(), sandbox.to_owned(), task.cloned(), role.clone());
        Arc::new(move |record| {
            let event = record.into_event(sandbox.clone(), task.clone(), role.clone());
            // After the end of the run there is no journal to write to.
            sender.send(Message { event, written: None }).ok();
        })
    }
}
