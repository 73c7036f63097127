//! The programs that agents really use, in real sandboxes on real engines: each reaches the allowed
//! names with its data right, and is told why against the others. Meanwhile every network call of
//! every program is traced: none names an address outside, and no credential is in sight.

use std::{collections::BTreeMap, time::Duration};

use super::harness::{
    Engine, Running, Said, World, on_each,
    source::read,
    sshd::Sshd,
    web::{Web, furnish},
};

const LIMIT: Duration = Duration::from_secs(600);
/// What only the gateway may know.
const CANARY: &str = "gate-canary-5d0f8c21-/+x";

/// The programs that ask, and the script that starts each.
const SOURCES: [&str; 8] = [
    "all.sh",
    "Ask.java",
    "ask.go",
    "ask.js",
    "ask.py",
    "events.py",
    "socket.js",
    "strays.py",
];

/// A world with servers behind every name that its policy opens.
struct Town {
    world: World,
    web: Web,
}

const NAMES: [&str; 6] = [
    "open.test",
    "whole.test",
    "git.test",
    "npm.test",
    "pypi.test",
    "crates.test",
];

fn town(engine: Engine) -> Town {
    let world = World::on(engine);
    let web = Web::start(&world, &NAMES);
    furnish(&world);
    let ssh = Sshd::start(&world);
    for name in SOURCES {
        world.write(
            &format!("src/{name}"),
            read(format!("tests/clients/{name}")),
        );
    }
    world.write("src/key", &ssh.key);
    world.write("src/user", &ssh.user);
    world.write("src/known", format!("ssh.test {}", ssh.known));
    packages(&world);
    world.write("../policy.yaml", policy(&web, &ssh));
    world.commit();
    drop(world.loki(&["secrets", "init"]).exits(0));
    drop(
        world
            .loki_fed(&["secrets", "set", "GIT_TOKEN"], CANARY)
            .exits(0),
    );
    drop(
        world
            .spawn(&["image", "build", "full"])
            .wait(LIMIT * 3)
            .exits(0),
    );
    Town { world, web }
}

/// A package that needs `greet`, and this machine's own settings, which say where `greet` comes from.
fn packages(world: &World) {
    world.write("../home/.npmrc", "registry=https://npm.test/npm/\n");
    let pip = "[global]\nindex-url = https://pypi.test/simple\n";
    world.write("../home/.config/pip/pip.conf", pip);
    let own = "{ \"name\": \"app\", \"version\": \"1.0.0\" }\n";
    world.write("src/packages/package.json", own);
    let cargo = "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\ngreet = \"1\"\n";
    world.write("src/packages/Cargo.toml", cargo);
    let main = "fn main() {\n    println!(\"{}\", greet::WORD);\n}\n";
    world.write("src/packages/src/main.rs", main);
    let source = "[source.crates-io]\nreplace-with = \"suite\"\n[source.suite]\nregistry = \"https://git.test/team/index\"\n";
    world.write("src/packages/.cargo/config.toml", source);
}

fn policy(web: &Web, ssh: &Sshd) -> String {
    let hosts = NAMES
        .map(|name| format!("  {name}: \"{}\"\n", web.at))
        .concat();
    let groups = "\"@shell\", \"@git\", \"@python\", \"@node\", \"@net\", \"@debug\", \"@java\", \"@go\", \"@rust\", \"@c\", \"./src/**\"";
    format!(
        "version: 1
agents: {{ eng-backend: {{ image: full }} }}
permissions:
  eng-backend: {{ read: [\"**\"], write: [\"**\"], execute: [{groups}] }}
resources: {{ eng-backend: {{ pids: 1024, memory: 4GiB }} }}
rate_limits: {{ eng-backend: {{ api_calls_per_minute: none, file_writes_per_minute: none }} }}
network_policies:
  eng-backend:
    egress:
      - {{ host: open.test, port: 443, methods: [GET], paths: [\"/ok\", \"/seen\", \"/events\", \"/socket\"], websocket: true }}
      - {{ host: git.test, port: 443, git: {{ repo: team/app, push: [\"loki/*\"] }}, credential: {{ secret: GIT_TOKEN, basic: agent }} }}
      - {{ host: git.test, port: 443, git: {{ repo: team/index }} }}
      - {{ registry: npm }}
      - {{ registry: pypi }}
      - whole.test:443
      - crates.test:443
      - plain.test:80
      - ssh.test:22
hosts:
{hosts}  plain.test: \"{}\"
  ssh.test: \"{}\"
",
        web.at, ssh.at
    )
}

/// Starts every client under a tracer, trusting what this machine trusts: the suite's authority.
fn start(town: &Town) -> Running {
    let trace = "cd src && strace -f -qq --seccomp-bpf -e trace=connect,sendto,sendmsg,sendmmsg,bind -o /tmp/trace sh -u all.sh
        python3 strays.py /tmp/trace
        strace -f -qq -e trace=connect -o /tmp/control curl -sS -m 5 http://198.51.100.1/
        python3 strays.py /tmp/control
        cat /proc/net/dev /proc/net/route
        echo == 'do'ne; exec sleep 600";
    let trust = format!(
        "SSL_CERT_FILE={}",
        town.world.path("../web/authority.pem").display()
    );
    let words = [
        &trust,
        env!("CARGO_BIN_EXE_loki"),
        "sandbox",
        "run",
        "--policy",
        "../policy.yaml",
        "--role",
        "eng-backend",
        "--",
        "sh",
        "-c",
        trace,
    ];
    town.world.start("env", &words)
}

/// Splits what was printed under headings `== NAME` and ended with `== ended CODE`.
fn parts(printed: &str) -> BTreeMap<&str, (String, i32)> {
    let mut parts = BTreeMap::new();
    let (mut name, mut text) = ("", String::new());
    for line in printed.lines() {
        if let Some(code) = line.strip_prefix("== ended ") {
            let code = code.parse().expect("a number");
            parts.insert(name, (std::mem::take(&mut text), code));
        } else if let Some(heading) = line.strip_prefix("== ") {
            (name, text) = (heading, String::new());
        } else {
            text += &format!("{line}\n");
        }
    }
    parts
}

/// Holds what was printed against the page that says what each client must print: below each
/// heading lines that stand in its output in this order, behind the name how it ends.
#[track_caller]
fn compare(printed: &str) {
    let page = read("tests/clients/expected.txt");
    let mut parts = parts(printed);
    let mut wrong = Vec::new();
    for part in page.split("== ").skip(1) {
        let mut lines = part.lines().filter(|line| !line.is_empty());
        let (name, ends) = lines
            .next()
            .and_then(|head| head.split_once(' '))
            .expect("a heading");
        let Some((said, code)) = parts.remove(name) else {
            wrong.push(format!("{name}: it never ran"));
            continue;
        };
        let well = if ends == "well" { code == 0 } else { code != 0 };
        let mut rest = said.as_str();
        let missing = lines.find(|line| match rest.split_once(*line) {
            Some((_, behind)) => {
                rest = behind;
                false
            }
            None => true,
        });
        if !well || missing.is_some() {
            wrong.push(format!(
                "{name}: ended with {code}, misses {missing:?} in\n{said}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(parts.is_empty(), "no page tells of {parts:?}");
}

#[track_caller]
fn no_canary(place: &str, text: &str) {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let basic = STANDARD.encode(format!("agent:{CANARY}"));
    // Its last characters are written in other ways in URLs and in JSON.
    let part = CANARY.split('/').next().expect("it begins with letters");
    for form in [CANARY, part, &basic] {
        assert!(
            !text.contains(form),
            "the credential shows in {place}:\n{text}"
        );
    }
}

#[test]
fn live_clients_reach_what_is_allowed_and_are_told_why_they_reach_nothing_else() {
    on_each(|engine| {
        let town = town(engine);
        let mut running = start(&town);
        running.wait_until(LIMIT, |said| said.stdout.contains("== done"));
        let said = running.so_far();
        no_canary("the sandbox", &said.to_string());
        the_host_sees_no_interface(&town, engine);
        running.signal(rustix::process::Signal::TERM);
        drop(running.wait(LIMIT).exits(143));
        compare(&said.stdout);
        nothing_left_but_through_the_gateway(&said);
        the_servers_heard_what_they_should(&town.web.heard());
    });
}

/// Asks the engine, from outside, what its container has of a network, and what it knows of it.
#[track_caller]
fn the_host_sees_no_interface(town: &Town, engine: Engine) {
    let ids = town.world.leftovers();
    let ask = |words: &[&str]| {
        town.world
            .start(engine.program(), words)
            .wait(LIMIT)
            .exits(0)
            .stdout
    };
    let devices = ask(&["exec", &ids[0], "cat", "/proc/net/dev", "/proc/net/route"]);
    let devices: Vec<&str> = devices
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim()))
        .collect();
    assert_eq!(devices, ["lo"]);
    no_canary("what the engine knows", &ask(&["inspect", &ids[0]]));
}

#[track_caller]
fn nothing_left_but_through_the_gateway(said: &Said) {
    let traced = said
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("calls "));
    let traced: Vec<(u32, &str)> = traced
        .map(|line| line.split_once(" elsewhere ").expect("both"))
        .map(|(calls, strays)| (calls.parse().expect("a number"), strays))
        .collect();
    assert_eq!(traced.len(), 2, "{said}");
    assert!(traced[0].0 > 100 && traced[0].1 == "[]", "{traced:?}");
    // The control: a call that names an address outside is seen.
    assert_eq!(traced[1].1, "['connect 198.51.100.1']");
}

#[track_caller]
fn the_servers_heard_what_they_should(heard: &[String]) {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let credential = format!("Basic {}", STANDARD.encode(format!("agent:{CANARY}")));
    for line in heard {
        let team = line.contains(" git.test /team/app/");
        assert_eq!(line.contains(&credential), team, "{line}");
        let stray = [" denied.test ", "/closed", "/hidden", " PUT ", "8443"];
        assert!(!stray.iter().any(|stray| line.contains(stray)), "{line}");
    }
    for wanted in [
        "https POST git.test /team/app/git-receive-pack",
        "https POST git.test /team/index/git-upload-pack",
        "https GET npm.test /npm/greet/-/greet-1.0.0.tgz",
        "https GET crates.test /crates/greet/1.0.0/download",
        "http GET plain.test /ok",
    ] {
        assert!(
            heard.iter().any(|line| line.starts_with(wanted)),
            "{wanted}: {heard:#?}"
        );
    }
}
