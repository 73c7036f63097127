//! THREATS, each as a test: a hostile program runs inside a real sandbox, on Docker and on
//! Podman, against sinks that the test owns. Each has its positive control: the same probe in a
//! container that was deliberately opened must reach what it is after.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::harness::{Engine, Said, World};

const LIMIT: Duration = Duration::from_secs(120);

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
                connection.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                // What the probe sends does not matter, nor whether it stays for the answer.
                connection.read(&mut [0; 4096]).ok();
                connection.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nsink").ok();
            }
        });
        Self { port, hits }
    }

    fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}

/// A world with a committed repository on an engine.
fn world(engine: Engine) -> World {
    let world = World::on(engine);
    world.write("src/app.py", "print('app')\n");
    world.write("README.md", "# App\n");
    world.commit();
    world
}

/// Runs a probe in a sandbox of Loki's as `eng-backend`.
#[track_caller]
fn confined(world: &World, probe: &str, sink: u16, options: &[&str]) -> Said {
    let script = format!("SINK_PORT={sink} exec python3 -c \"$PROBE\"");
    let script = script.replace("\"$PROBE\"", &quoted(probe));
    let mut args = vec!["sandbox", "run", "--role", "eng-backend"];
    args.extend(options);
    args.extend(["--", "sh", "-c", &script]);
    world.loki(&args).exits(0)
}

/// Runs a probe in a container that is open: the engine's own program, all rights, root.
#[track_caller]
fn opened(world: &World, engine: Engine, probe: &str, options: &[&str]) -> Said {
    let image = world.image();
    let mut args = vec!["run", "--rm", "--privileged", "--user=0", "--env=CONTROL=1", "--security-opt=seccomp=unconfined"];
    if engine == Engine::PodmanRootful {
        args.extend(["--runtime=runc", "--cgroup-manager=cgroupfs"].iter().take(0));
    }
    args.extend(options);
    args.extend([image.as_str(), "python3", "-c", probe]);
    world.start(engine.program(), &args).wait(LIMIT).exits(0)
}

/// Quotes a text for the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The control for addresses elsewhere: they are given to `lo` of a container without network.
fn owning(addresses: &str, probe: &str) -> String {
    let own = include_str!("probes/own_address.py")
        .replace("sys.argv[1]", &format!("{addresses:?}"))
        .replace("sys.stdin.read()", "PROBE");
    format!("PROBE = {}\n{own}", serde_json::to_string(probe).unwrap())
}

#[track_caller]
fn closed(said: &Said) {
    assert!(!said.stdout.contains("REACHED"), "the attack got through\n{said}");
}

#[track_caller]
fn reached(said: &Said, times: usize) {
    let count = said.stdout.matches("REACHED").count();
    assert!(count >= times, "the control reached {count}, not {times}: the probe shows nothing\n{said}");
}

#[test]
fn attack_n01_a_program_that_ignores_proxies_has_no_route() {
    let probe = include_str!("probes/n01_no_route.py");
    for engine in Engine::ALL {
        let world = world(engine);
        let said = confined(&world, probe, 0, &[]);
        closed(&said);
        said.prints(&["CLOSED"]);
        let control = owning("198.51.100.1:443", probe);
        reached(&opened(&world, engine, &control, &["--network=none"]), 1);
    }
}
