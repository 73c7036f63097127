//! Circuit breakers: what a role asks of its provider is held back for a while once it only fails.
//!
//! ```text
//!            failures in a row = threshold                    cooldown is over
//!  Closed ──────────────────────────────▶ Open(until) ─────────────────────────▶ HalfOpen
//!    ▲                                      ▲                                     │   │ one claim
//!    │                                      └──────────── it failed ──────────────┘   │
//!    └─────────────────────────────── an agent brought work ──────────────────────────┘
//! ```
//!
//! A failure is an attempt that was put off by its provider, or that ended before there was any work
//! to judge. The latter counts once for each task: a task that cannot be done is its own trouble.
//! Work that a gate, a check or a person refused is work: the provider answered. [`Breakers`] folds
//! events and says which should be written next; it refuses to know the time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backoff::later;
use crate::{
    diagnostic::Diagnostic,
    event::{Event, Record},
    name::{Role, TaskId},
    policy::plain::{self, Node, Reading},
};

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Circuit {
    /// Everything passes.
    #[default]
    Closed,
    /// Nothing passes until a time.
    Open,
    /// One attempt passes, and decides.
    HalfOpen,
}

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fuse {
    /// Failures in a row.
    pub failures: u32,
    /// How long it stays open.
    pub cooldown: Duration,
}

impl Default for Fuse {
    fn default() -> Self {
        Self {
            failures: 5,
            cooldown: Duration::from_secs(300),
        }
    }
}

/// The fuses of all roles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fuses {
    usual: Fuse,
    roles: BTreeMap<Role, Fuse>,
}

const KEYS: [&str; 2] = ["failureThreshold", "cooldownSeconds"];
const FILE_KEYS: [&str; 3] = ["failureThreshold", "cooldownSeconds", "overrides"];

impl Fuses {
    /// Reads `circuit-breakers.yaml`. What it does not say stays as it is without it.
    ///
    /// # Errors
    ///
    /// Every fault.
    pub fn read(file: &Path, text: &str) -> Result<Self, Vec<Diagnostic>> {
        plain::read(file, text, |reading, root| {
            let mut fuses = Self::default();
            let mut overrides = None;
            for (key, value) in reading.map(root, "the file", &FILE_KEYS) {
                match key {
                    "overrides" => overrides = Some(value),
                    key => set(&mut fuses.usual, reading, (key, value)),
                }
            }
            if let Some(value) = overrides {
                fuses.read_roles(reading, value);
            }
            fuses
        })
    }

    fn read_roles(&mut self, reading: &mut Reading<'_>, node: Node<'_>) {
        for (name, key, value) in reading.named(node, "`overrides`") {
            let Ok(role) = name.parse::<Role>() else {
                let help = Some("`loki agents list` shows the roles");
                reading.fault(key, format!("`{}` is no role", name.escape_debug()), help);
                continue;
            };
            let mut fuse = self.usual;
            for pair in reading.map(value, "an override", &KEYS) {
                set(&mut fuse, reading, pair);
            }
            self.roles.insert(role, fuse);
        }
    }

    /// Returns the fuse of a role.
    #[must_use]
    pub fn of(&self, role: &Role) -> Fuse {
        self.roles.get(role).copied().unwrap_or(self.usual)
    }
}

fn set(fuse: &mut Fuse, reading: &mut Reading<'_>, (key, value): (&str, Node<'_>)) {
    let what = format!("`{key}`");
    if key == "failureThreshold" {
        if let Some(number) = reading.number(value, &what, 1..=1000) {
            fuse.failures = u32::try_from(number).unwrap_or(u32::MAX);
        }
    } else if let Some(number) = reading.number(value, &what, 1..=86_400) {
        fuse.cooldown = Duration::from_secs(number);
    }
}

/// One breaker as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Breaker {
    /// Whose claims it holds.
    pub role: Role,
    /// And of which provider.
    pub provider: String,
    /// Where it stands.
    pub state: Circuit,
    /// Failures since the last work.
    pub failures: u32,
    /// Until when nothing passes; none where something does.
    pub until: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Line {
    state: Circuit,
    failures: u32,
    until: Option<Timestamp>,
    /// Tasks whose failures have counted since the last work.
    blamed: BTreeSet<TaskId>,
    /// The attempt that decides.
    trial: Trial,
}

/// What became of the one attempt that a breaker lets through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Trial {
    #[default]
    None,
    Running(TaskId),
    Passed,
    Failed,
}

/// The breakers of a run. Equal events give equal breakers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breakers {
    provider: String,
    roles: HashMap<TaskId, Role>,
    /// Attempts of which nothing has been judged yet.
    unjudged: BTreeSet<TaskId>,
    lines: BTreeMap<Role, Line>,
}

impl Breakers {
    /// Folds the records of a run.
    #[must_use]
    pub fn fold<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut breakers = Self::default();
        for record in records {
            breakers.apply(&record.event);
        }
        breakers
    }

    /// Takes one event into account.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::RunStarted { provider, .. } => self.provider.clone_from(provider),
            Event::Planned { tasks } => {
                let roles = tasks.iter().map(|one| (one.id.clone(), one.role.clone()));
                self.roles.extend(roles);
            }
            Event::TaskAdded { task, .. } => {
                self.roles.insert(task.id.clone(), task.role.clone());
            }
            Event::TaskClaimed { task, .. } => self.begin(task),
            Event::Gated { task, .. } | Event::Reviewed { task, .. } => self.work(task),
            Event::TaskDone { task, .. }
            | Event::TaskConflicted { task, .. }
            | Event::Waiting { task, .. } => self.work_of_trial(task),
            Event::TaskDeferred { task, .. } => {
                self.unjudged.remove(task);
                self.fail(task, |line| line.failures += 1);
            }
            Event::TaskFailed { task, .. } => {
                let unjudged = self.unjudged.remove(task);
                let of = task.clone();
                self.fail(task, |line| {
                    line.failures += u32::from(unjudged && line.blamed.insert(of));
                });
            }
            Event::Interrupted { task, .. } => self.forget(task),
            Event::Breaker {
                role,
                state,
                failures,
                until,
                ..
            } => self.turn(role, (*state, *failures, *until)),
            _ => {}
        }
    }

    fn line(&mut self, task: &TaskId) -> Option<&mut Line> {
        let role = self.roles.get(task)?;
        Some(self.lines.entry(role.clone()).or_default())
    }

    fn begin(&mut self, task: &TaskId) {
        self.unjudged.insert(task.clone());
        if let Some(line) = self.line(task)
            && (line.state, &line.trial) == (Circuit::HalfOpen, &Trial::None)
        {
            line.trial = Trial::Running(task.clone());
        }
    }

    /// An agent brought something that can be judged.
    fn work(&mut self, task: &TaskId) {
        self.unjudged.remove(task);
        let Some(line) = self.line(task) else {
            return;
        };
        // Work that was begun before it opened says nothing of now.
        if line.state == Circuit::Closed {
            line.failures = 0;
            line.blamed.clear();
        }
        self.work_of_trial(task);
    }

    fn work_of_trial(&mut self, task: &TaskId) {
        if let Some(line) = self.line(task)
            && line.trial == Trial::Running(task.clone())
        {
            line.trial = Trial::Passed;
        }
    }

    fn fail(&mut self, task: &TaskId, count: impl FnOnce(&mut Line)) {
        let Some(line) = self.line(task) else {
            return;
        };
        count(line);
        if line.trial == Trial::Running(task.clone()) {
            line.trial = Trial::Failed;
        }
    }

    fn forget(&mut self, task: &TaskId) {
        self.unjudged.remove(task);
        if let Some(line) = self.line(task)
            && line.trial == Trial::Running(task.clone())
        {
            line.trial = Trial::None;
        }
    }

    fn turn(&mut self, role: &Role, (state, failures, until): (Circuit, u32, Option<Timestamp>)) {
        let line = self.lines.entry(role.clone()).or_default();
        line.state = state;
        line.until = until;
        line.trial = Trial::None;
        line.failures = failures;
        if state == Circuit::Closed {
            line.blamed.clear();
        }
    }

    /// Returns the changes that are due now, as the events to write.
    #[must_use]
    pub fn due(&self, now: Timestamp, fuses: &Fuses) -> Vec<Event> {
        let change = |(role, line): (&Role, &Line)| {
            let fuse = fuses.of(role);
            let open = (
                Circuit::Open,
                line.failures,
                Some(later(now, fuse.cooldown)),
            );
            let (state, failures, until) = match (line.state, &line.trial) {
                (Circuit::Closed, _) if line.failures >= fuse.failures => open,
                (Circuit::Open, _) if line.until.is_none_or(|until| until <= now) => {
                    (Circuit::HalfOpen, line.failures, None)
                }
                (Circuit::HalfOpen, Trial::Passed) => (Circuit::Closed, 0, None),
                (Circuit::HalfOpen, Trial::Failed) => open,
                _ => return None,
            };
            Some(Event::Breaker {
                role: role.clone(),
                provider: self.provider.clone(),
                state,
                failures,
                until,
            })
        };
        self.lines.iter().filter_map(change).collect()
    }

    /// Returns how many tasks may begin now of each role that is not free to begin any number.
    #[must_use]
    pub fn room(&self) -> BTreeMap<Role, usize> {
        let held = |(role, line): (&Role, &Line)| match (line.state, &line.trial) {
            (Circuit::Closed, _) => None,
            (Circuit::HalfOpen, Trial::None) => Some((role.clone(), 1)),
            (Circuit::Open | Circuit::HalfOpen, _) => Some((role.clone(), 0)),
        };
        self.lines.iter().filter_map(held).collect()
    }

    /// Returns when the next open breaker is to be tried, none when none is open.
    #[must_use]
    pub fn next_change(&self) -> Option<Timestamp> {
        let open = self.lines.values();
        open.filter(|line| line.state == Circuit::Open)
            .filter_map(|line| line.until)
            .min()
    }

    /// Returns the breakers that are not closed.
    pub fn tripped(&self) -> impl Iterator<Item = Breaker> {
        let tripped = self.lines.iter();
        tripped
            .filter(|(_, line)| line.state != Circuit::Closed)
            .map(|(role, line)| Breaker {
                role: role.clone(),
                provider: self.provider.clone(),
                state: line.state,
                failures: line.failures,
                until: line.until,
            })
    }
}

#[cfg(test)]
mod tests;
