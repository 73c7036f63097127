//! What a run looks like now: one fold of its journal, which every surface shows.
//!
//! [`Status::fold`] reads records and nothing else, so the status of a live run, of a dead one and
//! of a copied journal are the same; [`text()`] draws it for `STATUS.txt`. It refuses to judge:
//! what the queue calls impossible is listed under `faults` instead of being left out. Text from
//! agents stays as it was in the fields and is made visible only when it is drawn.

mod counts;
mod fold;
mod notable;
mod resources;
mod sandboxes;
mod text;
mod text_budget;
mod waits;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    budget::Ledger,
    event::{Isolation, Limit, Load, Need, Outcome, Record, Usage},
    finding::Finding,
    name::{Role, RunId, TaskId},
    task::{Breaker, Breakers, Priority, Queue, State},
};

pub use counts::{Counts, EgressCounts};
pub use notable::Decided;
pub use resources::RoleUse;
pub use text::text;
pub use waits::Waits;

/// The version of the fields of [`Status`] as JSON.
pub const SCHEMA: u32 = 1;

/// Everything a person or a program may ask about a run. As JSON it is `loki status --json`;
/// fields are only ever added under one `schema`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The run; none before its first record.
    pub run: Option<RunId>,
    /// What the specification calls the product.
    pub title: String,
    /// The specification, as the person named it.
    pub spec: String,
    /// The adapter that runs agents.
    pub provider: String,
    /// The engine that runs containers.
    pub engine: String,
    /// The version of Loki that wrote the journal.
    pub loki: String,
    /// The branch or commit the run started from.
    pub base: String,
    /// The branch the run lands on.
    pub branch: String,
    /// What the run is doing.
    pub phase: Phase,
    /// How it ended, none while it has not.
    pub outcome: Option<Outcome>,
    /// Why it ended so.
    pub reason: Option<String>,
    /// The time of the first record.
    pub started: Option<Timestamp>,
    /// When the plan was made.
    pub planned: Option<Timestamp>,
    /// The time of the last record.
    pub updated: Option<Timestamp>,
    /// The number of the last record.
    pub seq: u64,
    /// Every task in plan order.
    pub tasks: Vec<Progress>,
    /// Every sandbox that stands, in the order they started.
    pub agents: Vec<Agent>,
    /// Numbers of tasks and attempts.
    pub counts: Counts,
    /// What went through the gateways.
    pub egress: EgressCounts,
    /// Every cap that was passed, in order.
    pub overruns: Vec<Overran>,
    /// What all sandboxes used, together.
    pub usage: Usage,
    /// Every check that ran, in order.
    pub checks: Vec<Check>,
    /// Every verdict, in order.
    pub reviews: Vec<Review>,
    /// The pull request of the run's branch, none when there is none that Loki knows of.
    pub shipped: Option<String>,
    /// Events that the queue says cannot have happened, each as a sentence. None is usual.
    pub faults: Vec<String>,
    /// What all sandboxes that stand hold; the peak is the highest of any sandbox.
    pub load: Load,
    /// What the sandboxes of each role use.
    pub roles: BTreeMap<Role, RoleUse>,
    /// What may be spent and was.
    pub budget: Ledger,
    /// The newest decisions.
    pub decisions: Vec<Decided>,
    /// How often the run was taken up again.
    pub resumed: u32,
    /// Circuit breakers that are not closed.
    pub breakers: Vec<Breaker>,
    #[serde(skip)]
    queue: Queue,
    #[serde(skip)]
    fuses: Breakers,
    /// Before when nothing is asked of the provider.
    #[serde(skip)]
    spared: Option<Timestamp>,
    #[serde(skip)]
    places: HashMap<TaskId, usize>,
    /// A task moved since the last count.
    #[serde(skip)]
    moved: bool,
    /// Tasks whose time runs.
    #[serde(skip)]
    running: Vec<usize>,
}

/// What a run is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// There is no plan yet.
    #[default]
    Planning,
    /// Tasks are being worked on.
    Building,
    /// Every task has its end; the whole run is being checked.
    Verifying,
    /// A stop was requested; running agents finish or are ended.
    Stopping,
    /// The run is over.
    Ended,
    /// Its orchestrator is gone without having said so.
    Interrupted,
}

/// One task as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// Its name.
    pub id: TaskId,
    /// Who does it.
    pub role: Role,
    /// One line.
    pub title: String,
    /// The whole text given to the agent.
    pub description: String,
    /// Tasks that must have landed first.
    pub depends_on: Vec<TaskId>,
    /// Commands that must pass before it lands.
    pub accept: Vec<String>,
    /// Where it stands.
    pub state: State,
    /// Attempts begun.
    pub attempt: u32,
    /// Attempts that were cut off and count as none.
    pub interrupted: u32,
    /// Its version in the queue.
    pub version: u64,
    /// When its first attempt began.
    pub started: Option<Timestamp>,
    /// When its current attempt began, none when it has none.
    pub claimed: Option<Timestamp>,
    /// When it was done or failed for good.
    pub finished: Option<Timestamp>,
    /// Milliseconds from its first claim to its end, or to the run's last record.
    pub elapsed_ms: u64,
    /// The run branch's head after it landed, none when it has not or changed nothing.
    pub commit: Option<String>,
    /// Why its last failed attempt failed.
    pub last_error: Option<String>,
    /// What its sandboxes used, those that are gone included.
    pub usage: Usage,
    /// The commit that took it back, none while it has not been.
    pub reverted: Option<String>,
    /// What of its work a person has yet to approve.
    pub needs: Vec<Need>,
    /// The work that waits for that, or was approved and has not landed.
    pub waiting: Option<String>,
    /// Files and directories it is about, as far as the plan says.
    pub files: Vec<String>,
    /// Which of the tasks that could begin goes first.
    pub priority: Priority,
    /// How often in a row its provider put it off.
    pub deferrals: u32,
    /// Before when it is not tried again, none where it does not rest.
    pub until: Option<Timestamp>,
}

/// One sandbox that stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agent {
    /// The sandbox.
    pub sandbox: String,
    /// The role it is confined to.
    pub role: Role,
    /// The task it is for, none for those of the whole run.
    pub task: Option<TaskId>,
    /// The engine's name of its container.
    pub container: String,
    /// Its image.
    pub image: String,
    /// What was really enforced on it.
    pub isolation: Isolation,
    /// When it stood.
    pub since: Timestamp,
    /// What it used, as it last said.
    pub usage: Usage,
    /// What it holds, as it last said.
    pub load: Load,
}

/// One cap that was passed; its sandbox was ended for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overran {
    /// The sandbox.
    pub sandbox: String,
    /// The task it was for, none for those of the whole run.
    pub task: Option<TaskId>,
    /// Whose cap.
    pub role: Role,
    /// Which cap.
    pub limit: Limit,
    /// The cap: bytes, a count, or milliseconds for times.
    pub allowed: u64,
    /// What was seen, in the same unit.
    pub seen: u64,
}

/// One check that ran.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// The task it was for, none for the whole run.
    pub task: Option<TaskId>,
    /// What ran.
    pub command: String,
    /// Whether it exited 0.
    pub passed: bool,
    /// How many tests it says it ran.
    pub tests: Option<u64>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// One reviewer's verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Review {
    /// The task reviewed.
    pub task: TaskId,
    /// The reviewer.
    pub role: Role,
    /// The verdict.
    pub passed: bool,
    /// The remarks.
    pub findings: Vec<Finding>,
}

impl Default for Status {
    /// Returns the status of a run of which nothing is known.
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            run: None,
            title: String::new(),
            spec: String::new(),
            provider: String::new(),
            engine: String::new(),
            loki: String::new(),
            base: String::new(),
            branch: String::new(),
            phase: Phase::default(),
            outcome: None,
            reason: None,
            started: None,
            planned: None,
            updated: None,
            seq: 0,
            tasks: Vec::new(),
            agents: Vec::new(),
            counts: Counts::default(),
            egress: EgressCounts::default(),
            overruns: Vec::new(),
            usage: Usage::default(),
            checks: Vec::new(),
            reviews: Vec::new(),
            shipped: None,
            faults: Vec::new(),
            load: Load::default(),
            roles: BTreeMap::new(),
            budget: Ledger::default(),
            decisions: Vec::new(),
            resumed: 0,
            breakers: Vec::new(),
            queue: Queue::default(),
            fuses: Breakers::default(),
            spared: None,
            places: HashMap::new(),
            moved: false,
            running: Vec::new(),
        }
    }
}

impl Status {
    /// Folds the records of a run, oldest first.
    #[must_use]
    pub fn fold<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut status = Self::default();
        status.apply_all(records);
        status
    }

    /// Takes more records into account, which costs less than one at a time.
    pub fn apply_all<'a>(&mut self, records: impl IntoIterator<Item = &'a Record>) {
        for record in records {
            self.take(record);
        }
        self.settle();
    }

    /// Takes one more record into account.
    pub fn apply(&mut self, record: &Record) {
        self.take(record);
        self.settle();
    }

    /// Says that the orchestrator of a run is gone without having ended it: nothing of it goes on.
    #[must_use]
    pub fn orphaned(mut self) -> Self {
        if self.phase == Phase::Ended {
            return self;
        }
        for task in &mut self.tasks {
            if task.state == State::Claimed {
                task.state = State::Interrupted;
                task.claimed = None;
            }
        }
        self.agents.clear();
        self.load = resources::by_role(&mut self.roles, &self.agents);
        self.moved = true;
        self.settle();
        self.phase = Phase::Interrupted;
        self
    }

    /// Returns the queue, folded from the same records.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }
}

impl Progress {
    fn new(task: &crate::task::Task) -> Self {
        Self {
            id: task.id.clone(),
            role: task.role.clone(),
            title: task.title.clone(),
            description: task.description.clone(),
            depends_on: task.depends_on.clone(),
            accept: task.accept.clone(),
            state: State::Pending,
            attempt: 0,
            interrupted: 0,
            version: 1,
            started: None,
            claimed: None,
            finished: None,
            elapsed_ms: 0,
            commit: None,
            last_error: None,
            usage: Usage::default(),
            reverted: None,
            needs: Vec::new(),
            waiting: None,
            files: task.files.clone(),
            priority: task.priority,
            deferrals: 0,
            until: None,
        }
    }
}

/// Returns the milliseconds from one time to another, 0 when the clock went back.
#[must_use]
pub fn elapsed_ms(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
