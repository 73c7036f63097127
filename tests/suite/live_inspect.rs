//! Real programs in real sandboxes, whose TLS the gateway ends: each trusts the gateway without a
//! setting, and is told why where it is denied. `live_clients` has the others.

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use super::harness::{Engine, Run, World, as_backend_by_policy, https};

/// An HTTPS server of the test's own, with an authority nobody else knows.
pub(super) struct Server {
    pub(super) at: SocketAddr,
    pub(super) authority: String,
    pub(super) heard: Arc<Mutex<Vec<String>>>,
}

/// Starts a server for `name`: it answers `/ok`, a small git repository under `/repo`, and `/kept`,
/// each time otherwise, though it says that the answer holds for an hour.
pub(super) fn server(name: &str) -> Server {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&heard);
    let (at, authority) = https(&[name], move |head, to| answer(head, &told, to));
    Server {
        at,
        authority,
        heard,
    }
}

fn answer(head: &str, told: &Mutex<Vec<String>>, to: &mut dyn Write) -> io::Result<()> {
    let oid = "1".repeat(40);
    let body = match head.split([' ', '?']).nth(1) {
        Some("/ok") => "it is there\n".to_owned(),
        Some("/kept") => format!("kept {}\n", told.lock().unwrap().len()),
        Some("/echo") => format!("you sent {head}"),
        Some("/repo/info/refs") => format!("{oid}\trefs/heads/main\n"),
        Some("/repo/HEAD") => "ref: refs/heads/main\n".to_owned(),
        _ => String::new(),
    };
    told.lock().unwrap().push(head.to_owned());
    let status = if body.is_empty() {
        "404 Not Found"
    } else {
        "200 OK"
    };
    let more = match body.starts_with("kept") {
        true => "Cache-Control: max-age=3600\r\n",
        false => "",
    };
    write!(
        to,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\n{more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A world in which `a.test` is the server's, and only some of its paths are open.
fn world(engine: Engine, server: &Server) -> World {
    let world = World::on(engine);
    world.write("README.md", "# Try\n");
    world.write("../ca.pem", &server.authority);
    let ca = std::fs::canonicalize(world.path("../ca.pem")).unwrap();
    let policy = format!(
        "version: 1
agents: {{ eng-backend: {{ image: full }} }}
permissions:
  eng-backend: {{ read: [\"**\"], write: [\"src/**\"], execute: [\"@shell\", \"@git\", \"@python\", \"@node\", curl, openssl] }}
network_policies:
  eng-backend:
    egress:
      - {{ host: a.test, port: 443, methods: [GET], paths: [\"/ok\", \"/echo\", \"/repo/**\"] }}
hosts: {{ a.test: {{ to: \"{}\", ca: \"{}\" }} }}
",
        server.at,
        ca.display()
    );
    world.write("../policy.yaml", policy);
    world.commit();
    drop(
        world
            .spawn(&["image", "build", "full"])
            .wait(std::time::Duration::from_secs(1200))
            .exits(0),
    );
    world
}

fn run(world: &World, script: &str) -> Run {
    world.loki(&as_backend_by_policy(&["sh", "-uc", script]))
}

/// Each asks for the open path and then for one that no rule names, and prints both.
const PROGRAMS: [(&str, &str); 5] = [
    (
        "curl",
        "curl -sS https://a.test/ok; curl -sS -w '%{http_code}\\n' https://a.test/closed; curl -sS --http1.1 https://a.test/ok",
    ),
    (
        "python",
        "python3 -c '
import urllib.request as r
print(r.urlopen(\"https://a.test/ok\").read().decode())
try: r.urlopen(\"https://a.test/closed\")
except Exception as e: print(e.code, e.read().decode())
'",
    ),
    (
        "node",
        "node -e '
(async () => {
  console.log(await (await fetch(\"https://a.test/ok\")).text());
  const closed = await fetch(\"https://a.test/closed\");
  console.log(closed.status, await closed.text());
})()'",
    ),
    (
        "git",
        "git ls-remote https://a.test/repo && echo it is there; git ls-remote https://a.test/closed; echo 403 no rule names its path",
    ),
    (
        "openssl",
        "printf 'GET /ok HTTP/1.0\\r\\nHost: a.test\\r\\n\\r\\n' | openssl s_client -quiet -verify_return_error -servername a.test -connect a.test:443 2>/dev/null; echo 403 no rule names its path",
    ),
];

#[test]
fn live_inspect_real_programs_trust_the_gateway_and_are_told_why() {
    for engine in Engine::ALL {
        let server = server("a.test");
        let world = world(engine, &server);
        for (name, script) in PROGRAMS {
            let said = run(&world, script).exits(0).prints(&["it is there"]);
            let all = format!("{}{}", said.stdout, said.stderr);
            assert!(
                all.contains("403") && all.contains("no rule names its path"),
                "{name}\n{said}"
            );
        }
        let heard = server.heard.lock().unwrap().join("\n");
        assert!(!heard.contains("closed"), "{heard}");
    }
}

#[test]
fn live_inspect_a_denied_name_is_explained_over_tls() {
    let script = "curl -sS -w '%{http_code}\\n' https://denied.test/x; python3 -c '
import urllib.request as r
try: r.urlopen(\"https://denied.test/\")
except Exception as e: print(e.code, e.read().decode())
'";
    for engine in Engine::ALL {
        let server = server("a.test");
        let world = world(engine, &server);
        let said = run(&world, script)
            .exits(0)
            .prints(&["no egress rule names", "network_policies"]);
        assert_eq!(said.stdout.matches("403").count(), 2, "{said}");
    }
}
