//! What all gateways share: one thread, so that a download delays no exec, the budgets of roles,
//! the way out of this host, and what a person opened.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, OnceLock},
    thread::JoinHandle,
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
};

/// What the gateways of an orchestrator have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) budgets: Budgets,
    pub(super) quotas: Quotas,
    pub(super) openings: Openings,
    pub(super) proxies: Proxies,
    pub(super) inspection: Inspection,
    pub(super) vetting: VettingKept,
    /// Where answers are kept, once somebody said where.
    pub(super) answers: OnceLock<Arc<Answers>>,
}

/// One dedicated thread with a runtime of its own. Dropping it ends every gateway on it.
#[derive(Debug)]
pub struct Threads {
    handle: Handle,
    pub(super) shared: Arc<Shared>,
    // The thread blocks on the other end, so dropping this is the signal to end.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Threads {
    /// Starts the thread, on a host that reaches the network directly, and makes the certificate
    /// authority of this process.
    ///
    /// # Errors
    ///
    /// When the system has no thread, no event queue or no random bytes left.
    pub fn start() -> Result<Self, StartError> {
        Self::through(Proxies::default())
    }

    /// Starts the thread, on a host that reaches the network through `proxies`.
    ///
    /// # Errors
    ///
    /// When the system has no thread, no event queue or no random bytes left.
    pub fn through(proxies: Proxies) -> Result<Self, StartError> {
        let shared = Shared {
            budgets: Budgets::default(),
            quotas: Quotas::default(),
            openings: Openings::default(),
            proxies,
            inspection: Inspection::new()?,
            vetting: VettingKept::default(),
            answers: OnceLock::new(),
        };
        Self::build(shared).map_err(StartError::Thread)
    }

    fn build(shared: Shared) -> io::Result<Self> {
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
            shared: Arc::new(shared),
            stop: Some(stop),
            thread: Some(thread),
        })
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
