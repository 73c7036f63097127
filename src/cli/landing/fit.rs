//! Whether the branch of a run may be shipped: judged by its journal alone.

use crate::{
    event::{Event, Outcome, Record},
    forge::Checked,
    git::ObjectId,
    run::Landings,
    status::{Phase, Status},
    task::State,
};

/// Says why a run may not be shipped, and what to type next.
pub(super) type Unfit = (String, &'static str);

/// Judges a run whose branch is at `head`, and says whether checks have seen it as it is.
pub(super) fn fit(records: &[Record], status: &Status, head: &ObjectId) -> Result<Checked, Unfit> {
    let run = status.run.as_ref().map_or("-", |run| run.as_str());
    if status.phase != Phase::Ended {
        return Err((
            format!("run `{run}` has not ended"),
            "`loki status` shows how far it is",
        ));
    }
    if status.outcome != Some(Outcome::Done) {
        let reason = status.reason.as_deref().unwrap_or("no reason is known");
        return Err((
            format!("run `{run}` is not done: {reason}"),
            "only a run whose tasks landed and whose checks passed is shipped",
        ));
    }
    let open = |state| !matches!(state, State::Done | State::Reverted);
    if let Some(task) = status.tasks.iter().find(|task| open(task.state)) {
        return Err((
            format!("task `{}` of run `{run}` is not done", task.id),
            "`loki status` shows what it waits for",
        ));
    }
    if let Some(command) = red(status) {
        return Err((
            format!("check `{command}` of run `{run}` failed"),
            "`loki logs` shows what it said",
        ));
    }
    stands(records, status, head)
}

/// Returns a command of the run's own checks whose last answer is no.
fn red(status: &Status) -> Option<&str> {
    let of_run = status.checks.iter().filter(|check| check.task.is_none());
    let last = |command: &str| {
        let mut own = of_run.clone().rev();
        own.find(|check| check.command == command)
    };
    let mut commands = of_run.clone().map(|check| check.command.as_str());
    commands.find(|command| last(command).is_some_and(|check| !check.passed))
}

/// Says whether the branch is where the journal left it, and whether checks saw it there.
fn stands(records: &[Record], status: &Status, head: &ObjectId) -> Result<Checked, Unfit> {
    let landings = Landings::fold(records);
    let reverted = |record: &Record| matches!(record.event, Event::Reverted { .. });
    let checked = match records.iter().any(reverted) {
        true => Checked::No,
        false => Checked::Yes,
    };
    let Some(at) = landings.tip() else {
        return Err((
            "nothing landed in this run, so there is nothing to ship".to_owned(),
            "`loki status` shows what its tasks did",
        ));
    };
    if head != at {
        return Err((
            format!(
                "branch `{}` is at `{head}`, the journal left it at `{at}`: somebody moved it",
                status.branch
            ),
            "look at it with `git log`, and push it yourself where that is right",
        ));
    }
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Task;

    fn id(digit: &str) -> String {
        digit.repeat(40)
    }

    fn task(name: &str) -> Task {
        Task {
            id: name.parse().unwrap(),
            role: "eng-backend".parse().unwrap(),
            title: name.to_owned(),
            description: String::new(),
            depends_on: Vec::new(),
            accept: Vec::new(),
            files: Vec::new(),
            priority: crate::task::Priority::default(),
        }
    }

    fn checked(passed: Checked) -> Event {
        Event::Checked {
            task: None,
            command: "make test".to_owned(),
            passed: passed == Checked::Yes,
            tests: None,
            tail: String::new(),
            elapsed_ms: 1,
        }
    }

    fn ended(outcome: Outcome) -> Event {
        Event::RunEnded {
            outcome,
            reason: Some("because".to_owned()),
        }
    }

    fn reverted() -> Event {
        Event::Reverted {
            task: "one".parse().unwrap(),
            by: PERSON.to_owned(),
            from: id("2"),
            commit: id("3"),
            reverts: id("2"),
        }
    }

    const PERSON: &str = "person";

    /// A run of one task that landed as 2 on 1, with these events behind it.
    fn judged(more: Vec<Event>, head: &str) -> Result<Checked, String> {
        let one = || "one".parse().unwrap();
        let mut events = vec![
            serde_json::from_value(serde_json::json!({ "type": "run_started", "run": "r1", "loki": "0", "spec": "s", "spec_sha256": "", "title": "t", "provider": "p", "base": id("1"), "branch": "loki/r1", "engine": "e", "policy_sha256": "" })).unwrap(),
            Event::Planned {
                tasks: vec![task("one")],
            },
            Event::TaskClaimed {
                task: one(),
                version: 1,
                attempt: 1,
            },
            Event::Landing {
                task: one(),
                attempt: 1,
                from: id("1"),
                commit: id("2"),
            },
            Event::TaskDone {
                task: one(),
                version: 1,
                attempt: 1,
                commit: Some(id("2")),
            },
        ];
        events.extend(more);
        let records = Record::row(events);
        let status = Status::fold(&records);
        fit(&records, &status, &head.parse().unwrap()).map_err(|(why, _)| why)
    }

    #[test]
    fn a_run_that_is_done_and_checked_may_be_shipped() {
        let events = vec![checked(Checked::Yes), ended(Outcome::Done)];
        assert_eq!(judged(events, &id("2")), Ok(Checked::Yes));
        let events = vec![checked(Checked::Yes), ended(Outcome::Done), reverted()];
        assert_eq!(judged(events, &id("3")), Ok(Checked::No));
    }

    #[test]
    fn what_is_not_done_red_or_elsewhere_may_not() {
        let refused = |events, head: &str| judged(events, head).unwrap_err();
        assert!(refused(vec![], &id("2")).contains("has not ended"));
        for outcome in [Outcome::Failed, Outcome::Stopped] {
            assert!(refused(vec![ended(outcome)], &id("2")).contains("not done: because"));
        }
        let red = vec![checked(Checked::No), ended(Outcome::Done)];
        assert!(refused(red, &id("2")).contains("`make test`"));
        let moved = refused(vec![ended(Outcome::Done)], &id("7"));
        assert!(moved.contains("somebody moved it"), "{moved}");
        let back = refused(vec![ended(Outcome::Done), reverted()], &id("2"));
        assert!(back.contains("somebody moved it"), "{back}");
    }
}
