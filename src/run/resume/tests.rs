//! What the last records of an attempt say, and what counts as a change outside.

use super::*;
use crate::{
    digest::Digest,
    event::Outcome,
    finding::Finding,
    policy::{Layer, Source},
    task::Task,
};

const ONE: &str = "1111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222";

fn records(events: Vec<Event>) -> Vec<Record> {
    let (ts, hash) = (jiff::Timestamp::UNIX_EPOCH, Digest::of(b""));
    let record = |(at, event)| Record {
        seq: at,
        ts,
        prev: hash,
        event,
        hash,
    };
    (1..).zip(events).map(record).collect()
}

fn task(name: &str) -> TaskId {
    name.parse().unwrap()
}

fn claimed(name: &str, version: u64, attempt: u32) -> Event {
    Event::TaskClaimed {
        task: task(name),
        version,
        attempt,
    }
}

fn committed(name: &str, commit: &str) -> Event {
    Event::Committed {
        task: task(name),
        attempt: 1,
        commit: commit.to_owned(),
    }
}

/// What the gate told of an attempt; something is a thing that a person must approve.
fn gated(name: &str, found: &[&str]) -> Event {
    let breach = |path: &&str| crate::event::Breach {
        rule: "host-executable".to_owned(),
        path: (*path).to_owned(),
        message: "is run by make: a person must approve it".to_owned(),
    };
    Event::Gated {
        task: task(name),
        attempt: 1,
        files: 1,
        breaches: found.iter().map(breach).collect(),
    }
}

fn landing(name: &str, commit: &str) -> Event {
    Event::Landing {
        task: task(name),
        attempt: 1,
        from: ONE.to_owned(),
        commit: commit.to_owned(),
    }
}

fn came_of(events: Vec<Event>) -> Vec<(String, Came)> {
    let planned = ["a", "b", "c"].map(|name| Task {
        id: task(name),
        role: "eng-backend".parse().unwrap(),
        title: name.to_owned(),
        description: String::new(),
        depends_on: Vec::new(),
        accept: Vec::new(),
        files: Vec::new(),
        priority: crate::task::Priority::default(),
    });
    let plan = Event::Planned {
        tasks: planned.to_vec(),
    };
    let open = cut_off(&records([vec![plan], events].concat()));
    let pair = |one: CutOff| (one.sandbox(), one.came);
    open.into_iter().map(pair).collect()
}

#[test]
fn the_last_record_of_an_attempt_says_how_far_it_had_come() {
    let id = |text: &str| text.parse::<ObjectId>().unwrap();
    let found = came_of(vec![
        claimed("a", 1, 1),
        claimed("b", 1, 1),
        claimed("c", 1, 1),
        gated("b", &[]),
        committed("b", ONE),
        gated("c", &[]),
        committed("c", ONE),
        landing("c", TWO),
    ]);
    let expected = [
        ("a-1".to_owned(), Came::Working),
        ("b-1".to_owned(), Came::Committed(id(ONE))),
        (
            "c-1".to_owned(),
            Came::Landing {
                commit: id(ONE),
                to: id(TWO),
            },
        ),
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_attempt_with_an_end_is_not_open_and_a_later_one_begins_anew() {
    let done = Event::TaskDone {
        task: task("a"),
        version: 1,
        attempt: 1,
        commit: None,
    };
    let failed = Event::TaskFailed {
        task: task("b"),
        version: 1,
        attempt: 1,
        reason: "tests".to_owned(),
        retry: true,
    };
    let ended = Event::RunEnded {
        outcome: Outcome::Stopped,
        reason: None,
    };
    let found = came_of(vec![
        claimed("a", 1, 1),
        done,
        claimed("b", 1, 1),
        gated("b", &[]),
        committed("b", ONE),
        failed,
        claimed("b", 2, 2),
        ended,
    ]);
    assert_eq!(found, [("b-2".to_owned(), Came::Working)]);
}

/// As journals of earlier versions have it: the commit stood there before its needs did.
#[test]
fn attack_g11_a_commit_that_the_gate_found_something_in_is_no_work_to_go_on_with() {
    let unseen = [
        vec![gated("a", &["src/Makefile"]), committed("a", ONE)],
        vec![
            gated("a", &["src/Makefile"]),
            committed("a", ONE),
            landing("a", TWO),
        ],
        vec![committed("a", ONE)],
    ];
    for events in unseen {
        let found = came_of([vec![claimed("a", 1, 1)], events].concat());
        assert_eq!(found, [("a-1".to_owned(), Came::Working)]);
    }
}

#[test]
fn a_verdict_that_was_given_stands() {
    let reviewed = |passed, findings| Event::Reviewed {
        task: task("a"),
        role: "review-security".parse().unwrap(),
        passed,
        findings,
    };
    let finding: Finding = serde_json::from_value(serde_json::json!({
        "severity": "critical", "file": "a.rs", "line": 1, "message": "no",
    }))
    .unwrap();
    let came = |event| came_of(vec![claimed("a", 1, 1), event])[0].1.clone();
    assert_eq!(came(reviewed(true, Vec::new())), Came::Reviewed(None));
    let blocks = Came::Reviewed(Some("the review blocks: `a.rs`: no".to_owned()));
    assert_eq!(came(reviewed(false, vec![finding])), blocks);
}

const POLICY: &str = "version: 1
network_policies:
  eng-backend:
    egress:
      - opaque.test:443
      - { host: seen.test, port: 443, methods: [GET, POST] }
      - { host: stream.test, port: 443, methods: [GET], websocket: true }
";

fn egress(kind: EgressKind, host: &str, method: Option<&str>) -> Event {
    Event::Egress {
        sandbox: "a-1".to_owned(),
        task: Some(task("a")),
        role: "eng-backend".parse().unwrap(),
        kind,
        host: host.to_owned(),
        port: (kind != EgressKind::Name).then_some(443),
        allowed: true,
        rule: None,
        reason: None,
        count: 1,
        method: method.map(str::to_owned),
        path: method.map(|_| "/v1".to_owned()),
    }
}

fn policy() -> Policy {
    let mut sources = Policy::builtin_sources();
    sources.push(Source {
        layer: Layer::Organisation,
        file: "org.yaml".into(),
        text: POLICY.to_owned(),
    });
    let facts = policy::Facts {
        provider: policy::entry_of("claude"),
        ..policy::Facts::default()
    };
    Policy::check_knowing(&sources, &facts).unwrap()
}

fn changed(event: Event) -> Vec<String> {
    outside(&records(vec![event]), "a-1", &policy(), "claude")
}

#[test]
fn reading_changes_nothing_outside_and_everything_else_may() {
    use EgressKind::{Ask, Connect, Name, Request};
    for (event, expected) in [
        (egress(Name, "opaque.test", None), None),
        (egress(Ask, "opaque.test", None), None),
        (
            egress(Connect, "opaque.test", None),
            Some("a connection to opaque.test:443 that nobody looked into"),
        ),
        (egress(Connect, "seen.test", None), None),
        (egress(Request, "seen.test", Some("GET")), None),
        (egress(Request, "seen.test", Some("HEAD")), None),
        (
            egress(Request, "seen.test", Some("POST")),
            Some("POST at seen.test:443"),
        ),
        (
            egress(Request, "seen.test", None),
            Some("requests at seen.test:443 that were not listed"),
        ),
        (
            egress(Request, "stream.test", Some("GET")),
            Some("GET at stream.test:443, where a request may become a stream"),
        ),
        // A person opened it while the run went: no rule says what it is.
        (
            egress(Connect, "opened.test", None),
            Some("a connection to opened.test:443 that nobody looked into"),
        ),
        (
            egress(Connect, "*", None),
            Some("a connection to *:443 that nobody looked into"),
        ),
    ] {
        let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(changed(event.clone()), expected, "{event:?}");
    }
}

#[test]
fn asking_the_agents_own_model_is_no_change_outside() {
    let policy = policy();
    let entry = policy::entry_of("claude").unwrap();
    let rules = policy.rights(&entry).unwrap().egress.rules;
    let policy::HostPattern::Exact(host) = &rules[0].host else {
        panic!("the model has one name");
    };
    let posted = egress(EgressKind::Request, host.as_str(), Some("POST"));
    assert_eq!(changed(posted.clone()), Vec::<String>::new());
    // For any other provider it is a host like any other.
    let other = outside(&records(vec![posted]), "a-1", &policy, "command");
    assert_eq!(other, [format!("POST at {host}:443")]);
}

#[test]
fn what_another_sandbox_did_or_was_denied_counts_for_nothing() {
    let event = egress(EgressKind::Connect, "opaque.test", None);
    let other = outside(&records(vec![event.clone()]), "a-2", &policy(), "claude");
    assert_eq!(other, Vec::<String>::new());
    let Event::Egress { .. } = &event else {
        panic!("it is one");
    };
    let mut json = serde_json::to_value(event).unwrap();
    json["allowed"] = false.into();
    assert_eq!(
        changed(serde_json::from_value(json).unwrap()),
        Vec::<String>::new()
    );
}

#[test]
fn what_several_made_together_is_done_where_the_branch_holds_it_and_else_made_again() {
    let id = |text: &str| text.parse::<ObjectId>().unwrap();
    let batched = Event::Batched {
        tasks: vec![task("a"), task("b")],
    };
    let begun = vec![
        claimed("a", 1, 1),
        claimed("b", 1, 1),
        claimed("c", 1, 1),
        batched,
        committed("a", ONE),
        committed("b", ONE),
        gated("c", &[]),
        committed("c", TWO),
    ];
    let lead = || "a-1".to_owned();
    let alone = ("c-1".to_owned(), Came::Committed(id(TWO)));
    // A commit of one holds what the other made, whose checks may not have run.
    let expected = [
        (lead(), Came::Working),
        (lead(), Came::Working),
        alone.clone(),
    ];
    assert_eq!(came_of(begun.clone()), expected);
    let moved = [landing("a", TWO), landing("b", TWO)];
    let together = || Came::Together { to: id(TWO) };
    let expected = [(lead(), together()), (lead(), together()), alone];
    assert_eq!(came_of([&begun[..], &moved].concat()), expected);
}

#[test]
fn what_was_put_off_or_cancelled_is_no_longer_open() {
    let deferred = Event::TaskDeferred {
        task: task("a"),
        version: 1,
        attempt: 1,
        reason: "busy".to_owned(),
        until: jiff::Timestamp::UNIX_EPOCH,
        provider_until: None,
    };
    let cancelled = Event::TaskCancelled {
        task: task("b"),
        by: "uid 1".to_owned(),
        reason: None,
    };
    let retried = Event::TaskRetried {
        task: task("b"),
        by: "uid 1".to_owned(),
    };
    let found = came_of(vec![
        claimed("a", 1, 1),
        deferred,
        claimed("b", 1, 1),
        cancelled,
        retried,
        claimed("b", 2, 2),
    ]);
    assert_eq!(found, [("b-2".to_owned(), Came::Working)]);
}
