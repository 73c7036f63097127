//! Tables for the moves, and a property for all of them.

use proptest::prelude::{Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::task::Task;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn task(name: &str) -> TaskId {
    name.parse().unwrap()
}

fn role() -> Role {
    "eng-backend".parse().unwrap()
}

fn planned(names: &[&str]) -> Event {
    let tasks = names.iter().map(|name| Task {
        id: task(name),
        role: role(),
        title: (*name).to_owned(),
        description: String::new(),
        depends_on: Vec::new(),
        accept: Vec::new(),
        files: Vec::new(),
        priority: crate::task::Priority::default(),
    });
    Event::Planned {
        tasks: tasks.collect(),
    }
}

fn claimed(name: &str) -> Event {
    Event::TaskClaimed {
        task: task(name),
        version: 1,
        attempt: 1,
    }
}

fn failed(name: &str) -> Event {
    Event::TaskFailed {
        task: task(name),
        version: 1,
        attempt: 1,
        reason: "tests".to_owned(),
        retry: true,
    }
}

fn deferred(name: &str) -> Event {
    Event::TaskDeferred {
        task: task(name),
        version: 1,
        attempt: 1,
        reason: "busy".to_owned(),
        until: at(0),
        provider_until: None,
    }
}

fn gated(name: &str) -> Event {
    Event::Gated {
        task: task(name),
        attempt: 1,
        files: 1,
        breaches: Vec::new(),
    }
}

fn after(events: &[Event]) -> Breakers {
    let mut breakers = Breakers::default();
    breakers.apply(&planned(&["a", "b", "c", "d", "e", "f"]));
    events.iter().for_each(|event| breakers.apply(event));
    breakers
}

/// Writes what is due, as the driver does.
fn settle(breakers: &mut Breakers, now: Timestamp) -> Vec<Circuit> {
    let due = breakers.due(now, &Fuses::default());
    due.iter().for_each(|event| breakers.apply(event));
    let state = |event: &Event| match event {
        Event::Breaker { state, .. } => *state,
        other => panic!("{other:?}"),
    };
    due.iter().map(state).collect()
}

fn begun(one: impl Fn(&str) -> Event, names: &[&str]) -> Vec<Event> {
    names
        .iter()
        .flat_map(|name| [claimed(name), one(name)])
        .collect()
}

#[test]
fn five_refusals_in_a_row_open_it_and_work_before_that_does_not_let_it_come_so_far() {
    let mut breakers = after(&begun(deferred, &["a", "a", "a", "a"]));
    assert_eq!(settle(&mut breakers, at(0)), []);
    let mut other = breakers.clone();
    [claimed("b"), gated("b"), failed("b")]
        .iter()
        .for_each(|one| other.apply(one));
    begun(deferred, &["a", "a", "a", "a"])
        .iter()
        .for_each(|one| other.apply(one));
    assert_eq!(settle(&mut other, at(0)), []);
    begun(deferred, &["a"])
        .iter()
        .for_each(|one| breakers.apply(one));
    assert_eq!(settle(&mut breakers, at(0)), [Circuit::Open]);
    assert_eq!(settle(&mut breakers, at(0)), []);
    assert_eq!(breakers.room(), BTreeMap::from([(role(), 0)]));
    assert_eq!(breakers.next_change(), Some(at(300)));
    assert_eq!(breakers.tripped().count(), 1);
}

#[test]
fn one_task_that_cannot_be_done_is_its_own_trouble_and_five_are_the_roles() {
    let mut breakers = after(&begun(failed, &["a", "a", "a", "a", "a", "b", "c", "d"]));
    assert_eq!(settle(&mut breakers, at(0)), []);
    begun(failed, &["e"])
        .iter()
        .for_each(|one| breakers.apply(one));
    assert_eq!(settle(&mut breakers, at(0)), [Circuit::Open]);
    // What was refused after it was judged is work.
    let judged = |name: &str| vec![claimed(name), gated(name), failed(name)];
    let many: Vec<Event> = ["a", "b", "c", "d", "e", "f"]
        .iter()
        .flat_map(|name| judged(name))
        .collect();
    assert_eq!(settle(&mut after(&many), at(0)), []);
}

#[test]
fn after_the_cooldown_one_attempt_decides() {
    let mut breakers = after(&begun(deferred, &["a", "a", "a", "a", "a"]));
    settle(&mut breakers, at(0));
    assert_eq!(settle(&mut breakers, at(299)), []);
    assert_eq!(settle(&mut breakers, at(300)), [Circuit::HalfOpen]);
    assert_eq!(breakers.room(), BTreeMap::from([(role(), 1)]));
    breakers.apply(&claimed("b"));
    assert_eq!(breakers.room(), BTreeMap::from([(role(), 0)]));
    let mut worse = breakers.clone();
    worse.apply(&deferred("b"));
    assert_eq!(settle(&mut worse, at(301)), [Circuit::Open]);
    assert_eq!(worse.next_change(), Some(at(601)));
    let mut cut = breakers.clone();
    cut.apply(&Event::Interrupted {
        task: task("b"),
        version: 1,
        attempt: 1,
        reason: String::new(),
        outside: Vec::new(),
        by: None,
    });
    assert_eq!(
        cut.room(),
        BTreeMap::from([(role(), 1)]),
        "another may decide"
    );
    breakers.apply(&gated("b"));
    assert_eq!(settle(&mut breakers, at(302)), [Circuit::Closed]);
    assert_eq!(
        (breakers.room(), breakers.tripped().count()),
        (BTreeMap::new(), 0)
    );
}

#[test]
fn the_file_sets_both_numbers_for_all_and_for_one_role() {
    let read = |text: &str| Fuses::read(Path::new("circuit-breakers.yaml"), text);
    let fuses = read(
        "failureThreshold: 3\noverrides:\n  eng-qa:\n    cooldownSeconds: 10\n  eng-web: {failureThreshold: 9}\n",
    )
    .unwrap();
    let fuse = |name: &str| fuses.of(&name.parse().unwrap());
    assert_eq!(
        (fuse("eng-qa").failures, fuse("eng-qa").cooldown.as_secs()),
        (3, 10)
    );
    assert_eq!(
        (fuse("eng-web").failures, fuse("eng-web").cooldown.as_secs()),
        (9, 300)
    );
    assert_eq!(fuse("biz-sales").failures, 3);
    assert_eq!(
        read("{\"cooldownSeconds\": 1}")
            .unwrap()
            .of(&role())
            .cooldown
            .as_secs(),
        1
    );
}

#[test]
fn what_the_file_does_not_know_is_shown_with_its_line_and_what_was_meant() {
    let faults = Fuses::read(
        Path::new("circuit-breakers.yaml"),
        "failureTreshold: 5\ncooldownSeconds: 0\noverrides:\n  Eng QA: {}\n  eng-qa: {retries: 1}\n",
    )
    .unwrap_err();
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "circuit-breakers.yaml:1:1: unknown key `failureTreshold`",
            "circuit-breakers.yaml:2:18: `cooldownSeconds` is no such number",
            "circuit-breakers.yaml:4:3: `Eng QA` is no role",
            "circuit-breakers.yaml:5:12: unknown key `retries`",
        ]
    );
    let drawn = faults[0].render();
    assert!(drawn.contains("1 | failureTreshold: 5"), "{drawn}");
    assert!(
        drawn.contains("did you mean `failureThreshold`?"),
        "{drawn}"
    );
    for text in [
        "",
        "- 5\n",
        "5\n",
        "failureThreshold: [5]\n",
        "failureThreshold: -1\n",
        "a: &a 1\nb: *a\n",
    ] {
        assert!(Fuses::read(Path::new("x"), text).is_err(), "{text:?}");
    }
}

fn events() -> impl Strategy<Value = Event> {
    let name = || prop::sample::select(vec!["a", "b", "c", "d", "e", "f", "stranger"]);
    prop_oneof![
        3 => name().prop_map(claimed),
        3 => name().prop_map(deferred),
        2 => name().prop_map(failed),
        1 => name().prop_map(gated),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_a_breaker_lets_something_through_in_the_end(
        events in prop::collection::vec(events(), 0..200),
    ) {
        let mut breakers = after(&[]);
        let mut written = Vec::new();
        for (second, event) in (0_i64..).zip(events) {
            breakers.apply(&event);
            written.push(event);
            let due = breakers.due(at(second), &Fuses::default());
            due.iter().for_each(|event| breakers.apply(event));
            written.extend(due);
        }
        // The fold is the same, however it was come to.
        prop_assert_eq!(&after(&written), &breakers);
        for second in [10_000, 20_000] {
            drop(settle(&mut breakers, at(second)));
        }
        // A trial that is under way holds the others only until it ends.
        for name in ["a", "b", "c", "d", "e", "f"] {
            breakers.apply(&Event::Interrupted {
                task: task(name), version: 1, attempt: 1, reason: String::new(), outside: Vec::new(), by: None,
            });
        }
        drop(settle(&mut breakers, at(40_000)));
        drop(settle(&mut breakers, at(60_000)));
        prop_assert!(breakers.room().values().all(|room| *room > 0), "{breakers:?}");
    }
}
