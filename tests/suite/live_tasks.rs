//! Small tasks done together, and a plan that changes while its run goes on, in real sandboxes.

use std::{fs, time::Duration};

use serde_json::Value;

use super::harness::{Engine, START, World};

const LIMIT: Duration = Duration::from_secs(300);

/// Does each task that it is given; `odd-1` only when it is alone, and `slow` never.
const AGENT: &str = r#"#!/bin/sh
set -eu
mkdir -p src/odd
for task in ${LOKI_TASKS:-$LOKI_TASK}; do
  case $task in
    fix-*) echo "${task#fix-}" >> src/page.txt ;;
    odd-1) test -n "${LOKI_TASKS:-}" || touch src/odd/1 ;;
    odd-*) touch "src/odd/${task#odd-}" ;;
    slow) sleep 600 ;;
    *) touch "src/$task" ;;
  esac
done
"#;

fn spec() -> String {
    let task = |name: String, file: &str, check: String| {
        format!("- `{name}` (eng-backend): Do {name}\n  - files: `{file}`\n  - accept: `{check}`\n")
    };
    let fixes = (0..10).map(|n| {
        let check = format!("grep -qx {n} src/page.txt");
        task(format!("fix-{n}"), "src/page.txt", check)
    });
    let odd = (0..3).map(|n| {
        task(
            format!("odd-{n}"),
            "src/odd/",
            format!("test -f src/odd/{n}"),
        )
    });
    let rest = "- `slow` (eng-backend): Sleep\n  - priority: low\n";
    let tasks: String = fixes.chain(odd).collect();
    format!("# Page\n\n## Tasks\n\n{tasks}{rest}\n## Tests\n\n- `true`\n")
}

fn names(events: &[Value]) -> Vec<&str> {
    let mut names: Vec<&str> = events
        .iter()
        .filter_map(|one| one["task"].as_str())
        .collect();
    names.sort_unstable();
    names
}

/// Starts the run and waits until only `slow` is at work.
fn begun(world: &World) -> super::harness::Running {
    world.write("spec.md", spec());
    world.write("agent.sh", AGENT);
    world
        .start("chmod", &["+x", "agent.sh"])
        .wait(LIMIT)
        .exits(0);
    world.commit();
    let mut run = world.spawn(&START);
    run.wait_until(LIMIT, |said| {
        (0..3).all(|n| said.stderr.contains(&format!("odd-{n}: landed as")))
            && said.stderr.contains("slow: attempt 1")
    });
    run
}

#[test]
fn live_ten_minor_fixes_are_one_session_and_a_plan_changes_while_its_run_goes_on() {
    let world = World::on(Engine::Docker);
    let mut run = begun(&world);
    world
        .loki(&["task", "add", "Late", "--accept", "test -f src/late"])
        .exits(0)
        .says(&["task `late` is added"]);
    world
        .loki(&["task", "add", "Page", "--role", "eng-bakend"])
        .exits(2)
        .says(&["did you mean `eng-backend`?"]);
    world.write(
        ".loki/inbox/.new",
        "title: Dropped\naccept: [test -f src/dropped]\ndepends_on: [late]\n",
    );
    world.write(".loki/inbox/wrong.yaml", "titel: Dropped\n");
    std::os::unix::fs::symlink("/etc/hosts", world.path(".loki/inbox/link.yaml")).unwrap();
    fs::rename(
        world.path(".loki/inbox/.new"),
        world.path(".loki/inbox/good.yaml"),
    )
    .unwrap();
    run.wait_until(LIMIT, |said| said.stderr.contains("dropped: landed as"));
    let listed = world.loki(&["task", "list"]).exits(0);
    listed.prints(&["slow", "claimed", "dropped"]);
    world
        .loki(&["task", "cancel", "slow", "--reason", "enough"])
        .exits(0)
        .says(&["task `slow` is cancelled"]);
    let said = run.wait(LIMIT).exits(0);
    said.says(&[
        "slow: cancelled by uid",
        "10 tasks are done together: fix-0, fix-1",
    ]);
    what_was_joined(&world);
    what_came_later(&world);
    assert_eq!(world.leftovers(), Vec::<String>::new());
    world
        .loki(&["revert", "fix-3"])
        .exits(0)
        .says(&["in the same commit landed"]);
    let gone = world.git(&["ls-tree", "-r", "--name-only", &world.run_branch()]);
    assert!(
        !gone.contains("src/page.txt") && gone.contains("src/odd/1"),
        "{gone}"
    );
}

fn what_was_joined(world: &World) {
    let batches = world.events_of("batched");
    let sizes: Vec<usize> = batches
        .iter()
        .map(|one| one["tasks"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [10, 3]);
    let backend: Vec<Value> = world
        .events_of("sandbox_started")
        .into_iter()
        .filter(|one| one["role"] == "eng-backend")
        .collect();
    let sessions = names(&backend);
    let of = |prefix: &str| {
        sessions
            .iter()
            .filter(|name| name.starts_with(prefix))
            .count()
    };
    assert_eq!((of("fix-"), of("odd-")), (1, 4), "{sessions:?}");
    // Only the task whose check it was has failed, and nothing of its batch landed.
    assert_eq!(names(&world.events_of("task_failed")), ["odd-1"]);
    assert_eq!(names(&world.events_of("interrupted")), ["odd-0", "odd-2"]);
    let done = world.events_of("task_done");
    let fixes: Vec<&Value> = done
        .iter()
        .filter(|one| one["task"].as_str().unwrap().starts_with("fix-"))
        .collect();
    assert_eq!(fixes.len(), 10);
    assert!(fixes.iter().all(|one| one["commit"] == fixes[0]["commit"]));
    let commit = fixes[0]["commit"].as_str().unwrap();
    let log = world.git(&["log", "--format=%B", &world.run_branch()]);
    assert!(
        log.contains("Loki-Task: fix-0\nLoki-With: fix-1\n"),
        "{log}"
    );
    assert!(!commit.is_empty());
}

fn what_came_later(world: &World) {
    let status = world.status();
    let state = |name: &str| {
        let tasks = status["tasks"].as_array().unwrap();
        let task = tasks.iter().find(|one| one["id"] == name);
        task.unwrap()["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        [state("late"), state("dropped"), state("slow")],
        ["done", "done", "cancelled"]
    );
    assert_eq!(status["faults"].as_array().unwrap().len(), 0);
    let why = fs::read_to_string(world.path(".loki/inbox/refused/wrong.yaml.why.txt")).unwrap();
    assert!(
        why.contains("unknown key `titel`") && why.contains("did you mean `title`?"),
        "{why}"
    );
    assert!(!world.path(".loki/inbox/good.yaml").exists());
    let why = fs::read_to_string(world.path(".loki/inbox/refused/link.yaml.why.txt")).unwrap();
    assert!(why.contains("is no regular file"), "{why}");
    let added = world.events_of("task_added");
    assert!(
        added
            .iter()
            .any(|one| one["by"] == "`.loki/inbox/good.yaml`"),
        "{added:?}"
    );
}
