//! Who installs under a key, where several of this process want the same.
//!
//! The file that is locked between processes is waited for on a thread of its own, and there are not
//! as many as there may be sessions: whoever installs would find none left. So within the process
//! one waits for the other without a thread, and only who has the turn waits for the file.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::OwnedMutexGuard;

use crate::digest::Digest;

/// The turns of all keys.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<Digest, Weak<Turn>>>);

type Turn = tokio::sync::Mutex<()>;

impl Turns {
    /// Waits for the turn of a key.
    pub(super) async fn wait(&self, key: &Digest) -> OwnedMutexGuard<()> {
        let turn = self.of(key);
        turn.lock_owned().await
    }

    fn of(&self, key: &Digest) -> Arc<Turn> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        let known = turns.get(key).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let turn = Arc::default();
            turns.insert(*key, Arc::downgrade(&turn));
            turn
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        deps::{Store, Vouch},
        run::install::{Installs, Making},
    };

    /// With one thread for what blocks, whoever installs must find it free however many wait.
    #[test]
    fn attack_b2_sessions_that_wait_for_an_install_leave_it_a_thread() {
        let home = tempfile::tempdir().unwrap();
        let vouch = Vouch {
            sign: Box::new(|_| String::new()),
            fits: Box::new(|_, _| true),
        };
        let store = Store::open(home.path(), vouch).unwrap();
        let registry = |_| Err("nothing is asked here".to_owned());
        let rules = || Ok(Digest::default());
        let asks = (Box::new(registry) as Box<_>, Box::new(rules) as Box<_>);
        let installs = Arc::new(Installs::new(store, asks, |_, _| true));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let all = async {
            let sessions = (0..20).map(|_| {
                let installs = Arc::clone(&installs);
                tokio::spawn(async move {
                    let making: Making =
                        installs.making(&Digest::default()).await.unwrap().unwrap();
                    // It lays out files, for example.
                    tokio::task::spawn_blocking(|| ()).await.unwrap();
                    drop(making);
                })
            });
            for session in sessions.collect::<Vec<_>>() {
                session.await.unwrap();
            }
        };
        let ended =
            runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), all).await });
        runtime.shutdown_background();
        ended.expect("those who wait hold every thread");
    }
}
