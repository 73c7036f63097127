//! What all gateways share: one thread, so that a download delays no exec, and the budgets of roles.

use std::{io, sync::Arc, thread::JoinHandle};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

use super::{StartError, limits::Budgets};

/// One dedicated thread with a runtime of its own. Dropping it ends every gateway on it.
#[derive(Debug)]
pub struct Threads {
    handle: Handle,
    pub(super) budgets: Arc<Budgets>,
    // The thread blocks on the other end, so dropping this is the signal to end.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Threads {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the system has no thread or no event queue left.
    pub fn start() -> Result<Self, StartError> {
        Self::build().map_err(StartError::Thread)
    }

    fn build() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("egress".to_owned())
            .spawn(move || {
                // Either way of ending, a message or a dropped sender, means the same.
                drop(runtime.block_on(stopped));
            })?;
        Ok(Self {
            handle,
            budgets: Arc::default(),
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Returns the runtime that gateways run on.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already and must not become a second one here.
            drop(thread.join());
        }
    }
}
