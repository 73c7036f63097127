//! A person and a running orchestrator, on real engines: a host opened under way, a host that an
//! agent asks for, and a host that reaches the network only through a proxy.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::Duration,
};

use super::harness::{Engine, Running, START, World, as_backend, on_each};

const LIMIT: Duration = Duration::from_secs(180);
const SPEC: &str =
    "# A page\n\n## Tasks\n\n1. `page` (eng-backend): Fetch it.\n\n## Tests\n\n- `true`\n";

fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut one = [0];
        if !matches!(stream.read(&mut one), Ok(1)) {
            break;
        }
        head.extend(one);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A server that hands out each request head and answers it; a CONNECT, as a proxy would that
/// leads to the server itself.
fn server() -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::channel();
    // Ends with the test process: nothing else can tell a blocked accept to stop.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            let mut asked = head(&mut stream);
            if asked.starts_with("CONNECT ") {
                // A client that is gone is seen at the next read.
                stream
                    .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    .ok();
                asked.push_str(&head(&mut stream));
            }
            stream
                .write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nfetched",
                )
                .ok();
            // The test may have ended already.
            tell.send(asked).ok();
        }
    });
    (port, told)
}

const POLICY: &str = "../home/.config/loki/policies/own.yaml";

/// A world in which `opened.test` leads to a server, for whoever may connect to it.
fn world(engine: Engine, port: u16, more: &str) -> World {
    let world = World::on(engine);
    world.write("README.md", "# Page\n");
    world.write("spec.md", SPEC);
    let text = format!("version: 1\nhosts: {{ opened.test: \"127.0.0.1:{port}\" }}\n{more}");
    world.write(POLICY, text);
    world
}

fn agent(world: &World, body: &str) {
    let text = format!(
        "#!/bin/sh\nmkdir -p src\nexec python3 -c '\nimport time, urllib.request\n\
         fetch = lambda: urllib.request.urlopen(\"http://opened.test/\", timeout=90).read()\n{body}\n\
         open(\"src/page.txt\", \"wb\").write(page)'\n"
    );
    world.write("agent.sh", text);
    world
        .start("chmod", &["+x", "agent.sh"])
        .wait(LIMIT)
        .exits(0);
    world.commit();
}

#[track_caller]
fn landed(world: &World, running: Running) {
    let said = running.wait(LIMIT).exits(0);
    let branch = world.run_branch();
    let page = world.git(&["show", &format!("{branch}:src/page.txt")]);
    assert_eq!(page, "fetched", "{said}");
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

const ALLOW: [&str; 5] = ["egress", "allow", "opened.test:80", "--role", "eng-backend"];

#[test]
fn live_egress_a_host_opened_under_way_is_reached_by_the_agent_that_waits_for_it() {
    on_each(|engine| {
        let (port, told) = server();
        let world = world(engine, port, "");
        agent(
            &world,
            "page = None\nwhile page is None:\n  try: page = fetch()\n  except OSError: time.sleep(0.2)",
        );
        let mut running = world.spawn(&START);
        running.wait_until(LIMIT, |said| {
            said.stderr.contains("denied connection opened.test:80")
        });
        assert!(told.try_recv().is_err(), "it was open before");
        let said = world.loki(&[&ALLOW[..], &["--run"]].concat()).exits(0);
        drop(said.says(&["opened opened.test:80 for eng-backend, --run"]));
        landed(&world, running);
        let opened = world.events_of("egress_opened");
        assert_eq!(opened.len(), 1);
        assert_eq!(opened[0]["once"], false);
        let log = world
            .loki(&["egress", "log", "--role", "eng-backend"])
            .exits(0);
        drop(log.prints(&["by a person, for this run", "loki egress allow --run"]));
        let left = world.path(".loki/requests");
        assert_eq!(std::fs::read_dir(left).unwrap().count(), 0);
    });
}

#[test]
fn live_egress_an_agent_that_asks_waits_for_the_person_and_goes_on() {
    on_each(|engine| {
        let (port, _told) = server();
        let ask = "network_policies: { eng-backend: { on_deny: ask } }\n";
        let world = world(engine, port, ask);
        agent(&world, "page = fetch()");
        let mut running = world.spawn(&START);
        let asked = "eng-backend asks for opened.test:80; it waits for you: \
                     loki egress allow opened.test:80 --role eng-backend --once";
        running.wait_until(LIMIT, |said| said.stderr.contains(asked));
        drop(world.loki(&[&ALLOW[..], &["--once"]].concat()).exits(0));
        landed(&world, running);
    });
}

#[test]
fn live_egress_the_proxy_of_this_host_is_the_way_out() {
    on_each(|engine| {
        let (port, told) = server();
        let world = world(
            engine,
            port,
            "network_policies: { eng-backend: { egress: [\"far.test:80\"] } }\n",
        );
        world.commit();
        let fetch = "import urllib.request\n\
            for host in ('far.test', 'denied.test'):\n\
            \x20 try: print(host, urllib.request.urlopen(f'http://{host}/').read())\n\
            \x20 except OSError as fault: print(host, fault)\n";
        let loki = env!("CARGO_BIN_EXE_loki");
        let proxy = format!("HTTP_PROXY=http://me:secret@127.0.0.1:{port}");
        let argv = [
            &[proxy.as_str(), loki],
            &as_backend(&["python3", "-c", fetch])[..],
        ]
        .concat();
        let said = world.start("env", &argv).wait(LIMIT).exits(0);
        drop(said.prints(&["far.test b'fetched'", "denied.test HTTP Error 403"]));
        let asked = told.recv_timeout(LIMIT).unwrap();
        let lines: Vec<&str> = asked.lines().collect();
        assert_eq!(lines[0], "CONNECT far.test:80 HTTP/1.1", "{asked}");
        // The name and password, as basic authentication writes them.
        assert!(
            lines.contains(&"Proxy-Authorization: Basic bWU6c2VjcmV0"),
            "{asked}"
        );
        assert!(
            lines.contains(&"GET / HTTP/1.1") && lines.contains(&"Host: far.test"),
            "{asked}"
        );
        assert!(
            told.try_recv().is_err(),
            "the proxy was asked for a denied name"
        );
    });
}
