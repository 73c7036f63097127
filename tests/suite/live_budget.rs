//! A run that is held to its budgets: stopped with nothing lost, kept stopped, and gone on with.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use loki::{
    budget::{Budget, Budgets, Measure},
    event::{Event, Outcome, Priced},
};
use serde_json::{Value, json};

use super::{
    harness::{
        Engine, START, World,
        crash::replayed,
        model::{Asked, Model, Reply},
    },
    live_claude::{CANARY, stage},
};

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

/// One task that is done at once, one that its model lets wait, one that comes after the first.
const PAID: &str = "# Three files\n\nThree small files.\n\n## Tasks\n\n\
    1. `quick` (eng-backend): Write a file.\n   - accept: `test -s src/quick`\n\
    2. `slow` (eng-backend): Write another.\n\
    3. `after` (eng-backend): Write the last.\n   - depends on: `quick`\n";

/// What the model of that run waits for.
#[derive(Default)]
struct Turns {
    /// The slow task's agent works.
    slow_asked: AtomicBool,
    /// The slow task gets its answer.
    paid: AtomicBool,
}

impl Turns {
    fn answer(&self, asked: &Asked) -> Reply {
        let is_of = |task: &&str| asked.mentions(&format!("# Task `{task}` "));
        let Some(task) = ["quick", "slow", "after"].into_iter().find(is_of) else {
            return Reply::Text("nothing to do".to_owned());
        };
        match task {
            "quick" => until(&self.slow_asked),
            "slow" => {
                self.slow_asked.store(true, Ordering::Relaxed);
                until(&self.paid);
            }
            _ => {}
        }
        if asked.tools_used() > 0 {
            return Reply::Text("The file is written.".to_owned());
        }
        let path = format!("/work/src/{task}");
        Reply::Tool("Write", json!({"file_path": path, "content": "done\n"}))
    }
}

/// Waits for what comes soon; whoever asked has gone away where it does not.
fn until(flag: &AtomicBool) {
    for _ in 0..6_000 {
        if flag.load(Ordering::Relaxed) {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn live_money_ends_a_run_with_20_and_what_was_handed_over_lands() {
    let turns = Arc::new(Turns::default());
    let script = Arc::clone(&turns);
    let model = Model::start(CANARY, move |asked| script.answer(asked));
    let world = stage(Engine::Docker, &model);
    world.write("spec.md", PAID);
    world.commit();
    let start = ["start", "spec.md", "--provider", "claude"];
    let said = world
        .loki(&[&start[..], &["--budget", "0.001USD"]].concat())
        .exits(20);
    // Its agent had ended: it is judged and lands. The other one works, and is ended.
    said.says(&[
        "BUDGET: the run's budget of money is used up",
        "quick: landed as",
        "stopped by a limit: ",
        "--budget …` with more goes on",
    ]);
    let states = |world: &World| {
        let tasks = world.status()["tasks"].clone();
        let state = |task: &Value| task["state"].as_str().unwrap().to_owned();
        tasks
            .as_array()
            .unwrap()
            .iter()
            .map(state)
            .collect::<Vec<_>>()
    };
    assert_eq!(states(&world), ["done", "interrupted", "pending"]);
    assert_eq!(world.events_of("run_ended")[0]["outcome"], "limited");
    let spent = &world.status()["budget"]["run"];
    assert!(spent["money_micros"].as_u64().unwrap() > 1_000, "{spent}");
    assert_eq!((claims(&world), world.leftovers().len()), (2, 0));

    turns.paid.store(true, Ordering::Relaxed);
    let tokens = ["resume", "--budget", "none", "--max-tokens", "10"];
    world.loki(&tokens).exits(20).says(&[
        "BUDGET: the run's budget of tokens is used up",
        "--max-tokens …` with more goes on",
    ]);
    assert_eq!(claims(&world), 2);
    let enough = ["resume", "--budget", "100USD", "--max-tokens", "none"];
    world
        .loki(&enough)
        .exits(0)
        .says(&["slow: landed as", "after: landed as"]);
}

#[test]
fn live_a_role_at_its_budget_waits_while_others_land_their_work() {
    let world = World::on(Engine::Docker);
    world.write(
        "spec.md",
        "# Files\n\n## Tasks\n\n1. `test-one` (eng-qa): One.\n2. `test-two` (eng-qa): Two.\n\
         3. `code` (eng-backend): Three.\n   - accept: `test -s src/code`\n",
    );
    agent(
        &world,
        "#!/bin/sh\nfolder=src\n[ \"$LOKI_ROLE\" = eng-qa ] && folder=tests\n\
         mkdir -p $folder && echo done > $folder/$LOKI_TASK\n",
    );
    world.commit();
    let of_qa = |sessions: u32| {
        let text = format!("version: 1\nroles: {{ eng-qa: {{ iterations: {sessions} }} }}\n");
        world.write("../home/.config/loki/budget.yaml", text);
    };
    of_qa(1);
    world.loki(&START).exits(20).says(&[
        "BUDGET: the budget of role `eng-qa` of iterations is used up",
        "code: landed as",
        "raise it in the budget.yaml that says so",
    ]);
    assert_eq!((claims(&world), world.events_of("task_done").len()), (2, 2));
    of_qa(2);
    world.loki(&["resume"]).exits(0);
    assert_eq!(claims(&world), 3);
}

/// A run that was stopped for tokens of a model whose price nobody knew.
fn unpriced(world: &World) -> Vec<Event> {
    let spec = fs::read_to_string(world.path("spec.md")).unwrap();
    let mut started = world.run_started(&spec);
    if let Event::RunStarted {
        provider,
        asked: Some(asked),
        ..
    } = &mut started
    {
        "replay".clone_into(provider);
        asked.command = None;
        asked.replayed = Some("m".to_owned());
    }
    let mut budget = Budget::default();
    budget.set(Measure::Money, Some(5_000_000));
    let task = |name: &str, depends_on: &[&str]| {
        let told =
            json!({"id": name, "role": "eng-backend", "title": name, "depends_on": depends_on});
        serde_json::from_value(told).unwrap()
    };
    let first = || "first".parse().unwrap();
    vec![
        started,
        Event::BudgetSet(Budgets {
            given: budget,
            run: budget,
            roles: Vec::new(),
        }),
        Event::Planned {
            tasks: vec![task("first", &[]), task("second", &["first"])],
        },
        Event::TaskClaimed {
            task: first(),
            version: 1,
            attempt: 1,
        },
        Event::AgentSpent {
            task: first(),
            attempt: 1,
            model: "mystery".to_owned(),
            turns: 1,
            input: 1_000_000,
            cache_written: 0,
            cache_read: 0,
            output: 0,
            cost_micros: 0,
            priced: Priced::Unknown,
        },
        Event::TaskFailed {
            task: first(),
            version: 1,
            attempt: 1,
            reason: "not this time".to_owned(),
            retry: true,
        },
        Event::RunEnded {
            outcome: Outcome::Limited,
            reason: None,
        },
    ]
}

#[test]
fn live_a_price_that_nobody_knew_is_asked_for_and_with_it_the_run_goes_on() {
    let world = replayed(Engine::Docker);
    drop(world.record(&unpriced(&world)));
    let prices = |file: &str, of: &str| {
        let kinds = "cache_write: 0USD, cache_read: 0USD, output: 0USD";
        let text = format!("version: 1\nprices: {{ mystery: {{ input: {of}, {kinds} }} }}\n");
        world.write(file, text);
    };
    let stays = [
        "no price is known of `mystery`",
        "~/.config/loki/budget.yaml",
    ];
    let resume = ["resume", "--accept-policy"];
    world.loki(&resume).exits(20).says(&stays);
    // Nor does whoever wrote the code say what it costs, or more money make it known.
    prices(".loki/config/budget.yaml", "0USD");
    let more = [&resume[..], &["--budget", "8USD"]].concat();
    let said = world.loki(&more).exits(20).says(&stays);
    said.says(&["the price of `mystery` in `.loki/config/budget.yaml` does not count"]);
    assert_eq!(claims(&world), 1);

    prices("../home/.config/loki/budget.yaml", "3USD");
    world.loki(&resume).exits(0).says(&[
        "`mystery` has a price now",
        "first: landed as",
        "second: landed as",
    ]);
    let spent = world.status()["budget"]["run"].clone();
    assert_eq!(
        (&spent["money_micros"], &spent["unpriced_tokens"]),
        (&json!(3_000_000), &json!(0))
    );
}
