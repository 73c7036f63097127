//! Landing: one at a time, on the run's branch, after the checks passed on the merged tree.

use crate::{
    event::Event,
    git::{Join, ObjectId},
};

use super::{
    attempt::{Claim, Finished},
    checks,
    failure::Failure,
    room::Room,
};

/// Most conflicting files that are named; each path has at most 4 kB.
const LISTED: usize = 500;

/// Merges a task's commit into the run's branch, unless it conflicts or a check of the task fails
/// on the merged tree; then the branch does not move.
pub(super) async fn land(
    room: &Room<'_>,
    claim: &Claim,
    commit: ObjectId,
) -> Result<Finished, Failure> {
    let work = room.work();
    let _turn = work.landing.lock().await;
    let head = work.head().await?;
    let (ours, theirs) = (head.clone(), commit.clone());
    let join = work
        .git(move |repository, _| repository.join(&ours, &theirs))
        .await?;
    let tree = match &join {
        Join::Landed => return Ok(Finished::Done(None)),
        Join::Conflict(files) => return Ok(Finished::Conflicted(listed(files))),
        Join::Forward(tree) | Join::Merge(tree) => tree.clone(),
    };
    checks::run(
        work,
        room.recorder(),
        Some(&claim.task.id),
        &tree,
        &claim.task.accept,
    )
    .await?;
    let new = match join {
        Join::Merge(_) => seal(room, claim, &tree, (&head, &commit)).await?,
        _ => commit,
    };
    let landing = Event::Landing {
        task: claim.task.id.clone(),
        attempt: claim.attempt,
        from: head.to_string(),
        commit: new.to_string(),
    };
    room.recorder().record(landing).await?;
    let to = new.clone();
    work.git(move |repository, run| repository.advance(run, &head, &to))
        .await?;
    Ok(Finished::Done(Some(new)))
}

/// Makes the merge commit.
async fn seal(
    room: &Room<'_>,
    claim: &Claim,
    tree: &ObjectId,
    sides: (&ObjectId, &ObjectId),
) -> Result<ObjectId, Failure> {
    let (stamp, tree, sides) = (
        room.stamp(claim),
        tree.clone(),
        (sides.0.clone(), sides.1.clone()),
    );
    let message = format!("Merge task {}: {}", claim.task.id, claim.task.title);
    room.work()
        .git(move |repository, run| {
            repository.seal(&tree, (&sides.0, &sides.1), &message, &stamp.sign(run))
        })
        .await
}

/// Names as many conflicting files as a line of the journal surely holds: two agents make as many
/// as they like, and a line that is too long ends the run.
fn listed(files: &[String]) -> Vec<String> {
    let mut listed: Vec<String> = files.iter().take(LISTED).cloned().collect();
    if let Some(rest) = files.len().checked_sub(LISTED).filter(|rest| *rest > 0) {
        listed.push(format!("and {rest} further ones"));
    }
    listed
}
