//! THREATS K2, K4, K12 and K13: the runtime's own weaknesses, what a killed orchestrator leaves, and
//! images that change under their name.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::harness::{Engine, START, Said, World, as_backend, opened_with};

const LIMIT: Duration = Duration::from_secs(300);
/// How many times an orchestrator is killed on its way to a working agent.
const POINTS: u32 = 10;

const SPEC: &str =
    "# A file\n\n## Tasks\n\n1. `page` (eng-backend): Write it.\n\n## Tests\n\n- `true`\n";
const QUICK: &str = "#!/bin/sh\nmkdir -p src; echo done > src/page\n";
const ENDLESS: &str = "#!/bin/sh\necho begun; exec sleep 600\n";

fn world(engine: Engine, agent: &str) -> World {
    let world = World::on(engine);
    world.write("spec.md", SPEC);
    world.write("agent.sh", agent);
    drop(
        world
            .start("chmod", &["+x", "agent.sh"])
            .wait(LIMIT)
            .exits(0),
    );
    world.commit();
    world
}

#[track_caller]
fn closed(said: &Said) {
    assert!(
        !said.stdout.contains("REACHED"),
        "the attack got through\n{said}"
    );
    assert!(
        said.stdout.contains("LOOKED"),
        "the probe did not end\n{said}"
    );
}

#[track_caller]
fn reached(said: &Said, wanted: &[&str]) {
    for one in wanted {
        let line = format!("REACHED {one}");
        assert!(
            said.stdout.contains(&line),
            "the control did not reach `{one}`\n{said}"
        );
    }
}

#[test]
fn attack_k02_the_runtimes_own_program_is_out_of_reach() {
    let probe = include_str!("harness/probes/runtime.py");
    for engine in Engine::ALL {
        let world = world(engine, QUICK);
        let before = fs::read("/usr/sbin/runc").or_else(|_| fs::read("/usr/bin/runc"));
        let mut running = world.spawn(&as_backend(&["python3", "-c", probe]));
        running.wait_until(LIMIT, |said| said.stdout.contains("WATCHING"));
        // Loki never enters a container through the engine; a person may, and brings the runtime in.
        for container in world.leftovers() {
            let enter = ["exec", &container, "/bin/true"];
            drop(
                world
                    .start(engine.program(), &enter)
                    .wait(LIMIT)
                    .in_any_case(),
            );
        }
        closed(&running.wait(LIMIT).exits(0));
        let after = fs::read("/usr/sbin/runc").or_else(|_| fs::read("/usr/bin/runc"));
        assert!(before.unwrap() == after.unwrap(), "the runtime was changed");
        let control = opened_with(&world, engine, probe, &["--env=WATCH=0.5"]);
        reached(&control, &["trap /usr/bin/env", "read /proc/1/exe"]);
    }
}

#[test]
fn attack_k02_k04_the_doctor_names_an_old_runtime() {
    for engine in Engine::ALL {
        let said = World::on(engine).loki(&["doctor", "--json"]).exits(0);
        let found: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        let runtime = found["isolation"]["runtime"].as_str().unwrap();
        let version = runtime.split_once(' ').expect("a version").1;
        let checks = found["checks"].as_array().unwrap();
        let noted = checks.iter().any(|check| {
            check["what"] == "runtime version"
                && check["level"] == "note"
                && check["found"].as_str().unwrap().contains("CVE-2025-31133")
        });
        let old = runtime.starts_with("runc 1.0")
            || runtime.starts_with("runc 1.1")
            || runtime.starts_with("runc 1.2");
        assert!(noted || !old, "{version} is old and not noted\n{said}");
    }
}

#[test]
fn attack_k04_masked_paths_and_the_kernels_files_are_out_of_reach() {
    let probe = include_str!("harness/probes/kernel_paths.py");
    for engine in Engine::ALL {
        let world = world(engine, QUICK);
        closed(&world.loki(&as_backend(&["python3", "-c", probe])).exits(0));
        let control = opened_with(&world, engine, probe, &["--cap-add=SYS_RAWIO"]);
        let wanted = [
            "write /proc/sys/kernel/core_pattern",
            "write /proc/1/oom_score_adj",
            "swap /dev/null",
            "plant in /dev",
        ];
        reached(&control, &wanted);
    }
}

/// Kills the orchestrator at ten points between its start and its first working agent: while it
/// looks around, creates, starts, connects and claims. Each next start removes what was left.
#[test]
fn attack_k12_what_a_killed_orchestrator_leaves_is_found_and_removed() {
    for engine in Engine::ALL {
        let world = world(engine, ENDLESS);
        let whole = until_begun(&world);
        let mut swept = 0;
        for point in 1..=POINTS {
            let running = world.spawn(&START);
            // The time is the point here.
            std::thread::sleep(whole * point / POINTS);
            running.signal(Signal::KILL);
            let said = running.wait(LIMIT).exits(137);
            swept += said.stderr.matches("removed a sandbox left by run").count();
        }
        world.write("agent.sh", QUICK);
        let said = world.loki(&START).exits(0);
        swept += said.stderr.matches("removed a sandbox left by run").count();
        assert!(
            swept > 0,
            "no kill left anything: the test shows nothing\n{said}"
        );
        if !world.leftovers().is_empty() {
            // The engine may have made one that was still on its way when its orchestrator died:
            // the next start takes it.
            drop(world.loki(&START).exits(0));
        }
        assert_eq!(world.leftovers(), Vec::<String>::new(), "{engine:?}");
        let worktrees = world.git(&["worktree", "list", "--porcelain"]);
        assert_eq!(worktrees.matches("worktree ").count(), 1, "{worktrees}");
    }
}

/// Runs until the agent works, and returns how long that took; killed, it is the first leftover.
fn until_begun(world: &World) -> Duration {
    let begun = Instant::now();
    let mut running = world.spawn(&START);
    let logs = world.path(".loki/logs");
    running.wait_until(LIMIT, |_| {
        let runs = fs::read_dir(&logs).into_iter().flatten().flatten();
        runs.map(|run| run.path().join("page-1.log"))
            .any(|log| fs::read_to_string(log).is_ok_and(|text| text.contains("begun")))
    });
    let whole = begun.elapsed();
    running.signal(Signal::KILL);
    drop(running.wait(LIMIT).exits(137));
    whole
}

#[test]
fn attack_k13_a_sandbox_is_made_of_the_image_that_its_record_names() {
    for engine in Engine::ALL {
        let world = world(
            engine,
            "#!/bin/sh\nmkdir -p src; echo done > src/page; echo begun; sleep 5\n",
        );
        let image = world.image();
        assert!(image.starts_with("sha256:") && image.len() == 71, "{image}");
        let mut running = world.spawn(&START);
        running.wait_until(LIMIT, |said| said.stderr.contains("page-1: sandbox for"));
        let begun = world.events_of("sandbox_started");
        let container = begun[0]["container"].as_str().unwrap();
        let look = ["inspect", "--format", "{{.Image}}", container];
        let told = world
            .start(engine.program(), &look)
            .wait(LIMIT)
            .exits(0)
            .stdout;
        // The engines write the same id with and without its algorithm.
        let made_of = told.trim().trim_start_matches("sha256:");
        assert_eq!(made_of, image.trim_start_matches("sha256:"));
        drop(running.wait(LIMIT).exits(0));
        let started = world.events_of("sandbox_started");
        assert!(!started.is_empty());
        for event in started {
            assert_eq!(event["image"], image.as_str(), "{event}");
        }
    }
}
