//! One attempt at one task: worktree, sandbox, agent, gate, commit.

use std::{collections::BTreeSet, sync::Arc};

use loki_guest::PathRule;
use tokio::time::Instant;

use crate::{
    diagnostic::explained,
    event::{Breach, Event, Need, millis},
    finding::Finding,
    git::{self, HandOver, ObjectId},
    name::TaskId,
    provider::{self, Assignment, Launch, Reader, Report},
    sandbox::{Grant, Home, Sandbox},
    task::Task,
};

use super::{
    checks,
    failure::Failure,
    install,
    land::{both_sides, land},
    output::{End, Heard, Talk, last_lines},
    recorder::Recorder,
    room::Room,
    spending::SoFar,
    work::Work,
};

/// Lines of an agent's last output that stand in a failure.
const TAIL_LINES: usize = 20;
/// The agent's home inside.
const HOME: &str = "/home/agent";
/// The exit code of a program that was ended.
pub(super) const KILLED: i32 = 137;
/// Breaches that are told to the next attempt.
const BREACHES: usize = 20;

/// A claim as the driver made it.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    /// The task.
    pub(super) task: Task,
    /// Which attempt at it, from 1.
    pub(super) attempt: u32,
    /// How many attempts count, this one included: it is told this number.
    pub(super) tries: u32,
    /// What made earlier attempts fail.
    pub(super) evidence: Vec<String>,
    /// Digests of what people have approved in this run.
    pub(super) approved: Arc<BTreeSet<String>>,
    /// Other tasks that are done with it, each with its attempt.
    pub(super) mates: Vec<(TaskId, u32)>,
}

impl Claim {
    /// Returns the names of its tasks, the one that leads first.
    pub(super) fn names(&self) -> Vec<String> {
        let mates = self.mates.iter().map(|(task, _)| task);
        let all = std::iter::once(&self.task.id).chain(mates);
        all.map(TaskId::to_string).collect()
    }
}

/// How an attempt that did not fail ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finished {
    /// The task is done; the run's branch stands at this commit, none if nothing changed.
    Done(Option<ObjectId>),
    /// The work conflicts with what landed meanwhile.
    Conflicted(Vec<String>),
    /// The work is committed, and a person must approve some of it before it lands.
    Waiting(ObjectId, Vec<Need>),
    /// Nothing landed of several tasks that were done together: this one is to be done alone, and
    /// the attempt counts as none.
    Apart(String),
}

/// Makes one attempt and lands what comes of it.
pub(super) async fn attempt(
    work: &Arc<Work>,
    recorder: &Recorder,
    claim: &Claim,
) -> Result<Finished, Failure> {
    let task = &claim.task;
    let name = room_name(&task.id, claim.attempt);
    let launch = launch(work, claim).await?;
    let mut room = work.room(recorder, &name, Some(&task.id), &task.role)?;
    let outcome = within(&mut room, claim, launch).await;
    room.remove().await?;
    outcome
}

/// Names the room of an attempt; no other attempt of the run has that name.
pub(super) fn room_name(task: &TaskId, attempt: u32) -> String {
    format!("{task}-{attempt}")
}

/// The part of an attempt that needs its room.
async fn within(room: &mut Room<'_>, claim: &Claim, launch: Launch) -> Result<Finished, Failure> {
    let base = room.check_out(&claim.task.id).await?;
    let given = install::for_agent(room, &base).await?;
    room.give(given);
    let sandbox = room.launch(home(&launch)).await?;
    let spoken = room
        .watching(
            &sandbox,
            room.kept_meanwhile(&sandbox, agent(room, &sandbox, claim, launch)),
        )
        .await;
    // The sandbox ends before anything looks at what it left, so nothing changes meanwhile.
    room.end(sandbox).await?;
    room.keep(None).await?;
    judge(room, claim, &spoken?).await
}

async fn launch(work: &Arc<Work>, claim: &Claim) -> Result<Launch, Failure> {
    let mut evidence = claim.evidence.clone();
    evidence.extend(both_sides(work, claim).await?);
    let brief = provider::brief(&work.spec, &claim.task, claim.tries, &evidence);
    let assignment = Assignment {
        task: &claim.task,
        attempt: claim.tries,
        brief: &brief,
    };
    work.provider
        .launch(&assignment)
        .map_err(|cause| Failure::fatal(explained(&cause)))
}

fn home(launch: &Launch) -> Vec<Home> {
    let file = |file: &provider::HomeFile| Home {
        path: file.path.clone(),
        contents: file.contents.clone(),
        executable: file.executable,
    };
    launch.files.iter().map(file).collect()
}

/// Lets the provider's own program run, besides what the role may run.
fn grant() -> Grant {
    let path = format!("{HOME}/{}", provider::AGENT_PATH);
    Grant {
        extra: vec![PathRule {
            path,
            read: true,
            write: false,
            execute: true,
        }],
        read_only: false,
    }
}

/// Runs the agent's program to its end and returns its last words: what its provider's reader
/// takes for them, else the last bytes of its standard output.
async fn agent(
    room: &Room<'_>,
    sandbox: &Sandbox,
    claim: &Claim,
    launch: Launch,
) -> Result<Vec<u8>, Failure> {
    sandbox
        .make_repository(&git::private_repository_script())
        .await?;
    let argv = launch.argv(HOME);
    let mut env = launch.env;
    env.push(("LOKI_TASK".to_owned(), claim.task.id.to_string()));
    env.push(("LOKI_ATTEMPT".to_owned(), claim.tries.to_string()));
    env.extend(room.given().environment());
    if !claim.mates.is_empty() {
        env.push(("LOKI_TASKS".to_owned(), claim.names().join(" ")));
    }
    let begun = Instant::now();
    let process = sandbox
        .exec(&argv, &env, &room.given().grant(grant()))
        .await?;
    let mut reader = room.work().provider.reader();
    let so_far = SoFar::default();
    let talk = Talk {
        input: &launch.stdin,
        reader: reader
            .as_mut()
            .map(|reader| &mut **reader as &mut dyn Reader),
        so_far: Some(&so_far),
    };
    let attended = room.attend(sandbox, process, talk);
    let heard = room.spending((claim, &so_far), attended).await?;
    let (code, cut) = match heard.end {
        End::Exited(code) => (code, None),
        End::Overrun(over) => (KILLED, Some(room.ended(over))),
    };
    let report = reader.map(|reader| reader.report(code));
    let trouble = report.as_ref().and_then(|report| report.trouble.as_ref());
    room.recorder()
        .record(Event::AgentEnded {
            task: claim.task.id.clone(),
            attempt: claim.attempt,
            code,
            elapsed_ms: millis(begun.elapsed()),
            reason: cut
                .clone()
                .or_else(|| trouble.map(|one| one.reason.clone())),
        })
        .await?;
    if let Some(Report { spent, .. }) = &report {
        room.spent(claim, spent).await?;
    }
    match (cut, report) {
        (Some(reason), _) => Err(Failure::retry(reason)),
        (
            None,
            Some(Report {
                trouble: Some(trouble),
                ..
            }),
        ) => Err(trouble.into()),
        (None, Some(report)) => Ok(report.answer.into_bytes()),
        (None, None) => by_code(code, heard),
    }
}

/// Judges a program that only has an exit code.
fn by_code(code: i32, heard: Heard) -> Result<Vec<u8>, Failure> {
    if code == 0 {
        return Ok(heard.stdout);
    }
    let said = if heard.stderr.is_empty() {
        &heard.stdout
    } else {
        &heard.stderr
    };
    let tail = last_lines(said, TAIL_LINES);
    Err(Failure::retry(format!(
        "the agent's program ended with exit code {code}:\n{tail}"
    )))
}

/// Decides what an agent's work is worth: a reviewer's by its verdict, any other by the gate and
/// then on the merged tree.
async fn judge(room: &Room<'_>, claim: &Claim, stdout: &[u8]) -> Result<Finished, Failure> {
    if room.rights().is_read_only() {
        return review(room.recorder(), claim, stdout).await;
    }
    let handed = room.hand_over(claim).await?;
    let (task, attempt) = (claim.task.id.clone(), claim.attempt);
    let (files, breaches) = (handed.changes.len(), handed.remarks());
    room.recorder()
        .record(Event::Gated {
            task,
            attempt,
            files,
            breaches,
        })
        .await?;
    if !claim.mates.is_empty() && handed.passed().is_none() {
        return Ok(Finished::Apart(refused(&handed).reason));
    }
    if let Some(tree) = handed.waits() {
        let commit = room.lay_aside(claim, tree).await?;
        return Ok(Finished::Waiting(commit, handed.needs));
    }
    let Some(tree) = handed.passed() else {
        return Err(refused(&handed));
    };
    if handed.changes.is_empty() {
        return unchanged(room, claim, tree).await;
    }
    let commit = room.commit(claim, tree).await?;
    land(room, claim, commit).await
}

/// Lands work that a person approved, as the attempt that made it.
pub(super) async fn land_approved(
    work: &Arc<Work>,
    recorder: &Recorder,
    claim: &Claim,
    commit: ObjectId,
) -> Result<Finished, Failure> {
    let task = &claim.task;
    let name = room_name(&task.id, claim.attempt);
    let room = work.room(recorder, &name, Some(&task.id), &task.role)?;
    let outcome = land(&room, claim, commit).await;
    if let Ok(Finished::Done(_)) = outcome {
        let (task, attempt) = (task.id.clone(), claim.attempt);
        work.git(move |repository, run| repository.forget_waiting(run, &task, attempt))
            .await?;
    }
    outcome
}

/// Tells the next attempt everything the gate did not like.
fn refused(handed: &HandOver) -> Failure {
    let lines = listed(&handed.remarks());
    Failure::retry(format!("the hand-over gate refused the work:\n{lines}"))
}

/// Lists what the gate found for the next attempt, a line each.
pub(super) fn listed(remarks: &[Breach]) -> String {
    let each = remarks.iter().take(BREACHES);
    let lines = each.map(|one| format!("`{}` ({}): {}", one.path, one.rule, one.message));
    lines.collect::<Vec<_>>().join("\n")
}

/// Judges an attempt that changed nothing: only checks that pass can show that nothing was needed.
async fn unchanged(room: &Room<'_>, claim: &Claim, tree: &ObjectId) -> Result<Finished, Failure> {
    if claim.task.accept.is_empty() {
        return Err(Failure::retry("the agent changed nothing".to_owned()));
    }
    checks::run(
        room.work(),
        room.recorder(),
        Some(&claim.task.id),
        tree,
        &claim.task.accept,
    )
    .await?;
    Ok(Finished::Done(None))
}

/// Takes a reviewer's verdict; one that is missing or malformed blocks.
async fn review(recorder: &Recorder, claim: &Claim, stdout: &[u8]) -> Result<Finished, Failure> {
    let verdict = provider::verdict(stdout).map_err(|cause| Failure::retry(cause.to_string()))?;
    let passed = verdict.passed;
    recorder
        .record(Event::Reviewed {
            task: claim.task.id.clone(),
            role: claim.task.role.clone(),
            passed,
            findings: verdict.findings.clone(),
        })
        .await?;
    if passed {
        return Ok(Finished::Done(None));
    }
    Err(Failure::fatal(blocked(&verdict.findings)))
}

/// Says why a review blocks.
pub(super) fn blocked(findings: &[Finding]) -> String {
    let first = findings.iter().find(|finding| finding.severity.blocks());
    let why = first.map_or_else(
        || "no finding given".to_owned(),
        |one| format!("`{}`: {}", one.file, one.message),
    );
    format!("the review blocks: {why}")
}
