//! Runs in other processes, where nothing is started: what is refused, and what is said of runs that
//! are over. What goes on in containers is in `live_held.rs`.

use std::{os::unix::net::UnixListener, time::Duration};

use loki::{
    event::{Event, Outcome},
    journal::{Door, Lock, Writer},
    name::RunId,
};

use super::harness::World;

const SPEC: &str =
    "# Page\n\n## Tasks\n\n1. `page` (eng-backend): Write it.\n\n## Tests\n\n- `true`\n";
const SOON: Duration = Duration::from_secs(60);

fn run() -> RunId {
    "20270115-080000-ab12".parse().unwrap()
}

fn world() -> World {
    let world = World::new();
    world.write("spec.md", SPEC);
    world.write("agent.sh", "#!/bin/sh\ntrue\n");
    world.commit();
    world
}

const START: [&str; 7] = [
    "start",
    "spec.md",
    "--provider",
    "command",
    "--command",
    "./agent.sh",
    "--detach",
];

/// Writes the journal of a run, as its orchestrator left it.
fn recorded(world: &World, outcome: Option<Outcome>) {
    let clock = || "2027-01-15T08:00:00Z".parse().unwrap();
    let mut journal = Writer::create(&world.path(".loki"), &run(), clock).unwrap();
    let started = Event::RunStarted {
        run: run(),
        loki: "0".to_owned(),
        spec: "spec.md".to_owned(),
        spec_sha256: String::new(),
        title: "Page".to_owned(),
        provider: "command".to_owned(),
        base: String::new(),
        branch: format!("loki/{}", run()),
        engine: "none".to_owned(),
        policy_sha256: String::new(),
        asked: None,
    };
    drop(journal.append(&started).unwrap());
    if let Some(outcome) = outcome {
        let reason = None;
        drop(
            journal
                .append(&Event::RunEnded { outcome, reason })
                .unwrap(),
        );
    }
    journal.sync().unwrap();
}

#[test]
fn what_is_wrong_is_said_where_it_was_typed_and_leaves_nothing() {
    let world = world();
    // No engine: known only to the process that would hold the run.
    let said = world.loki(&START).exits(4);
    drop(said.says(&["error", "engine"]));
    assert!(!world.path(".loki/journal").exists());
    assert!(!world.path(".loki/orchestrator/socket").exists());
    world.write("spec.md", "no specification\n");
    drop(world.loki(&START).exits(3));
    drop(world.loki(&["start", "spec.md", "--json"]).exits(2));
    let said = world.loki(&["orchestrate"]).exits(2);
    drop(said.says(&["is started by `loki start --detach`"]));
}

#[test]
fn a_run_that_is_over_says_how_it_ended() {
    for (outcome, code, word) in [
        (Outcome::Done, 0, "is done"),
        (Outcome::Failed, 1, "has failed"),
        (Outcome::Stopped, 1, "was stopped"),
        (Outcome::Waiting, 5, "waits for a person"),
    ] {
        let world = world();
        recorded(&world, Some(outcome));
        drop(world.loki(&["attach"]).exits(code).says(&[word]));
        let said = world
            .loki(&["attach", run().as_str(), "--json"])
            .exits(code);
        assert_eq!(said.stdout.lines().count(), 2, "{said}");
        let stopped = world.loki(&["stop", run().as_str()]).exits(0);
        drop(stopped.says(&["does not go on"]));
    }
    let world = world();
    drop(world.loki(&["attach"]).exits(2).says(&["no run was made"]));
    recorded(&world, None);
    let said = world.loki(&["attach"]).exits(1);
    drop(said.says(&["is gone", "`loki resume"]));
    drop(world.loki(&["attach", "20270115-080000-ffff"]).exits(2));
}

/// Whoever only needs the lock for a moment holds no run for anybody.
#[test]
fn a_repository_whose_owner_does_not_open_is_waited_for_and_then_named() {
    let world = world();
    let lock = Lock::acquire(&world.path(".loki"), &run(), jiff::Timestamp::UNIX_EPOCH).unwrap();
    let said = world.loki(&START).exits(1);
    let owner = format!("run {} (pid {}) is working on", run(), std::process::id());
    drop(said.says(&[&owner, "`loki stop` ends it"]));
    drop(lock);
}

/// The repository brought a socket along, and somebody listens there: he is told nothing.
#[test]
fn attack_g07_a_strangers_socket_is_told_nothing() {
    let world = world();
    let state = world.path(".loki");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let lock = Lock::acquire(&state, &run(), jiff::Timestamp::UNIX_EPOCH).unwrap();
    let door = Door::open(&state).unwrap();
    let place = door.path();
    std::fs::remove_file(&place).unwrap();
    let elsewhere = world.path("../elsewhere");
    let stranger = UnixListener::bind(&elsewhere).unwrap();
    stranger.set_nonblocking(true).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
    let said = world.loki(&START).exits(2);
    drop(said.says(&["is a symbolic link", "socket"]));
    // Neither is a file in its place, nor waited for as long as whoever planted it likes.
    std::fs::remove_file(&place).unwrap();
    std::fs::write(&place, "").unwrap();
    let said = world.loki(&START).exits(1);
    drop(said.says(&["it is no socket", "nothing was said to it"]));
    assert!(stranger.accept().is_err(), "nobody came");
    drop((door, lock));
}

/// Whatever the process behind the door says, a caller ends in words.
#[test]
fn what_cannot_be_understood_ends_the_caller_in_words() {
    let world = world();
    let state = world.path(".loki");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let lock = Lock::acquire(&state, &run(), jiff::Timestamp::UNIX_EPOCH).unwrap();
    let door = Door::open(&state).unwrap();
    for (answer, words) in [
        ("{\"heard\":7}\nnonsense", "cannot be understood"),
        (
            "{\"heard\":7}",
            "process 7 is gone, and the run had not begun",
        ),
        (
            "{\"fault\":[4,\"it will not\",\"do this\"]}",
            "hint: do this",
        ),
    ] {
        let caller = world.spawn(&START);
        runtime.block_on(async {
            let mut talk = tokio::time::timeout(SOON, door.next())
                .await
                .unwrap()
                .unwrap();
            let wish = talk.hear(1 << 20).await.unwrap().unwrap();
            assert!(
                wish.contains("## Tasks"),
                "the specification by content: {wish}"
            );
            talk.say(answer).await.unwrap();
        });
        let code = if answer.contains("fault") { 4 } else { 1 };
        drop(
            caller
                .wait(SOON)
                .never_panicked()
                .exits(code)
                .says(&[words]),
        );
    }
    drop((door, lock));
}
