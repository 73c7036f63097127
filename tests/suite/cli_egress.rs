//! The verbs of `loki egress`, through the binary: what they show of a journal, and that what they
//! write is a policy that opens what was asked and nothing that a `deny` entry closes.

use std::fs;

use loki::{
    event::{EgressKind, Event},
    journal::Writer,
    name::RunId,
};
use serde_json::Value;

use super::harness::{Run, Said, World};

const STRIPE: &str = "version: 1\nagents: { shop-books: { description: Keeps the books. } }\n\
    network_policies: { shop-books: { egress: [\"api.stripe.com:443\"] } }\n";

fn world() -> World {
    let world = World::new();
    world.write("README.md", "# Books\n");
    world.write("../home/.config/loki/policies/books.yaml", STRIPE);
    world.commit();
    world
}

#[track_caller]
fn egress(world: &World, words: &str) -> Run {
    let words: Vec<&str> = words.split(' ').collect();
    world.loki(&[&["egress"], &words[..]].concat())
}

fn decision(role: &str, place: (&str, Option<u16>), rule: Result<&str, &str>, count: u64) -> Event {
    Event::Egress {
        sandbox: format!("{role}-1"),
        task: None,
        role: role.parse().unwrap(),
        kind: place.1.map_or(EgressKind::Name, |_| EgressKind::Connect),
        host: place.0.to_owned(),
        port: place.1,
        allowed: rule.is_ok(),
        rule: rule.ok().map(str::to_owned),
        reason: rule.err().map(str::to_owned),
        count,
        method: None,
        path: None,
    }
}

fn closed(role: &str, host: &str, (sent, received): (u64, u64)) -> Event {
    Event::EgressClosed {
        sandbox: format!("{role}-1"),
        role: role.parse().unwrap(),
        host: host.to_owned(),
        port: 443,
        sent,
        received,
        elapsed_ms: 1500,
        waited_ms: 0,
        method: None,
        path: None,
        status: None,
        cache: None,
    }
}

/// Writes the journal of a run.
fn recorded(world: &World) -> RunId {
    let run: RunId = "20270115-080000-ab12".parse().unwrap();
    let clock = || "2027-01-15T08:00:00Z".parse().unwrap();
    let mut journal = Writer::create(&world.path(".loki"), &run, clock).unwrap();
    let rule = "api.stripe.com:443 (books.yaml:3)";
    let none = "no egress rule names it";
    let events = [
        Event::RunStarted {
            run: run.clone(),
            loki: "0".to_owned(),
            spec: "spec.md".to_owned(),
            spec_sha256: String::new(),
            title: "Books".to_owned(),
            provider: "command".to_owned(),
            base: String::new(),
            branch: format!("loki/{run}"),
            engine: "none".to_owned(),
            policy_sha256: String::new(),
            asked: None,
        },
        decision("shop-books", ("api.stripe.com", None), Ok(rule), 1),
        decision("shop-books", ("api.stripe.com", Some(443)), Ok(rule), 3),
        closed("shop-books", "api.stripe.com", (1000, 20_000)),
        decision(
            "eng-backend",
            ("big.test", Some(443)),
            Ok("big.test:443 (x:1)"),
            1,
        ),
        closed("eng-backend", "big.test", (9, 5_000_000)),
        decision("shop-books", ("hooks.test", None), Err(none), 2),
        decision("shop-books", ("hooks.test", None), Err(none), 40),
        decision(
            "shop-books",
            ("api.stripe.com", Some(80)),
            Err("port 80 is not open"),
            1,
        ),
        decision(
            "eng-backend",
            ("evil\u{1b}[2J.test", None),
            Err("this is not a host name"),
            1,
        ),
        Event::EgressOpened {
            role: "shop-books".parse().unwrap(),
            host: "opened.test".to_owned(),
            port: 443,
            once: true,
        },
    ];
    for event in &events {
        journal.append(event).unwrap();
    }
    run
}

fn lines(said: &Said) -> Vec<Value> {
    let lines = said.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

#[test]
fn cli_egress_log_says_who_reached_what_by_which_rule() {
    let world = world();
    let run = recorded(&world);
    let said = egress(&world, "log").exits(0).prints(&[
        "08:00:00 allowed shop-books: api.stripe.com:443 ×3 — rule api.stripe.com:443 (books.yaml:3)",
        "closed  shop-books: api.stripe.com:443, 1000 bytes out, 20000 in, 1.5 s",
        "denied  shop-books: name hooks.test ×40 — no egress rule names it",
        "allowed shop-books: opened.test:443 — by a person, for one connection",
        "evil\\u{1b}[2J.test",
    ]);
    assert!(!said.stdout.contains('\u{1b}'), "{said}");
    let said = egress(
        &world,
        &format!("log --run {run} --role eng-backend --json"),
    )
    .exits(0);
    let entries = lines(&said);
    assert_eq!(entries.len(), 3, "{said}");
    assert!(entries.iter().all(|entry| entry["role"] == "eng-backend"));
    let closed = &entries[1];
    assert_eq!(
        (
            &closed["what"],
            &closed["received"],
            &closed["elapsed_ms"],
            &closed["allowed"]
        ),
        (
            &"closed".into(),
            &5_000_000.into(),
            &1500.into(),
            &Value::Null
        )
    );
    drop(
        egress(&world, "log --run nosuch")
            .exits(2)
            .says(&["there is no run `nosuch` here"]),
    );
}

#[test]
fn cli_egress_log_follows_a_run_to_its_end() {
    let world = world();
    let run = recorded(&world);
    let mut following = world.spawn(&["egress", "log", "-f"]);
    let soon = std::time::Duration::from_secs(20);
    following.wait_until(soon, |said| said.stdout.contains("opened.test"));
    let clock = || "2027-01-15T08:00:09Z".parse().unwrap();
    let mut journal = Writer::reopen(&world.path(".loki"), &run, clock)
        .unwrap()
        .writer;
    let late = decision("shop-books", ("late.test", Some(443)), Err("no"), 1);
    journal.append(&late).unwrap();
    following.wait_until(soon, |said| said.stdout.contains("late.test:443"));
    journal
        .append(&Event::RunEnded {
            outcome: loki::event::Outcome::Done,
            reason: None,
        })
        .unwrap();
    drop(following.wait(soon).exits(0));
}

#[test]
fn cli_egress_top_sums_by_host_largest_first() {
    let world = world();
    recorded(&world);
    let said = egress(&world, "top --json").exits(0);
    let top: Value = serde_json::from_str(&said.stdout).unwrap();
    let hosts = top["hosts"].as_array().unwrap();
    assert_eq!(hosts[0]["host"], "big.test");
    assert_eq!(hosts[0]["received"], 5_000_000);
    assert_eq!(hosts[1]["host"], "api.stripe.com");
    assert_eq!(
        (&hosts[1]["calls"], &hosts[1]["sent"]),
        (&3.into(), &1000.into())
    );
    let hooks = hosts
        .iter()
        .find(|sum| sum["host"] == "hooks.test")
        .unwrap();
    assert_eq!(
        (&hooks["denied"], &hooks["port"]),
        (&42.into(), &Value::Null)
    );
    let said = egress(&world, "top --role shop-books").exits(0);
    assert!(!said.stdout.contains("big.test"), "{said}");
    drop(said.prints(&["HOST", "BYTES IN", "api.stripe.com:443", "20000"]));
}

#[test]
fn cli_egress_denied_says_what_would_allow_each_and_that_is_true() {
    let world = world();
    recorded(&world);
    let said = egress(&world, "denied").exits(0).prints(&[
        "shop-books: hooks.test, 42 times: no egress rule names it",
        "loki egress allow hooks.test:443 --role shop-books --save",
    ]);
    assert!(!said.stdout.contains('\u{1b}'), "{said}");
    let said = egress(&world, "denied --role shop-books --json").exits(0);
    let denied: Value = serde_json::from_str(&said.stdout).unwrap();
    let denials = denied["denials"].as_array().unwrap();
    assert_eq!(
        (&denials[0]["count"], &denials[0]["host"]),
        (&42.into(), &"hooks.test".into())
    );
    let yaml = denials[0]["next"]["yaml"].as_str().unwrap();
    world.write("advised.yaml", yaml);
    let ask = "shop-books --connect hooks.test:443";
    let explain = |more: &str| {
        let words = format!("policy explain {ask}{more}");
        world.loki(&words.split(' ').collect::<Vec<_>>())
    };
    drop(explain("").exits(1));
    drop(explain(" --policy advised.yaml").exits(0));
}

#[test]
fn cli_egress_allow_saves_a_rule_shows_it_and_keeps_earlier_ones() {
    let world = World::new();
    world.write("README.md", "# Books\n");
    world.commit();
    let connect = |host: &str| {
        let asked = format!("{host}:443");
        world.loki(&["policy", "explain", "eng-backend", "--connect", &asked])
    };
    drop(connect("api.stripe.com").exits(1));
    for host in ["api.stripe.com", "hooks.test:443"] {
        let said = egress(&world, &format!("allow {host} --role eng-backend --save")).exits(0);
        let name = host.trim_end_matches(":443");
        let file = "home/.config/loki/policies/egress-eng-backend.yaml";
        let said = said.says(&["wrote ", file, "--run"]);
        let mut added = said.stdout.lines().filter(|line| line.starts_with('+'));
        assert!(added.next_back().unwrap().contains(name), "{said}");
        drop(connect(name).exits(0));
    }
    drop(connect("api.stripe.com").exits(0));
    drop(connect("other.test").exits(1));
    let said = egress(&world, "allow hooks.test --role eng-backend --save").exits(0);
    drop(said.says(&["allowed already"]));
}

#[test]
fn cli_egress_allow_writes_nothing_that_is_denied_unsound_or_not_its_own() {
    let world = world();
    let policies = world.path("../home/.config/loki/policies");
    let listed = || {
        let names = fs::read_dir(&policies).unwrap();
        names
            .map(|entry| entry.unwrap().file_name())
            .collect::<Vec<_>>()
    };
    // The role's list stands in a file of the person's own.
    let said = egress(&world, "allow hooks.test --role shop-books --save").exits(3);
    drop(said.says(&[
        "add this to",
        "books.yaml by hand",
        "\"hooks.test:443\"",
        "nothing was written",
    ]));
    world.write(
        "../home/.config/loki/policies/closed.yaml",
        "version: 1\nnetwork_policies: { deny: [\"*.evil.test\"] }\n",
    );
    let before = listed();
    for times in ["--save", "--run", "--once"] {
        let said = egress(
            &world,
            &format!("allow x.evil.test --role eng-backend {times}"),
        );
        let said = said.in_any_case();
        assert!(
            said.stderr.contains("deny") || said.stderr.contains("never match"),
            "{said}"
        );
    }
    assert_eq!(listed(), before);
    world.write(
        "../home/.config/loki/policies/egress-eng-backend.yaml",
        "version: 1\n",
    );
    let said = egress(&world, "allow hooks.test --role eng-backend --save").exits(1);
    drop(said.says(&["was written by hand"]));
}

#[test]
fn cli_egress_allow_needs_a_name_a_role_and_how_long() {
    let world = world();
    drop(egress(&world, "allow hooks.test --role eng-backend").exits(2));
    drop(egress(&world, "allow hooks.test --save").exits(2));
    for place in [
        "10.0.0.1",
        "[::1]:443",
        "*.hooks.test",
        "hooks.test:0",
        "hooks.test:https",
    ] {
        drop(egress(&world, &format!("allow {place} --role eng-backend --save")).exits(2));
    }
    let said = egress(&world, "allow hooks.test --role eng-bakend --save").exits(2);
    drop(said.says(&["did you mean `eng-backend`?"]));
    for times in ["--run", "--once"] {
        let said = egress(
            &world,
            &format!("allow hooks.test --role eng-backend {times}"),
        );
        drop(
            said.exits(1)
                .says(&["nothing runs in this repository", "--save"]),
        );
    }
}

#[test]
fn cli_egress_without_a_run_says_how_to_make_one() {
    let world = world();
    for verb in ["log", "top", "denied"] {
        drop(
            egress(&world, verb)
                .exits(0)
                .says(&["`loki start SPEC.md` makes one"]),
        );
    }
}
