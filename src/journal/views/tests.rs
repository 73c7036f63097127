//! The files for outside tools: their fields, what they are made from, and how large they get.

use std::{collections::BTreeSet, fs};

use jiff::Timestamp;

use super::*;
use crate::{
    budget::{Budgets, Measure},
    digest::Digest,
    event::{Event, Isolation, Load, Record, Usage},
    name::TaskId,
    task::{Priority, Task},
};

/// What other tools read, file by file.
const FIELDS: [(&str, &[&str]); 4] = [
    (
        "session.json",
        &[
            "pid",
            "startedAt",
            "provider",
            "invokedVia",
            "status",
            "updatedAt",
        ],
    ),
    (
        "state/orchestrator.json",
        &["version", "currentPhase", "startedAt", "agents", "metrics"],
    ),
    (
        "dashboard-state.json",
        &[
            "timestamp",
            "version",
            "project",
            "mode",
            "provider",
            "phase",
            "complexity",
            "iteration",
            "startedAt",
            "tasks",
            "agents",
            "metrics",
            "memory",
            "qualityGates",
            "budget",
            "context",
            "tokens",
        ],
    ),
    ("queue/current-task.json", &ITEM),
];
const ITEM: [&str; 20] = [
    "id",
    "type",
    "title",
    "description",
    "status",
    "priority",
    "source",
    "role",
    "dependencies",
    "acceptance_criteria",
    "createdAt",
    "startedAt",
    "completedAt",
    "claimedBy",
    "claimedAt",
    "version",
    "retries",
    "maxRetries",
    "lastError",
    "result",
];
const LISTS: [&str; 5] = [
    "pending",
    "in-progress",
    "completed",
    "failed",
    "dead-letter",
];

fn id(text: &str) -> TaskId {
    text.parse().unwrap()
}

fn planned(name: &str, description: &str) -> Task {
    Task {
        id: id(name),
        role: "eng-backend".parse().unwrap(),
        title: format!("make {name} \u{202e}<b>"),
        description: description.to_owned(),
        depends_on: Vec::new(),
        accept: vec!["true".to_owned()],
        files: Vec::new(),
        priority: Priority::default(),
    }
}

fn records(events: Vec<Event>) -> Vec<Record> {
    let record = |(seq, event): (u64, Event)| Record {
        seq,
        ts: Timestamp::from_second(1_800_000_000 + i64::try_from(seq).unwrap()).unwrap(),
        prev: Digest::default(),
        event,
        hash: Digest::default(),
    };
    (1..).zip(events).map(record).collect()
}

fn started() -> Event {
    Event::RunStarted {
        run: "20261121-073300-1f3a".parse().unwrap(),
        loki: "0.1.0".to_owned(),
        spec: "todo.md".to_owned(),
        spec_sha256: String::new(),
        title: "Todo".to_owned(),
        provider: "replay".to_owned(),
        base: "main".to_owned(),
        branch: "loki/20261121-073300-1f3a".to_owned(),
        engine: "docker".to_owned(),
        policy_sha256: String::new(),
        asked: None,
    }
}

fn claimed(name: &str) -> Event {
    Event::TaskClaimed {
        task: id(name),
        version: 1,
        attempt: 1,
    }
}

fn used() -> Event {
    Event::SandboxUsed {
        sandbox: "three-1".to_owned(),
        task: Some(id("three")),
        role: "eng-backend".parse().unwrap(),
        usage: Usage {
            cpu_ms: 1500,
            writes: 7,
            ..Usage::default()
        },
        load: Load {
            memory: 1 << 20,
            memory_peak: 2 << 20,
            processes: 3,
            disk: 4096,
            files: 5,
        },
    }
}

/// A run in which one task is done, one failed for good, one is worked on, two wait, one of them
/// before the other, and one was cancelled.
fn small() -> Vec<Record> {
    let mut limits = Budgets::default();
    limits.run.set(Measure::Money, Some(5_000_000));
    let names = ["one", "two", "three", "four", "five", "six"];
    records(vec![
        started(),
        Event::BudgetSet(limits),
        Event::Planned {
            tasks: names.map(|name| planned(name, "text")).into(),
        },
        Event::TaskCancelled {
            task: id("five"),
            by: "person".to_owned(),
            reason: None,
        },
        Event::TaskPrioritised {
            task: id("six"),
            by: "person".to_owned(),
            priority: Priority::High,
        },
        claimed("one"),
        Event::TaskDone {
            task: id("one"),
            version: 1,
            attempt: 1,
            commit: Some("abc".to_owned()),
        },
        claimed("two"),
        Event::TaskFailed {
            task: id("two"),
            version: 1,
            attempt: 1,
            reason: "2 tests\nfailed".to_owned(),
            retry: false,
        },
        claimed("three"),
        Event::SandboxStarted {
            sandbox: "three-1".to_owned(),
            task: Some(id("three")),
            role: "eng-backend".parse().unwrap(),
            container: "c".to_owned(),
            image: "base".to_owned(),
            isolation: Isolation::default(),
            start: None,
        },
        used(),
    ])
}

fn ended(before: &[Record]) -> Vec<Record> {
    let events = before.iter().map(|record| record.event.clone());
    let end = Event::RunEnded {
        outcome: Outcome::Limited,
        reason: Some("the run's budget is used up".to_owned()),
    };
    records(events.chain([end]).collect())
}

fn json(home: &Path, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(home.join(name)).unwrap()).unwrap()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn each_file_has_each_field_that_other_tools_read_and_no_other() {
    let home = tempfile::tempdir().unwrap();
    for records in [small(), ended(&small())] {
        let status = Status::fold(&records);
        assert_eq!(status.faults, Vec::<String>::new());
        write(home.path(), &status).unwrap();
        for (name, fields) in FIELDS {
            let value = json(home.path(), name);
            if name == "queue/current-task.json" && status.outcome.is_some() {
                assert_eq!(value, json!({}));
                continue;
            }
            assert_eq!(keys(&value), fields.iter().copied().collect(), "{name}");
        }
        for list in LISTS {
            for item in json(home.path(), &format!("queue/{list}.json"))
                .as_array()
                .unwrap()
            {
                assert_eq!(keys(item), ITEM.into(), "{list}");
            }
        }
        let text = fs::read_to_string(home.path().join("STATUS.txt")).unwrap();
        for part in [
            "╔",
            "Phase: ",
            "Active Agents: ",
            "  Pending: ",
            "  In Progress: ",
            "  Completed: ",
            "  Failed: ",
            "Last Updated: ",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }
}

#[test]
fn the_same_records_give_the_same_files_whoever_folds_them() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(one.path(), &Status::fold(&small())).unwrap();
    let mut status = Status::default();
    for record in small() {
        status.apply(&record);
        write(other.path(), &status).unwrap();
    }
    let mut names: Vec<String> = LISTS.map(|list| format!("queue/{list}.json")).into();
    names.extend(FIELDS.map(|(name, _)| name.to_owned()));
    names.extend(["STATUS.txt", "CONTINUITY.md"].map(str::to_owned));
    for name in names {
        let read = |home: &Path| fs::read_to_string(home.join(&name)).unwrap();
        assert_eq!(read(one.path()), read(other.path()), "{name}");
    }
}

#[test]
fn the_dashboard_says_what_agents_use_and_what_is_left_of_a_budget() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), &Status::fold(&small())).unwrap();
    let state = json(home.path(), "dashboard-state.json");
    let agent = &state["agents"][0]["resources"];
    assert_eq!(
        (&agent["cpuMs"], &agent["memoryPeakBytes"]),
        (&json!(1500), &json!(2 << 20))
    );
    let role = &state["metrics"]["resourcesByRole"]["eng-backend"];
    assert_eq!(
        (&role["processes"], &role["writes"], &role["agents"]),
        (&json!(3), &json!(7), &json!(1))
    );
    let money = &state["budget"]["moneyMicros"];
    assert_eq!(
        *money,
        json!({ "limit": 5_000_000, "used": 0, "remaining": 5_000_000 })
    );
    assert_eq!(state["iteration"], 3);
}

#[test]
fn a_task_that_was_cancelled_or_goes_first_is_so_in_every_file() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), &Status::fold(&small())).unwrap();
    let field = |list: &str, at: usize, name: &str| {
        json(home.path(), &format!("queue/{list}.json"))[at][name].clone()
    };
    assert_eq!(field("failed", 1, "id"), "five");
    assert_eq!(field("failed", 1, "status"), "cancelled");
    assert_eq!(field("pending", 1, "id"), "six");
    assert_eq!(field("pending", 1, "priority"), "high");
    let tasks = &json(home.path(), "dashboard-state.json")["tasks"];
    assert_eq!(
        (&tasks["cancelled"], &tasks["total"]),
        (&json!(1), &json!(6))
    );
    let text = fs::read_to_string(home.path().join("STATUS.txt")).unwrap();
    assert!(text.contains("  Cancelled:   1\n"), "{text}");
    assert!(text.contains("[/] five "), "{text}");
}

#[test]
fn a_run_whose_orchestrator_is_gone_is_nobodys() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), &Status::fold(&small()).orphaned()).unwrap();
    let session = json(home.path(), "session.json");
    assert_eq!(
        (&session["pid"], &session["status"]),
        (&Value::Null, &json!("interrupted"))
    );
}

#[test]
fn once_a_run_has_ended_no_file_says_that_it_goes_on() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), &Status::fold(&small())).unwrap();
    write(home.path(), &Status::fold(&ended(&small()))).unwrap();
    let session = json(home.path(), "session.json");
    assert_eq!(
        (&session["pid"], &session["status"]),
        (&Value::Null, &json!("limited"))
    );
    assert_eq!(
        json(home.path(), "dashboard-state.json")["agents"],
        json!([])
    );
    assert_eq!(
        json(home.path(), "state/orchestrator.json")["currentPhase"],
        "ended"
    );
    assert_eq!(json(home.path(), "queue/in-progress.json"), json!([]));
}

#[test]
fn the_page_for_whoever_takes_over_has_its_sections_and_no_live_markup() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), &Status::fold(&small())).unwrap();
    insta::assert_snapshot!(fs::read_to_string(home.path().join("CONTINUITY.md")).unwrap());
}

#[test]
fn ten_thousand_tasks_make_no_large_file() {
    let long = "x".repeat(20_000);
    let tasks = (0..10_000).map(|n| planned(&format!("task-{n}"), &long));
    let records = records(vec![
        started(),
        Event::Planned {
            tasks: tasks.collect(),
        },
    ]);
    let status = Status::fold(&records);
    let home = tempfile::tempdir().unwrap();
    write(home.path(), &status).unwrap();
    let mut sizes = BTreeSet::new();
    for list in LISTS {
        sizes.insert(
            fs::metadata(home.path().join(format!("queue/{list}.json")))
                .unwrap()
                .len(),
        );
    }
    for file in ["STATUS.txt", "dashboard-state.json", "CONTINUITY.md"] {
        sizes.insert(fs::metadata(home.path().join(file)).unwrap().len());
    }
    assert!(sizes.iter().all(|size| *size < 5 << 20), "{sizes:?}");
    let pending = json(home.path(), "queue/pending.json");
    assert_eq!(pending.as_array().unwrap().len(), LISTED);
    assert_eq!(
        json(home.path(), "dashboard-state.json")["tasks"]["pending"],
        10_000
    );
}
