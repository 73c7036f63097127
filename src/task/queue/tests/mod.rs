//! Tables for single transitions, properties for everything else.

use super::*;
use crate::task::Priority;

mod orders;
mod resuming;
mod single;
mod turns;

fn id(at: usize) -> TaskId {
    format!("t{at}").parse().unwrap()
}

/// A task of this name that waits for those.
pub(super) fn named(name: &str, depends_on: &[&str]) -> Task {
    Task {
        id: name.parse().unwrap(),
        role: "eng-backend".parse().unwrap(),
        title: name.to_owned(),
        description: String::new(),
        depends_on: depends_on
            .iter()
            .map(|name| name.parse().unwrap())
            .collect(),
        accept: Vec::new(),
        files: Vec::new(),
        priority: Priority::default(),
    }
}

fn task(at: usize, depends_on: &[usize]) -> Task {
    let depends_on = depends_on.iter().map(|at| id(*at)).collect();
    Task {
        depends_on,
        ..named(id(at).as_str(), &[])
    }
}

fn planned(tasks: Vec<Task>) -> Queue {
    let mut queue = Queue::default();
    queue.apply(&Event::Planned { tasks }).unwrap();
    queue
}

fn claimed(at: usize, version: u64, attempt: u32) -> Event {
    Event::TaskClaimed {
        task: id(at),
        version,
        attempt,
    }
}

fn done(at: usize, version: u64, attempt: u32) -> Event {
    Event::TaskDone {
        task: id(at),
        version,
        attempt,
        commit: None,
    }
}

#[expect(clippy::fn_params_excessive_bools, reason = "it mirrors the event")]
fn failed(at: usize, version: u64, attempt: u32, retry: bool) -> Event {
    Event::TaskFailed {
        task: id(at),
        version,
        attempt,
        reason: "tests".to_owned(),
        retry,
    }
}

fn conflicted(at: usize, version: u64, attempt: u32) -> Event {
    Event::TaskConflicted {
        task: id(at),
        version,
        attempt,
        files: Vec::new(),
    }
}

fn stop() -> Event {
    Event::StopRequested {
        by: "test".to_owned(),
        drain: true,
    }
}

fn claim(at: usize, version: u64, attempt: u32) -> Action {
    Action::Claim {
        task: id(at),
        version,
        attempt,
    }
}

fn apply_all(queue: &mut Queue, events: &[Event]) {
    for event in events {
        queue.apply(event).unwrap();
    }
}

fn states(queue: &Queue) -> Vec<State> {
    queue.tasks().map(|standing| standing.state).collect()
}

fn cut(at: usize, version: u64, attempt: u32) -> Event {
    Event::Interrupted {
        task: id(at),
        version,
        attempt,
        reason: "its orchestrator ended".to_owned(),
        outside: Vec::new(),
        by: None,
    }
}

pub(super) fn resumed() -> Event {
    Event::Resumed {
        loki: "0".to_owned(),
        engine: "none".to_owned(),
        spec_sha256: String::new(),
        policy_sha256: String::new(),
        torn: 0,
    }
}

pub(super) fn ended(outcome: Outcome) -> Event {
    Event::RunEnded {
        outcome,
        reason: None,
    }
}
