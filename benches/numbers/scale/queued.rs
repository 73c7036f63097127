//! Ten thousand tasks in the queue of one run: what that costs the orchestrator, and who looks at it.

use std::{process::Command, thread, time::Instant};

use serde_json::{Value, json};

use super::{SETTLES, left, percentiles, rounded};
use crate::{
    harness::Engine,
    queue::Owner,
    replayed::{Plan, Replayed},
    tools::{millis, processor, resident, timed},
};

/// Slots of the run; all agents sleep.
const SLOTS: usize = 20;
/// How often the run is looked at by `loki status`.
const LOOKS: usize = 20;

/// Milliseconds of each claim until none is left, journalled, without agents.
fn claims(tasks: usize) -> Vec<f64> {
    let dir = tempfile::tempdir().expect("a directory");
    let mut owner = Owner::of(dir.path(), tasks);
    let mut took = Vec::new();
    loop {
        let begun = Instant::now();
        if owner.claim().is_none() {
            owner.sync();
            return took;
        }
        took.push(millis(begun.elapsed()));
    }
}

fn status(run: &Replayed) -> f64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loki"));
    let command = command
        .args(["status", "--json"])
        .current_dir(run.world.path("."));
    timed(command).expect("it answers")
}

pub(crate) fn measure(tasks: usize) -> Value {
    let took = claims(tasks);
    let (count, all) = (took.len(), took.iter().sum::<f64>());
    let plan = Plan {
        tasks,
        in_turn: false,
        files: 0,
        script: "exec sleep 86400".to_owned(),
    };
    let begun = Instant::now();
    let mut run = Replayed::start(Engine::Docker, &plan, SLOTS);
    run.wait_for("task_claimed", 1);
    let claimed = begun.elapsed().as_secs_f64();
    run.wait_for("sandbox_started", SLOTS.min(tasks));
    thread::sleep(SETTLES);
    let id = run.id();
    let before = processor(id).expect("it runs");
    thread::sleep(SETTLES);
    let share = (processor(id).expect("it runs") - before) / SETTLES.as_secs_f64();
    let memory = resident(id).expect("it runs");
    let looks = (0..LOOKS).map(|_| status(&run)).collect();
    run.stop();
    json!({
        "tasks": tasks,
        "claim, journalled, ms": percentiles(took),
        "claims a second": rounded(count as f64 / all * 1e3),
        "start to first claim, s": rounded(claimed),
        "orchestrator, resident MB": rounded(memory),
        "orchestrator, of one processor while all agents sleep": rounded(share),
        "loki status --json, ms": percentiles(looks),
        "left": left(&run),
    })
}
