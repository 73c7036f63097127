//! A small run, folded and drawn.

use super::*;
use crate::{
    budget::{Budgets, Mark, Measure, Passed},
    event::{EgressKind, Event},
    task::Task,
};

fn id(text: &str) -> TaskId {
    text.parse().unwrap()
}

fn role() -> Role {
    "eng-backend".parse().unwrap()
}

fn task(name: &str, depends_on: &[&str]) -> Task {
    Task {
        id: id(name),
        role: role(),
        title: format!("make {name}"),
        description: String::new(),
        depends_on: depends_on.iter().map(|name| id(name)).collect(),
        accept: Vec::new(),
        files: Vec::new(),
        priority: crate::task::Priority::default(),
    }
}

fn started() -> Event {
    Event::RunStarted {
        run: "20261121-073300-1f3a".parse().unwrap(),
        loki: "0.1.0".to_owned(),
        spec: "todo.md".to_owned(),
        spec_sha256: String::new(),
        title: "Todo \x1b[2J\nForged: line".to_owned(),
        provider: "replay".to_owned(),
        base: "main".to_owned(),
        branch: "loki/20261121-073300-1f3a".to_owned(),
        engine: "docker".to_owned(),
        policy_sha256: String::new(),
        asked: None,
    }
}

fn sandbox(name: &str, task: &str) -> Event {
    Event::SandboxStarted {
        sandbox: name.to_owned(),
        task: Some(id(task)),
        role: role(),
        container: format!("c-{name}"),
        image: "base".to_owned(),
        isolation: Isolation::default(),
        start: None,
    }
}

#[expect(clippy::fn_params_excessive_bools, reason = "it mirrors the event")]
fn egress(allowed: bool, count: u64) -> Event {
    Event::Egress {
        sandbox: "s1".to_owned(),
        task: None,
        role: role(),
        method: None,
        path: None,
        kind: EgressKind::Name,
        host: "example.com".to_owned(),
        port: None,
        allowed,
        rule: None,
        reason: None,
        count,
    }
}

fn small_run() -> Vec<Record> {
    let failed = |attempt: u32, retry| Event::TaskFailed {
        task: id("api"),
        version: u64::from(attempt),
        attempt,
        reason: "2 tests failed\r\x1b[1A".to_owned(),
        retry,
    };
    Record::row(vec![
        started(),
        Event::Planned {
            tasks: vec![
                task("store", &[]),
                task("api", &[]),
                task("web", &["api"]),
                task("doc", &[]),
            ],
        },
        Event::TaskClaimed {
            task: id("store"),
            version: 1,
            attempt: 1,
        },
        sandbox("s1", "store"),
        egress(true, 3),
        egress(false, 40),
        Event::TaskDone {
            task: id("store"),
            version: 1,
            attempt: 1,
            commit: Some("abc".to_owned()),
        },
        Event::SandboxEnded {
            sandbox: "s1".to_owned(),
        },
        Event::TaskClaimed {
            task: id("api"),
            version: 1,
            attempt: 1,
        },
        failed(1, true),
        Event::TaskClaimed {
            task: id("api"),
            version: 2,
            attempt: 2,
        },
        failed(2, false),
        Event::TaskClaimed {
            task: id("doc"),
            version: 1,
            attempt: 1,
        },
        sandbox("s2", "doc"),
    ])
}

#[test]
fn a_fold_shows_tasks_agents_and_counts() {
    let status = Status::fold(&small_run());
    assert_eq!(status.faults, Vec::<String>::new());
    assert_eq!(status.phase, Phase::Building);
    let counts = Counts {
        total: 4,
        completed: 1,
        failed: 1,
        blocked: 1,
        in_progress: 1,
        retries: 1,
        ..Counts::default()
    };
    assert_eq!(status.counts, counts);
    assert_eq!((status.egress.allowed, status.egress.denied), (3, 40));
    let [store, api, web, doc] = &status.tasks[..] else {
        panic!("four tasks")
    };
    assert_eq!(
        (store.commit.as_deref(), store.elapsed_ms),
        (Some("abc"), 4000)
    );
    assert_eq!((api.attempt, api.version, api.elapsed_ms), (2, 2, 3000));
    assert_eq!(web.state, State::Blocked);
    assert_eq!((doc.state, doc.elapsed_ms), (State::Claimed, 1000));
    assert_eq!(status.agents.len(), 1);
    assert_eq!(status.agents[0].sandbox, "s2");
}

#[test]
fn what_was_used_adds_up_over_sandboxes_of_one_name_and_is_kept_at_their_end() {
    let used = |writes, calls| Event::SandboxUsed {
        sandbox: "s".to_owned(),
        task: Some(id("store")),
        role: role(),
        usage: Usage {
            writes,
            calls,
            cpu_ms: 10 * calls,
            ..Usage::default()
        },
        load: Load {
            memory: 100 * writes,
            memory_peak: 100 * writes,
            ..Load::default()
        },
    };
    let ended = || Event::SandboxEnded {
        sandbox: "s".to_owned(),
    };
    let planned = Event::Planned {
        tasks: vec![task("store", &[])],
    };
    let first = [
        started(),
        planned,
        sandbox("s", "store"),
        used(5, 0),
        used(9, 1),
        ended(),
    ];
    let second = [sandbox("s", "store"), used(2, 0)];
    let status = Status::fold(&Record::row(first.into_iter().chain(second).collect()));
    let numbers = |usage: Usage| (usage.writes, usage.calls);
    assert_eq!(numbers(status.usage), (11, 1));
    assert_eq!(numbers(status.tasks[0].usage), (11, 1));
    assert_eq!(numbers(status.agents[0].usage), (2, 0));
    let of_role = status.roles[&role()];
    assert_eq!((of_role.agents, of_role.usage.cpu_ms), (1, 10));
    // What is held is of now, the peak of any.
    assert_eq!((of_role.load.memory, of_role.load.memory_peak), (200, 900));
    assert_eq!(status.load, of_role.load);
    let page = text(&status);
    assert!(
        page.contains("Resources by role\n  eng-backend")
            && page.contains("Writes: 11 counted, 0 delayed (0 s together)\n"),
        "{page}"
    );
    // Every sandbox takes processor time: that alone draws no line of zeros.
    let mut idle = status;
    idle.usage = Usage {
        cpu_ms: 66,
        ..Usage::default()
    };
    assert!(!text(&idle).contains("Writes: "), "{}", text(&idle));
}

#[test]
fn folding_one_by_one_gives_the_same_status() {
    let records = small_run();
    let mut status = Status::default();
    for record in &records {
        status.apply(record);
    }
    assert_eq!(status, Status::fold(&records));
}

#[test]
fn phases_follow_the_run() {
    let mut events = vec![
        started(),
        Event::Planned {
            tasks: vec![task("a", &[])],
        },
    ];
    let phase = |events: &Vec<Event>| Status::fold(&Record::row(events.clone())).phase;
    assert_eq!(
        Status::fold(&Record::row(vec![started()])).phase,
        Phase::Planning
    );
    assert_eq!(phase(&events), Phase::Building);
    events.push(Event::TaskClaimed {
        task: id("a"),
        version: 1,
        attempt: 1,
    });
    events.push(Event::TaskDone {
        task: id("a"),
        version: 1,
        attempt: 1,
        commit: None,
    });
    assert_eq!(phase(&events), Phase::Verifying);
    events.push(Event::StopRequested {
        by: "ada".to_owned(),
        drain: true,
    });
    assert_eq!(phase(&events), Phase::Stopping);
    events.push(Event::RunEnded {
        outcome: Outcome::Done,
        reason: None,
    });
    assert_eq!(phase(&events), Phase::Ended);
}

#[test]
fn what_cannot_have_happened_is_shown_and_not_hidden() {
    let impossible = Event::TaskDone {
        task: id("ghost"),
        version: 1,
        attempt: 1,
        commit: None,
    };
    let status = Status::fold(&Record::row(vec![started(), impossible]));
    assert_eq!(status.faults, ["record 2: task `ghost` is not in the plan"]);
    assert!(text(&status).contains("Fault: record 2: task `ghost` is not in the plan\n"));
}

#[test]
fn the_page_is_what_people_read_and_nothing_in_it_moves_their_cursor() {
    let page = text(&Status::fold(&small_run()));
    assert!(
        page.chars()
            .all(|c| c == '\n' || !crate::text::is_hidden(c))
    );
    assert!(!page.lines().any(|line| line.starts_with("Forged")));
    insta::assert_snapshot!(page);
}

fn claim(name: &str) -> Event {
    Event::TaskClaimed {
        task: id(name),
        version: 1,
        attempt: 1,
    }
}

fn two_planned() -> Event {
    Event::Planned {
        tasks: vec![task("api", &[]), task("page", &[])],
    }
}

#[test]
fn a_run_whose_orchestrator_is_gone_shows_nothing_as_running() {
    let events = vec![
        started(),
        two_planned(),
        claim("api"),
        sandbox("api-1", "api"),
    ];
    let status = Status::fold(&Record::row(events)).orphaned();
    assert_eq!(status.phase, Phase::Interrupted);
    assert_eq!(
        (status.counts.in_progress, status.counts.interrupted),
        (0, 1)
    );
    assert_eq!(status.tasks[0].state, State::Interrupted);
    assert!(
        status.agents.is_empty(),
        "no sandbox outlives its orchestrator"
    );
    let page = text(&status);
    assert!(
        page.contains("Phase: interrupted") && page.contains("[~] api"),
        "{page}"
    );
    let end = Event::RunEnded {
        outcome: Outcome::Failed,
        reason: None,
    };
    let over = Status::fold(&Record::row(vec![started(), two_planned(), end]));
    assert_eq!(
        over.clone().orphaned(),
        over,
        "what ended stays as it ended"
    );
}

#[test]
fn a_run_that_is_gone_on_with_is_no_longer_ended() {
    let ended = Event::RunEnded {
        outcome: Outcome::Stopped,
        reason: Some("stopped by a person".to_owned()),
    };
    let resumed = Event::Resumed {
        loki: "0".to_owned(),
        engine: "podman".to_owned(),
        spec_sha256: String::new(),
        policy_sha256: String::new(),
        torn: 0,
    };
    let mut events = vec![started(), two_planned(), claim("api"), ended];
    let stopped = Status::fold(&Record::row(events.clone()));
    assert_eq!(
        (stopped.phase, stopped.counts.interrupted),
        (Phase::Ended, 1)
    );
    events.push(resumed);
    let status = Status::fold(&Record::row(events));
    assert_eq!((status.phase, status.outcome), (Phase::Building, None));
    assert_eq!(
        (status.reason.as_deref(), &*status.engine),
        (None, "podman")
    );
    assert_eq!(
        (status.counts.in_progress, status.counts.interrupted),
        (1, 0)
    );
    assert_eq!(status.faults, Vec::<String>::new());
}

/// A clock that is set back, and one that jumps by years: no time is less than none, and the fold
/// is the same but for its times.
#[test]
fn a_clock_that_jumps_changes_nothing_but_times() {
    let straight = small_run();
    let expected = Status::fold(&straight);
    for jumps in [
        [0, -3600, 5, -7_200_000],
        [0, 400_000_000, -1, -900_000_000],
    ] {
        let mut records = straight.clone();
        for (record, jump) in records.iter_mut().zip(jumps.into_iter().cycle()) {
            record.ts = Timestamp::from_second(1_800_000_000 + jump).unwrap();
        }
        let status = Status::fold(&records);
        assert_eq!(status.faults, expected.faults);
        assert_eq!(status.counts, expected.counts);
        let states = |status: &Status| status.tasks.iter().map(|t| t.state).collect::<Vec<_>>();
        assert_eq!(states(&status), states(&expected));
        let longest = status.tasks.iter().map(|task| task.elapsed_ms).max();
        assert!(longest <= Some(1_300_000_000_000), "{longest:?}");
        // Drawing subtracts times, too.
        assert!(text(&status).contains("Phase: "));
    }
}

#[test]
fn a_task_waits_for_the_budget_or_the_provider_that_holds_it_back_and_else_for_a_slot() {
    let mut limits = Budgets::default();
    limits.run.set(Measure::Iterations, Some(1));
    let passed = Passed {
        role: None,
        measure: Measure::Iterations,
        allowed: 1,
        used: 1,
        mark: Mark::Reached,
    };
    let until: Timestamp = "2027-01-15T09:00:00Z".parse().unwrap();
    let mut events = vec![
        started(),
        Event::BudgetSet(limits),
        Event::Planned {
            tasks: vec![task("one", &[]), task("two", &[])],
        },
        Event::TaskClaimed {
            task: id("one"),
            version: 1,
            attempt: 1,
        },
    ];
    let waits = |events: &[Event], now: &str| {
        let status = Status::fold(&Record::row(events.to_vec()));
        assert_eq!(status.faults, Vec::<String>::new());
        status.waits(&status.tasks[1], now.parse().unwrap())
    };
    let (before, after) = ("2027-01-15T08:30:00Z", "2027-01-15T09:00:00Z");
    assert_eq!(waits(&events, before), Some(Waits::Slot));
    events.push(Event::TaskDeferred {
        task: id("one"),
        version: 1,
        attempt: 1,
        reason: "busy".to_owned(),
        until,
        provider_until: Some(until),
    });
    assert_eq!(waits(&events, before), Some(Waits::Rest { until }));
    assert_eq!(waits(&events, after), Some(Waits::Slot));
    events.push(Event::BudgetPassed(passed.clone()));
    let budget = waits(&events, before);
    assert_eq!(budget, Some(Waits::Budget { passed }));
    let shown = serde_json::to_value(budget).unwrap();
    assert_eq!(
        (&shown["on"], &shown["passed"]["used"]),
        (&"budget".into(), &1.into())
    );
}
