//! Runs in other processes, where nothing is started: what is refused, and what is said of runs that
//! are over. What goes on in containers is in `live_held.rs`.

use std::{os::unix::net::UnixListener, time::Duration};

use loki::{
    event::{Event, Outcome},
    journal::{Door, Lock},
};

use super::harness::{World, recorded_run as run};

const SPEC: &str =
    "# Page\n\n## Tasks\n\n1. `page` (eng-backend): Write it.\n\n## Tests\n\n- `true`\n";
const SOON: Duration = Duration::from_secs(60);

fn world() -> World {
    World::with_spec(SPEC)
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
    let ended = outcome.map(|outcome| Event::RunEnded {
        outcome,
        reason: None,
    });
    let started = world.run_started(SPEC);
    world.record(&[started].into_iter().chain(ended).collect::<Vec<_>>());
}

#[test]
fn what_is_wrong_is_said_where_it_was_typed_and_leaves_nothing() {
    let world = world();
    // No engine: known only to the process that would hold the run.
    let said = world.loki(&START).exits(4);
    drop(said.says(&["error", "engine"]));
    assert!(!world.path(".loki/journal").exists());
    let nobody = ["start", "spec.md", "--command", "./nobody.sh"];
    let said = world.loki(&nobody).exits(2);
    drop(said.says(&["nobody.sh", "hint: name a script"]));
    world.write("spec.md", "no specification\n");
    drop(world.loki(&START).exits(3));
    drop(world.loki(&["start", "spec.md", "--json"]).exits(2));
    let said = world.loki(&["orchestrate"]).exits(2);
    drop(said.says(&["is started by `loki start --detach`"]));
}

#[test]
fn a_run_that_is_over_says_how_it_ended() {
    let short = run();
    for (outcome, code, [word, next]) in [
        (Outcome::Done, 0, ["is done", "`loki apply RUN`"]),
        (Outcome::Failed, 1, ["has failed", "`loki logs --run RUN`"]),
        (Outcome::Stopped, 1, ["was stopped", "`loki resume RUN`"]),
        (
            Outcome::Waiting,
            5,
            ["waits for a person", "`loki status --run RUN`"],
        ),
        (
            Outcome::Limited,
            20,
            ["was stopped by a limit", "`loki resume RUN"],
        ),
    ] {
        let world = world();
        recorded(&world, Some(outcome));
        let next = next.replace("RUN", short.as_str());
        drop(world.loki(&["attach"]).exits(code).says(&[word, &next]));
        let said = world
            .loki(&["attach", run().as_str(), "--json"])
            .exits(code);
        assert_eq!(said.stdout.lines().count(), 2, "{said}");
        let stopped = world.loki(&["stop", run().as_str()]).exits(0);
        drop(stopped.says(&["does not go on"]));
    }
    let world = world();
    let makes_one = "`loki start SPEC.md` makes one";
    let said = world.loki(&["attach"]).exits(2);
    drop(said.says(&["no run was made", makes_one]));
    let said = world.loki(&["attach", short.as_str()]).exits(2);
    drop(said.says(&["there is no run", makes_one]));
    let said = world.loki(&["status", "--json"]).exits(0);
    drop(said.prints(&["\"beside\": []"]));
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

/// A run may break off while its process goes on with others.
#[test]
fn who_watches_is_told_when_the_run_is_held_no_more() {
    let world = world();
    recorded(&world, None);
    let state = world.path(".loki");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let lock = Lock::acquire(&state, &run(), jiff::Timestamp::UNIX_EPOCH).unwrap();
    let door = Door::open(&state).unwrap();
    for (answer, words) in [
        (Some("\"over\""), "broke off"),
        (None, "the process that held run"),
        (
            Some("{\"fault\":[1,\"another loki\",null]}"),
            "another loki",
        ),
    ] {
        let watcher = world.spawn(&["attach", run().as_str()]);
        runtime.block_on(async {
            let talk = tokio::time::timeout(SOON, door.next()).await;
            let mut talk = talk.unwrap().unwrap();
            let wish = talk.hear(1 << 20).await.unwrap().unwrap();
            assert!(wish.contains("\"watch\""), "{wish}");
            if let Some(answer) = answer {
                talk.say(answer).await.unwrap();
            }
        });
        let said = watcher.wait(SOON).never_panicked().exits(1);
        drop(said.says(&[words]));
    }
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
