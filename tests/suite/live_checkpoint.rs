//! Checkpoints of agents at work, on real engines: a copy of one moment, made of a sandbox that
//! runs on, and begun from again as often as one likes.

use std::{
    fs,
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::Value;

use super::harness::{Engine, Running, START, World, on_each};

const SOON: Duration = Duration::from_secs(120);

const SPEC: &str = "# One file\n\nOne file.\n\n## Tasks\n\n\
    1. `first` (eng-backend): Write the file.\n   - accept: `test -s src/first`\n";

/// Counts in two files in lock-step, until a third is there. It appends: a write is delayed by the
/// role's rights once its file is open, and one that was emptied first would stay empty meanwhile.
const COUNTS: &str = "mkdir -p src; n=0; echo hello > $HOME/.conversation; echo begun; \
    while [ ! -e /work/src/enough ] && [ $n -lt 100000000 ]; do n=$((n+1)); echo $n >> src/a; echo $n >> src/b; done";

fn world(engine: Engine) -> World {
    let world = World::on(engine);
    world.write("src/app.py", "print('app')\n");
    world.write("docs/other.txt", "not for all\n");
    world.commit();
    world
}

/// Starts a sandbox that counts, and waits until it does.
fn counting(world: &World) -> Running {
    let argv = [
        "sandbox",
        "run",
        "--role",
        "eng-backend",
        "--timeout",
        "5m",
        "--",
        "sh",
        "-c",
        COUNTS,
    ];
    let mut run = world.spawn(&argv);
    run.wait_until(SOON, |said| said.stdout.contains("begun"));
    run
}

#[track_caller]
fn made(world: &World, argv: &[&str]) -> Vec<String> {
    let said = world
        .loki(&[&["checkpoint", "create"], argv].concat())
        .exits(0);
    said.stdout.lines().map(str::to_owned).collect()
}

/// The last number that a counting file holds.
#[track_caller]
fn count_of(path: &Path) -> u64 {
    let text = fs::read_to_string(path).unwrap();
    let last = text.lines().last().unwrap_or_default();
    last.parse()
        .unwrap_or_else(|_| panic!("{} ends with {last:?}", path.display()))
}

#[test]
fn attack_c9_live_a_checkpoint_of_a_running_agent_is_of_one_moment() {
    on_each(|engine| {
        let world = world(engine);
        let mut run = counting(&world);
        let mut seen = Vec::new();
        for round in 0..5 {
            let ids = made(&world, &[]);
            assert_eq!(ids.len(), 1, "{ids:?}");
            let to = format!("back-{round}");
            world
                .loki(&["checkpoint", "restore", &ids[0], "--to", &to])
                .exits(0);
            let [a, b] =
                ["a", "b"].map(|name| count_of(&world.path(&format!("{to}/work/src/{name}"))));
            assert!(a == b || a == b + 1, "torn: {a} and {b}");
            seen.push(a);
            let home = fs::read_to_string(world.path(&format!("{to}/home/.conversation")));
            assert_eq!(home.unwrap(), "hello\n");
        }
        assert!(
            seen.windows(2).all(|two| two[0] <= two[1]) && seen.first() != seen.last(),
            "{seen:?}"
        );
        // It runs on: nothing was left paused.
        let before = made(&world, &[]);
        let later = made(&world, &[]);
        let diff = world
            .loki(&["checkpoint", "diff", &before[0], &later[0]])
            .exits(1);
        diff.prints(&["work/src/"]);
        let shown = world
            .loki(&["checkpoint", "show", &later[0], "--json"])
            .exits(0)
            .stdout;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["stillness"], "paused");
        // Without a pause a change is seen and refused; on a busy machine the agent may not have had
        // the processor while it was read.
        let read = || {
            world
                .loki(&["checkpoint", "create", "--no-pause"])
                .in_any_case()
        };
        let changed = "was changed while it was read";
        assert!(
            (0..20).any(|_| read().stderr.contains(changed)),
            "none of 20 readings saw what an agent writes without a pause"
        );
        run.signal(rustix::process::Signal::TERM);
        run.wait_until(SOON, |_| true);
        drop(run.wait(SOON).in_any_case());
        world.loki(&["checkpoint", "verify"]).exits(0);
    });
}

/// Passes everything on to an engine, and keeps what it was asked.
fn overheard(engine: Engine, at: &Path) -> Arc<Mutex<Vec<u8>>> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = UnixListener::bind(at).unwrap();
    let to = PathBuf::from(engine.address().1.trim_start_matches("unix://"));
    let kept = Arc::clone(&heard);
    thread::spawn(move || {
        for asker in listener.incoming().map_while(Result::ok) {
            let answerer = UnixStream::connect(&to).unwrap();
            let back = (answerer.try_clone().unwrap(), asker.try_clone().unwrap());
            thread::spawn(move || {
                let (mut from, mut to) = back;
                drop(io::copy(&mut from, &mut to));
                drop(to.shutdown(Shutdown::Both));
            });
            let kept = Arc::clone(&kept);
            thread::spawn(move || pass_on(asker, answerer, &kept));
        }
    });
    heard
}

fn pass_on(mut from: UnixStream, mut to: UnixStream, kept: &Mutex<Vec<u8>>) {
    let mut some = [0; 8192];
    while let Ok(count) = from.read(&mut some) {
        if count == 0 || to.write_all(&some[..count]).is_err() {
            break;
        }
        kept.lock().unwrap().extend(&some[..count]);
    }
    drop(to.shutdown(Shutdown::Write));
}

#[test]
fn attack_c10_live_no_program_of_the_sandbox_takes_part_in_its_checkpoint() {
    on_each(|engine| {
        let world = world(engine);
        let plants = "mkdir -p src $HOME/bin; for name in tar gzip zstd cp sh; do for at in src $HOME/bin; do \
            printf '#!/bin/sh\necho hostile > /work/src/ran\n' > $at/$name; chmod +x $at/$name; done; done; \
            echo begun; exec sleep 300";
        let mut run = world.spawn(&[
            "sandbox",
            "run",
            "--role",
            "eng-backend",
            "--timeout",
            "5m",
            "--",
            "sh",
            "-c",
            plants,
        ]);
        run.wait_until(SOON, |said| said.stdout.contains("begun"));
        let socket = world.path("overheard.sock");
        let heard = overheard(engine, &socket);
        let address = format!("{}=unix://{}", engine.address().0, socket.display());
        let loki = env!("CARGO_BIN_EXE_loki");
        let create = world
            .start("env", &[&address, loki, "checkpoint", "create"])
            .wait(SOON)
            .exits(0);
        let heard = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
        let asked: Vec<&str> = heard
            .lines()
            .filter(|line| line.ends_with("HTTP/1.1"))
            .collect();
        assert!(
            asked.iter().any(|line| line.contains("/pause ")),
            "{asked:?}"
        );
        assert!(
            asked.iter().any(|line| line.contains("/unpause ")),
            "{asked:?}"
        );
        for line in &asked {
            let harmless = line.starts_with("GET ") && !line.contains("/archive")
                || line.contains("/pause ")
                || line.contains("/unpause ");
            assert!(harmless, "{line}");
        }
        let shown = world
            .loki(&["checkpoint", "show", create.stdout.trim()])
            .exits(0);
        let shown = shown.prints(&["work/src/tar", "home/bin/tar"]);
        assert!(!shown.stdout.contains("src/ran"), "{shown}");
        run.signal(rustix::process::Signal::TERM);
        drop(run.wait(SOON).in_any_case());
    });
}

#[test]
fn live_new_sandboxes_begin_from_a_checkpoint_as_often_as_one_likes() {
    on_each(|engine| {
        let world = world(engine);
        let run = counting(&world);
        let id = made(&world, &[]).remove(0);
        run.signal(rustix::process::Signal::TERM);
        drop(run.wait(SOON).in_any_case());
        let look = "cat $HOME/.conversation; cat src/app.py; echo mine >> $HOME/.conversation; \
            touch src/new && ls src docs 2>&1";
        for _ in 0..2 {
            let argv = [
                "sandbox",
                "run",
                "--role",
                "eng-backend",
                "--checkpoint",
                &id,
                "--",
                "sh",
                "-c",
                look,
            ];
            let said = world
                .loki(&argv)
                .exits(0)
                .prints(&["hello\nprint('app')\n", "new"]);
            assert!(!said.stdout.contains("mine"), "{said}");
        }
        // Who may not read a file does not find it there.
        world.write(
            "narrow.yaml",
            "version: 1\nagents: { shop-one: { description: Reads a little. } }\n\
            permissions: { shop-one: { read: [\"docs/**\"], execute: [\"@shell\"] } }\n",
        );
        let argv = [
            "sandbox",
            "run",
            "--role",
            "shop-one",
            "--policy",
            "narrow.yaml",
            "--checkpoint",
            &id,
            "--",
            "ls",
            "/work/src",
        ];
        let said = world.loki(&argv).in_any_case();
        assert!(!said.stdout.contains("app.py"), "{said}");
    });
}

#[test]
fn live_a_run_keeps_what_every_attempt_wrote_before_it_is_judged() {
    on_each(|engine| {
        let world = World::on(engine);
        world.write("spec.md", SPEC);
        let agent = "#!/bin/sh\nmkdir -p src; echo done > src/first; echo talk > $HOME/.talk\n";
        world.write("agent.sh", agent);
        world
            .start("chmod", &["+x", "agent.sh"])
            .wait(SOON)
            .exits(0);
        world.commit();
        world.loki(&START).exits(0);
        let events = world.events_of("checkpointed");
        assert_eq!(events.len(), 1, "{events:?}");
        let id = events[0]["checkpoint"]
            .as_str()
            .unwrap_or_else(|| panic!("{events:?}"))
            .to_owned();
        let kinds: Vec<String> = world
            .events()
            .iter()
            .map(|event| event["event"]["type"].as_str().unwrap().to_owned())
            .collect();
        let at = |kind: &str| kinds.iter().position(|one| one == kind).unwrap();
        assert!(at("sandbox_ended") < at("checkpointed") && at("checkpointed") < at("gated"));
        world
            .loki(&["checkpoint", "list"])
            .exits(0)
            .prints(&[&id, "/first-1"]);
        world
            .loki(&["checkpoint", "restore", &id, "--to", "back"])
            .exits(0);
        assert_eq!(
            fs::read_to_string(world.path("back/work/src/first")).unwrap(),
            "done\n"
        );
        assert_eq!(
            fs::read_to_string(world.path("back/home/.talk")).unwrap(),
            "talk\n"
        );
    });
}
