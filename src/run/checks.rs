//! Runs checks: shell commands on a tree, in a sandbox without network. "Nothing ran" is a
//! failure.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    event::{Event, millis},
    git::ObjectId,
    name::{Role, TaskId},
    sandbox::{Grant, Sandbox},
};

use super::{
    attempt::KILLED,
    count::tests_run,
    failure::Failure,
    install,
    output::{End, Talk, last_lines},
    recorder::Recorder,
    room::Room,
    work::Work,
};

/// Lines of a failed check's output that go into the journal and the next brief.
const TAIL_LINES: usize = 30;

/// The role that runs checks: no network, no interpreter left out, a throw-away copy.
pub(super) const CHECKER: &str = "check";
/// The room for the checks of the whole run: no task's has such a name.
const OF_RUN: &str = "checks";

/// Returns the role that runs checks.
pub(super) fn checker() -> Role {
    CHECKER.parse().expect("the name is a role's")
}

/// What a check came to.
struct Checked {
    passed: bool,
    tests: Option<u64>,
    tail: String,
    elapsed: Duration,
}

/// What commands said of a tree: those that passed, and why each other one did not.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Those that passed.
    pub(super) passed: Vec<String>,
    /// Those that did not, each with what it said.
    pub(super) red: Vec<(String, Failure)>,
}

/// Runs every command in one sandbox on a tree and records each. The first that fails
/// ends it and is returned as the failure.
pub(super) async fn run(
    work: &Arc<Work>,
    recorder: &Recorder,
    task: Option<&TaskId>,
    tree: &ObjectId,
    commands: &[String],
) -> Result<(), Failure> {
    let answers = ask(work, recorder, task, tree, (commands, &[])).await;
    answers.map(drop)
}

/// Runs `musts`, then `tests`, in one sandbox on a tree, and records each. The first of `musts`
/// that fails ends it and is returned as the failure; of `tests` all are run.
pub(super) async fn ask(
    work: &Arc<Work>,
    recorder: &Recorder,
    task: Option<&TaskId>,
    tree: &ObjectId,
    (musts, tests): (&[String], &[String]),
) -> Result<Answers, Failure> {
    if musts.is_empty() && tests.is_empty() {
        return Ok(Answers::default());
    }
    let role = checker();
    let name = task.map_or_else(|| OF_RUN.to_owned(), room_name);
    let name = work.names.take(&name);
    let mut room = work.room(recorder, &name, task, &role)?;
    let outcome = within(&mut room, tree, (musts, tests)).await;
    room.remove().await?;
    work.names.give_back(&name);
    outcome
}

/// Names the room of a task's checks.
pub(super) fn room_name(task: &TaskId) -> String {
    format!("{task}-checks")
}

type Commands<'a> = (&'a [String], &'a [String]);

async fn within(
    room: &mut Room<'_>,
    tree: &ObjectId,
    commands: Commands<'_>,
) -> Result<Answers, Failure> {
    let given = install::for_checks(room, tree).await?;
    room.give(given);
    room.export(tree);
    let sandbox = room.launch(Vec::new()).await?;
    let outcome = room.watching(&sandbox, all(room, &sandbox, commands)).await;
    room.end(sandbox).await?;
    outcome
}

async fn all(
    room: &Room<'_>,
    sandbox: &Sandbox,
    (musts, tests): Commands<'_>,
) -> Result<Answers, Failure> {
    let mut answers = Answers::default();
    for (at, command) in musts.iter().chain(tests).enumerate() {
        let checked = check(room, sandbox, command).await?;
        room.recorder()
            .record(event(room.task(), command, &checked))
            .await?;
        if checked.passed {
            answers.passed.push(command.clone());
        } else if at < musts.len() {
            return Err(failure(command, &checked));
        } else {
            let said = failure(command, &checked);
            answers.red.push((command.clone(), said));
        }
    }
    Ok(answers)
}

async fn check(room: &Room<'_>, sandbox: &Sandbox, command: &str) -> Result<Checked, Failure> {
    let begun = Instant::now();
    let argv = ["sh", "-c", command].map(str::to_owned);
    let given = room.given();
    let grant = given.grant(Grant::default());
    let process = sandbox.exec(&argv, &given.environment(), &grant).await?;
    let heard = room.attend(sandbox, process, Talk::from(&b""[..])).await?;
    let text = format!(
        "{}\n{}",
        String::from_utf8_lossy(&heard.stdout),
        String::from_utf8_lossy(&heard.stderr)
    );
    let tests = tests_run(&text);
    let (code, tail) = match heard.end {
        End::Exited(code) => (code, last_lines(text.trim().as_bytes(), TAIL_LINES)),
        End::Overrun(over) => (KILLED, room.ended(over)),
    };
    Ok(Checked {
        passed: code == 0 && tests != Some(0),
        tests,
        tail,
        elapsed: begun.elapsed(),
    })
}

fn event(task: Option<&TaskId>, command: &str, checked: &Checked) -> Event {
    Event::Checked {
        task: task.cloned(),
        command: command.to_owned(),
        passed: checked.passed,
        tests: checked.tests,
        tail: if checked.passed {
            String::new()
        } else {
            checked.tail.clone()
        },
        elapsed_ms: millis(checked.elapsed),
    }
}

fn failure(command: &str, checked: &Checked) -> Failure {
    let why = if checked.tests == Some(0) {
        "no test ran"
    } else {
        "failed"
    };
    Failure {
        check: Some(command.to_owned()),
        ..Failure::retry(format!("check `{command}` {why}:\n{}", checked.tail))
    }
}

/// Commands of the whole run, in order: its tests, then its acceptance checks.
pub(super) fn of_run(spec: &crate::spec::Spec) -> Vec<String> {
    let acceptance = spec
        .acceptance
        .iter()
        .filter_map(|criterion| criterion.command.clone());
    spec.tests.iter().cloned().chain(acceptance).collect()
}
