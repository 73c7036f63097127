//! What an agent left is judged, and kept where it must not land.

use std::sync::Arc;

use crate::{
    event::{Breach, Event},
    git::{Caps, HandOver, Join, ObjectId, Sides, Terms},
};

use super::{
    attempt::{Claim, listed},
    failure::Failure,
    room::Room,
    verify::{self, Candidate},
};

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

    /// Has the gate look at what work and what landed meanwhile are together. What is found there
    /// is for the next attempt: it is made on the branch as it is, and judged as a whole.
    pub(super) async fn judge_merged(
        &self,
        claim: &Claim,
        candidate: &Candidate,
    ) -> Result<(), Failure> {
        if !matches!(candidate.join, Join::Merge(_)) {
            return Ok(());
        }
        let base = verify::base(self, &candidate.commit).await?;
        let (made, approved) = (candidate.clone(), Arc::clone(&claim.approved));
        let (files, granted) = (self.rights().files.clone(), self.rights().host_kinds());
        let secrets = self.work().launcher.redactor.clone();
        let judge = self.work().git(move |repository, _| {
            let sides = Sides {
                head: &made.head,
                work: &made.commit,
                base: base.as_ref().unwrap_or(&made.head),
            };
            let terms = Terms {
                files: &files,
                caps: &Caps::default(),
                secrets: &secrets,
                granted: &granted,
                approved: &approved,
            };
            repository.judge_merged(sides, &made.tree, &terms)
        });
        let handed = judge.await?;
        let breaches = handed.remarks();
        if breaches.is_empty() {
            return Ok(());
        }
        let lines = listed(&breaches);
        let gated = Event::Gated {
            task: claim.task.id.clone(),
            attempt: claim.attempt,
            files: handed.changes.len(),
            breaches,
        };
        self.recorder().record(gated).await?;
        Err(Failure::retry(format!(
            "the work passed the hand-over gate, but not together with what landed meanwhile, and did not land:\n{lines}\nDo the task again on the files as they are now."
        )))
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
