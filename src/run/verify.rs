//! Verification after merge: what is about to land is checked as the tree that it would be.
//!
//! ```text
//!            stands on the head                        both sides have moved
//!  Join ──▶ Forward: the task's checks     Join ──▶ Merge: the task's checks, those of all
//!                                                   that landed meanwhile, the project's tests
//! ```
//!
//! A test of the project that is red on a merged tree ends the attempt if it is green on both
//! sides: only the merge broke it. One that is red on a side was not broken here; it is recorded,
//! and the end of the run decides. The same tree is not checked twice for the same commands.

use crate::{
    event::Event,
    git::{Join, ObjectId},
};

use super::{
    attempt::Claim,
    checks::{self, Answers},
    failure::Failure,
    landings::Landing,
    room::Room,
};

/// What the branch would be if work landed on it now.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// Where the branch is.
    pub(super) head: ObjectId,
    /// The task's commit.
    pub(super) commit: ObjectId,
    /// How both join.
    pub(super) join: Join,
    /// What they would be together.
    pub(super) tree: ObjectId,
}

/// What is known of one tree.
#[derive(Debug)]
pub(super) struct Evidence {
    tree: ObjectId,
    passed: Vec<String>,
    red: Vec<String>,
}

/// What must be run on a candidate.
struct Demands {
    musts: Vec<String>,
    tests: Vec<String>,
    /// Tasks that landed meanwhile.
    meanwhile: Vec<String>,
}

/// Checks a candidate, as far as `known` does not say already how it is. What is checked ahead of
/// its turn may be checked in vain, so [`record`] says apart from it what may land.
pub(super) async fn verify(
    room: &Room<'_>,
    claim: &Claim,
    candidate: &Candidate,
    known: Option<Evidence>,
) -> Result<Evidence, Failure> {
    let demands = demands(room, claim, candidate).await?;
    let known = known.filter(|known| known.tree == candidate.tree);
    let mut evidence = known.unwrap_or_else(|| Evidence {
        tree: candidate.tree.clone(),
        passed: Vec::new(),
        red: Vec::new(),
    });
    let open = |commands: &[String]| -> Vec<String> {
        let known = |command: &&String| {
            !evidence.passed.contains(command) && !evidence.red.contains(command)
        };
        commands.iter().filter(known).cloned().collect()
    };
    let (musts, tests) = (open(&demands.musts), open(&demands.tests));
    let answers = ask(room, &candidate.tree, (&musts, &tests)).await;
    let answers = answers.map_err(|failure| merged(failure, &demands))?;
    for (command, failure) in answers.red {
        if was_green(room, candidate, &command).await? {
            return Err(merged(failure, &demands));
        }
        evidence.red.push(command);
    }
    evidence.passed.extend(answers.passed);
    Ok(evidence)
}

/// Records that a candidate may land; `reused` are the checks that had been run on its tree before
/// it was this candidate's turn.
pub(super) async fn record(
    room: &Room<'_>,
    claim: &Claim,
    candidate: &Candidate,
    (evidence, before): (&Evidence, usize),
) -> Result<(), Failure> {
    let known = evidence.passed.len() + evidence.red.len();
    let verified = Event::Verified {
        task: claim.task.id.clone(),
        attempt: claim.attempt,
        head: candidate.head.to_string(),
        tree: candidate.tree.to_string(),
        checks: evidence.passed.len(),
        reused: known > 0 && known == before,
        red: evidence.red.clone(),
    };
    room.recorder().record(verified).await?;
    Ok(())
}

impl Evidence {
    /// Returns how many checks of a tree are known.
    pub(super) fn count_of(&self, tree: &ObjectId) -> usize {
        match self.tree == *tree {
            true => self.passed.len() + self.red.len(),
            false => 0,
        }
    }
}

async fn demands(
    room: &Room<'_>,
    claim: &Claim,
    candidate: &Candidate,
) -> Result<Demands, Failure> {
    let mut demands = Demands {
        musts: claim.task.accept.clone(),
        tests: Vec::new(),
        meanwhile: Vec::new(),
    };
    if !matches!(candidate.join, Join::Merge(_)) {
        return Ok(demands);
    }
    let base = base(room, &candidate.commit).await?;
    let landings = room.work().landings();
    let meanwhile: Vec<&Landing> = base
        .as_ref()
        .map_or_else(|| landings.landed(), |base| landings.since(base))
        .iter()
        .collect();
    for landing in meanwhile {
        demands.meanwhile.push(landing.task.to_string());
        let accept = landings.task(&landing.task).map(|task| &task.accept);
        for command in accept.into_iter().flatten() {
            if !demands.musts.contains(command) {
                demands.musts.push(command.clone());
            }
        }
    }
    let own = |command: &&String| !demands.musts.contains(command);
    demands.tests = room.work().spec.tests.iter().filter(own).cloned().collect();
    Ok(demands)
}

/// Returns the commit that work began on.
pub(super) async fn base(room: &Room<'_>, commit: &ObjectId) -> Result<Option<ObjectId>, Failure> {
    let commit = commit.clone();
    let made = room
        .work()
        .git(move |repository, _| repository.commit_object(&commit));
    let parents = made.await?.parents;
    Ok(parents.first().and_then(|parent| parent.parse().ok()))
}

async fn ask(
    room: &Room<'_>,
    tree: &ObjectId,
    commands: (&[String], &[String]),
) -> Result<Answers, Failure> {
    checks::ask(room.work(), room.recorder(), room.task(), tree, commands).await
}

/// Says whether a test that is red on a merged tree is green on both sides of it.
async fn was_green(
    room: &Room<'_>,
    candidate: &Candidate,
    command: &String,
) -> Result<bool, Failure> {
    for side in [&candidate.head, &candidate.commit] {
        let only = std::slice::from_ref(command);
        if !ask(room, side, (&[], only)).await?.red.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Says of a failure that it is one of a merged tree.
fn merged(failure: Failure, demands: &Demands) -> Failure {
    if demands.meanwhile.is_empty() || !failure.retry {
        return failure;
    }
    Failure {
        reason: format!(
            "the work merges with what landed meanwhile (tasks `{}`), but together they are red: {}",
            demands.meanwhile.join("`, `"),
            failure.reason
        ),
        ..failure
    }
}
