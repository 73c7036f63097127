//! Hostile programs against a gateway that adds a credential: in real sandboxes, against servers of
//! the test that tell whom they heard. And what on the host could be led to speak for an agent.

use std::{collections::BTreeMap, time::Duration};

use super::harness::{
    Engine, START, Said, World, as_backend_by_policy, on_each,
    source::{code, files, is_tests, read, without_tests},
    web::Web,
};

const LIMIT: Duration = Duration::from_secs(300);
/// The secret for `key.test`, with characters that encoders treat in their own way.
const CANARY: &str = "gate-canary-77a1e0b3/+=x";

/// A world in which `key.test/v1` gets a credential, and `other.test` gets none.
fn world(engine: Engine) -> (World, Web) {
    let world = World::on(engine);
    let web = Web::start(&world, &["key.test", "other.test"]);
    let authority = world.path("../web/authority.pem").canonicalize().unwrap();
    let pin = |name: &str| {
        format!(
            "{name}: {{ to: \"{}\", ca: \"{}\" }}",
            web.at,
            authority.display()
        )
    };
    let policy = format!(
        "version: 1
network_policies:
  eng-backend:
    egress:
      - {{ host: key.test, port: 443, paths: [\"/v1/**\"], credential: {{ secret: KEY, header: x-api-key }} }}
      - {{ host: other.test, port: 443, paths: [\"/**\"] }}
      - key.test:80
      - \"*.wild.test:443\"
rate_limits: {{ eng-backend: {{ api_calls_per_minute: none }} }}
hosts:
  {}
  {}
",
        pin("key.test"),
        pin("other.test"),
    );
    world.write("../policy.yaml", policy);
    world.write("src/hostile.py", read("tests/clients/hostile.py"));
    world.commit();
    drop(world.loki(&["secrets", "init"]).exits(0));
    drop(world.loki_fed(&["secrets", "set", "KEY"], CANARY).exits(0));
    (world, web)
}

/// Returns what the program printed, by the first word of each line.
fn told(said: &Said) -> BTreeMap<&str, Vec<&str>> {
    let mut told: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in said.stdout.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        told.entry(word).or_default().push(rest);
    }
    told
}

#[test]
fn attack_s2_s3_s4_n10_n12_n15_n16_n17_n35_no_request_takes_the_credential_or_another_way() {
    on_each(|engine| {
        let (world, web) = world(engine);
        let said = world.loki(&as_backend_by_policy(&["python3", "src/hostile.py"]));
        let said = said.exits(0);
        assert!(!said.to_string().contains(CANARY), "{said}");
        each_attempt_ended_as_it_should(&said);
        only_its_own_server_heard_the_credential(&web.heard());
    });
}

#[track_caller]
fn each_attempt_ended_as_it_should(said: &Said) {
    let told = told(said);
    let all = |word: &str, count: usize, statuses: &[&str]| {
        let found = &told[word];
        assert_eq!(found.len(), count, "{word}: {said}");
        let fits = |one: &&str| statuses.contains(&one.rsplit(' ').next().unwrap_or_default());
        assert!(found.iter().all(fits), "{word}: {found:?}");
    };
    // The control: with its placeholder, where it belongs, the agent is served.
    assert_eq!(told["CONTROL"], ["200 True"], "{said}");
    all("DRESSED", 13, &["200"]);
    all("PATH", 1, &["403"]);
    assert_eq!(
        told["CLEAR"],
        ["200 True"],
        "it stays a placeholder\n{said}"
    );
    assert_eq!(told["AWAY"], ["https://other.test/echo"], "{said}");
    let masked = "*".repeat(CANARY.len());
    assert!(
        said.stdout.contains(&format!("x-api-key: {masked}\n")),
        "{said}"
    );
    all("FOREIGN", 3, &["403"]);
    all("FRONTED", 4, &["400", "403", "421"]);
    all("SECOND", 1, &["1"]);
    all("SMUGGLED", 7, &["400"]);
    all("ESCAPED", 6, &["403"]);
    all("LABELS", 1, &["True"]);
}

#[track_caller]
fn only_its_own_server_heard_the_credential(heard: &[String]) {
    let with: Vec<&String> = heard.iter().filter(|line| line.contains(CANARY)).collect();
    assert!(with.len() >= 3, "the control: {heard:#?}");
    for line in &with {
        assert!(line.starts_with("https GET key.test /v1/"), "{line}");
    }
    let others = heard.iter().filter(|line| line.contains(" other.test "));
    assert_eq!(others.count(), 14, "{heard:#?}");
    for line in heard {
        let stray = ["/smuggled", "/second", "/files"];
        assert!(!stray.iter().any(|stray| line.contains(stray)), "{line}");
    }
}

/// An agent that asks a person for hosts whose names are more than names, and that leaves a request
/// of its own where a person's would lie.
const ASKS: &str = r#"#!/bin/sh
mkdir -p .loki/requests src
echo '{"role":"eng-backend","host":"denied.test","port":80,"protocol":"http","times":"run"}' > .loki/requests/allow-1
cp -r .loki "$HOME/" 2>/dev/null
exec python3 -c '
import socket
NAMES = ["$(touch /tmp/x).test", "a.test --run --role eng-qa", "a.test;id", "`id`.test", "a.test\r\nX: y", "a\x1b]0;owned\x07.test",
         "a.test\x00", "\u202etset.a", "--save", "a.test\t--run", "../a.test", "A" * 300 + ".test"]
def ask(host, headers):
    try:
        with socket.create_connection((host, 80), timeout=5) as c:
            c.settimeout(1)
            c.sendall(b"GET / HTTP/1.1\r\nHost: " + headers + b"\r\n\r\n")
            return c.recv(300)
    except OSError as fault:
        return str(fault).encode()
for name in NAMES:
    ask("127.127.255.254", name.encode())
    try: socket.gethostbyname(name)
    except (OSError, UnicodeError, TypeError): pass
ask("asked.test", b"asked.test")
open("src/got.txt", "wb").write(ask("denied.test", b"denied.test")[:40])
'
"#;

#[test]
fn attack_n26_what_a_person_is_asked_cannot_be_made_to_speak_and_no_request_of_an_agents_counts() {
    on_each(|engine| {
        let world = World::on(engine);
        let web = Web::start(&world, &["denied.test"]);
        let policy = format!(
            "version: 1\nnetwork_policies: {{ eng-backend: {{ on_deny: ask }} }}\nhosts: {{ denied.test: \"{}\" }}\n",
            web.at
        );
        world.write("../home/.config/loki/policies/own.yaml", policy);
        world.write(
            "spec.md",
            "# A\n\n## Tasks\n\n1. `page` (eng-backend): Fetch it.\n\n## Tests\n\n- `true`\n",
        );
        world.write("agent.sh", ASKS);
        drop(
            world
                .start("chmod", &["+x", "agent.sh"])
                .wait(LIMIT)
                .exits(0),
        );
        world.commit();
        let said = world.loki(&START).in_any_case();
        let asked: Vec<&str> = said
            .stderr
            .lines()
            .filter(|line| line.contains(" asks for "))
            .collect();
        for line in &asked {
            let host = line.split_once("asks for ").unwrap().1;
            let host = host.split_once(';').unwrap().0;
            assert!(
                ["asked.test:80", "denied.test:80"].contains(&host),
                "{said}"
            );
        }
        assert_eq!(
            asked.len(),
            2,
            "the control: real names are asked about\n{said}"
        );
        let control = |c: char| c.is_control() && c != '\n';
        assert!(!said.stderr.contains(control), "{said}");
        assert_eq!(
            world.events_of("egress_opened"),
            Vec::<serde_json::Value>::new()
        );
        assert_eq!(web.heard(), Vec::<String>::new());
        // Of what a person may keep there is only where seals are kept.
        let kept = std::fs::read_dir(world.path("../home/.local/state/loki")).unwrap();
        let kept: Vec<_> = kept.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(kept, ["anchors"], "{said}");
        assert!(!world.path("../home/.local/share").exists(), "{said}");
    });
}

/// Words that open a way out of a process or look up a name, and the files that may hold them.
const WAYS: [(&str, &[&str]); 8] = [
    (
        "TcpStream::connect",
        &["src/egress/race.rs", "src/egress/proxy.rs"],
    ),
    ("TcpSocket::new", &[]),
    ("UdpSocket::bind", &[]),
    ("to_socket_addrs", &[]),
    ("lookup_host", &[]),
    ("TokioResolver", &["src/egress/dial.rs"]),
    ("HttpConnector", &[]),
    // What Loki asks in a person's name, with no sandbox behind it.
    (".connect_loki_itself(", &["src/cli/landing/ship.rs"]),
];

/// The gateway has no helper that is trusted more than an agent: whatever dials for it, adds a
/// credential or asks a proxy goes through the one function that takes a permit.
#[test]
fn attack_n27_nothing_dials_but_what_was_given_a_permit() {
    let sources = files("src", "rs")
        .into_iter()
        .filter(|path| !is_tests(path));
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut callers = Vec::new();
    for path in sources {
        let text = code(&without_tests(&read(&path)));
        let file = path.display().to_string();
        for (word, _) in WAYS {
            if text.contains(word) {
                found.entry(word).or_default().push(file.clone());
            }
        }
        if text.contains("race::connect") {
            callers.push(file);
        }
    }
    for (word, allowed) in WAYS {
        let found = found.remove(word).unwrap_or_default();
        let strays: Vec<&String> = found
            .iter()
            .filter(|file| !allowed.contains(&file.as_str()))
            .collect();
        assert!(
            strays.is_empty(),
            "`{word}` stands in {strays:?}: dial with a permit"
        );
    }
    // The controls: the words are found where they are.
    assert_eq!(callers, ["src/egress/dial.rs"]);
}
