//! What an agent left is judged, and kept where it must not land.

use std::sync::Arc;

use crate::{
    event::Breach,
    git::{Caps, HandOver, ObjectId, Terms},
};

use super::{attempt::Claim, failure::Failure, room::Room};

impl Room<'_> {
    /// Has the gate look at what the agent left. Refused work is kept for people: under a ref, or,
    /// where git must not even read it, in `.loki/quarantine/RUN/TASK.tar`.
    pub(super) async fn hand_over(&self, claim: &Claim) -> Result<HandOver, Failure> {
        let worktree = self.worktree()?;
        let (rules, attempt, stamp) = (
            self.rights().files.clone(),
            claim.attempt,
            self.stamp(claim),
        );
        let (granted, approved) = (self.rights().host_kinds(), Arc::clone(&claim.approved));
        let work = self.work();
        let kept_in = work.state().join("quarantine").join(work.run.as_str());
        let secrets = work.launcher.redactor.clone();
        let archive = kept_in.join(format!("{}.tar", claim.task.id));
        work.git(move |repository, run| {
            let caps = Caps::default();
            let terms = Terms {
                files: &rules,
                caps: &caps,
                secrets: &secrets,
                granted: &granted,
                approved: &approved,
            };
            let mut handed = repository.judge(&worktree, &terms)?;
            if handed.holds_secret() {
                return Ok(handed);
            }
            if handed.tree.is_none() {
                let kept = worktree.keep(&archive, caps.total_bytes);
                handed.breaches.extend(kept.err().map(|cause| lost(&cause)));
            } else if !handed.breaches.is_empty() {
                repository.quarantine(&worktree, attempt, &handed, &stamp.sign(run))?;
            }
            Ok(handed)
        })
        .await
    }

    /// Commits a tree that a person must see first, beside all branches. The journal hears of that
    /// commit only together with what a person must approve: one that it knew alone would land
    /// after a crash.
    pub(super) async fn lay_aside(
        &self,
        claim: &Claim,
        tree: &ObjectId,
    ) -> Result<ObjectId, Failure> {
        let worktree = self.worktree()?;
        let (tree, stamp, title) = (tree.clone(), self.stamp(claim), claim.task.title.clone());
        let attempt = claim.attempt;
        self.work()
            .git(move |repository, run| {
                let signature = stamp.sign(run);
                repository.lay_aside(&worktree, (&tree, attempt), &title, &signature)
            })
            .await
    }
}

/// Says that refused work could not be kept.
fn lost(cause: &std::io::Error) -> Breach {
    Breach {
        rule: "not-kept".to_owned(),
        path: ".".to_owned(),
        message: format!("the refused work could not be kept for people to look at: {cause}"),
    }
}
