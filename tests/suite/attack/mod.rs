//! THREATS, each as a test: a hostile program runs inside a real sandbox, on Docker and on
//! Podman, against sinks that the test owns. Each has its positive control: the same program in
//! a container that was deliberately opened, or with the right granted, must reach what it is
//! after; a control that reaches nothing fails the test.
//!
//! Traffic stays on loopback. Addresses elsewhere are only used inside containers without network,
//! where the control gives them to `lo`.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::harness::{Engine, Run, START, Said, World};

mod container;
mod git;
mod missing;
mod names;
mod network;
mod titles;

const LIMIT: Duration = Duration::from_secs(300);

/// A capture server on this host's loopback that answers every connection and counts it.
struct Sink {
    port: u16,
    hits: Arc<AtomicUsize>,
}

impl Sink {
    fn open() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let hits = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&hits);
        // Ends with the test process: nothing else can tell a blocked accept to stop.
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                connection
                    .set_read_timeout(Some(Duration::from_secs(2)))
                    .unwrap();
                // What the probe sends does not matter, nor whether it stays for the answer.
                if matches!(connection.read(&mut [0; 4096]), Ok(1..)) {
                    connection
                        .write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nsink")
                        .ok();
                }
            }
        });
        Self { port, hits }
    }

    fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}

/// Runs a test on every engine at once; one that fails fails the whole.
fn on_each(test: impl Fn(Engine) + Sync) {
    std::thread::scope(|scope| {
        let test = &test;
        let threads = Engine::ALL.map(|engine| (engine, scope.spawn(move || test(engine))));
        for (engine, thread) in threads {
            let ended = thread.join();
            assert!(ended.is_ok(), "failed on {engine:?}, see above");
        }
    });
}

/// A world with a committed repository on an engine.
fn world(engine: Engine) -> World {
    let world = World::on(engine);
    world.write("src/app.py", "print('app')\n");
    world.write("README.md", "# App\n");
    world.commit();
    world
}

/// Runs a Python probe in a sandbox of Loki's.
#[track_caller]
fn confined_as(world: &World, role: &str, probe: &str, options: &[&str]) -> Said {
    let mut args = vec!["sandbox", "run", "--role", role];
    args.extend(options);
    args.extend(["--", "python3", "-c", probe]);
    world.loki(&args).exits(0)
}

/// Runs a Python probe in a sandbox of Loki's as `eng-backend`.
#[track_caller]
fn confined(world: &World, probe: &str, options: &[&str]) -> Said {
    confined_as(world, "eng-backend", probe, options)
}

/// Runs a Python probe in a container that is open: made by the engine's own program from the same
/// image, as root, with rights and without a filter. Without network unless the options say so.
#[track_caller]
fn opened(world: &World, engine: Engine, probe: &str, options: &[&str]) -> Said {
    open_run(world, engine, probe, options).exits(0)
}

#[track_caller]
fn open_run(world: &World, engine: Engine, probe: &str, options: &[&str]) -> Run {
    let image = world.image();
    let mut args = vec!["run", "--rm", "--user=0", "--env=CONTROL=1"];
    args.push("--security-opt=seccomp=unconfined");
    args.extend(match engine {
        // Not `--privileged`: on a host that lacks a capability itself, Docker fails to grant all.
        Engine::Docker => &[
            "--cap-add=SYS_ADMIN",
            "--cap-add=SYS_PTRACE",
            "--cap-add=NET_ADMIN",
            "--cap-add=NET_RAW",
            "--cap-add=DAC_READ_SEARCH",
            "--cap-add=AUDIT_CONTROL",
            "--security-opt=systempaths=unconfined",
            "--security-opt=apparmor=unconfined",
        ][..],
        // Podman asks for more open files and processes than such a host may give.
        Engine::PodmanRootful => &[
            "--privileged",
            "--ulimit=nofile=1024:1024",
            "--ulimit=nproc=1024:1024",
        ],
    });
    if !options
        .iter()
        .any(|option| option.starts_with("--network="))
    {
        args.push("--network=none");
    }
    args.extend(options);
    // The shell is PID 1, as something that is not the probe is in a sandbox.
    args.extend([&image, "sh", "-c", "python3 -c \"$0\"; exit $?", probe]);
    world.start(engine.program(), &args).wait(LIMIT)
}

/// Puts a value where a probe reads the sink's port.
fn aimed(probe: &str, port: u16) -> String {
    let read = "os.environ[\"SINK_PORT\"]";
    assert!(probe.contains(read), "the probe aims at no sink");
    probe.replace(read, &format!("\"{port}\""))
}

/// The control for addresses elsewhere: they are given to `lo` of a container without network.
fn owning(addresses: &str, probe: &str) -> String {
    let own = include_str!("probes/own_address.py")
        .replace("sys.argv[1]", &format!("{addresses:?}"))
        .replace("sys.stdin.read()", "PROBE");
    format!("PROBE = {}\n{own}", serde_json::to_string(probe).unwrap())
}

/// Asserts that a probe in a sandbox came to its end and reached nothing.
#[track_caller]
fn closed(said: Said, end: &str) {
    assert!(
        !said.stdout.contains("REACHED"),
        "the attack got through\n{said}"
    );
    drop(said.prints(&[end]));
}

/// Asserts that a control reached each of these, so that a probe which reached none shows something.
#[track_caller]
fn reached(said: &Said, wanted: &[&str]) {
    for one in wanted {
        let line = format!("REACHED {one}");
        assert!(
            said.stdout.contains(&line),
            "the control did not reach `{one}`: the probe shows nothing\n{said}"
        );
    }
}
