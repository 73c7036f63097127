//! How a run ends before it is done: killed, asked to stop, interrupted. Whatever happens, no
//! agent outlives its orchestrator and nothing that was reported is lost.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::harness::{Engine, Running, START, World};

const SOON: Duration = Duration::from_secs(60);

/// Two tasks, one after the other.
const SPEC: &str = "# Two files\n\nTwo files, one after the other.\n\n## Tasks\n\n\
    1. `first` (eng-backend): Write the first file.\n   - accept: `test -s src/first`\n\
    2. `second` (eng-backend): Write the second file.\n   - depends on: `first`\n";

const QUICK: &str = "#!/bin/sh\nmkdir -p src; echo done > src/$LOKI_TASK\n";
/// Says that it works, waits until somebody must have asked for the end, and finishes its work.
const SLOW: &str = "#!/bin/sh\nmkdir -p src; echo begun; sleep 4; echo done > src/$LOKI_TASK\n";
/// Never ends by itself, and neither do its children in sessions of their own.
const ENDLESS: &str = "#!/bin/sh\nmkdir -p src; echo some > src/$LOKI_TASK; setsid sleep 600 & nohup sleep 600 & echo begun; exec sleep 600\n";

fn world(engine: Engine, agent: &str) -> World {
    let world = World::on(engine);
    world.write("spec.md", SPEC);
    world.write("agent.sh", agent);
    world
        .start("chmod", &["+x", "agent.sh"])
        .wait(SOON)
        .exits(0);
    world.commit();
    world
}

/// Starts a run and waits until its first agent works.
fn begun(world: &World) -> Running {
    let mut run = world.spawn(&START);
    let logs = world.path(".loki/logs");
    run.wait_until(SOON, |_| {
        let runs = fs::read_dir(&logs).into_iter().flatten().flatten();
        runs.map(|run| run.path().join("first-1.log"))
            .any(|log| fs::read_to_string(log).is_ok_and(|text| text.contains("begun")))
    });
    run
}

/// Returns the processes of a container, found by the namespace of its first one.
fn processes(world: &World, engine: Engine, container: &str) -> Vec<String> {
    let look = ["inspect", "--format", "{{.State.Pid}}", container];
    let first = world
        .start(engine.program(), &look)
        .wait(SOON)
        .exits(0)
        .stdout;
    let space = fs::read_link(format!("/proc/{}/ns/pid", first.trim())).unwrap();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let names = all.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let inside = names
        .filter(|name| fs::read_link(format!("/proc/{name}/ns/pid")).is_ok_and(|of| of == space));
    inside.collect()
}

/// Whether a process is there and is not just waiting to be counted.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, after)| !after.starts_with(['Z', 'X']))
}

#[test]
fn live_kill_9_ends_every_agent_within_a_second_and_the_next_start_sweeps() {
    for engine in Engine::ALL {
        let world = world(engine, ENDLESS);
        let run = begun(&world);
        let containers = world.occupied();
        assert_eq!(containers.len(), 1, "{containers:?}");
        let inside = processes(&world, engine, &containers[0]);
        assert!(
            inside.len() >= 4,
            "guest, agent and its children: {inside:?}"
        );

        run.signal(Signal::KILL);
        let killed = Instant::now();
        while inside.iter().any(|pid| lives(pid)) {
            assert!(
                killed.elapsed() < Duration::from_secs(1),
                "an agent outlived its orchestrator: {inside:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(run.wait(SOON).exits(137));
        not_running(&world, engine, &containers[0]);

        let dead = world.status()["run"].as_str().unwrap().to_owned();
        world
            .loki(&["status"])
            .exits(0)
            .says(&["the orchestrator of this run is gone"]);
        world
            .loki(&["audit", "verify", "--run", &dead])
            .exits(0)
            .prints(&["chain intact"]);
        assert!(
            world.events_of("sandbox_started").len() == 1
                && world.events_of("run_ended").is_empty()
        );

        world.write("agent.sh", QUICK);
        let said = world.loki(&START).exits(0);
        let said = said.says(&["removed a sandbox left by run", &dead, "uncommitted change"]);
        assert!(said.stderr.contains("second: landed as"), "{said}");
        nothing_left(&world);
        world
            .loki(&["audit", "verify", "--run", &dead])
            .exits(0)
            .prints(&["chain intact"]);
    }
}

#[track_caller]
fn not_running(world: &World, engine: Engine, container: &str) {
    let begun = Instant::now();
    let look = ["inspect", "--format", "{{.State.Running}}", container];
    while world
        .start(engine.program(), &look)
        .wait(SOON)
        .exits(0)
        .stdout
        .trim()
        != "false"
    {
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{engine:?} says that the container runs"
        );
    }
}

/// Asks for the end by `ask` while the first task's agent works: it finishes and lands, the
/// second never starts.
#[track_caller]
fn drains(engine: Engine, code: i32, ask: impl Fn(&World, &Running)) {
    let world = world(engine, SLOW);
    let run = begun(&world);
    ask(&world, &run);
    let said = run.wait(SOON).never_panicked().exits(code);
    let said = said.says(&["asked to drain", "first: landed as", "stopped"]);
    assert!(!said.stderr.contains("second: attempt"), "{said}");
    assert_eq!(world.status()["outcome"], "stopped");
    assert_eq!(
        world.git(&["show", &format!("{}:src/first", world.run_branch())]),
        "done\n"
    );
    world.loki(&["audit", "verify"]).exits(0);
    nothing_left(&world);
}

#[test]
fn live_stop_lets_agents_finish_and_starts_nothing_new() {
    drains(Engine::Docker, 1, |world, _| {
        world
            .loki(&["stop"])
            .exits(0)
            .says(&["to end when its agents have finished", "it ended"]);
    });
}

#[test]
fn live_control_c_once_lets_agents_finish() {
    drains(Engine::PodmanRootful, 130, |_, run| run.signal(Signal::INT));
}

/// A terminal that is gone takes no more words; the agents still finish.
#[test]
fn live_a_run_whose_words_nobody_takes_still_ends_well() {
    let world = world(Engine::Docker, QUICK);
    let line = format!(
        "{} {} 2>&1 | head -n 1",
        env!("CARGO_BIN_EXE_loki"),
        START.join(" ")
    );
    world
        .start("sh", &["-c", &line])
        .wait(SOON)
        .exits(0)
        .prints(&["made the key "]);
    assert_eq!(world.status()["outcome"], "done");
    nothing_left(&world);
}

#[test]
fn live_a_hang_up_lets_agents_finish() {
    drains(Engine::Docker, 129, |_, run| run.signal(Signal::HUP));
}

/// Asks for the end at once while an agent works that would not end for minutes.
#[track_caller]
fn ends_at_once(engine: Engine, code: i32, ask: impl Fn(&World, &mut Running)) {
    let world = world(engine, ENDLESS);
    let mut run = begun(&world);
    ask(&world, &mut run);
    // The agents would go on for ten minutes.
    let said = run
        .wait(SOON)
        .never_panicked()
        .exits(code)
        .says(&["stopped"]);
    assert!(!said.stderr.contains("warning"), "{said}");
    assert_eq!(world.status()["outcome"], "stopped");
    world.loki(&["audit", "verify"]).exits(0);
    nothing_left(&world);
}

#[test]
fn live_control_c_twice_ends_agents_at_once() {
    for engine in Engine::ALL {
        ends_at_once(engine, 130, |_, run| {
            run.signal(Signal::INT);
            run.wait_until(SOON, |said| {
                said.stderr.contains("once more ends running agents")
            });
            run.signal(Signal::INT);
        });
    }
}

#[test]
fn live_a_termination_ends_agents_at_once() {
    ends_at_once(Engine::PodmanRootful, 143, |_, run| {
        run.signal(Signal::TERM);
    });
}

#[test]
fn live_stop_now_ends_agents_at_once() {
    ends_at_once(Engine::Docker, 143, |world, _| {
        world
            .loki(&["stop", "--now"])
            .exits(0)
            .says(&["to end at once", "it ended"]);
    });
}

#[test]
fn live_stop_with_nothing_to_stop_says_so() {
    let world = world(Engine::Docker, QUICK);
    world
        .loki(&["stop"])
        .exits(0)
        .says(&["nothing runs in this repository"]);
}

#[track_caller]
fn nothing_left(world: &World) {
    assert_eq!(
        world.leftovers(),
        Vec::<String>::new(),
        "containers are left"
    );
    let slots = fs::read_dir(world.path(".loki/worktrees"))
        .into_iter()
        .flatten()
        .flatten();
    let held: Vec<_> = slots
        .flat_map(|run| fs::read_dir(run.path()).unwrap().flatten())
        .collect();
    assert!(held.is_empty(), "worktrees are left: {held:?}");
    assert_eq!(world.git(&["worktree", "list"]).lines().count(), 1);
}
