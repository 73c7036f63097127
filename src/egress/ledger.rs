//! Where tasks of a gateway put what happened, and the one place that hands it out.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::record::{Coalescer, Fact, Record};

/// A coalescer shared by the tasks of one gateway.
pub(super) struct Ledger {
    coalescer: Mutex<Coalescer>,
    sink: Arc<dyn Fn(Record) + Send + Sync>,
    // Wakes the flusher only when something may be held back: an idle gateway runs nothing.
    noted: Notify,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

impl Ledger {
    pub(super) fn new(denials: usize, sink: Arc<dyn Fn(Record) + Send + Sync>) -> Self {
        Self {
            coalescer: Mutex::new(Coalescer::new(denials)),
            sink,
            noted: Notify::new(),
        }
    }

    /// Takes a fact in; what must be known before it is acted on has been handed out on return.
    pub(super) fn note(&self, fact: Fact) {
        self.hand_out(|coalescer| coalescer.note(fact, Instant::now()));
        self.noted.notify_one();
    }

    /// Hands out what was held back; runs as long as the gateway.
    pub(super) async fn flush_every_second(&self) {
        loop {
            self.noted.notified().await;
            sleep(Duration::from_secs(1)).await;
            self.hand_out(|coalescer| coalescer.flush(Instant::now()));
        }
    }

    /// Hands out everything, at the end.
    pub(super) fn drain(&self) {
        self.hand_out(Coalescer::drain);
    }

    fn hand_out(&self, take: impl FnOnce(&mut Coalescer) -> Vec<Record>) {
        let records = take(
            &mut self
                .coalescer
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for record in records {
            (self.sink)(record);
        }
    }
}
