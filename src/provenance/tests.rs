use serde_json::{Value, json};

use super::*;
use crate::{
    event::{Event, Record},
    task::Task,
};

const MESSAGE: &str = "Do it\n\nLoki-Run: r1\nLoki-Task: store\nLoki-Role: eng-backend\nLoki-Policy: p0\nLoki-Journal: 3\n";

fn claimed(message: &str) -> Trailers {
    trailers(message).unwrap().unwrap()
}

fn task(id: &str, role: &str, depends_on: &[&str]) -> Task {
    Task {
        id: id.parse().unwrap(),
        role: role.parse().unwrap(),
        title: format!("do {id}"),
        description: String::new(),
        depends_on: depends_on.iter().map(|id| id.parse().unwrap()).collect(),
        accept: Vec::new(),
        files: Vec::new(),
        priority: crate::task::Priority::default(),
    }
}

fn event(value: Value) -> Event {
    serde_json::from_value(value).unwrap()
}

/// A run whose task was refused by the gate once, then landed as `m1` and was reviewed.
fn run() -> Vec<Record> {
    let breach = json!({ "rule": "size", "path": "x", "message": "m" });
    let of = |kind: &str, more: Value| {
        let mut value = json!({ "type": kind, "task": "store" });
        let fields = more.as_object().unwrap().clone();
        value.as_object_mut().unwrap().extend(fields);
        event(value)
    };
    let claimed = |version: u32| {
        of(
            "task_claimed",
            json!({ "version": version, "attempt": version }),
        )
    };
    let gated = |attempt: u32, breaches: Value| {
        of(
            "gated",
            json!({ "attempt": attempt, "files": 1, "breaches": breaches }),
        )
    };
    Record::row(vec![
        event(json!({
            "type": "run_started", "run": "r1", "loki": "0.1.0", "spec": "todo.md",
            "spec_sha256": "00", "title": "Todo", "provider": "replay", "base": "a",
            "branch": "loki/r1", "engine": "docker", "policy_sha256": "p0",
        })),
        Event::Planned {
            tasks: vec![
                task("store", "eng-backend", &[]),
                task("look", "review-code", &["store"]),
            ],
        },
        claimed(1),
        gated(1, json!([breach])),
        of(
            "task_failed",
            json!({ "version": 1, "attempt": 1, "reason": "no", "retry": true }),
        ),
        claimed(2),
        gated(2, json!([])),
        of("committed", json!({ "attempt": 2, "commit": "c1" })),
        of(
            "checked",
            json!({
                "command": "make test", "passed": true, "tests": 3, "tail": "", "elapsed_ms": 1,
            }),
        ),
        of(
            "landing",
            json!({ "attempt": 2, "from": "a", "commit": "m1" }),
        ),
        of(
            "task_done",
            json!({ "version": 2, "attempt": 2, "commit": "m1" }),
        ),
        event(json!({
            "type": "reviewed", "task": "look", "role": "review-code", "passed": true,
            "findings": [],
        })),
    ])
}

fn of(commit: &str, message: &str) -> Account {
    let (records, claimed) = (run(), claimed(message));
    Account::of(Told {
        records: &records,
        commit,
        claimed: &claimed,
    })
}

#[test]
fn a_commit_leads_to_its_task_its_attempt_and_what_was_said_of_it() {
    let account = of("c1", MESSAGE);
    assert_eq!(account.faults, [""; 0]);
    assert_eq!(account.kind, Some(Kind::Work));
    assert_eq!(account.task.unwrap().title, "do store");
    let attempt = account.attempt.unwrap();
    assert_eq!(attempt.number, 2);
    assert_eq!(attempt.gate.unwrap().breaches, []);
    assert_eq!(attempt.checks.len(), 1);
    assert_eq!(account.reviews.len(), 1);
    assert_eq!(account.landed.as_deref(), Some("m1"));
    assert_eq!(of("m1", MESSAGE).kind, Some(Kind::Merge));
}

#[test]
fn attack_s16_trailers_that_the_journal_does_not_bear_out_are_named() {
    let unknown = of("ffff", MESSAGE);
    assert_eq!(unknown.kind, None);
    assert!(
        unknown.faults[0].contains("knows no commit `ffff`"),
        "{:?}",
        unknown.faults
    );
    for (from, to, expected) in [
        ("Loki-Run: r1", "Loki-Run: r2", "run `r2`"),
        ("Loki-Task: store", "Loki-Task: look", "task `look`"),
        ("Loki-Task: store\n", "", "task `none`"),
        ("eng-backend", "ops-admin", "role `ops-admin`"),
        ("Policy: p0", "Policy: p1", "policy `p1`"),
        ("Journal: 3", "Journal: 99", "position 99"),
        ("Journal: 3", "Journal: 0", "position 0"),
    ] {
        let account = of("c1", &MESSAGE.replace(from, to));
        let [fault] = &account.faults[..] else {
            panic!("{to}: {:?}", account.faults)
        };
        assert!(fault.contains(expected), "{fault}");
    }
}

#[test]
fn attack_s16_what_an_agent_wrote_above_the_trailers_is_no_trailer() {
    let message = format!("Loki-Task: other\n\nLoki-Role: admin\n\n{MESSAGE}");
    assert_eq!(claimed(&message).role.as_str(), "eng-backend");
    assert_eq!(trailers("Loki-Run: r1\n\nprose\n"), Ok(None));
    assert_eq!(trailers(""), Ok(None));
    let signed = format!("{MESSAGE}Signed-off-by: A Person <a@b>\n");
    assert_eq!(claimed(&signed).journal, 3);
}

#[test]
fn attack_s16_trailers_that_loki_does_not_write_so_are_refused() {
    for (from, to) in [
        ("Loki-Run: r1", "Loki-Run: ../../etc"),
        ("Loki-Run: r1", "Loki-Run: -x"),
        ("Loki-Run: r1\n", ""),
        ("Loki-Run: r1", "Loki-Run: r1\nLoki-Run: r2"),
        ("Journal: 3", "Journal: -3"),
        ("Journal: 3", "Journal: 99999999999999999999999"),
        ("Policy: p0", "Policy: p0 \x1b[2J"),
        ("Role: eng-backend", "Role: A B"),
        ("Task: store", "Task: a/b"),
    ] {
        let found = trailers(&MESSAGE.replace(from, to));
        assert!(found.is_err(), "{to}: {found:?}");
    }
}
