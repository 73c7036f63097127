//! `loki task` where no orchestrator runs: changes are written into the journal, for `loki resume`.

use loki::{
    event::{Event, Outcome},
    task::Task,
};

use super::harness::{START, World};

const SPEC: &str = "# Page\n\n## Tasks\n\n- `a`: A\n\n## Tests\n\n- `true`\n";

fn task(name: &str, depends_on: &[&str]) -> Task {
    let depends_on: Vec<&str> = depends_on.to_vec();
    serde_json::from_value(serde_json::json!({
        "id": name, "role": "eng-backend", "title": format!("Do {name}"), "depends_on": depends_on,
    }))
    .unwrap()
}

/// A repository with a run of `store`, on which `page` waits, and `late`, after these events.
fn after(events: &[Event]) -> World {
    let world = World::with_spec(SPEC);
    let tasks = vec![
        task("store", &[]),
        task("page", &["store"]),
        task("late", &[]),
    ];
    let begun = [world.run_started(SPEC), Event::Planned { tasks }];
    world.record(&[&begun, events].concat());
    world
}

fn failed() -> Vec<Event> {
    let name = || "store".parse().unwrap();
    vec![
        Event::TaskClaimed {
            task: name(),
            version: 1,
            attempt: 1,
        },
        Event::TaskFailed {
            task: name(),
            version: 1,
            attempt: 1,
            reason: "the key is refused".to_owned(),
            retry: false,
        },
    ]
}

fn ended(outcome: Outcome) -> Event {
    Event::RunEnded {
        outcome,
        reason: None,
    }
}

#[test]
fn a_plan_is_changed_in_the_journal_where_nobody_works_on_it() {
    let world = after(&[ended(Outcome::Stopped)]);
    let task = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        world.loki(&[&["task"], &words[..]].concat())
    };
    task("list")
        .exits(0)
        .prints(&["store", "normal", "loki resume"]);
    task("add Mend --id mend --priority critical --depends-on store")
        .exits(0)
        .says(&["task `mend` is added; `loki resume 2027"]);
    task("priority late low").exits(0).says(&["priority low"]);
    task("cancel store").exits(0).says(&["with it page, mend"]);
    task("retry store").exits(0).says(&["tried anew"]);
    let shown = task("list --json").exits(0).stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let states: Vec<String> = shown["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {} {}", one["id"], one["state"], one["priority"]))
        .collect();
    assert_eq!(
        states,
        [
            r#""store" "pending" "normal""#,
            r#""page" "cancelled" "normal""#,
            r#""late" "pending" "low""#,
            r#""mend" "cancelled" "critical""#,
        ]
    );
    let kinds: Vec<String> = world
        .events()
        .iter()
        .filter_map(|record| record["event"]["type"].as_str().map(str::to_owned))
        .filter(|kind| kind.starts_with("task_"))
        .collect();
    assert_eq!(
        kinds,
        [
            "task_added",
            "task_prioritised",
            "task_cancelled",
            "task_retried"
        ]
    );
    world.loki(&["audit", "verify"]).in_any_case();
}

#[test]
fn what_cannot_be_is_refused_with_what_to_type_and_nothing_is_written() {
    let world = after(&[]);
    let before = world.events().len();
    let refused: [(&[&str], &[&str]); 9] = [
        (
            &["add", "x", "--accept", " "],
            &["a check or a file is empty"],
        ),
        (
            &["show", "stroe"],
            &["no task `stroe`", "did you mean `store`?"],
        ),
        (&["cancel", "nothing-like-it"], &["`loki task list`"]),
        (&["retry", "store"], &["task `store` is Pending"]),
        (
            &["add", "Do store", "--id", "store"],
            &["task `store` is listed more than once"],
        ),
        (
            &["add", "x", "--depends-on", "stor"],
            &["did you mean `store`?"],
        ),
        (
            &["add", "x", "--role", "eng-bakend"],
            &["did you mean `eng-backend`?"],
        ),
        (&["add", "\u{1b}[2J"], &["control characters"]),
        (
            &["priority", "store", "urgent"],
            &["critical, high, normal or low"],
        ),
    ];
    for (words, says) in refused {
        world.loki(&[&["task"], words].concat()).exits(2).says(says);
    }
    world.write("two.yaml", "- title: A\n- titel: B\n");
    world
        .loki(&["task", "add", "--from", "two.yaml"])
        .exits(3)
        .says(&[
            "two.yaml:2:3",
            "unknown key `titel`",
            "did you mean `title`?",
        ]);
    assert_eq!(world.events().len(), before);
    world.write("two.yaml", "- title: A\n- title: B b\n  depends_on: [a]\n");
    world
        .loki(&["task", "add", "--from", "two.yaml"])
        .exits(0)
        .says(&["`a` is added", "`b-b` is added"]);
}

#[test]
fn a_dead_letter_says_why_and_is_tried_anew_after_the_end() {
    let world = after(&[&failed()[..], &[ended(Outcome::Failed)]].concat());
    world
        .loki(&["task", "show", "store"])
        .exits(0)
        .prints(&["failed, attempt 1", "the key is refused"])
        .says(&["`loki task retry store`"]);
    world
        .loki(&["task", "list"])
        .exits(0)
        .prints(&["store, which will not land"]);
    world
        .loki(&["resume"])
        .exits(0)
        .says(&["no run of this repository is left unfinished"]);
    world
        .loki(&["task", "retry", "page"])
        .exits(2)
        .says(&["retry what it waits for"]);
    world
        .loki(&["task", "retry", "store"])
        .exits(0)
        .says(&["`loki resume 2027"]);
    // It can be gone on with now: what is missing is the policy it began under.
    world.loki(&["resume"]).exits(3);
    let status = world.status();
    assert_eq!(status["outcome"], "stopped");
    assert_eq!(status["counts"]["blocked"], 0);
}

#[test]
fn a_run_that_is_done_takes_no_changes() {
    let done = |name: &str| {
        let name = || name.parse().unwrap();
        [
            Event::TaskClaimed {
                task: name(),
                version: 1,
                attempt: 1,
            },
            Event::TaskDone {
                task: name(),
                version: 1,
                attempt: 1,
                commit: None,
            },
        ]
    };
    let all = [done("store"), done("page"), done("late")].concat();
    let world = after(&[&all[..], &[ended(Outcome::Done)]].concat());
    for words in [
        &["add", "More"][..],
        &["cancel", "store"],
        &["retry", "store"],
        &["priority", "page", "low"],
    ] {
        world
            .loki(&[&["task"], words].concat())
            .exits(2)
            .says(&["the run has ended", "`loki start` begins another"]);
    }
}

#[test]
fn settings_that_are_wrong_are_shown_before_anything_is_made() {
    let world = after(&[ended(Outcome::Stopped)]);
    world.write(".loki/config/circuit-breakers.yaml", "failureTreshold: 5\n");
    world.loki(&START).exits(3).says(&[
        "circuit-breakers.yaml:1:1",
        "1 | failureTreshold: 5",
        "did you mean `failureThreshold`?",
    ]);
    std::fs::remove_file(world.path(".loki/config/circuit-breakers.yaml")).unwrap();
    std::os::unix::fs::symlink(
        "/dev/zero",
        world.path(".loki/config/circuit-breakers.yaml"),
    )
    .unwrap();
    world.loki(&START).exits(2).says(&["is a symbolic link"]);
    std::fs::remove_file(world.path(".loki/config/circuit-breakers.yaml")).unwrap();
    let argv = [
        &["LOKI_BASE_WAIT=soon", env!("CARGO_BIN_EXE_loki")],
        &START[..],
    ]
    .concat();
    let said = world
        .start("env", &argv)
        .wait(std::time::Duration::from_secs(60))
        .exits(2);
    said.says(&["`LOKI_BASE_WAIT` is `soon`", "a whole number"]);
}

#[test]
fn where_no_run_was_made_there_are_no_tasks() {
    let world = World::new();
    world.commit();
    world
        .loki(&["task", "list"])
        .exits(0)
        .says(&["no run was made"]);
    world
        .loki(&["task", "list", "--json"])
        .exits(0)
        .prints(&["\"tasks\""]);
    world
        .loki(&["task", "add", "More"])
        .exits(2)
        .says(&["no run was made"]);
}
