//! What all gateways share: one thread, so that a download delays no exec, and the budgets of roles.

use std::{io, sync::Arc, thread::JoinHandle};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

use super::{StartError, Trust, inspect::Inspection, limits::Budgets};

/// One dedicated thread with a runtime of its own. Dropping it ends every gateway on it.
#[derive(Debug)]
pub struct Threads {
    handle: Handle,
    pub(super) budgets: Arc<Budgets>,
    pub(super) inspection: Arc<Inspection>,
    // The thread blocks on the other end, so dropping this is the signal to end.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Threads {
    /// Starts the thread, and makes the certificate authority of this process.
    ///
    /// # Errors
    ///
    /// When the system has no thread, no event queue or no random bytes left.
    pub fn start() -> Result<Self, StartError> {
        let inspection = Arc::new(Inspection::new()?);
        Self::build(inspection).map_err(StartError::Thread)
    }

    fn build(inspection: Arc<Inspection>) -> io::Result<Self> {
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
            inspection,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Returns the trust files of sandboxes: what this machine trusts, and the gateway's authority.
    #[must_use]
    pub fn trust(&self) -> Arc<Trust> {
        self.inspection.trust()
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
