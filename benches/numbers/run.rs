//! What a whole run takes besides its agents: tasks one after the other, each agent busy for a
//! known time, everything real but the model.

use serde_json::Value;

use crate::{
    Effort,
    group::Group,
    harness::Engine,
    replayed::{Plan, Replayed},
    sheet::row::Part,
};

/// Seconds that each agent works. Agents of models take minutes.
const WORKS: f64 = 15.0;

/// Seconds between steps of each task, by the names of what begins and ends them.
const STEPS: [(&str, &str, &str); 5] = [
    ("claim to sandbox", "task_claimed", "sandbox_started"),
    (
        "sandbox to agent's end, besides its work",
        "sandbox_started",
        "agent_ended",
    ),
    ("to the gate's verdict", "agent_ended", "gated"),
    ("to the commit", "gated", "committed"),
    ("to the landing, with its checks", "committed", "task_done"),
];

fn when(told: &[(f64, Value)], task: &str, kind: &str) -> Option<f64> {
    let of = |event: &Value| event["type"] == kind && event["task"] == task;
    told.iter().find(|(_, event)| of(event)).map(|(at, _)| *at)
}

fn steps(told: &[(f64, Value)], tasks: usize) -> Vec<Part> {
    let step = |(what, from, to): &(&str, &str, &str)| {
        let took = (0..tasks).filter_map(|at| {
            let task = format!("t{at:05}");
            Some(when(told, &task, to)? - when(told, &task, from)?)
        });
        let mean = took.sum::<f64>() / tasks as f64;
        let works = if *to == "agent_ended" { WORKS } else { 0.0 };
        Part {
            what: (*what).to_owned(),
            took: ((mean - works) * 1e3).round(),
            unit: "ms".to_owned(),
        }
    };
    STEPS.iter().map(step).collect()
}

pub(crate) fn measure(effort: Effort) -> Group {
    let tasks = effort.rounds.div_ceil(5).max(2);
    let plan = Plan {
        tasks,
        in_turn: true,
        files: 0,
        script: format!("sleep {WORKS}\nmkdir -p src\necho done > src/$LOKI_TASK"),
    };
    let mut run = Replayed::start(Engine::Docker, &plan, 10);
    let took = run.watch(|_| {}).as_secs_f64();
    let told = run.told();
    let works = told
        .iter()
        .filter(|(_, event)| event["type"] == "agent_ended");
    let works: f64 = works
        .map(|(_, event)| event["elapsed_ms"].as_f64().unwrap_or_default() / 1e3)
        .sum();
    let mut group = Group::default();
    group.alone("run/overhead", &[(took - works) / works]);
    group.note(
        "run/overhead",
        format!("{tasks} tasks one after the other, whose agents work {WORKS} s each: {took:.1} s in all, {works:.1} s of it the agents'. The part that is not theirs does not grow with their time"),
    );
    group.spent("run/overhead", steps(&told, tasks));
    group.alone("run/each", &[(took - works) * 1e3 / tasks as f64]);
    group
}
