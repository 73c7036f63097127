//! What a journal says of one commit.

use serde::Serialize;
use serde_json::Value;

use super::Trailers;
use crate::{
    digest::Digest,
    event::{Breach, Event, Record},
    name::{RunId, TaskId},
    status::{Check, Review},
    task::Task,
};

/// The role that the trailers of a commit name which a person had made.
pub const PERSON: &str = "person";

/// What a commit was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An agent's work, committed by the host.
    Work,
    /// The merge of an agent's work into the run's branch.
    Merge,
    /// A person took a landed task back.
    Revert,
}

/// What the gate said of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// Changed files.
    pub files: usize,
    /// Why it refused; none is a pass.
    pub breaches: Vec<Breach>,
}

/// What happened in the attempt that a commit came of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attempt {
    /// Which, from 1.
    pub number: u32,
    /// What the gate said.
    pub gate: Option<Gate>,
    /// Every check that ran for it.
    pub checks: Vec<Check>,
    /// Whether its tree was verified before it landed.
    pub verified: bool,
    /// Connections, names and requests that were allowed to it.
    pub egress_allowed: u64,
    /// Those that were denied.
    pub egress_denied: u64,
    /// What waited for a person, and what he answered, as it stands in the journal.
    pub approvals: Vec<Value>,
    /// What was installed for its agent or its checks, each once.
    pub installs: Vec<Install>,
}

/// Something that was installed and given to an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Install {
    /// By which tool.
    pub tool: String,
    /// From which lock file.
    pub lock: String,
    /// Under which key it is kept.
    pub key: Digest,
}

/// Where a commit comes from, by its journal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Account {
    /// The run.
    pub run: Option<RunId>,
    /// What was asked for: the specification's title, file and hash.
    pub title: String,
    /// The specification, as the person named it.
    pub spec: String,
    /// Its hash.
    pub spec_sha256: String,
    /// The program that worked.
    pub provider: String,
    /// The version of Loki.
    pub loki: String,
    /// What the commit was made for; none when the journal does not know it.
    pub kind: Option<Kind>,
    /// The task.
    pub task: Option<Task>,
    /// The attempt.
    pub attempt: Option<Attempt>,
    /// Verdicts of tasks that review this one.
    pub reviews: Vec<Review>,
    /// Where the run's branch was when the task landed.
    pub landed: Option<String>,
    /// The commit that took the task back.
    pub reverted: Option<String>,
    /// The pull request that the run went into.
    pub shipped: Option<String>,
    /// Everything that does not fit together. None is a sound commit.
    pub faults: Vec<String>,
}

/// A journal, and the commit that is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// All records of the run.
    pub records: &'a [Record],
    /// The commit.
    pub commit: &'a str,
    /// What it says of itself.
    pub claimed: &'a Trailers,
}

impl Account {
    /// Says what a journal says of a commit, and what of it the commit says otherwise.
    #[must_use]
    pub fn of(told: Told<'_>) -> Self {
        let mut account = Self::begin(told.records);
        let Some((seq, kind, task, number)) = made(told) else {
            account.faults.push(format!(
                "the journal of run `{}` knows no commit `{}`: it was copied or rewritten, or its trailers are forged",
                told.claimed.run, told.commit
            ));
            return account;
        };
        account.kind = Some(kind);
        account.tell_task(told.records, task);
        if let Some(number) = number {
            account.attempt = Some(attempt(told.records, task, number));
        }
        account.compare(told, seq, task);
        account
    }

    fn begin(records: &[Record]) -> Self {
        let mut account = Self {
            run: None,
            title: String::new(),
            spec: String::new(),
            spec_sha256: String::new(),
            provider: String::new(),
            loki: String::new(),
            kind: None,
            task: None,
            attempt: None,
            reviews: Vec::new(),
            landed: None,
            reverted: None,
            shipped: None,
            faults: Vec::new(),
        };
        if let Some(Event::RunStarted {
            run,
            loki,
            spec,
            spec_sha256,
            title,
            provider,
            ..
        }) = records.first().map(|record| &record.event)
        {
            account.run = Some(run.clone());
            account.loki.clone_from(loki);
            account.spec.clone_from(spec);
            account.spec_sha256.clone_from(spec_sha256);
            account.title.clone_from(title);
            account.provider.clone_from(provider);
        }
        account
    }

    fn tell_task(&mut self, records: &[Record], id: &TaskId) {
        let mut reviewers = Vec::new();
        for event in records.iter().map(|record| &record.event) {
            match event {
                Event::Planned { tasks } => {
                    self.task = tasks.iter().find(|task| task.id == *id).cloned();
                    let looks = tasks.iter().filter(|task| task.depends_on.contains(id));
                    reviewers = looks.map(|task| &task.id).collect();
                }
                Event::TaskDone { task, commit, .. } if task == id => {
                    self.landed.clone_from(commit);
                }
                Event::Reviewed {
                    task,
                    role,
                    passed,
                    findings,
                } if reviewers.contains(&task) => self.reviews.push(Review {
                    task: task.clone(),
                    role: role.clone(),
                    passed: *passed,
                    findings: findings.clone(),
                }),
                Event::Reverted { task, commit, .. } if task == id => {
                    self.reverted = Some(commit.clone());
                }
                Event::Shipped { url, .. } => self.shipped = Some(url.clone()),
                _ => {}
            }
        }
    }

    /// Holds what the commit says against what the journal says.
    fn compare(&mut self, told: Told<'_>, seq: u64, task: &TaskId) {
        let claimed = told.claimed;
        let mut differ = |what: &str, said: &str, true_one: &str| {
            if said != true_one {
                self.faults.push(format!(
                    "its trailers say {what} `{said}`, the journal says `{true_one}`"
                ));
            }
        };
        if let Some(run) = &self.run {
            differ("run", claimed.run.as_str(), run.as_str());
        }
        let said = claimed.task.as_ref().map_or("none", TaskId::as_str);
        differ("task", said, task.as_str());
        match (&self.kind, &self.task) {
            (Some(Kind::Revert), _) => differ("role", claimed.role.as_str(), PERSON),
            (_, Some(task)) => differ("role", claimed.role.as_str(), task.role.as_str()),
            (_, None) => {}
        }
        if let Some(Event::RunStarted { policy_sha256, .. }) =
            told.records.first().map(|record| &record.event)
        {
            differ("policy", &claimed.policy, policy_sha256);
        }
        // The position is taken before the commit is made, and the commit is journalled after.
        if claimed.journal == 0 || claimed.journal >= seq {
            self.faults.push(format!(
                "its trailers say journal position {}, the journal has the commit at {seq}",
                claimed.journal
            ));
        }
    }
}

/// Returns where the journal first names a commit, what as, whose it is, and of which attempt.
fn made<'a>(told: Told<'a>) -> Option<(u64, Kind, &'a TaskId, Option<u32>)> {
    told.records.iter().find_map(|record| {
        let (kind, task, attempt, id) = match &record.event {
            Event::Committed {
                task,
                attempt,
                commit,
            }
            | Event::Waiting {
                task,
                attempt,
                commit,
                ..
            } => (Kind::Work, task, Some(*attempt), commit),
            Event::Landing {
                task,
                attempt,
                commit,
                ..
            } => (Kind::Merge, task, Some(*attempt), commit),
            Event::Reverted { task, commit, .. } => (Kind::Revert, task, None, commit),
            _ => return None,
        };
        (id == told.commit).then_some((record.seq, kind, task, attempt))
    })
}

fn attempt(records: &[Record], id: &TaskId, wanted: u32) -> Attempt {
    let mut attempt = Attempt {
        number: wanted,
        gate: None,
        checks: Vec::new(),
        verified: false,
        egress_allowed: 0,
        egress_denied: 0,
        approvals: Vec::new(),
        installs: Vec::new(),
    };
    let mut now = 0;
    for event in records.iter().map(|record| &record.event) {
        if let Event::TaskClaimed { task, attempt, .. } = event
            && task == id
        {
            now = *attempt;
        }
        if now == wanted {
            take(&mut attempt, id, event);
        }
    }
    attempt
}

fn take(attempt: &mut Attempt, id: &TaskId, event: &Event) {
    match event {
        Event::Gated {
            task,
            files,
            breaches,
            ..
        } if task == id => {
            attempt.gate = Some(Gate {
                files: *files,
                breaches: breaches.clone(),
            });
        }
        Event::Checked {
            task: Some(task),
            command,
            passed,
            tests,
            elapsed_ms,
            ..
        } if task == id => attempt.checks.push(Check {
            task: Some(task.clone()),
            command: command.clone(),
            passed: *passed,
            tests: *tests,
            elapsed_ms: *elapsed_ms,
        }),
        Event::Verified { task, .. } if task == id => attempt.verified = true,
        Event::Egress {
            task: Some(task),
            allowed,
            count,
            ..
        } if task == id => match allowed {
            true => attempt.egress_allowed += count,
            false => attempt.egress_denied += count,
        },
        Event::Installed { .. } | Event::InstallReused { .. } => given(attempt, id, event),
        other => attempt.approvals.extend(answered(id, other)),
    }
}

/// Takes what an attempt was given of what is installed, once.
fn given(attempt: &mut Attempt, id: &TaskId, event: &Event) {
    let (Event::Installed {
        task: Some(task),
        tool,
        lock,
        key,
        ..
    }
    | Event::InstallReused {
        task: Some(task),
        tool,
        lock,
        key,
        ..
    }) = event
    else {
        return;
    };
    let one = Install {
        tool: tool.clone(),
        lock: lock.clone(),
        key: *key,
    };
    if task == id && !attempt.installs.contains(&one) {
        attempt.installs.push(one);
    }
}

/// Returns an event by which work waited for a person, or he answered, as it is journalled.
fn answered(id: &TaskId, event: &Event) -> Option<Value> {
    const KINDS: [&str; 3] = ["waiting", "approved", "rejected"];
    let value = serde_json::to_value(event).ok()?;
    let is_kind = KINDS.iter().any(|kind| value["type"] == *kind);
    (is_kind && value["task"] == id.as_str()).then_some(value)
}
