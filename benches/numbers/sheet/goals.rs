//! Every row that a report has, and what is to be reached. A row that could not be measured stands in
//! the report all the same, with its reason.

use serde::{Deserialize, Serialize};

/// How a row's number comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    /// Loki's number, divided by the other's.
    Of,
    /// The other's number, divided by Loki's: so many times as fast.
    Times,
    /// Loki's number.
    Itself,
}

/// What is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reach {
    AtMost(f64),
    AtLeast(f64),
    /// No goal; less is better.
    Less,
    /// No goal; more is better.
    More,
}

impl Reach {
    pub(crate) fn is_reached(self, got: f64) -> Option<bool> {
        match self {
            Self::AtMost(goal) => Some(got <= goal),
            Self::AtLeast(goal) => Some(got >= goal),
            Self::Less | Self::More => None,
        }
    }

    pub(crate) fn is_more(self) -> bool {
        matches!(self, Self::AtLeast(_) | Self::More)
    }
}

/// One row.
pub(crate) struct Goal {
    /// The group, and a name in it.
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    /// Of the sides; `share` of what has none.
    pub(crate) unit: &'static str,
    pub(crate) form: Form,
    pub(crate) reach: Reach,
}

impl Goal {
    /// Whether its number holds on other machines too, so that a baseline may hold it.
    pub(crate) fn is_ratio(&self) -> bool {
        self.form != Form::Itself || self.unit == "share"
    }
}

const fn row(
    id: &'static str,
    what: &'static str,
    unit: &'static str,
    form: Form,
    reach: Reach,
) -> Goal {
    Goal {
        id,
        what,
        unit,
        form,
        reach,
    }
}

use {
    Form::Itself, Form::Of, Form::Times, Reach::AtLeast, Reach::AtMost, Reach::Less, Reach::More,
};

/// The rows, in the order of the report.
#[rustfmt::skip]
pub(crate) const GOALS: &[Goal] = &[
    row("launch/docker-warm-of-fork", "Docker: warm launch of `true`, of a fork and exec on the host", "ms", Of, AtMost(1.5)),
    row("launch/docker-warm-of-api-exec", "Docker: warm launch, times as fast as an exec through the engine's API", "ms", Times, AtLeast(40.0)),
    row("launch/docker-warm-of-run", "Docker: warm launch, times as fast as `docker run --network none`", "ms", Times, AtLeast(150.0)),
    row("launch/docker-warm-of-exec", "Docker: warm launch, times as fast as `docker exec`", "ms", Times, More),
    row("launch/docker-cold-of-run", "Docker: cold launch and `true`, of `docker run --network none`", "ms", Of, AtMost(0.85)),
    row("launch/podman-warm-of-fork", "Podman: warm launch of `true`, of a fork and exec on the host", "ms", Of, AtMost(1.5)),
    row("launch/podman-warm-of-api-exec", "Podman: warm launch, times as fast as an exec through the engine's API", "ms", Times, AtLeast(40.0)),
    row("launch/podman-warm-of-run", "Podman: warm launch, times as fast as `podman run --network none`", "ms", Times, More),
    row("launch/podman-warm-of-exec", "Podman: warm launch, times as fast as `podman exec`", "ms", Times, More),
    row("launch/podman-cold-of-run", "Podman: cold launch and `true`, of `podman run --network none`", "ms", Of, AtMost(0.85)),
    row("launch/warm-of-bubblewrap", "warm launch, times as fast as bubblewrap", "ms", Times, More),
    row("launch/warm-of-sandbox-runtime", "warm launch, times as fast as sandbox-runtime in a process that is up", "ms", Times, More),
    row("launch/warm-of-sandbox-runtime-cli", "warm launch, times as fast as sandbox-runtime's command", "ms", Times, More),

    row("claim/docker-first-byte", "Docker: warm claim with a 200-file worktree, to the agent's first byte", "ms", Itself, AtMost(20.0)),
    row("claim/podman-first-byte", "Podman: warm claim with a 200-file worktree, to the agent's first byte", "ms", Itself, AtMost(20.0)),
    row("claim/cold-first-byte", "Docker: the same without a pool", "ms", Itself, Less),
    row("claim/worktree-of-git", "the 200-file worktree alone, of `git worktree add`", "ms", Of, Less),

    row("egress/open-connect", "not inspected: connect and one echo, of direct", "us", Of, AtMost(2.5)),
    row("egress/open-one-stream", "not inspected: one stream, of direct", "MB/s", Of, AtLeast(0.5)),
    row("egress/open-eight-streams", "not inspected: eight streams, of direct", "MB/s", Of, AtLeast(0.5)),
    row("egress/open-questions", "not inspected: small requests on one connection, of direct", "a second", Of, AtLeast(0.6)),
    row("egress/open-questions-16", "not inspected: small requests on 16 connections, of direct", "a second", Of, AtLeast(0.6)),
    row("egress/open-connect-of-squid", "not inspected: connect and one echo, of squid", "us", Of, Less),
    row("egress/open-questions-16-of-squid", "not inspected: small requests on 16 connections, of squid", "a second", Of, More),
    row("egress/open-one-stream-of-runtime", "not inspected: one stream, of sandbox-runtime's proxy", "MB/s", Of, More),
    row("egress/inspected-p50", "inspected: added p50, 16 agents", "us", Itself, AtMost(1000.0)),
    row("egress/inspected-p99", "inspected: added p99, 16 agents", "us", Itself, AtMost(5000.0)),
    row("egress/inspected-stream", "inspected: one stream", "MB/s", Itself, AtLeast(300.0)),
    row("egress/inspected-stream-of-direct", "inspected: one stream, of direct", "MB/s", Of, More),
    row("egress/inspected-requests-of-runtime", "inspected: requests of 16 agents, of sandbox-runtime's proxy", "a second", Of, More),
    row("egress/inspected-memory", "inspected: memory at the end, of that after a tenth of the requests", "MB", Of, AtMost(1.1)),

    row("meter/write-open", "what the meter adds to an open for writing", "us", Itself, AtMost(6.0)),
    row("meter/read-open", "an open for reading with the meter, of one without", "us", Of, AtMost(1.1)),

    row("checkpoint/full", "a whole checkpoint, times as fast as `tar | zstd -1`", "s", Times, AtLeast(0.8)),
    row("checkpoint/delta-time", "one after a change of 1 %, of a whole one's time", "s", Of, AtMost(0.1)),
    row("checkpoint/delta-bytes", "one after a change of 1 %, of a whole one's bytes", "MB", Of, AtMost(0.05)),

    row("queue/claims", "journalled claims, 100 claimers", "a second", Itself, AtLeast(20_000.0)),
    row("queue/claims-of-locked-json", "journalled claims, times those of a JSON file behind a lock", "a second", Of, More),
    row("queue/events", "events journalled, sealed and synced, 100 claimers", "a second", Itself, AtLeast(20_000.0)),
    row("queue/events-of-floor", "the same, of the same bytes written and synced", "a second", Of, More),

    row("idle/processor", "the orchestrator's processor time beside idle sandboxes, of one processor (0 %, rounded)", "share", Itself, AtMost(0.005)),
    row("idle/orchestrator", "the orchestrator's resident memory beside idle sandboxes", "MB", Itself, AtMost(40.0)),
    row("idle/guest", "a guest's resident memory", "MB", Itself, AtMost(2.0)),
    row("idle/guest-processor", "a guest's processor time, of one processor (0 %, rounded)", "share", Itself, AtMost(0.005)),

    row("cli/version", "`loki --version`", "ms", Itself, AtMost(10.0)),
    row("cli/version-of-fork", "`loki --version`, of a fork and exec of `true`", "ms", Of, Less),
    row("cli/status", "`loki status` of a run that ended", "ms", Itself, AtMost(10.0)),
    row("cli/status-of-fork", "`loki status`, of a fork and exec of `true`", "ms", Of, Less),

    row("run/overhead", "a replayed run, over its agents' own time", "share", Itself, AtMost(0.1)),
    row("run/each", "what a task takes besides its agent", "ms", Itself, Less),

    row("others/worktree-of-git", "a worktree of 1,000 files, of `git worktree add`", "ms", Of, Less),
    row("others/gate-of-git-add", "the gate over 1,000 changed files, of `git add`", "ms", Of, Less),
    row("others/decisions", "decisions on a name and port", "a second", Itself, More),
    row("others/masking", "output masked, 10 secrets", "MB/s", Itself, More),
];
