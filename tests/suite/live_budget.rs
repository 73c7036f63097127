//! A run that is held to its budgets: stopped with nothing lost, kept stopped, and gone on with.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use super::harness::{Engine, START, World};

const LIMIT: Duration = Duration::from_secs(120);

/// Two tasks, one after the other.
const SPEC: &str = "# Two files\n\nTwo files, one after the other.\n\n## Tasks\n\n\
    1. `first` (eng-backend): Write the first file.\n   - accept: `test -s src/first`\n\
    2. `second` (eng-backend): Write the second file.\n   - depends on: `first`\n";
const QUICK: &str = "#!/bin/sh\nmkdir -p src; echo done > src/$LOKI_TASK\n";
const ENDLESS: &str = "#!/bin/sh\nexec sleep 600\n";

fn agent(world: &World, text: &str) {
    world.write("agent.sh", text);
    world
        .start("chmod", &["+x", "agent.sh"])
        .wait(LIMIT)
        .exits(0);
}

fn session(world: &World) -> Value {
    serde_json::from_str(&fs::read_to_string(world.path(".loki/session.json")).unwrap()).unwrap()
}

fn claims(world: &World) -> usize {
    world.events_of("task_claimed").len()
}

#[test]
fn live_a_run_stops_at_its_budget_with_20_and_a_larger_one_goes_on() {
    let world = World::on(Engine::Docker);
    world.write("spec.md", SPEC);
    agent(&world, ENDLESS);
    world.commit();

    // Its agent works when the time is up: it is ended.
    let said = world
        .loki(&[&START[..], &["--max-time", "5s"]].concat())
        .exits(20);
    said.says(&[
        "budget of the run: 5s",
        "BUDGET: the run's budget of time is nearly used up",
        "BUDGET: the run's budget of time is used up",
        "stopped by a limit: ",
        "--max-time …` goes on with more",
    ]);
    let marks: Vec<Value> = world.events_of("budget_passed");
    let marks: Vec<&Value> = marks.iter().map(|event| &event["mark"]).collect();
    assert_eq!(marks, [&json!("near"), &json!("reached")]);
    assert_eq!(world.events_of("run_ended")[0]["outcome"], "limited");
    assert_eq!(world.leftovers(), Vec::<String>::new());
    let ended = session(&world);
    assert_eq!(
        (&ended["pid"], &ended["status"]),
        (&Value::Null, &json!("limited"))
    );
    let status = world.status();
    assert_eq!(status["tasks"][0]["state"], "interrupted");
    assert!(
        status["budget"]["run"]["time_ms"].as_u64().unwrap() >= 5_000,
        "{status}"
    );
    assert_eq!(claims(&world), 1);

    // What was spent before is charged: nothing more begins.
    world
        .loki(&["resume"])
        .exits(20)
        .says(&["budget of time is used up"]);
    assert_eq!(claims(&world), 1);

    // One more session is allowed; its work lands, and the rest waits.
    agent(&world, QUICK);
    let more = ["resume", "--max-time", "none", "--max-iterations", "2"];
    world
        .loki(&more)
        .exits(20)
        .says(&["first: landed as", "of iterations is used up"]);
    assert_eq!(claims(&world), 2);
    let used = &world.status()["roles"]["eng-backend"];
    assert!(used["usage"]["cpu_ms"].as_u64().unwrap() > 0, "{used}");
    assert!(used["load"]["memory_peak"].as_u64().unwrap() > 0, "{used}");

    world
        .loki(&["resume", "--max-iterations", "9"])
        .exits(0)
        .says(&["second: landed as"]);
    let plan = [&["plan"][..], &START[1..]].concat();
    world
        .loki(&plan)
        .exits(0)
        .prints(&["earlier sessions of it in 1 run here"]);
}
