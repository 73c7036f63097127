//! `dashboard-state.json`: one page of numbers about the run.

use serde_json::{Map, Value, json};

use super::{cut, queue::dead_letters};
use crate::{
    budget::{Budget, Measure, Spending},
    event::{Load, Usage},
    status::{Status, elapsed_ms},
};

/// Agents that are listed at most; a run has no more at once.
const AGENTS: usize = 100;
/// Characters of a text.
const TEXT: usize = 500;

/// Returns the page. What later versions will know, such as `complexity`, is null until then.
pub(super) fn state(status: &Status) -> Value {
    json!({
        "timestamp": status.updated,
        "version": status.loki,
        "project": cut(&status.title, TEXT),
        "mode": "sandbox",
        "provider": status.provider,
        "phase": status.phase,
        "complexity": null,
        "iteration": status.budget.run.iterations,
        "startedAt": status.started,
        "tasks": tasks(status),
        "agents": agents(status),
        "metrics": metrics(status),
        "memory": null,
        "qualityGates": gates(status),
        "budget": budget(status),
        "context": null,
        "tokens": tokens(&status.budget.run),
    })
}

fn tasks(status: &Status) -> Value {
    let counts = status.counts;
    json!({
        "total": counts.total,
        "pending": counts.pending,
        "inProgress": counts.in_progress,
        "completed": counts.completed,
        "failed": counts.failed,
        "deadLetter": dead_letters(status),
        "blocked": counts.blocked,
        "waiting": counts.waiting,
        "interrupted": counts.interrupted,
        "reverted": counts.reverted,
        "cancelled": counts.cancelled,
    })
}

fn agents(status: &Status) -> Vec<Value> {
    let agents = status.agents.iter().take(AGENTS);
    agents
        .map(|agent| {
            let until = status.updated.unwrap_or(agent.since);
            json!({
                "id": agent.sandbox,
                "type": agent.role,
                "task": agent.task,
                "startedAt": agent.since,
                "runtimeMs": elapsed_ms(agent.since, until),
                "container": agent.container,
                "resources": resources(&agent.usage, &agent.load),
            })
        })
        .collect()
}

fn resources(usage: &Usage, load: &Load) -> Value {
    json!({
        "cpuMs": usage.cpu_ms,
        "memoryBytes": load.memory,
        "memoryPeakBytes": load.memory_peak,
        "processes": load.processes,
        "diskBytes": load.disk,
        "files": load.files,
        "writes": usage.writes,
        "writesDelayed": usage.writes_delayed,
        "calls": usage.calls,
        "callsRefused": usage.calls_refused,
        "sentBytes": usage.sent,
        "receivedBytes": usage.received,
    })
}

fn metrics(status: &Status) -> Value {
    let roles: Map<String, Value> = status
        .roles
        .iter()
        .map(|(role, used)| {
            let mut value = resources(&used.usage, &used.load);
            value["agents"] = used.agents.into();
            (role.to_string(), value)
        })
        .collect();
    json!({
        "tasksCompleted": status.counts.completed,
        "tasksFailed": status.counts.failed,
        "retries": status.counts.retries,
        "conflicts": status.counts.conflicts,
        "events": status.seq,
        "egressAllowed": status.egress.allowed,
        "egressDenied": status.egress.denied,
        "overruns": status.overruns.len(),
        "resources": resources(&status.usage, &status.load),
        "resourcesByRole": roles,
    })
}

fn gates(status: &Status) -> Value {
    let checks = status.checks.iter();
    let reviews = status.reviews.iter();
    let findings = status.reviews.iter().flat_map(|review| &review.findings);
    json!({
        "checks": {
            "total": status.checks.len(),
            "passed": checks.filter(|check| check.passed).count(),
        },
        "reviews": {
            "total": status.reviews.len(),
            "passed": reviews.filter(|review| review.passed).count(),
            "blockingFindings": findings.filter(|one| one.severity.blocks()).count(),
        },
        "breaches": status.counts.breaches,
    })
}

fn budget(status: &Status) -> Value {
    let ledger = &status.budget;
    let roles: Map<String, Value> = ledger
        .roles
        .iter()
        .map(|(role, spent)| (role.to_string(), scope(&ledger.limits.of(role), spent)))
        .collect();
    let mut value = scope(&ledger.limits.run, &ledger.run);
    value["roles"] = roles.into();
    let passed = ledger.passed.iter().map(|passed| passed.told());
    value["passed"] = passed.collect::<Vec<_>>().into();
    value
}

/// Limit, use and rest of each measure, in its unit; none is no limit.
fn scope(limits: &Budget, spent: &Spending) -> Value {
    let measures: Map<String, Value> = Measure::ALL
        .into_iter()
        .map(|measure| {
            let (limit, used) = (limits.of(measure), spent.of(measure));
            let name = match measure {
                Measure::Money => "moneyMicros",
                Measure::Tokens => "tokens",
                Measure::Time => "timeMs",
                Measure::Iterations => "iterations",
            };
            let value = json!({
                "limit": limit,
                "used": used,
                "remaining": limit.map(|limit| limit.saturating_sub(used)),
            });
            (name.to_owned(), value)
        })
        .collect();
    measures.into()
}

fn tokens(spent: &Spending) -> Value {
    let tokens = spent.tokens;
    json!({
        "input": tokens.input,
        "output": tokens.output,
        "cacheRead": tokens.cache_read,
        "cacheWritten": tokens.cache_written,
        "total": tokens.all(),
        "costMicros": spent.money_micros,
        "unpriced": spent.unpriced_tokens,
    })
}
