//! Landing: one at a time, on the run's branch, after the checks passed on the merged tree.
//!
//! ```text
//!  commit ─▶ join with the head ─▶ checked, beside others ─▶ its turn ─▶ the head moved?
//!                 │ conflict, or the gate                                 │ no: same tree, same
//!                 ▼ refuses what both are together                        │     evidence
//!             back to the queue, the next brief says why                  │ yes: join, judge and
//!                                                                         ▼     check again, alone
//!                                        branch moves ◀─ `landing` ◀─ `verified`
//! ```

use std::{fmt::Write as _, sync::Arc};

use crate::{
    event::Event,
    git::{Conflict, Join, ObjectId, Turn},
    text::visible,
};

use super::{
    attempt::{Claim, Finished},
    failure::Failure,
    landings::Landing,
    room::Room,
    verify::{self, Candidate},
    work::Work,
};

/// Most conflicting files that are named; each path has at most 4 kB.
const LISTED: usize = 500;
/// Most changed files of one side that a brief names.
const NAMED: usize = 50;

/// Merges a task's commit into the run's branch, unless it conflicts or a check fails on the
/// merged tree; then the branch does not move.
pub(super) async fn land(
    room: &Room<'_>,
    claim: &Claim,
    commit: ObjectId,
) -> Result<Finished, Failure> {
    let work = room.work();
    let ahead = match join(room, claim, &commit).await? {
        Ok(candidate) => candidate,
        Err(finished) => return Ok(finished),
    };
    room.judge_merged(claim, &ahead).await?;
    let known = verify::verify(room, claim, &ahead, None).await?;
    let _turn = work.landing.lock().await;
    let candidate = match join(room, claim, &commit).await? {
        Ok(candidate) => candidate,
        Err(finished) => return Ok(finished),
    };
    if (&candidate.head, &candidate.tree) != (&ahead.head, &ahead.tree) {
        room.judge_merged(claim, &candidate).await?;
    }
    let before = known.count_of(&candidate.tree);
    let known = verify::verify(room, claim, &candidate, Some(known)).await?;
    verify::record(room, claim, &candidate, (&known, before)).await?;
    let new = match candidate.join {
        Join::Merge(_) => seal(room, claim, &candidate).await?,
        _ => commit,
    };
    advance(room, claim, &candidate.head, &new).await?;
    Ok(Finished::Done(Some(new)))
}

/// Joins a commit with the branch as it is now; what is over with that is the other answer.
async fn join(
    room: &Room<'_>,
    claim: &Claim,
    commit: &ObjectId,
) -> Result<Result<Candidate, Finished>, Failure> {
    let work = room.work();
    let head = work.head().await?;
    let (ours, theirs) = (head.clone(), commit.clone());
    let join = work
        .git(move |repository, _| repository.join(&ours, &theirs))
        .await?;
    let tree = match &join {
        Join::Landed => {
            // It landed, and its orchestrator died before the journal said so.
            let landed = work.landings().announced(&claim.task.id).cloned();
            return Ok(Err(Finished::Done(landed)));
        }
        Join::Conflict(files) => {
            let listed = listed(files);
            if claim.mates.is_empty() {
                work.landings().add_conflict(&claim.task.id, commit.clone());
            }
            return Ok(Err(Finished::Conflicted(listed)));
        }
        Join::Forward(tree) | Join::Merge(tree) => tree.clone(),
    };
    Ok(Ok(Candidate {
        head,
        commit: commit.clone(),
        join,
        tree,
    }))
}

/// Moves the branch, with nobody else moving one in this repository meanwhile. The journal says so
/// first; [`crate::git::moved`] says afterwards whether it happened.
async fn advance(
    room: &Room<'_>,
    claim: &Claim,
    head: &ObjectId,
    new: &ObjectId,
) -> Result<(), Failure> {
    let work = room.work();
    let turn: Turn = work.git(|repository, _| repository.turn()).await?;
    let own = (claim.task.id.clone(), claim.attempt);
    for (task, attempt) in std::iter::once(&own).chain(&claim.mates) {
        let landing = Event::Landing {
            task: task.clone(),
            attempt: *attempt,
            from: head.to_string(),
            commit: new.to_string(),
        };
        room.recorder().record(landing).await?;
    }
    let (from, to) = (head.clone(), new.clone());
    work.git(move |repository, run| repository.advance(run, &from, &to))
        .await?;
    drop(turn);
    work.landings().add(&claim.task, head.clone(), new.clone());
    Ok(())
}

/// Makes the merge commit.
async fn seal(room: &Room<'_>, claim: &Claim, candidate: &Candidate) -> Result<ObjectId, Failure> {
    let (stamp, made) = (room.stamp(claim), candidate.clone());
    let message = format!("Merge task {}: {}", claim.task.id, claim.task.title);
    room.work()
        .git(move |repository, run| {
            let sides = (&made.head, &made.commit);
            repository.seal(&made.tree, sides, &message, &stamp.sign(run))
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

/// Returns what the next attempt at a task whose work conflicted is told of both sides; none where
/// nothing conflicts, or does not any more. Everything in it is printable data.
pub(super) async fn both_sides(work: &Arc<Work>, claim: &Claim) -> Result<Option<String>, Failure> {
    let Some(commit) = work.landings().conflicted(&claim.task.id).cloned() else {
        return Ok(None);
    };
    let read = work.rights(&claim.task.role)?.files.visible();
    let head = work.head().await?;
    let landed = work.landings().landed().to_vec();
    let of = commit.clone();
    let found = work.git(move |repository, _| {
        let Some(conflict) = repository.conflict(&head, &of, &read)? else {
            return Ok(None);
        };
        let mut changed = Vec::new();
        for landing in landed {
            let files = repository.changed_between(&landing.from, &landing.commit)?;
            changed.push((landing, files));
        }
        Ok(Some((conflict, changed)))
    });
    let Some((conflict, changed)) = found.await? else {
        return Ok(None);
    };
    Ok(Some(told(work, &commit, &conflict, &changed)))
}

fn told(
    work: &Work,
    commit: &ObjectId,
    conflict: &Conflict,
    changed: &[(Landing, Vec<String>)],
) -> String {
    let mut text = format!(
        "the work of an earlier attempt (commit {commit}) conflicts with what others landed meanwhile; \
         it is not in your tree, theirs is. Do the task again on the files as they are now, so that \
         what both sides wanted holds.\n"
    );
    let mut say = |line: String| writeln!(text, "{line}").expect("a string takes all text");
    say(format!(
        "The earlier attempt changed: {}",
        named(&conflict.theirs)
    ));
    say(format!("Landed meanwhile: {}", named(&conflict.ours)));
    for file in &conflict.files {
        say(format!("\nConflict in {}", file.path));
        for (landing, _) in changed
            .iter()
            .filter(|(_, files)| files.contains(&file.path))
        {
            let landings = work.landings();
            let title = landings
                .task(&landing.task)
                .map(|task| visible(&task.title));
            say(format!(
                "changed by task {} ({}), commit {}",
                landing.task,
                title.unwrap_or_default(),
                landing.commit
            ));
        }
        say("between <<<<<<< and ======= is what landed, then the earlier attempt's:".to_owned());
        say(file.lines.trim_end().to_owned());
    }
    text
}

fn named(files: &[String]) -> String {
    let mut names = files
        .iter()
        .take(NAMED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if files.len() > NAMED {
        write!(names, " and {} more", files.len() - NAMED).expect("a string takes all text");
    }
    names
}
