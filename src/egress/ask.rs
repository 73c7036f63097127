//! Asking a person: a connection that no rule allows waits for one, where the policy says
//! `on_deny: ask`.
//!
//! Each host and port is asked for once, however many connections wait for it, and few at a time.
//! Nobody is asked for what a `deny` entry closes. Silence is a no.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use tokio::time::{Instant, timeout_at};

use crate::{
    name::HostName,
    policy::{Denied, Permit, Target},
};

use super::{
    context::Context,
    openings::{Asked, may_open},
};

/// What a person is asked for by one gateway.
#[derive(Debug, Default)]
pub(super) struct Asking(Mutex<HashSet<Target>>);

/// One target that is asked about, until this is dropped.
struct Pending<'a> {
    asking: &'a Asking,
    target: &'a Target,
}

impl Asking {
    /// Begins to ask; none when the target is asked about already. An error when `most` are.
    fn begin<'a>(&'a self, target: &'a Target, most: usize) -> Result<Option<Pending<'a>>, ()> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.contains(target) {
            return Ok(None);
        }
        if open.len() >= most {
            return Err(());
        }
        open.insert(target.clone());
        Ok(Some(Pending {
            asking: self,
            target,
        }))
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let mut open = self.asking.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(self.target);
    }
}

impl Context {
    /// Returns whether a person would be asked about a name that no rule covers.
    pub(super) fn asks_for_name(&self, name: &HostName) -> bool {
        let target = Target {
            name: name.clone(),
            port: 443,
        };
        self.egress.ask && may_open(&self.egress, &target)
    }

    /// Decides on a connection; where the policy asks a person, after his answer.
    pub(super) async fn decide_or_ask(&self, target: &Target) -> Result<Permit, Denied> {
        // Before the first look, so that no opening is made unheard between the two.
        let mut openings = self.shared.openings.hear();
        let denied = match self.decide(target, Asked::ToConnect) {
            Err(denied) if self.egress.ask && may_open(&self.egress, target) => denied,
            decided => return decided,
        };
        let because = |why: String| Denied {
            reason: format!("{}; {why}", denied.reason),
            ..denied.clone()
        };
        let pending = self.asking.begin(target, self.limits.asks);
        let Ok(pending) = pending else {
            let most = self.limits.asks;
            return Err(because(format!(
                "a person is asked for {most} others already"
            )));
        };
        let seconds = self.limits.ask.as_secs();
        if pending.is_some() {
            self.note_ask(target, format!("a person is asked and has {seconds} s"));
        }
        let deadline = Instant::now() + self.limits.ask;
        while let Ok(Ok(())) = timeout_at(deadline, openings.changed()).await {
            if let Ok(permit) = self.decide(target, Asked::ToConnect) {
                return Ok(permit);
            }
        }
        Err(because(format!(
            "a person was asked, without an answer within {seconds} s"
        )))
    }
}
