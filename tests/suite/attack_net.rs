//! Attacks on the network that need more than a probe in one sandbox: a hostile beginning of a
//! connection, a policy changed under way, an orchestrator that is killed, bytes that add up.
//!
//! Sinks are servers of the test on this host's loopback; each attack has a control that reaches
//! one in the same way.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use super::harness::{Engine, Said, World, on_each};

const LIMIT: Duration = Duration::from_secs(300);

/// A server that answers whatever it hears, and counts who came.
struct Sink {
    port: u16,
    visits: Arc<AtomicUsize>,
}

impl Sink {
    fn open(answer: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let visits = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&visits);
        // Ends with the test process: nothing else can tell a blocked accept to stop.
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                connection
                    .set_read_timeout(Some(Duration::from_secs(2)))
                    .unwrap();
                if matches!(connection.read(&mut [0; 65536]), Ok(1..)) {
                    connection.write_all(answer.as_bytes()).ok();
                }
            }
        });
        Self { port, visits }
    }

    fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}

const WEB: &str = "HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nsink";

fn world(engine: Engine) -> World {
    let world = World::on(engine);
    world.write("src/app.py", "print('app')\n");
    world.commit();
    world
}

/// Writes a policy that allows `allowed.test` on this port, and pins it to a sink.
fn allow(world: &World, sink: &Sink, port: u16, more: &str) {
    let pin = sink.port;
    let text = format!(
        "version: 1\nhosts: {{ allowed.test: \"127.0.0.1:{pin}\" }}\n\
         network_policies: {{ eng-backend: {{ egress: [\"allowed.test:{port}\"] }} }}\n{more}"
    );
    world.write("p.yaml", text);
}

const RUN: [&str; 7] = [
    "sandbox",
    "run",
    "--role",
    "eng-backend",
    "--policy",
    "p.yaml",
    "--",
];

fn python<'a>(probe: &'a str, argument: &'a str) -> Vec<&'a str> {
    [&RUN[..], &["python3", "-c", probe, argument]].concat()
}

fn lines<'a>(said: &'a Said, word: &str) -> Vec<&'a str> {
    let lines = said.stdout.lines();
    lines
        .filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
        .collect()
}

/// N13, N14 and N31 in one program.
#[test]
fn attack_n14_only_a_whole_hello_for_the_allowed_name_goes_on() {
    on_each(|engine| {
        let world = world(engine);
        let (sink, other) = (Sink::open("sink"), Sink::open("sink"));
        allow(&world, &sink, 443, "");
        let port = other.port.to_string();
        let probe = include_str!("harness/probes/hellos.py");
        let said = world
            .loki(&python(probe, &port))
            .exits(0)
            .prints(&["TRIED"]);
        let (reached, closed) = (lines(&said, "REACHED"), lines(&said, "CLOSED"));
        // The control: the same program reaches the sink with what is allowed.
        assert_eq!(reached.len(), 4, "{said}");
        assert!(
            reached.iter().all(|what| what.starts_with("good ")),
            "{said}"
        );
        assert_eq!(closed.len(), 13, "{said}");
        let told = closed
            .iter()
            .filter(|what| what.ends_with("15030300020231"));
        assert!(told.count() >= 8, "a TLS alert says why\n{said}");
        assert_eq!((sink.visits(), other.visits()), (4, 0), "{said}");
    });
}

#[test]
fn attack_n07_neither_a_changed_file_nor_a_killed_orchestrator_opens_anything() {
    on_each(|engine| {
        let world = world(engine);
        let (sink, denied) = (Sink::open(WEB), Sink::open(WEB));
        let pins = format!("hosts: {{ denied.test: \"127.0.0.1:{}\" }}\n", denied.port);
        world.write("pins.yaml", format!("version: 1\n{pins}"));
        allow(&world, &sink, 80, "");
        let probe = "import socket, time\n\
            while True:\n\
            \x20 for host in ('allowed.test', 'denied.test'):\n\
            \x20   try:\n\
            \x20     c = socket.create_connection((host, 80), timeout=2)\n\
            \x20     c.sendall(f'GET / HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n'.encode())\n\
            \x20     print(host, c.recv(12)[9:], flush=True)\n\
            \x20   except OSError as fault: print(host, fault, flush=True)\n\
            \x20 time.sleep(0.02)\n";
        let args = [
            &RUN[..6],
            &["--policy", "pins.yaml", "--", "python3", "-c", probe],
        ]
        .concat();
        let mut running = world.spawn(&args);
        running.wait_until(LIMIT, |said| said.stdout.contains("denied.test b'403'"));
        let open = "version: 1\nnetwork_policies: { eng-backend: { egress: [\"denied.test:80\", \"allowed.test:80\"] } }\n";
        for _ in 0..100 {
            world.write("p.yaml", open);
            world.write("p.yaml", "version: 1\n");
        }
        world.write("p.yaml", open);
        let seen = sink.visits();
        running.wait_until(LIMIT, |_| sink.visits() > seen + 3);
        assert_eq!(denied.visits(), 0, "a changed file counted");
        running.signal(Signal::KILL);
        let said = running.wait(LIMIT).exits(137);
        assert!(!said.stdout.contains("denied.test b'200'"), "{said}");
        let after = sink.visits();
        std::thread::sleep(Duration::from_secs(1));
        assert!(
            sink.visits() <= after + 1,
            "a sandbox without its gateway still gets out"
        );
        assert_eq!(denied.visits(), 0);
        // The control: under the changed file a fresh start reaches it.
        let probe = probe.replace("while True:", "for _ in range(1):");
        let args = [
            &RUN[..6],
            &["--policy", "pins.yaml", "--", "python3", "-c", &probe],
        ]
        .concat();
        drop(world.loki(&args).exits(0).prints(&["denied.test b'200'"]));
        drop(world.loki(&["sandbox", "rm", "--all"]).exits(0));
        assert_eq!(world.leftovers(), Vec::<String>::new());
    });
}

#[test]
fn attack_n18_wildcards_cover_whole_labels_only() {
    let world = World::new();
    world.commit();
    let policy = |host: &str| {
        let rule = serde_json::to_string(&format!("{host}:443")).unwrap();
        let text =
            format!("version: 1\nnetwork_policies: {{ eng-backend: {{ egress: [{rule}] }} }}\n");
        world.write("p.yaml", text);
    };
    for host in [
        "*",
        "*.com",
        "*.test",
        "**.a.test",
        "a.*.test",
        "*a.test",
        "a*.test",
        ".a.test",
    ] {
        policy(host);
        drop(world.loki(&["policy", "check", "p.yaml"]).exits(3));
    }
    policy("*.github.test");
    drop(world.loki(&["policy", "check", "p.yaml"]).exits(0));
    let allowed = [
        "gist.github.test",
        "GIST.github.TEST",
        "x-1.github.test",
        "xn--bcher-kva.github.test",
    ];
    let denied = [
        "github.test",
        "evilgithub.test",
        "gist-github.test",
        "a.b.github.test",
        "github.test.evil.test",
        "gist.github.test.evil.test",
        "gist.github.tes",
        "gist.github.test2",
        "gist.githubxtest",
        "github.gist.test",
        "test",
        "github",
        "gist.github.com",
        "githubtest",
        "-.github.test.x",
    ];
    let asked = answers(&world, allowed.iter().chain(&denied));
    for (host, is_allowed) in asked {
        assert_eq!(is_allowed, allowed.contains(&host.as_str()), "{host}");
    }
}

#[test]
fn attack_n19_a_name_opens_none_below_it_and_a_denial_below_a_wildcard_holds() {
    let world = World::new();
    world.commit();
    world.write(
        "p.yaml",
        "version: 1\nnetwork_policies:\n  deny: [\"secret.wild.test\", \"*.secret.wild.test\"]\n  \
         eng-backend: { egress: [\"github.test:443\", \"*.wild.test:443\"] }\n",
    );
    let asked = [
        "github.test",
        "gist.github.test",
        "x.wild.test",
        "secret.wild.test",
        "x.secret.wild.test",
    ];
    let open: BTreeSet<String> = answers(&world, asked.iter())
        .into_iter()
        .filter_map(|(host, is_allowed)| is_allowed.then_some(host))
        .collect();
    assert_eq!(
        open,
        ["github.test", "x.wild.test"].map(str::to_owned).into()
    );
}

/// Asks whether each name may be connected to, under `p.yaml`.
#[track_caller]
fn answers<'a>(world: &World, names: impl Iterator<Item = &'a &'a str>) -> Vec<(String, bool)> {
    let asked: Vec<String> = names.map(|name| format!("--connect={name}:443")).collect();
    let mut args = vec![
        "policy",
        "explain",
        "eng-backend",
        "--policy",
        "p.yaml",
        "--json",
    ];
    args.extend(asked.iter().map(String::as_str));
    let said = world.loki(&args).in_any_case();
    let told: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}\n{said}"));
    let answers = told["answers"].as_array().unwrap().iter();
    let answers: Vec<(String, bool)> = answers
        .map(|one| {
            let asked = one["asked"].as_str().unwrap().trim_end_matches(":443");
            (asked.to_owned(), one["allowed"] == true)
        })
        .collect();
    assert_eq!(answers.len(), asked.len());
    answers
}

/// Returns the ports that a process listens on in this host's network.
fn listening(pid: u32) -> BTreeSet<u16> {
    let sockets: BTreeSet<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|to| {
            Some(
                to.to_str()?
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .to_owned(),
            )
        })
        .collect();
    let mut ports = BTreeSet::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        for line in fs::read_to_string(format!("/proc/net/{table}"))
            .unwrap()
            .lines()
            .skip(1)
        {
            let cells: Vec<&str> = line.split_whitespace().collect();
            let listens = cells[3] == "0A" || table.starts_with("udp");
            if listens && sockets.contains(cells[9]) {
                let port = cells[1].rsplit_once(':').unwrap().1;
                ports.insert(u16::from_str_radix(port, 16).unwrap());
            }
        }
    }
    ports
}

#[test]
fn attack_n25_the_orchestrator_listens_nowhere_on_this_host() {
    on_each(|engine| {
        let world = world(engine);
        let sink = Sink::open(WEB);
        allow(&world, &sink, 80, "");
        // The control: a listener of this very process is found in the same way.
        assert!(listening(std::process::id()).contains(&sink.port));
        let probe = "import socket, sys\n\
            c = socket.create_connection(('allowed.test', 80)); print('up', flush=True); sys.stdin.read()\n\
            import time; time.sleep(60)\n";
        let mut running = world.spawn(&python(probe, ""));
        running.wait_until(LIMIT, |said| said.stdout == "up\n");
        assert_eq!(listening(running.id()), BTreeSet::new());
        running.signal(Signal::TERM);
        drop(running.wait(LIMIT).in_any_case());
    });
}

#[test]
fn attack_n29_a_redirect_leads_only_where_a_rule_leads() {
    on_each(|engine| {
        let world = world(engine);
        let sink = Sink::open(
            "HTTP/1.0 302 Found\r\nLocation: http://denied.test/\r\nContent-Length: 0\r\n\r\n",
        );
        let denied = Sink::open(WEB);
        let pin = format!("hosts: {{ denied.test: \"127.0.0.1:{}\" }}\n", denied.port);
        world.write("pins.yaml", format!("version: 1\n{pin}"));
        allow(&world, &sink, 80, "");
        let probe = "import urllib.request, urllib.error\n\
            try: print('REACHED', urllib.request.urlopen('http://allowed.test/').read())\n\
            except urllib.error.HTTPError as fault: print('CLOSED', fault.code, fault.url, fault.read())\n";
        let follow = |more: &[&str]| {
            let args = [
                &RUN[..6],
                &["--policy", "pins.yaml"],
                more,
                &["--", "python3", "-c", probe],
            ];
            world.loki(&args.concat()).exits(0)
        };
        let said = follow(&[]);
        drop(said.prints(&["CLOSED 403 http://denied.test/", "no egress rule names"]));
        assert_eq!((sink.visits(), denied.visits()), (1, 0));
        world.write(
            "p.yaml",
            fs::read_to_string(world.path("p.yaml"))
                .unwrap()
                .replace("egress: [", "egress: [\"denied.test:80\", "),
        );
        drop(follow(&[]).prints(&["REACHED b'sink'"]));
        assert_eq!(denied.visits(), 1, "the control");
    });
}

#[test]
fn attack_n37_a_slow_leak_ends_the_role() {
    on_each(|engine| {
        let world = world(engine);
        let sink = Sink::open(WEB);
        let leak = |most: &str| {
            let rates = format!(
                "rate_limits: {{ eng-backend: {{ api_calls_per_minute: none, network_bytes_per_run: {most} }} }}\n"
            );
            allow(&world, &sink, 80, &rates);
            world.loki(&python(include_str!("harness/probes/leak.py"), ""))
        };
        let said = leak("400KiB").exits(137);
        let said = said.says(&["its role passed 4", "may pass 400 KiB"]);
        let visits = sink.visits();
        assert!(
            (80..=101).contains(&visits),
            "{visits} requests passed\n{said}"
        );
        drop(leak("4MiB").exits(0).prints(&["PASSED 200"]));
    });
}
