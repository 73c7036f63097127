//! What the gateways of a process share: threads of their own, so that a download delays no exec, the
//! budgets of roles, the way out of this host, and what a person opened.
//!
//! There is one thread for each processor, up to a few. A gateway lives on one of them, so that its
//! records keep their order and none of its tasks has to wake another processor.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, OnceLock},
    thread::{JoinHandle, available_parallelism},
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

use crate::{
    name::Role,
    policy::{Egress, Rates, Target, decide},
    vetting::Database,
};

use super::{
    StartError, Trust,
    cache::Answers,
    inspect::{Inspection, VettingKept},
    limits::{Budgets, Past},
    openings::{Opening, Openings},
    proxy::Proxies,
    quota::Quotas,
    tokens::{Commands, Tokens},
};

/// What the gateways of a run have in common. The minute of each role, what inspection keeps and the
/// way out of this host are those of the process.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) budgets: Budgets,
    pub(super) quotas: Arc<Quotas>,
    pub(super) openings: Openings,
    pub(super) proxies: Arc<Proxies>,
    pub(super) inspection: Arc<Inspection>,
    pub(super) vetting: VettingKept,
    pub(super) tokens: Tokens,
    /// Where answers are kept, once somebody said where.
    pub(super) answers: OnceLock<Arc<Answers>>,
}

/// Most threads; more gateways than one of them can serve are rare.
const MOST: usize = 8;

/// Dedicated threads. Dropping the last that was made of them ends every gateway on them.
#[derive(Debug)]
pub struct Threads {
    each: Arc<Vec<Thread>>,
    pub(super) shared: Arc<Shared>,
}

/// One thread with a runtime of its own.
#[derive(Debug)]
struct Thread {
    handle: Handle,
    /// Held by each gateway on it.
    place: Arc<Place>,
    // The thread blocks on the other end, so dropping this is the signal to end.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A gateway's place on a thread.
#[derive(Debug)]
pub(super) struct Place;

impl Threads {
    /// Starts the threads, on a host that reaches the network directly, and makes the certificate
    /// authority of this process.
    ///
    /// # Errors
    ///
    /// When the system has no thread, no event queue or no random bytes left.
    pub fn start() -> Result<Self, StartError> {
        Self::through(Proxies::default())
    }

    /// Starts the threads, on a host that reaches the network through `proxies`.
    ///
    /// # Errors
    ///
    /// When the system has no thread, no event queue or no random bytes left.
    pub fn through(proxies: Proxies) -> Result<Self, StartError> {
        let shared = Shared {
            budgets: Budgets::default(),
            quotas: Arc::default(),
            openings: Openings::default(),
            proxies: Arc::new(proxies),
            inspection: Arc::new(Inspection::new()?),
            vetting: VettingKept::default(),
            tokens: Tokens::default(),
            answers: OnceLock::new(),
        };
        let count = available_parallelism().map_or(1, |count| count.get().min(MOST));
        let each: io::Result<_> = (0..count).map(|_| Thread::start()).collect();
        Ok(Self {
            each: Arc::new(each.map_err(StartError::Thread)?),
            shared: Arc::new(shared),
        })
    }

    /// Returns the same threads for another run of this process. What a role may use in a minute,
    /// the certificate authority and the way out are shared; what a person opened, what is used up
    /// in a run, tokens, advisories and kept answers are the run's own.
    #[must_use]
    pub fn beside(&self) -> Self {
        let Shared {
            budgets,
            quotas,
            proxies,
            inspection,
            ..
        } = self.shared.as_ref();
        let shared = Shared {
            budgets: budgets.beside(),
            quotas: Arc::clone(quotas),
            openings: Openings::default(),
            proxies: Arc::clone(proxies),
            inspection: Arc::clone(inspection),
            vetting: VettingKept::default(),
            tokens: Tokens::default(),
            answers: OnceLock::new(),
        };
        Self {
            each: Arc::clone(&self.each),
            shared: Arc::new(shared),
        }
    }

    /// Returns the trust files of sandboxes: what this machine trusts, and the gateway's authority.
    #[must_use]
    pub fn trust(&self) -> Arc<Trust> {
        self.shared.inspection.trust()
    }

    /// Gives the advisories that packages are vetted with from now on; the first given stay.
    pub fn vet_with(&self, advisories: Arc<Database>) {
        drop(self.shared.vetting.advisories.set(advisories));
    }

    /// Runs the commands of credentials from now on; only the first call counts. Without it a
    /// request that needs one is refused.
    pub fn run_commands(&self, host: Commands) {
        self.shared.tokens.run_with(host);
    }

    /// Opens a host to a role, in all its sandboxes, standing and to come.
    pub fn open(&self, opening: Opening) {
        self.shared.openings.add(opening);
    }

    /// Keeps answers for rules that say so, from now on; only the first call counts. Without it
    /// every request is asked of its server.
    pub fn keep(&self, answers: Answers) {
        self.shared.answers.set(Arc::new(answers)).ok();
    }

    /// Charges a role's budgets with what an orchestrator before this one let out, oldest first,
    /// so that a restart gives no second minute. What no rule allows any more is not charged.
    pub fn charge(&self, role: &Role, (egress, rates): (&Egress, &Rates), past: &[(Target, Past)]) {
        let mut by_rule = BTreeMap::<String, Vec<Past>>::new();
        for (target, past) in past {
            if let Ok(permit) = decide(egress, target) {
                by_rule
                    .entry(permit.rule().to_owned())
                    .or_default()
                    .push(*past);
            }
        }
        for (rule, past) in by_rule {
            self.shared.budgets.of(role, &rule, rates).charge(&past);
        }
    }

    /// Returns the runtime with the fewest gateways, and a place there.
    pub(super) fn place(&self) -> (&Handle, Arc<Place>) {
        let least = self
            .each
            .iter()
            .min_by_key(|thread| Arc::strong_count(&thread.place))
            .expect("there is at least one processor");
        (&least.handle, Arc::clone(&least.place))
    }
}

impl Thread {
    fn start() -> io::Result<Self> {
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
            place: Arc::new(Place),
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already and must not become a second one here.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_share_threads_and_not_what_a_person_opened() {
        let threads = Threads::start().unwrap();
        let other = threads.beside();
        assert!(Arc::ptr_eq(&threads.each, &other.each));
        assert!(Arc::ptr_eq(&threads.trust(), &other.trust()));
        let role: Role = "eng-qa".parse().unwrap();
        let target = Target {
            name: "a.test".parse().unwrap(),
            port: 443,
        };
        threads.open(Opening {
            role: role.clone(),
            host: target.name.clone(),
            port: target.port,
            protocol: crate::policy::Protocol::Tls,
            times: crate::egress::Times::Run,
        });
        let is_open = |threads: &Threads| {
            let own = (&role, &Egress::default());
            let asked = super::super::openings::Asked::ToConnect;
            threads.shared.openings.decide(own, &target, asked).is_ok()
        };
        assert!(is_open(&threads) && !is_open(&other));
    }

    #[test]
    fn gateways_spread_over_the_threads_and_an_ended_one_makes_room() {
        let threads = Threads::start().unwrap();
        let count = threads.each.len();
        let gateways = || -> Vec<usize> {
            let each = threads.each.iter();
            each.map(|one| Arc::strong_count(&one.place) - 1).collect()
        };
        let mut places: Vec<_> = (0..3 * count).map(|_| threads.place().1).collect();
        assert_eq!(gateways(), vec![3; count]);
        let ended = places.remove(0);
        let thread = threads
            .each
            .iter()
            .position(|one| Arc::ptr_eq(&one.place, &ended));
        drop(ended);
        assert!(Arc::ptr_eq(
            &threads.place().1,
            &threads.each[thread.unwrap()].place
        ));
    }
}
