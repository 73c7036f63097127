//! Groups many appends into one sync.
//!
//! A thread of its own sleeps until something was written, waits a little for more, and syncs
//! once. It runs nothing while nothing is written.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::JoinHandle,
    time::Duration,
};

use super::durable::Durable;

/// How long a written record may wait for its sync.
const GROUP: Duration = Duration::from_millis(50);

/// What the writer and the thread share.
#[derive(Default)]
struct State {
    /// Something was written since the last sync began.
    dirty: bool,
    /// The writer is gone.
    closed: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}

/// Syncs one file, in groups or at once.
pub(super) struct Syncer {
    file: Arc<Durable>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    pub(super) fn new(file: Arc<Durable>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new()
            .name("journal-sync".to_owned())
            .spawn({
                let (file, shared) = (Arc::clone(&file), Arc::clone(&shared));
                move || sync_in_groups(&file, &shared)
            })?;
        Ok(Self {
            file,
            shared,
            thread: Some(thread),
        })
    }

    /// Has what was just written synced within [`GROUP`].
    pub(super) fn soon(&self) {
        let mut state = self.shared.state();
        if !state.dirty {
            state.dirty = true;
            self.shared.changed.notify_one();
        }
    }

    /// Syncs everything written so far before it returns.
    pub(super) fn now(&self) -> io::Result<()> {
        self.shared.state().dirty = false;
        self.file.sync()
    }

    /// Returns the failure of any sync of this file.
    pub(super) fn failure(&self) -> io::Result<()> {
        self.file.failure()
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the sync thread does not panic");
        }
    }
}

fn sync_in_groups(file: &Durable, shared: &Shared) {
    let poisoned = "nothing panics while it holds this lock";
    let mut state = shared.state();
    loop {
        let idle = |state: &mut State| !state.dirty && !state.closed;
        state = shared.changed.wait_while(state, idle).expect(poisoned);
        if !state.dirty {
            return;
        }
        let gathering = |state: &mut State| state.dirty && !state.closed;
        (state, _) = shared
            .changed
            .wait_timeout_while(state, GROUP, gathering)
            .expect(poisoned);
        if !state.dirty {
            continue;
        }
        state.dirty = false;
        drop(state);
        // It keeps a failure, which the writer takes with its next call.
        file.sync().ok();
        state = shared.state();
    }
}
