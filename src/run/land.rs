//! Landing: one at a time, on the run's branch, after the checks passed on the merged tree.

use crate::{
    git::{Commit, Merge},
    task::Task,
};

use super::{
    attempt::{Failure, Finished},
    checks,
    room::Room,
};

/// Merges a task's commit into the run's branch, unless it conflicts or a check of the task fails
/// on the merged tree; then the branch does not move.
pub(super) async fn land(room: &Room<'_>, task: &Task, commit: Commit) -> Result<Finished, Failure> {
    let work = room.work();
    let _turn = work.landing.lock().await;
    let head = work.git(|repository, run| repository.run_head(run)).await?;
    let (ours, id) = (head.clone(), task.id.clone());
    let merge = work.git(move |repository, run| repository.merge(run, &id, &ours, &commit)).await?;
    let merged = match merge {
        Merge::Clean(merged) => merged,
        Merge::Conflict(files) => return Ok(Finished::Conflicted(files)),
    };
    checks::run(work, room.recorder(), Some(&task.id), &merged, &task.accept).await?;
    let new = merged.clone();
    work.git(move |repository, run| repository.advance(run, &head, &new)).await?;
    Ok(Finished::Done(Some(merged)))
}
