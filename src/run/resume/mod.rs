//! Takes a run up again: what the last records of an attempt that was cut off say of it, and what
//! becomes of it.
//!
//! ```text
//! last record          what becomes of the attempt
//! landing ───────────▶ the branch holds the commit: done; else landed again
//! committed ─────────▶ lands, its checks first; made again if the gate found anything in it
//! reviewed ──────────▶ ends as the verdict says
//! any other ─────────▶ made again, unless it may have changed something outside: then a person
//!                      is asked first
//! ```
//!
//! It refuses to guess: an attempt that a rule let ask for more than reading, or speak without
//! being looked into, is never repeated by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    event::{EgressKind, Event, Record},
    git::{Join, ObjectId},
    name::{Role, TaskId},
    policy::{self, Policy, Target, decide},
    task::{Queue, State},
};

use super::{
    attempt::{Claim, Finished, blocked, room_name},
    failure::Failure,
    land::land,
    recorder::Recorder,
    work::Work,
};

/// Methods that change nothing where they are asked.
const READING: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// An attempt that the journal knows no end of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutOff {
    /// The task.
    pub task: TaskId,
    /// The version that was claimed.
    pub version: u64,
    /// Which attempt.
    pub attempt: u32,
    /// How far it had come.
    pub came: Came,
    /// Its sandbox: of several tasks that were done together, that of the one that led.
    pub room: String,
    /// Whether it was done together with others.
    pub together: bool,
}

impl CutOff {
    /// Returns the name of its sandbox.
    #[must_use]
    pub fn sandbox(&self) -> String {
        self.room.clone()
    }
}

/// How far an attempt had come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// Nothing of its work is known.
    Working,
    /// Its work was committed.
    Committed(ObjectId),
    /// The branch of the run was about to move.
    Landing {
        /// The work.
        commit: ObjectId,
        /// Where the branch was about to move.
        to: ObjectId,
    },
    /// The branch of the run was about to move to what several tasks made together. If it has not,
    /// each is made again, alone.
    Together {
        /// Where.
        to: ObjectId,
    },
    /// A reviewer gave its verdict: why it blocks, none when it does not.
    Reviewed(Option<String>),
}

/// An attempt that was cut off, and what is known of it that its task's fate depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The attempt.
    pub of: CutOff,
    /// What it may have changed outside, in words; empty is nothing.
    pub outside: Vec<String>,
    /// Who wants it repeated all the same.
    pub by: Option<String>,
}

/// Returns the attempts that have no end, in the order they were begun.
#[must_use]
pub fn cut_off(records: &[Record]) -> Vec<CutOff> {
    let mut open: Vec<CutOff> = Vec::new();
    let mut queue = Queue::default();
    let mut gate = Passed::default();
    for record in records {
        let event = &record.event;
        gate.take(event);
        if !matches!(event, Event::Committed { task, .. } if !gate.0.contains(task)) {
            take(&mut open, event);
        }
        // What cannot have happened is told by the status, and changes nothing here.
        queue.apply(&record.event).ok();
    }
    let under_way = |one: &CutOff| {
        let state = queue.get(&one.task).map(|standing| standing.state);
        matches!(state, Some(State::Claimed | State::Interrupted))
    };
    open.retain(under_way);
    open
}

/// Tasks in whose current attempt the gate found nothing. Only these have a commit that may land
/// by itself: earlier versions journalled, as a `committed` alone, work that waits for a person too.
#[derive(Default)]
struct Passed(BTreeSet<TaskId>);

impl Passed {
    fn take(&mut self, event: &Event) {
        match event {
            Event::TaskClaimed { task, .. } => {
                self.0.remove(task);
            }
            Event::Gated { task, breaches, .. } if breaches.is_empty() => {
                self.0.insert(task.clone());
            }
            Event::Gated { task, .. } => {
                self.0.remove(task);
            }
            _ => {}
        }
    }
}

fn take(open: &mut Vec<CutOff>, event: &Event) {
    match event {
        Event::TaskClaimed {
            task,
            version,
            attempt,
        } => open.push(CutOff {
            task: task.clone(),
            version: *version,
            attempt: *attempt,
            came: Came::Working,
            room: room_name(task, *attempt),
            together: false,
        }),
        Event::Batched { tasks } => join(open, tasks),
        Event::TaskDone { task, .. }
        | Event::TaskFailed { task, .. }
        | Event::TaskConflicted { task, .. }
        | Event::TaskDeferred { task, .. }
        | Event::TaskCancelled { task, .. }
        | Event::Waiting { task, .. }
        | Event::Interrupted { task, .. } => open.retain(|one| one.task != *task),
        Event::Landing { task, commit, .. } if is_together(open, task) => came(open, task, |_| {
            let to = commit.parse();
            to.map_or(Came::Working, |to| Came::Together { to })
        }),
        // It holds what others made, too, whose checks are not this one's.
        Event::Committed { task, .. } if is_together(open, task) => {}
        Event::Committed { task, commit, .. } => came(open, task, |_| {
            commit.parse().map_or(Came::Working, Came::Committed)
        }),
        Event::Landing { task, commit, .. } => came(open, task, |before| {
            let to: Option<ObjectId> = commit.parse().ok();
            match (before, to) {
                (Came::Committed(commit) | Came::Landing { commit, .. }, Some(to)) => {
                    Came::Landing { commit, to }
                }
                (before, _) => before,
            }
        }),
        Event::Reviewed {
            task,
            passed,
            findings,
            ..
        } => came(open, task, |_| {
            Came::Reviewed((!passed).then(|| blocked(findings)))
        }),
        _ => {}
    }
}

/// Joins attempts that are made in one sandbox: that of the first.
fn join(open: &mut [CutOff], tasks: &[TaskId]) {
    let lead = open.iter().find(|one| Some(&one.task) == tasks.first());
    let Some(room) = lead.map(|lead| lead.room.clone()) else {
        return;
    };
    for one in open.iter_mut().filter(|one| tasks.contains(&one.task)) {
        one.room.clone_from(&room);
        one.together = true;
    }
}

fn is_together(open: &[CutOff], task: &TaskId) -> bool {
    open.iter().any(|one| one.task == *task && one.together)
}

fn came(open: &mut [CutOff], task: &TaskId, now: impl FnOnce(Came) -> Came) {
    if let Some(one) = open.iter_mut().find(|one| one.task == *task) {
        let before = std::mem::replace(&mut one.came, Came::Working);
        one.came = now(before);
    }
}

/// Returns what a sandbox may have changed outside by what its gateway recorded, in words, each
/// once. Reading is no change, and neither is asking the model that the agent itself runs on.
#[must_use]
pub fn outside(records: &[Record], sandbox: &str, policy: &Policy, provider: &str) -> Vec<String> {
    let mut found = BTreeSet::new();
    for record in records {
        if let Event::Egress {
            sandbox: of,
            role,
            kind,
            host,
            port: Some(port),
            allowed: true,
            method,
            ..
        } = &record.event
            && of == sandbox
        {
            let reached = Reached::find((policy, provider), role, (host, *port));
            found.extend(reached.change(*kind, method.as_deref()));
        }
    }
    found.into_iter().collect()
}

/// Somewhere that a sandbox was let to, as the policy sees it.
struct Reached {
    shown: String,
    /// Requests are seen there.
    inspected: bool,
    /// The agent's own model answers there.
    model: bool,
    /// A request may become a stream that nobody looks into.
    stream: bool,
}

impl Reached {
    fn find((policy, provider): (&Policy, &str), role: &Role, (host, port): (&str, u16)) -> Self {
        let shown = format!("{host}:{port}");
        let nothing = |shown| Self {
            shown,
            inspected: false,
            model: false,
            stream: true,
        };
        let Ok(name) = host.parse() else {
            return nothing(shown);
        };
        let target = Target { name, port };
        let Some(rights) = policy.rights(role) else {
            return nothing(shown);
        };
        let covers =
            |rule: &&policy::EgressRule| rule.port == port && rule.host.matches(&target.name);
        let entry = policy::entry_of(provider).and_then(|entry| policy.rights(&entry));
        let rules: Vec<_> = rights.egress.rules.iter().filter(covers).collect();
        let permit = decide(&rights.egress, &target);
        Self {
            inspected: permit.is_ok_and(|permit| permit.inspected()),
            model: entry.is_some_and(|entry| entry.egress.rules.iter().any(|rule| covers(&rule))),
            stream: rules.iter().any(|rule| {
                rule.request
                    .as_ref()
                    .is_none_or(|request| request.websocket)
            }),
            shown,
        }
    }

    /// Says what may have been changed there.
    fn change(&self, kind: EgressKind, method: Option<&str>) -> Option<String> {
        let shown = &self.shown;
        match (kind, method) {
            _ if self.model => None,
            (EgressKind::Connect, _) => (!self.inspected)
                .then(|| format!("a connection to {shown} that nobody looked into")),
            (EgressKind::Request, Some(method)) if READING.contains(&method) => self
                .stream
                .then(|| format!("{method} at {shown}, where a request may become a stream")),
            (EgressKind::Request, Some(method)) => Some(format!("{method} at {shown}")),
            (EgressKind::Request, None) => {
                Some(format!("requests at {shown} that were not listed"))
            }
            (EgressKind::Name | EgressKind::Ask, _) => None,
        }
    }
}

/// Returns what earlier attempts at each task are remembered by, for the briefs of later ones.
pub(super) fn lessons(records: &[Record]) -> BTreeMap<TaskId, Vec<String>> {
    let mut lessons: BTreeMap<TaskId, Vec<String>> = BTreeMap::new();
    for record in records {
        if let Some((task, lesson)) = lesson(&record.event) {
            lessons.entry(task).or_default().push(lesson);
        }
    }
    lessons
}

/// Returns what the next attempt is told of one that came to nothing.
pub(super) fn lesson(event: &Event) -> Option<(TaskId, String)> {
    match event {
        Event::TaskFailed { task, reason, .. } => Some((task.clone(), reason.clone())),
        Event::TaskConflicted {
            task,
            attempt,
            files,
            ..
        } => {
            let files = files.join(", ");
            let note =
                format!("attempt {attempt} conflicted with what landed meanwhile in: {files}");
            Some((task.clone(), note))
        }
        Event::Rejected {
            task,
            attempt,
            reason,
            ..
        } => {
            let note = format!("a person rejected attempt {attempt}: {reason}");
            Some((task.clone(), note))
        }
        _ => None,
    }
}

/// Brings to its end an attempt that had come beyond its agent's work.
pub(super) async fn go_on(
    work: &Arc<Work>,
    recorder: &Recorder,
    (claim, came): (&Claim, &Came),
) -> Result<Finished, Failure> {
    let commit = match came {
        Came::Reviewed(None) => return Ok(Finished::Done(None)),
        Came::Reviewed(Some(why)) => return Err(Failure::fatal(why.clone())),
        Came::Working => {
            return Err(Failure::fatal("a bug of ours: nothing to land".to_owned()));
        }
        Came::Together { to } => {
            return Ok(match holds(work, to).await? {
                true => Finished::Done(Some(to.clone())),
                false => Finished::Apart("its orchestrator ended before it landed".to_owned()),
            });
        }
        Came::Committed(commit) => commit,
        Came::Landing { commit, to } => {
            if holds(work, to).await? {
                return Ok(Finished::Done(Some(to.clone())));
            }
            commit
        }
    };
    let name = room_name(&claim.task.id, claim.attempt);
    let room = work.room(recorder, &name, Some(&claim.task.id), &claim.task.role)?;
    land(&room, claim, commit.clone()).await
}

/// Returns whether the run's branch holds a commit.
async fn holds(work: &Work, commit: &ObjectId) -> Result<bool, Failure> {
    let (head, commit) = (work.head().await?, commit.clone());
    let join = work.git(move |repository, _| repository.join(&head, &commit));
    Ok(join.await? == Join::Landed)
}

#[cfg(test)]
mod tests;
