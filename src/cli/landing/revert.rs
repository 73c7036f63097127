//! `loki revert`: a commit on the run's branch that takes back what a task landed.

use crate::{
    event::Event,
    git::{ObjectId, Repository, Sides, Signature, Undone, run_branch},
    journal::Lock,
    name::{Role, RunId, TaskId},
    redact::Redactor,
    run::{Landing, Landings},
    status::{Phase, Status},
    task::State,
};

use super::{
    super::{
        env::Environment,
        exit::{Exit, Fault, OrExit},
        landed::short,
        secrets, setup,
        start::now,
        ui, views,
    },
    Book, PERSON,
    args::Revert,
};

/// Runs the verb.
pub(in crate::cli) fn revert(env: &Environment, args: &Revert) -> Result<Exit, Fault> {
    let repository = setup::repository()?;
    repository.refuse_tracked_state().or_exit(Exit::Usage)?;
    let Some(chosen) = views::choose(args.run.as_ref())? else {
        return Ok(Exit::Usage);
    };
    let (run, state) = (&chosen.run, chosen.state());
    let lock = Lock::acquire(state, run, now()).or_exit(Exit::Failed)?;
    let values = secrets::kept(env, Some(repository.root()))?;
    let mut book = Book::open(env, state, run, Redactor::new(&values))?;
    let status = book.status();
    may_change(&repository, run, &status)?;
    let landings = Landings::fold(&book.records);
    let landing = landing(&landings, &status, &args.task)?.clone();
    let turn = repository.turn().or_exit(Exit::Failed)?;
    let head = head(&repository, run)?;
    let tree = undone(&repository, &head, (&landings, &landing))?;
    judged(
        &repository,
        (&head, &landing),
        &tree,
        &Redactor::new(&values),
    )?;
    let commit = commit(&repository, (run, &book, &status), &landing, (&tree, &head))?;
    let gone = together(&landings, &landing);
    for task in &gone {
        book.write(&Event::Reverted {
            task: task.clone(),
            by: PERSON.to_owned(),
            from: head.to_string(),
            commit: commit.to_string(),
            reverts: landing.commit.to_string(),
        })?;
    }
    repository
        .advance(run, &head, &commit)
        .or_exit(Exit::Failed)?;
    drop(turn);
    book.show(state);
    drop(lock);
    if let [_, others @ ..] = gone.as_slice()
        && !others.is_empty()
    {
        let others: Vec<String> = others.iter().map(|task| format!("`{task}`")).collect();
        ui::note(format!(
            "in the same commit landed, and are taken back, too: {}",
            others.join(", ")
        ));
    }
    say(args, run, &commit, &waiting(&status, &args.task))
}

/// Returns the tasks that landed in one commit, the one that is meant first.
fn together(landings: &Landings, landing: &Landing) -> Vec<TaskId> {
    let others = landings.landed().iter();
    let others = others.filter(|one| one.commit == landing.commit && one.task != landing.task);
    let tasks = std::iter::once(landing).chain(others);
    tasks.map(|one| one.task.clone()).collect()
}

/// Refuses where moving the branch would take something from somebody.
fn may_change(repository: &Repository, run: &RunId, status: &Status) -> Result<(), Fault> {
    if status.phase != Phase::Ended {
        let message = format!("run `{run}` has not ended, and what it does next may need the task");
        return Err(Fault::new(Exit::Usage, message)
            .hint("`loki status` shows how it stands; take back what landed once it has ended"));
    }
    let place = repository.checked_out(run).or_exit(Exit::Failed)?;
    place.map_or(Ok(()), |place| {
        let branch = run_branch(run);
        let message =
            format!("branch `{branch}` is checked out in `{place}`, and would move beneath it");
        Err(Fault::new(Exit::Usage, message).hint("check out another branch there first"))
    })
}

fn landing<'a>(
    landings: &'a Landings,
    status: &Status,
    task: &TaskId,
) -> Result<&'a Landing, Fault> {
    if let Some(landing) = landings.of(task) {
        return Ok(landing);
    }
    let known = status.tasks.iter().find(|one| one.id == *task);
    let message = match known.map(|one| (one.state, &one.reverted)) {
        None => format!("no task of the run is called `{task}`"),
        Some((State::Reverted, Some(commit))) => {
            format!(
                "task `{task}` was taken back already, by `{}`",
                short(commit)
            )
        }
        Some((State::Done, _)) => format!("task `{task}` changed nothing, so nothing landed"),
        Some(_) => format!("task `{task}` did not land"),
    };
    let landed: Vec<&str> = landings
        .landed()
        .iter()
        .map(|one| one.task.as_str())
        .collect();
    let hint = match landed.is_empty() {
        true => "nothing landed in this run".to_owned(),
        false => format!("what landed: {}", landed.join(", ")),
    };
    Err(Fault::new(Exit::Usage, message).hint(hint))
}

pub(super) fn head(repository: &Repository, run: &RunId) -> Result<ObjectId, Fault> {
    let head = repository.run_head(run).or_exit(Exit::Failed)?;
    head.ok_or_else(|| {
        let message = format!("branch `{}` was removed", run_branch(run));
        Fault::new(Exit::Failed, message).hint("`git reflog` may still know it")
    })
}

fn undone(
    repository: &Repository,
    head: &ObjectId,
    (landings, landing): (&Landings, &Landing),
) -> Result<ObjectId, Fault> {
    let undone = repository.undo(head, &landing.from, &landing.commit);
    match undone.or_exit(Exit::Failed)? {
        Undone::Tree(tree) => Ok(tree),
        Undone::Nothing => {
            let message = format!("nothing of task `{}` is left on the branch", landing.task);
            Err(Fault::new(Exit::Failed, message).hint("`git log` shows what came after it"))
        }
        Undone::Conflict(files) => {
            let way = in_the_way(repository, landings.after(&landing.task), &files)?;
            let message = format!(
                "task `{}` cannot be taken back alone: later work changed the same lines in {}",
                landing.task,
                shown(&files)
            );
            let hint = match way.is_empty() {
                true => {
                    "somebody else changed these files; revert by hand with `git revert`".to_owned()
                }
                false => format!("take back first, newest first: {}", way.join(", ")),
            };
            Err(Fault::new(Exit::Failed, message).hint(hint))
        }
    }
}

/// Refuses to leave on the branch what no task could have landed.
fn judged(
    repository: &Repository,
    (head, landing): (&ObjectId, &Landing),
    tree: &ObjectId,
    secrets: &Redactor,
) -> Result<(), Fault> {
    let sides = Sides {
        head,
        work: &landing.from,
        base: &landing.commit,
    };
    let handed = repository.judge_undone(sides, tree, secrets);
    let remarks = handed.or_exit(Exit::Failed)?.remarks();
    let Some(first) = remarks.first() else {
        return Ok(());
    };
    let message = format!(
        "task `{}` cannot be taken back alone: with what came later the hand-over gate would refuse what is left, {} thing(s), the first `{}` ({}): {}",
        landing.task,
        remarks.len(),
        ui::visible(&first.path),
        first.rule,
        first.message
    );
    Err(Fault::new(Exit::Failed, message)
        .hint("take back first what came later, or do it by hand with `git revert` and look at it"))
}

/// Names the later tasks that changed some of these files, newest first.
fn in_the_way(
    repository: &Repository,
    later: &[Landing],
    files: &[String],
) -> Result<Vec<String>, Fault> {
    let mut found = Vec::new();
    for landing in later.iter().rev() {
        let changed = repository.changed_between(&landing.from, &landing.commit);
        let changed = changed.or_exit(Exit::Failed)?;
        if files.iter().any(|file| changed.contains(file)) {
            found.push(landing.task.to_string());
        }
    }
    Ok(found)
}

fn shown(files: &[String]) -> String {
    let shown: Vec<String> = files
        .iter()
        .take(10)
        .map(|file| format!("`{file}`"))
        .collect();
    let more = files.len().saturating_sub(10);
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn commit(
    repository: &Repository,
    (run, book, status): (&RunId, &Book, &Status),
    landing: &Landing,
    (tree, head): (&ObjectId, &ObjectId),
) -> Result<ObjectId, Fault> {
    let role: Role = PERSON.parse().or_exit(Exit::Bug)?;
    let policy = match book.records.first().map(|record| &record.event) {
        Some(Event::RunStarted { policy_sha256, .. }) => policy_sha256.as_str(),
        _ => "none",
    };
    let signature = Signature {
        run,
        task: Some(&landing.task),
        mates: &[],
        role: &role,
        policy,
        journal: book.writer.records(),
        time: now().as_second(),
    };
    let task = status.tasks.iter().find(|one| one.id == landing.task);
    let message = format!(
        "Revert task {}: {}\n\nThis takes back {}.",
        landing.task,
        task.map_or("", |task| task.title.as_str()),
        landing.commit
    );
    let made = repository.seal_undone(tree, head, &book.mask.text(&message), &signature);
    made.or_exit(Exit::Failed)
}

/// Names the tasks that landed and were planned to build on a task.
fn waiting(status: &Status, task: &TaskId) -> Vec<String> {
    let on = |one: &&crate::status::Progress| {
        one.depends_on.contains(task) && one.state == State::Done && one.commit.is_some()
    };
    let names = status.tasks.iter().filter(on).map(|one| one.id.to_string());
    names.collect()
}

fn say(args: &Revert, run: &RunId, commit: &ObjectId, built_on: &[String]) -> Result<Exit, Fault> {
    if !built_on.is_empty() {
        ui::warning(format!(
            "planned to build on `{}`, and still on the branch: {}",
            args.task,
            built_on.join(", ")
        ));
    }
    ui::note(format!(
        "task `{}` is taken back; no check has run since: `git log loki/{run}`",
        args.task
    ));
    if args.json {
        ui::json(&serde_json::json!({
            "schema": 1, "run": run, "task": args.task, "commit": commit.as_str(), "built_on": built_on,
        }))?;
    } else {
        ui::data(commit.as_str());
    }
    Ok(Exit::Done)
}
