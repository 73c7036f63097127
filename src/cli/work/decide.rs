//! `loki approve` and `loki reject`: a person's word on work that waits.
//!
//! What is shown is what is approved: the patch comes from the very commit that is to land, and an
//! approval names the digests of its contents.

use std::{collections::BTreeSet, fs, time::Duration};

use tokio::time::timeout;

use crate::{
    event::{Event, Need},
    journal::{self, Follow, From, Holder, Lock, requests},
    name::TaskId,
    redact::Redactor,
    task::{Decision, State, Verdict},
};

use super::{
    super::{
        audit,
        env::Environment,
        exit::{Exit, Fault, OrExit},
        setup,
        signals::{Asks, Request},
        ui,
    },
    Chosen,
    args::{Approve, Reject},
    looks::word,
    print_patch,
};

/// How long a running orchestrator may take to write a decision down.
const PATIENCE: Duration = Duration::from_secs(20);
/// The fewest digits of a digest.
const DIGITS: usize = 12;

/// Shows what waits, asks, and lets it land.
pub(in crate::cli) async fn approve(env: &Environment, asked: &Approve) -> Result<Exit, Fault> {
    let (chosen, task) = waiting(&asked.work, asked.run.as_deref())?;
    let progress = chosen.progress(&task)?;
    let needs = by_digest(by_path(&progress.needs, &asked.paths)?, &asked.digest)?;
    let paths: BTreeSet<String> = needs.iter().map(|need| need.path.clone()).collect();
    let commit = progress.waiting.as_deref().unwrap_or_default();
    let (from, to) = chosen.sides(commit.parse().or_exit(Exit::Failed)?)?;
    let patch = chosen.repository.patch((&from, &to), &paths);
    print_patch(&patch.or_exit(Exit::Failed)?);
    for need in &needs {
        let kind = need.kind.as_ref().unwrap_or(&need.rule);
        let path = ui::visible(&need.path);
        ui::note(format!("{path} ({kind}) {}", need.digest));
        ui::note(format!("  {}", ui::visible(&need.message)));
    }
    let question = format!(
        "Let {} of task `{task}` land as shown?",
        ui::counted(paths.len(), "file")
    );
    if !asked.yes && asked.digest.is_empty() && !ui::ask(&question) {
        let message = format!("nothing was approved of task `{task}`");
        return Err(Fault::new(Exit::Failed, message).hint(format!(
            "without a terminal: `loki approve {}/{task} --yes`, or `--digest` with the digests above",
            chosen.run
        )));
    }
    let digests: BTreeSet<String> = needs.iter().map(|need| need.digest.clone()).collect();
    let left = progress
        .needs
        .iter()
        .filter(|need| !digests.contains(&need.digest));
    let left: BTreeSet<&String> = left.map(|need| &need.path).collect();
    let decision = Decision {
        task: task.clone(),
        attempt: progress.attempt,
        by: person(),
        verdict: Verdict::Approve(digests.into_iter().collect()),
    };
    let lives = decide(env, &chosen, &decision).await?;
    let run = &chosen.run;
    ui::note(match (left.len(), lives) {
        (0, true) => format!("approved: run {run} lands it"),
        (0, false) => format!("approved: `loki resume {run}` lands it"),
        (more, _) => format!(
            "approved; {} of task `{task}` still waits: `loki approve {run}/{task}`",
            ui::counted(more, "file")
        ),
    });
    Ok(Exit::Done)
}

/// Fails the attempt whose work waits.
pub(in crate::cli) async fn reject(env: &Environment, asked: &Reject) -> Result<Exit, Fault> {
    let (chosen, task) = waiting(&asked.work, asked.run.as_deref())?;
    let reason = asked.reason.trim();
    if reason.is_empty() {
        return Err(Fault::new(Exit::Usage, "the reason is empty")
            .hint("say what is to be different: the next attempt reads it"));
    }
    let attempt = chosen.progress(&task)?.attempt;
    let decision = Decision {
        task: task.clone(),
        attempt,
        by: person(),
        verdict: Verdict::Reject(reason.to_owned()),
    };
    let lives = decide(env, &chosen, &decision).await?;
    let run = &chosen.run;
    if !lives {
        let kept = chosen.repository.quarantine_waiting(run, &task, attempt);
        kept.or_exit(Exit::Failed)?;
    }
    ui::note(format!(
        "rejected; the work is kept: git show refs/loki/quarantine/{run}/{task}/{attempt}"
    ));
    if !lives {
        ui::note(format!(
            "`loki resume {run}` tries again, with your reason in the brief"
        ));
    }
    Ok(Exit::Done)
}

/// Finds a task whose work waits for a person.
fn waiting(work: &str, run: Option<&str>) -> Result<(Chosen, TaskId), Fault> {
    let (chosen, task) = Chosen::task(work, run)?;
    let state = chosen.progress(&task)?.state;
    if state == State::Waiting {
        return Ok((chosen, task));
    }
    let others = chosen.status.tasks.iter();
    let others = others.filter(|one| one.state == State::Waiting);
    let others: Vec<String> = others.map(|one| format!("`{}`", one.id)).collect();
    let hint = match others.is_empty() {
        true => format!("nothing of run {} does", chosen.run),
        false => format!("of run {} these do: {}", chosen.run, others.join(", ")),
    };
    let message = format!(
        "task `{task}` does not wait for anybody: it is {}",
        word(state)
    );
    Err(Fault::new(Exit::Usage, message).hint(hint))
}

/// Returns what is needed for these paths, or for all.
fn by_path(needs: &[Need], paths: &[String]) -> Result<Vec<Need>, Fault> {
    let known = |path: &String| needs.iter().any(|need| need.path == *path);
    if let Some(other) = paths.iter().find(|path| !known(path)) {
        let waits: BTreeSet<String> = needs.iter().map(|need| ui::visible(&need.path)).collect();
        let waits: Vec<String> = waits.into_iter().take(20).collect();
        let message = format!("`{}` does not wait for anybody", ui::visible(other));
        return Err(
            Fault::new(Exit::Usage, message).hint(format!("these do: {}", waits.join(", ")))
        );
    }
    let wanted = |need: &&Need| paths.is_empty() || paths.contains(&need.path);
    Ok(needs.iter().filter(wanted).cloned().collect())
}

/// Returns those whose contents have one of these digests, when any is given.
fn by_digest(needs: Vec<Need>, digests: &[String]) -> Result<Vec<Need>, Fault> {
    if digests.is_empty() {
        return Ok(needs);
    }
    for digest in digests {
        let shown = ui::visible(digest);
        if digest.len() < DIGITS {
            let message = format!("`{shown}` is too short");
            let hint = format!("give {DIGITS} digits at least: `loki show TASK` shows them");
            return Err(Fault::new(Exit::Usage, message).hint(hint));
        }
        if !needs.iter().any(|need| need.digest.starts_with(digest)) {
            let message = format!("no contents with digest `{shown}` wait");
            let hint = "they may have changed since: `loki show TASK` shows what waits now";
            return Err(Fault::new(Exit::Failed, message).hint(hint));
        }
    }
    let meant = |need: &Need| digests.iter().any(|digest| need.digest.starts_with(digest));
    Ok(needs.into_iter().filter(meant).collect())
}

/// Who decides, as the system knows him.
fn person() -> String {
    format!("uid {}", rustix::process::getuid().as_raw())
}

/// Has the decision written, by the orchestrator of the run or by ourselves, and returns whether
/// one lives.
async fn decide(env: &Environment, chosen: &Chosen, decision: &Decision) -> Result<bool, Fault> {
    let state = chosen.state();
    let holder = Lock::holder(&state).or_exit(Exit::Failed)?;
    let holds = |holder: &Holder| holder.holds(&chosen.run);
    if holder.as_ref().is_some_and(holds) {
        ask(chosen, decision).await?;
        return Ok(true);
    }
    let secrets = setup::gather(env, &[], Some(chosen.repository.root()));
    secrets?;
    let masked = masked(env, decision);
    let reopened = audit::reopen(env, &state, &chosen.run)?;
    let mut status = crate::status::Status::fold(&reopened.records);
    let mut writer = reopened.writer;
    let standing = status.queue().get(&masked.task).map(|task| task.version);
    let event = masked.event(standing.unwrap_or_default());
    // Somebody else may have decided meanwhile.
    let allowed = status.queue().clone().apply(&event);
    allowed.or_exit(Exit::Failed)?;
    let record = writer.append(&event).or_exit(Exit::Failed)?;
    writer.sync().or_exit(Exit::Failed)?;
    status.apply(&record);
    // They show a run that goes on, where one does.
    if holder.is_none() {
        // Copies for other tools: a failure to write them is no failure of the decision.
        journal::views::write(&state, &status.orphaned()).ok();
    }
    Ok(false)
}

/// Keeps secret values out of what a person typed.
fn masked(env: &Environment, decision: &Decision) -> Decision {
    let Some(values) = env.secrets.get() else {
        return decision.clone();
    };
    let mut masked = decision.clone();
    if let Verdict::Reject(reason) = &mut masked.verdict {
        *reason = Redactor::new(values).text(reason).into_owned();
    }
    masked
}

/// Asks the orchestrator that runs the run, and waits until the decision is in its journal.
async fn ask(chosen: &Chosen, decision: &Decision) -> Result<(), Fault> {
    let state = chosen.state();
    let path = journal::path(&state, &chosen.run);
    let mut follow = Follow::open(&path, From::End).or_exit(Exit::Failed)?;
    let request = Request {
        run: chosen.run.clone(),
        asks: Asks::Decide(decision.clone()),
    };
    let text = serde_json::to_string(&request).or_exit(Exit::Bug)?;
    let name = format!("decide-{}", std::process::id());
    let left = requests::leave(&state, &name, &text).or_exit(Exit::Failed)?;
    let written = timeout(PATIENCE, until_written(&mut follow, decision)).await;
    if written == Ok(true) {
        return Ok(());
    }
    // Else a later orchestrator would find it; that it is gone already is as good.
    fs::remove_file(left).ok();
    let message = format!("run {} did not take the decision", chosen.run);
    Err(Fault::new(Exit::Failed, message)
        .hint("`loki status` says whether it still runs, and what waits now"))
}

async fn until_written(follow: &mut Follow, decision: &Decision) -> bool {
    while let Some(Ok(record)) = follow.next().await {
        let told = match (&record.event, &decision.verdict) {
            (
                Event::Approved {
                    task,
                    attempt,
                    digests,
                    ..
                },
                Verdict::Approve(given),
            ) => (task, *attempt) == (&decision.task, decision.attempt) && digests == given,
            (Event::Rejected { task, attempt, .. }, Verdict::Reject(_)) => {
                (task, *attempt) == (&decision.task, decision.attempt)
            }
            _ => false,
        };
        if told {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(path: &str, digest: &str) -> Need {
        Need {
            rule: "host-executable".to_owned(),
            path: path.to_owned(),
            kind: Some("makefile".to_owned()),
            digest: digest.repeat(64),
            message: "is run".to_owned(),
        }
    }

    #[test]
    fn paths_and_digests_pick_what_is_approved_and_nothing_else() {
        let needs = vec![need("a", "1"), need("b", "2")];
        assert_eq!(by_path(&needs, &[]).unwrap(), needs);
        assert_eq!(by_path(&needs, &["b".to_owned()]).unwrap(), needs[1..]);
        assert!(by_path(&needs, &["c".to_owned()]).is_err());
        let digest = |text: &str| by_digest(needs.clone(), &[text.to_owned()]);
        assert_eq!(digest(&"1".repeat(12)).unwrap(), needs[..1]);
        assert!(digest(&"1".repeat(11)).is_err());
        assert!(digest(&"3".repeat(64)).is_err());
        assert!(digest("").is_err());
        assert_eq!(by_digest(needs.clone(), &[]).unwrap(), needs);
    }
}
