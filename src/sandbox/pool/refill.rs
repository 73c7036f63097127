//! The one task of a pool: makes slots ready, ends those that are no longer wanted or whose guest is
//! gone, and publishes what there is.

use std::{path::PathBuf, pin::pin, sync::Arc, time::Duration};

use futures_util::{
    future::{BoxFuture, OptionFuture},
    stream::{FuturesUnordered, StreamExt},
};
use tokio::time::{Instant, sleep_until};

use crate::{
    diagnostic::explained,
    git::{self, Ahead, Checkout, GitError, Owner},
};

use super::{
    super::{
        Labels, fault::SandboxError, launch::Occupant, prepare::Prepared, slot::Slot, sweep::owner,
    },
    Contents, Want,
    standing::withdraw,
    state::{Idle, Turn},
    stock::Stock,
};

/// How often what there is is published at most.
const EVERY: Duration = Duration::from_secs(1);

/// Something that came to its end.
enum Done {
    Made(u64, Box<Result<(Prepared, Option<Ahead>), SandboxError>>),
    /// A slot is gone, with its files.
    Ended,
    /// The guest of a slot is gone, or the slot was claimed and its sandbox has ended.
    Lost(u64),
}

/// Keeps a pool filled until it is closed, and ends everything of it then.
pub(super) async fn refill(stock: Arc<Stock>) {
    let mut under_way: FuturesUnordered<BoxFuture<'static, Done>> = FuturesUnordered::new();
    let mut watched: FuturesUnordered<BoxFuture<'static, Done>> = FuturesUnordered::new();
    let mut next_look = Instant::now();
    // What another run of the process gives up may be room for this one.
    let mut crowd = stock.launcher.crowd.changes();
    loop {
        let wait = match stock.turn() {
            Turn::Make(number, want) => {
                under_way.push(Box::pin(making(Arc::clone(&stock), number, *want)));
                continue;
            }
            Turn::End(idle) => {
                under_way.push(Box::pin(ending(Arc::clone(&stock), *idle)));
                continue;
            }
            Turn::Over if under_way.is_empty() => break,
            Turn::Over => None,
            Turn::Wait(until) => until,
        };
        let fresh = Instant::now() >= next_look;
        if fresh {
            publish(&stock).await;
            next_look = Instant::now() + EVERY;
        }
        let again: OptionFuture<_> = wait.map(sleep_until).into();
        let look: OptionFuture<_> = (!fresh).then(|| sleep_until(next_look)).into();
        let (mut again, mut look) = (pin!(again), pin!(look));
        let done = tokio::select! {
            Some(done) = under_way.next() => done,
            Some(done) = watched.next() => done,
            () = stock.changed.notified() => continue,
            Ok(()) = crowd.changed() => continue,
            Some(()) = &mut again => continue,
            Some(()) = &mut look => continue,
        };
        match done {
            Done::Made(number, made) => match *made {
                Ok(made) => {
                    watched.push(Box::pin(watching(number, &made.0)));
                    stock.made(number, made);
                }
                Err(why) => stock.unmade(number, &explained(&why)),
            },
            Done::Lost(number) => {
                if let Some(idle) = stock.lost(number) {
                    under_way.push(Box::pin(ending(Arc::clone(&stock), idle)));
                }
            }
            Done::Ended => {}
        }
    }
    let grounds = &stock.grounds;
    // It names a process that is about to end, and is not believed then.
    withdraw(&grounds.state, &grounds.run).ok();
}

/// Publishes what there is. A copy for people to look at: that it cannot be written is no failure.
async fn publish(stock: &Arc<Stock>) {
    let (standing, state) = (stock.standing(), stock.grounds.state.clone());
    let write = move || standing.publish(&state).ok();
    tokio::task::spawn_blocking(write).await.ok();
}

fn watching(number: u64, prepared: &Prepared) -> impl Future<Output = Done> + Send + 'static {
    let lost = prepared.lost();
    async move {
        lost.await;
        Done::Lost(number)
    }
}

async fn making(stock: Arc<Stock>, number: u64, want: Want) -> Done {
    let slot = stock.slot(number);
    let made = stock.make(&slot, number, &want).await;
    if made.is_err() {
        stock.remove(slot.path().to_owned()).await;
    }
    Done::Made(number, Box::new(made))
}

async fn ending(stock: Arc<Stock>, idle: Idle) -> Done {
    let path = idle.prepared.slot().path().to_owned();
    // What the engine does not remove is swept by its label.
    idle.prepared.end().await.ok();
    stock.remove(path).await;
    Done::Ended
}

impl Stock {
    /// Where a slot stands until it is claimed: no name of an attempt, whose files would be kept.
    fn slot(&self, number: u64) -> Slot {
        let all = self.grounds.repository.worktrees_dir();
        Slot::at(
            all.join(self.grounds.run.as_str())
                .join(format!("idle.{number}")),
        )
    }

    /// Makes a slot ready. Its labels name no role: it has none.
    async fn make(
        &self,
        slot: &Slot,
        number: u64,
        want: &Want,
    ) -> Result<(Prepared, Option<Ahead>), SandboxError> {
        let run = self.grounds.run.to_string();
        let occupant = Occupant {
            name: format!("loki-{run}-idle-{number}"),
            labels: Labels {
                run,
                task: "idle".to_owned(),
                repository: self.grounds.label.clone(),
                owner: owner(),
            },
            ..want.occupant()
        };
        let user = self.launcher.user();
        let mut spec = self.launcher.blueprint(&occupant, slot, user);
        spec.labels
            .insert("loki.role".to_owned(), "none".to_owned());
        let (prepared, ahead) = futures_util::join!(
            self.launcher.prepare_as(spec, slot),
            self.fill(slot.path().to_owned(), &want.contents, user)
        );
        let mut prepared = prepared?;
        let ready = async {
            let ahead = ahead?;
            if let Contents::Task(_) = want.contents {
                let rights = &want.rights;
                self.launcher.make_repository(&mut prepared, rights).await?;
            }
            self.launcher.make_ready(&prepared, &want.rights).await?;
            Ok(ahead)
        };
        match ready.await {
            Ok(ahead) => Ok((prepared, ahead)),
            Err(why) => {
                // Why it failed is what is told.
                prepared.end().await.ok();
                Err(why)
            }
        }
    }

    /// Puts the run's files into a slot, where it is to have any.
    async fn fill(
        &self,
        dir: PathBuf,
        contents: &Contents,
        user: (u32, u32),
    ) -> Result<Option<Ahead>, SandboxError> {
        let (read, registered) = match contents {
            Contents::Empty => return Ok(None),
            Contents::Task(read) => (Some(read.clone()), true),
            Contents::Copy => (None, false),
        };
        let (repository, run) = (
            Arc::clone(&self.grounds.repository),
            self.grounds.run.clone(),
        );
        let fill = move || {
            let head = repository.run_head(&run)?;
            let base = head.ok_or_else(|| GitError::NoCommit {
                root: repository.root().to_owned(),
            })?;
            let checkout = Checkout {
                tree: &base,
                read: read.as_ref(),
                owner: Owner::of(user),
            };
            let ahead = Ahead::prepare(&repository, &dir, checkout)?;
            if registered {
                ahead.registered(&repository, &dir)
            } else {
                Ok(ahead)
            }
        };
        let filled = tokio::task::spawn_blocking(fill).await;
        let filled = filled.map_err(|cause| SandboxError::Slot(std::io::Error::other(cause)))?;
        filled
            .map(Some)
            .map_err(|cause| SandboxError::Slot(std::io::Error::other(cause)))
    }

    /// Removes the files of a slot; those that stay are swept with the run's.
    async fn remove(&self, dir: PathBuf) {
        let repository = Arc::clone(&self.grounds.repository);
        let remove = move || git::Slot::remove_dir(&repository, &dir).ok();
        tokio::task::spawn_blocking(remove).await.ok();
    }
}
