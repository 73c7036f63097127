//! The events of a run. A run is the list of its events: each is journalled before it is acted
//! on, and queue, status and listings are folds of them.

mod asked;
mod isolation;
mod outcome;
mod overrun;
mod parts;
mod record;
mod spent;
mod start;
mod usage;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    budget::{Budgets, Passed, Price},
    digest::Digest,
    finding::Finding,
    name::{CheckpointId, Role, RunId, TaskId},
    task::{Circuit, Priority, Task},
};

pub use asked::Asked;
pub use isolation::{Held, HeldBy, Isolation};
pub use outcome::Outcome;
pub use overrun::{Limit, Overrun};
pub use parts::{Breach, CacheUse, EgressKind, Need};
pub use record::{Record, millis};
pub use spent::{Priced, SpentSoFar, Tokens, Told};
pub use start::Start;
pub use usage::{Load, Usage};

/// Everything that can happen in a run. Stored as JSON with the variant under `type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the fields are described in docs/journal.md, once"
)]
pub enum Event {
    /// A run begins. Always the first event.
    RunStarted {
        run: RunId,
        loki: String,
        spec: String,
        spec_sha256: String,
        title: String,
        provider: String,
        base: String,
        branch: String,
        engine: String,
        policy_sha256: String,
        /// What `loki resume` needs; journals before format 3 do not say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<Asked>,
    },
    /// The plan: every task of the run.
    Planned { tasks: Vec<Task> },
    /// A task is claimed for its `attempt` (from 1); `version` is the version claimed.
    TaskClaimed {
        task: TaskId,
        version: u64,
        attempt: u32,
    },
    /// A sandbox stands and is confined.
    SandboxStarted {
        sandbox: String,
        task: Option<TaskId>,
        role: Role,
        container: String,
        image: String,
        isolation: Isolation,
        /// Journals before format 4 do not say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        start: Option<Start>,
    },
    /// What a sandbox has used since its start: while it stands, when that changed, and at its end.
    SandboxUsed {
        sandbox: String,
        task: Option<TaskId>,
        role: Role,
        usage: Usage,
        #[serde(default)]
        load: Load,
    },
    /// A sandbox and everything in it is gone.
    SandboxEnded { sandbox: String },
    /// What a sandbox wrote was kept, or `reason` says why not: then there is no `checkpoint`.
    Checkpointed {
        sandbox: String,
        task: Option<TaskId>,
        checkpoint: Option<CheckpointId>,
        entries: u64,
        bytes: u64,
        stored: u64,
        left_out: u64,
        reason: Option<String>,
    },
    /// A program in a sandbox went over a cap and is about to be ended, and the sandbox with it.
    /// Units are those of [`Overrun`].
    Overrun {
        sandbox: String,
        task: Option<TaskId>,
        role: Role,
        limit: Limit,
        allowed: u64,
        seen: u64,
    },
    /// The agent's program ended. `code` is its exit code, 128 + n for signal n.
    AgentEnded {
        task: TaskId,
        attempt: u32,
        code: i32,
        elapsed_ms: u64,
        reason: Option<String>,
    },
    /// What the agent's program says it used of its model, by its own count.
    AgentSpent {
        task: TaskId,
        attempt: u32,
        model: String,
        turns: u64,
        input: u64,
        cache_written: u64,
        cache_read: u64,
        output: u64,
        cost_micros: u64,
        #[serde(default, skip_serializing_if = "Priced::is_told")]
        priced: Priced,
    },
    /// A decision on a name or a connection. Equal ones within a second are one, with a count.
    Egress {
        sandbox: String,
        task: Option<TaskId>,
        role: Role,
        kind: EgressKind,
        host: String,
        port: Option<u16>,
        allowed: bool,
        rule: Option<String>,
        reason: Option<String>,
        count: u64,
        /// Of a request alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        method: Option<String>,
        /// Of a request alone, without its query.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
    },
    /// A connection through the gateway ended, or a request on one.
    EgressClosed {
        sandbox: String,
        role: Role,
        host: String,
        port: u16,
        sent: u64,
        received: u64,
        elapsed_ms: u64,
        #[serde(default)]
        waited_ms: u64,
        /// Of a request alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        method: Option<String>,
        /// Of a request alone, without its query.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// How the server answered a request; none when it did not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// What the cache did for a request; none when its server answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cache: Option<CacheUse>,
    },
    /// A person is about to open a host to a role, for one connection or for as long as the
    /// orchestrator runs.
    EgressOpened {
        role: Role,
        host: String,
        port: u16,
        once: bool,
    },
    /// The hand-over gate looked at what an agent left. Empty `breaches` is a pass.
    Gated {
        task: TaskId,
        attempt: u32,
        files: usize,
        breaches: Vec<Breach>,
    },
    /// The host committed an agent's work on the task's branch.
    Committed {
        task: TaskId,
        attempt: u32,
        commit: String,
    },
    /// A check ran in a sandbox without network. `task` is none for the checks of the whole run.
    Checked {
        task: Option<TaskId>,
        command: String,
        passed: bool,
        tests: Option<u64>,
        tail: String,
        elapsed_ms: u64,
    },
    /// A reviewer's verdict.
    Reviewed {
        task: TaskId,
        role: Role,
        passed: bool,
        findings: Vec<Finding>,
    },
    /// An attempt failed; `retry` says whether the task goes back to the queue.
    TaskFailed {
        task: TaskId,
        version: u64,
        attempt: u32,
        reason: String,
        retry: bool,
    },
    /// The task's commit could not be merged; it goes back to the queue on the new base.
    TaskConflicted {
        task: TaskId,
        version: u64,
        attempt: u32,
        files: Vec<String>,
    },
    /// The run's branch is about to move from `from` to `commit`: on the disk before it does.
    Landing {
        task: TaskId,
        attempt: u32,
        from: String,
        commit: String,
    },
    /// The task is done; `commit` is the run branch's new head, none when it changed nothing.
    TaskDone {
        task: TaskId,
        version: u64,
        attempt: u32,
        commit: Option<String>,
    },
    /// A person or a signal asked the run to end: `drain` lets running agents finish.
    StopRequested { by: String, drain: bool },
    /// The run ended.
    RunEnded {
        outcome: Outcome,
        reason: Option<String>,
    },
    /// A tree may land: `head` and the task's work joined. `reused` says that no check ran again,
    /// for it is the very tree that the task was checked on. `red` are the project's tests that
    /// fail on it and did before.
    Verified {
        task: TaskId,
        attempt: u32,
        head: String,
        tree: String,
        checks: usize,
        reused: bool,
        red: Vec<String>,
    },
    /// A person takes back what landed as `reverts`: the run's branch is about to move from `from`
    /// to `commit`. On the disk before it does.
    Reverted {
        task: TaskId,
        by: String,
        from: String,
        commit: String,
        reverts: String,
    },
    /// The run's branch is about to be pushed, at `commit`.
    Shipping {
        by: String,
        remote: String,
        branch: String,
        commit: String,
    },
    /// A pull request stands for the pushed branch.
    Shipped {
        commit: String,
        base: String,
        url: String,
    },
    /// A task's work is kept as `commit` and lands once a person has approved all of `needs`.
    Waiting {
        task: TaskId,
        version: u64,
        attempt: u32,
        commit: String,
        needs: Vec<Need>,
    },
    /// A person approved contents of a task's waiting work, by their digests.
    Approved {
        task: TaskId,
        version: u64,
        attempt: u32,
        by: String,
        digests: Vec<String>,
    },
    /// A person refused a task's waiting work: the attempt failed for this reason.
    Rejected {
        task: TaskId,
        version: u64,
        attempt: u32,
        by: String,
        reason: String,
    },
    /// An orchestrator goes on with a run whose own died, or that ended without being over. `torn`
    /// bytes of a record that was never completed were cut off.
    Resumed {
        loki: String,
        engine: String,
        spec_sha256: String,
        policy_sha256: String,
        torn: u64,
    },
    /// An attempt was cut off by the end of its orchestrator or for want of something that the
    /// machine must give: it counts as none. `outside` is what it may have changed elsewhere; then
    /// `by` says who had it repeated all the same.
    Interrupted {
        task: TaskId,
        version: u64,
        attempt: u32,
        reason: String,
        outside: Vec<String>,
        by: Option<String>,
    },
    /// What a lock file names was installed in `sandbox` and is kept under `key`.
    Installed {
        task: Option<TaskId>,
        sandbox: String,
        tool: String,
        lock: String,
        key: Digest,
        entries: u64,
        bytes: u64,
        elapsed_ms: u64,
    },
    /// What was installed before was held against its digest and is given to `sandbox`.
    InstallReused {
        task: Option<TaskId>,
        sandbox: String,
        tool: String,
        lock: String,
        key: Digest,
    },
    /// Nothing was installed from a lock file, or what was kept under `key` is not what was
    /// installed and was put away.
    InstallRefused {
        task: Option<TaskId>,
        tool: String,
        lock: String,
        key: Option<Digest>,
        reason: String,
    },
    /// An attempt came to nothing because its provider was busy or broke off: it counts as none,
    /// and the task rests until `until`. Nothing at all is asked of the provider before
    /// `provider_until`.
    TaskDeferred {
        task: TaskId,
        version: u64,
        attempt: u32,
        reason: String,
        until: Timestamp,
        provider_until: Option<Timestamp>,
    },
    /// These tasks, each claimed already, are done in one session; the first leads.
    Batched { tasks: Vec<TaskId> },
    /// A circuit breaker changed: what a role asks of a provider is held, tried or let through.
    Breaker {
        role: Role,
        provider: String,
        state: Circuit,
        failures: u32,
        until: Option<Timestamp>,
    },
    /// A task came to the plan that has begun.
    TaskAdded { task: Task, by: String },
    /// A person cancelled a task, and with it all that waits for it.
    TaskCancelled {
        task: TaskId,
        by: String,
        reason: Option<String>,
    },
    /// A person has a task that failed for good tried again, as if it never had been.
    TaskRetried { task: TaskId, by: String },
    /// A person gave a task another priority.
    TaskPrioritised {
        task: TaskId,
        by: String,
        priority: Priority,
    },
    /// What the run may spend from now on.
    BudgetSet(Budgets),
    /// A budget is nearly used up, or used up.
    BudgetPassed(Passed),
    /// What an agent's program has said of its model so far.
    AgentSpending(SpentSoFar),
    /// A model has a price that had none when its tokens were told of: all of them are charged.
    ModelPriced { model: String, price: Price },
}
