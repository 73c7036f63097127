//! What an orchestrator takes while its sandboxes are idle, and what a guest does. The agents of a
//! real run sleep; nothing else of it is left out.

use std::{thread, time::Duration};

use crate::{
    Effort,
    group::Group,
    harness::Engine,
    replayed::{Plan, Replayed},
    sheet::row::Spread,
    tools::{processor, resident, said},
};

/// From the last sandbox's start until it counts.
const SETTLES: Duration = Duration::from_secs(5);

/// Share of one processor that each of these takes over a while.
fn shares(of: &[u32], over: Duration) -> Vec<f64> {
    let used = || of.iter().map(|id| processor(*id).expect("it runs"));
    let before: Vec<f64> = used().collect();
    thread::sleep(over);
    let shares = used().zip(before);
    shares
        .map(|(after, before)| (after - before) / over.as_secs_f64())
        .collect()
}

/// The first processes of the run's containers.
fn guests(run: &Replayed) -> Vec<u32> {
    let started = run.world.events_of("sandbox_started");
    let ids = started
        .iter()
        .filter_map(|event| event["container"].as_str());
    let words: Vec<&str> = ["inspect", "--format", "{{.State.Pid}}"]
        .into_iter()
        .chain(ids)
        .collect();
    let told = said(Engine::Docker.program(), &words).expect("they run");
    told.lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect()
}

pub(crate) fn measure(effort: Effort) -> Group {
    let count = effort.idle;
    let plan = Plan {
        tasks: count,
        in_turn: false,
        files: 0,
        script: "exec sleep 86400".to_owned(),
    };
    let mut run = Replayed::start(Engine::Docker, &plan, count);
    run.wait_for("sandbox_started", count);
    thread::sleep(SETTLES);
    let guests = guests(&run);
    let orchestrator = run.id();
    let all: Vec<u32> = [orchestrator]
        .into_iter()
        .chain(guests.iter().copied())
        .collect();
    let shares = shares(&all, effort.while_idle);
    let memory: Vec<f64> = guests.iter().filter_map(|id| resident(*id)).collect();
    let mut group = Group::default();
    let one = |group: &mut Group, id: &str, number| group.take(id, Spread::median(number, 1), None);
    one(&mut group, "idle/processor", shares[0]);
    let over = effort.while_idle.as_secs();
    group.note(
        "idle/processor",
        format!("{count} sandboxes whose agents sleep, over {over} s"),
    );
    one(
        &mut group,
        "idle/orchestrator",
        resident(orchestrator).expect("it runs"),
    );
    group.alone("idle/guest", &memory);
    group.alone("idle/guest-processor", &shares[1..]);
    run.stop();
    let left = run.world.leftovers();
    assert!(left.is_empty(), "these are left: {left:?}");
    group
}
