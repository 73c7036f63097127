//! What takes something back is journalled before the branch moves. A process that dies in between,
//! or a branch that cannot be moved then, leaves a revert that the journal has and the branch has
//! not: here it is found, and finished.

use crate::{
    event::{Event, Record},
    git::{Moved, ObjectId, Repository, run_branch},
    name::{RunId, TaskId},
    run::Landings,
};

use super::{
    super::{
        exit::{Exit, Fault, OrExit},
        landed::short,
    },
    Book, PERSON,
};

/// A revert that the journal has and the branch has not.
pub(in crate::cli) struct Unfinished {
    /// What it takes back.
    pub(in crate::cli) tasks: Vec<TaskId>,
    /// What landed in the same commit, and is not journalled as taken back yet.
    others: Vec<TaskId>,
    from: ObjectId,
    /// Where the branch is to be.
    pub(in crate::cli) to: ObjectId,
    /// What it takes back.
    reverts: String,
}

impl Unfinished {
    /// Says so, and what to type.
    pub(in crate::cli) fn message(&self) -> (String, String) {
        let tasks: Vec<&str> = self.tasks.iter().map(TaskId::as_str).collect();
        let message = format!(
            "the journal says that `{}` is taken back, and the branch has not moved",
            tasks.join("`, `")
        );
        let first = tasks.first().unwrap_or(&"TASK");
        (message, format!("`loki revert {first}` finishes it"))
    }
}

/// Looks for a revert that was not finished.
pub(in crate::cli) fn unfinished(
    repository: &Repository,
    run: &RunId,
    records: &[Record],
) -> Result<Option<Unfinished>, Fault> {
    let landings = Landings::fold(records);
    let Some(to) = landings.tip() else {
        return Ok(None);
    };
    let mut tasks = Vec::new();
    let mut last = None;
    for record in records {
        if let Event::Reverted {
            task,
            from,
            commit,
            reverts,
            ..
        } = &record.event
            && commit == to.as_str()
        {
            tasks.push(task.clone());
            last = Some((from, reverts));
        }
    }
    let Some((from, reverts)) = last else {
        return Ok(None);
    };
    let from: ObjectId = from.parse().or_exit(Exit::Failed)?;
    let moved = repository.moved(run, &from, to).or_exit(Exit::Failed)?;
    let others = landings.landed().iter();
    let others = others.filter(|one| one.commit.as_str() == reverts);
    Ok((moved == Moved::No).then(|| Unfinished {
        tasks,
        others: others.map(|one| one.task.clone()).collect(),
        from,
        to: to.clone(),
        reverts: reverts.clone(),
    }))
}

/// Finishes a revert that was not, and returns it. The lock on the repository must be held, and the
/// right to move a branch.
pub(super) fn finish(
    repository: &Repository,
    run: &RunId,
    book: &mut Book,
) -> Result<Option<Unfinished>, Fault> {
    let Some(mut found) = unfinished(repository, run, &book.records)? else {
        return Ok(None);
    };
    not_checked_out(repository, run)?;
    for task in std::mem::take(&mut found.others) {
        book.write(&Event::Reverted {
            task: task.clone(),
            by: PERSON.to_owned(),
            from: found.from.to_string(),
            commit: found.to.to_string(),
            reverts: found.reverts.clone(),
        })?;
        found.tasks.push(task);
    }
    repository
        .advance(run, &found.from, &found.to)
        .or_exit(Exit::Failed)?;
    Ok(Some(found))
}

/// Refuses where the branch is not where the journal left it, or is about to put it.
pub(in crate::cli) fn at_tip(
    repository: &Repository,
    (run, base): (&RunId, &str),
    records: &[Record],
    head: &ObjectId,
) -> Result<(), Fault> {
    if let Some(found) = unfinished(repository, run, records)? {
        let (message, hint) = found.message();
        return Err(Fault::new(Exit::Failed, message).hint(hint));
    }
    let landings = Landings::fold(records);
    if landings.leads_to(head) || landings.tip().is_none() && head.as_str() == base {
        return Ok(());
    }
    let message = format!(
        "branch `{}` is at `{}`, the journal left it at `{}`: somebody moved it",
        run_branch(run),
        short(head.as_str()),
        short(landings.tip().map_or(base, ObjectId::as_str))
    );
    Err(Fault::new(Exit::Failed, message)
        .hint("look at it with `git log`, and `git merge` it yourself where that is right"))
}

/// Refuses to move a branch beneath a checkout of it.
pub(super) fn not_checked_out(repository: &Repository, run: &RunId) -> Result<(), Fault> {
    let place = repository.checked_out(run).or_exit(Exit::Failed)?;
    place.map_or(Ok(()), |place| {
        let branch = run_branch(run);
        let message =
            format!("branch `{branch}` is checked out in `{place}`, and would move beneath it");
        Err(Fault::new(Exit::Usage, message).hint("check out another branch there first"))
    })
}
