//! Runs that are too long for `make bench`: a hundred agents at once, a thousand tasks through twenty
//! slots, ten thousand tasks queued, a day of idleness. Real containers on Docker, and nothing faked
//! but the agents' work. `LOKI_SCALE=0.1` makes each a tenth as large.

use std::{
    fs,
    process::ExitCode,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    harness::Engine,
    machine, place,
    replayed::{Plan, Replayed},
    tools::{peak, processor, resident},
};

mod day;
mod queued;

/// The parts, in order.
const PARTS: [&str; 4] = ["agents", "slots", "queued", "idle"];

/// How much larger or smaller than agreed.
fn factor() -> f64 {
    let said = std::env::var("LOKI_SCALE").ok();
    let factor = said.map_or(1.0, |said| {
        said.parse().expect("`LOKI_SCALE` is a number such as 0.1")
    });
    assert!(
        factor > 0.0 && factor <= 1.0,
        "`LOKI_SCALE` is above 0 and at most 1"
    );
    factor
}

/// A part of what is agreed, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most 10,000, and positive"
)]
fn scaled(count: usize) -> usize {
    ((count as f64 * factor()) as usize).max(1)
}

/// Runs the parts that are named, all if none is, and writes what they came to.
pub(crate) fn run(asked: &[&str]) -> ExitCode {
    let (begun, machine) = (Instant::now(), machine::described());
    let mut told = Vec::new();
    for part in PARTS
        .into_iter()
        .filter(|part| asked.is_empty() || asked.contains(part))
    {
        eprintln!("scale: {part} ({:.0} s)", begun.elapsed().as_secs_f64());
        let since = Instant::now();
        let found = match part {
            "agents" => agents(),
            "slots" => slots(),
            "queued" => queued::measure(scaled(10_000)),
            _ => day::measure(scaled(100)),
        };
        told.push(json!({ "part": part, "seconds": since.elapsed().as_secs(), "found": found }));
    }
    assert!(!told.is_empty(), "the parts are {PARTS:?}");
    let report = json!({
        "schema": 1, "scale": factor(), "machine": machine,
        "seconds": begun.elapsed().as_secs(), "parts": told,
    });
    fs::create_dir_all(place()).expect("the target takes a folder");
    let path = place().join("scale.json");
    let text = serde_json::to_string_pretty(&report).expect("numbers are JSON");
    fs::write(&path, text + "\n").expect("the target takes a file");
    for part in report["parts"].as_array().into_iter().flatten() {
        println!(
            "\n## {}, {} s\n",
            part["part"].as_str().unwrap_or_default(),
            part["seconds"]
        );
        for (what, found) in part["found"].as_object().into_iter().flatten() {
            println!("- {what}: {found}");
        }
    }
    eprintln!(
        "scale: {} s; the report is {}",
        report["seconds"],
        path.display()
    );
    ExitCode::SUCCESS
}

/// A hundred agents at once: each works until long after the last has begun.
fn agents() -> Value {
    let count = scaled(100);
    let plan = Plan {
        tasks: count,
        in_turn: false,
        files: 0,
        script: format!(
            "sleep {}\nmkdir -p src\necho done > src/$LOKI_TASK",
            20 + count
        ),
    };
    whole(&plan, count)
}

/// A thousand tasks through twenty slots, each agent done at once.
fn slots() -> Value {
    let plan = Plan {
        tasks: scaled(1000),
        in_turn: false,
        files: 0,
        script: "mkdir -p src\necho done > src/$LOKI_TASK".to_owned(),
    };
    whole(&plan, 20)
}

/// What an orchestrator used at most.
#[derive(Default)]
struct Used {
    processor: f64,
    resident: f64,
    /// Megabytes of the whole machine that went with the run.
    machine: f64,
}

fn available() -> f64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.unwrap_or_default() * 1024.0 / 1e6
}

/// A run to its end.
fn whole(plan: &Plan, at_once: usize) -> Value {
    let before = available();
    let mut run = Replayed::start(Engine::Docker, plan, at_once);
    let mut used = Used::default();
    let took = run.watch(|id| {
        used.processor = processor(id).unwrap_or_default().max(used.processor);
        used.resident = peak(id)
            .or(resident(id))
            .unwrap_or_default()
            .max(used.resident);
        used.machine = (before - available()).max(used.machine);
    });
    let told = run.told();
    let count = |kind: &str| {
        told.iter()
            .filter(|(_, event)| event["type"] == kind)
            .count()
    };
    json!({
        "tasks": plan.tasks, "slots": at_once, "done": count("task_done"), "failed": count("task_failed"),
        "seconds": rounded(took.as_secs_f64()),
        "tasks a minute": rounded(count("task_done") as f64 * 60.0 / took.as_secs_f64()),
        "most sandboxes at once": at_once_at_most(&told),
        "claim to sandbox, s": between(&told, plan.tasks, "task_claimed", "sandbox_started"),
        "sandbox to agent's end, s": between(&told, plan.tasks, "sandbox_started", "agent_ended"),
        "agent's end to landing, s": between(&told, plan.tasks, "agent_ended", "task_done"),
        "claim to landing, s": between(&told, plan.tasks, "task_claimed", "task_done"),
        "orchestrator": {
            "processor seconds": rounded(used.processor),
            "of one processor": rounded(used.processor / took.as_secs_f64()),
            "most resident MB": rounded(used.resident),
        },
        "most of the machine's memory, MB": rounded(used.machine),
        "left": left(&run),
    })
}

fn at_once_at_most(told: &[(f64, Value)]) -> i64 {
    let mut now = 0;
    let each = told.iter().map(|(_, event)| {
        now += match event["type"].as_str() {
            Some("sandbox_started") => 1,
            Some("sandbox_ended") => -1,
            _ => 0,
        };
        now
    });
    each.max().unwrap_or_default()
}

/// Seconds between the first of two events of each task.
fn between(told: &[(f64, Value)], tasks: usize, from: &str, to: &str) -> Value {
    let first = |kind: &str| {
        let mut first = std::collections::HashMap::new();
        for (at, event) in told.iter().filter(|(_, event)| event["type"] == kind) {
            if let Some(task) = event["task"].as_str() {
                first.entry(task.to_owned()).or_insert(*at);
            }
        }
        first
    };
    let (from, to) = (first(from), first(to));
    let took = (0..tasks).filter_map(|at| {
        let task = format!("t{at:05}");
        Some(to.get(&task)? - from.get(&task)?)
    });
    percentiles(took.collect())
}

/// What half, 95 and 99 of 100 do not pass.
fn percentiles(mut all: Vec<f64>) -> Value {
    all.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        let place = (all.len() * percent).div_ceil(100).checked_sub(1)?;
        all.get(place).copied().map(rounded)
    };
    json!({ "p50": at(50), "p95": at(95), "p99": at(99), "of": all.len() })
}

fn rounded(number: f64) -> f64 {
    crate::sheet::row::rounded(number)
}

/// Everything that must be gone: containers, worktrees, slots.
fn left(run: &Replayed) -> Value {
    let containers = run.world.leftovers();
    let worktrees = run.world.git(&["worktree", "list", "--porcelain"]);
    let slots = fs::read_dir(run.world.path(".loki/worktrees"))
        .into_iter()
        .flatten()
        .flatten();
    let slots = slots.filter_map(|run| fs::read_dir(run.path()).ok());
    let slots = slots.map(|run| run.flatten().count()).sum::<usize>();
    json!({
        "containers": containers.len(),
        "worktrees": worktrees.matches("worktree ").count() - 1,
        "slots": slots,
    })
}

/// How long one is waited for to come to rest.
const SETTLES: Duration = Duration::from_secs(5);
