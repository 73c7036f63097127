//! The verbs of `loki policy`, through the binary: what they print, how they exit, and that what
//! they advise or suggest is a policy that does what was said.

use loki::{
    event::{Breach, EgressKind, Event, Limit},
    journal::Writer,
    name::RunId,
};
use serde_json::Value;

use super::harness::{Run, Said, World, source::files, source::root};

const STRIPE: &str = "version: 1\nagents: { shop-books: { description: Keeps the books. } }\n\
    network_policies: { shop-books: { egress: [\"api.stripe.com:443\"] } }\n\
    permissions: { shop-books: { read: [\"**\"], write: [\"books/*.csv\"] } }\n";

/// Returns a world with a repository and a policy of its own.
fn world() -> World {
    let world = World::new();
    world.write("own.yaml", STRIPE);
    world.commit();
    world
}

/// Runs `loki policy` with these words.
#[track_caller]
fn policy(world: &World, words: &str) -> Run {
    let words: Vec<&str> = words.split(' ').collect();
    world.loki(&[&["policy"], &words[..]].concat())
}

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}\n{said}"))
}

#[test]
fn cli_policy_show_prints_every_right_with_its_place() {
    let world = world();
    let said = policy(&world, "show eng-frontend").exits(0);
    let said = said.says_nothing().prints(&[
        "eng-frontend: ",
        "\nread\n  **",
        "policies/engineering.yaml:",
        "src/frontend/**",
        "@shell",
        "      sh bash dash",
        "\nconnect\n  nothing",
        "memory",
        "2GiB",
        "landlock",
    ]);
    assert!(said.stdout.lines().all(|line| line.len() < 120), "{said}");
    let said = policy(&world, "show shop-books --policy own.yaml");
    said.exits(0).prints(&[
        "Keeps the books.",
        "api.stripe.com:443 tls  own.yaml:3",
        "books/*.csv  own.yaml:4",
    ]);
}

#[test]
fn cli_policy_show_without_a_role_has_a_line_for_each() {
    let world = world();
    let said = policy(&world, "show --policy own.yaml").exits(0);
    let said = said.prints(&["ROLE", "eng-backend", "shop-books", "api.stripe.com:443"]);
    let lines = said.stdout.lines().count();
    let shown = policy(&world, "show --policy own.yaml --json");
    let shown = json(&shown.exits(0));
    assert_eq!(shown["schema"], 1);
    assert_eq!(shown["roles"].as_array().unwrap().len(), lines - 1);
}

#[test]
fn cli_policy_show_has_documented_fields() {
    let world = world();
    let shown = policy(&world, "show shop-books --policy own.yaml --json");
    let shown = json(&shown.exits(0));
    assert_eq!(shown["role"], "shop-books");
    let write = &shown["write"][0];
    assert_eq!(
        (&write["glob"], &write["file"], &write["line"]),
        (&"books/*.csv".into(), &"own.yaml".into(), &4.into())
    );
    let rule = &shown["connect"][0];
    assert_eq!(
        (
            &rule["host"],
            &rule["port"],
            &rule["protocol"],
            &rule["line"]
        ),
        (
            &"api.stripe.com".into(),
            &443.into(),
            &"tls".into(),
            &3.into()
        )
    );
    assert_eq!(shown["values"]["resources.memory"]["value"], "2GiB");
}

#[test]
fn cli_policy_an_unknown_role_is_asked_back() {
    let world = world();
    for words in [
        "show eng-fronted",
        "explain eng-fronted --write x",
        "diff current own.yaml --role eng-fronted",
    ] {
        policy(&world, words).exits(2).says(&[
            "no role is called `eng-fronted`",
            "did you mean `eng-frontend`?",
        ]);
    }
    let said = policy(&world, "show \u{1b}[2J").exits(2);
    let said = said.says(&["\\u{1b}[2J", "`loki agents list` shows the roles"]);
    assert!(!said.stderr.contains('\u{1b}'), "{said}");
}

#[test]
fn cli_policy_explain_names_rule_kernel_and_gate() {
    let world = world();
    let said = policy(&world, "explain eng-frontend --write src/backend/x");
    let said = said.exits(1).says_nothing().prints(&[
        "denied: eng-frontend write `src/backend/x`",
        "inside  the write fails",
        "gate    refuses the whole work: rule `write-globs`",
        "add to ~/.config/loki/policies/eng-frontend.yaml:",
        "\"src/backend/**\"]",
    ]);
    let advice = said.stdout.split_once("eng-frontend.yaml:\n").unwrap().1;
    let lines = advice.lines().filter_map(|line| line.strip_prefix("    "));
    let yaml = lines.fold(String::new(), |text, line| text + line + "\n");
    world.write("advised.yaml", yaml);
    let said = policy(
        &world,
        "explain eng-frontend --write src/backend/x --policy advised.yaml",
    );
    said.exits(0).prints(&[
        "allowed: eng-frontend write `src/backend/x`",
        "src/backend/** (advised.yaml:4)",
        "`/work/src/backend` is writable",
        "gate    lets it pass",
    ]);
}

#[test]
fn cli_policy_explain_tells_what_a_widened_glob_lets_pass_and_who_refuses_it() {
    let world = world();
    let ask = |path: &str| {
        let words = format!("explain shop-books --policy own.yaml --write {path}");
        policy(&world, &words)
    };
    ask("books/evil.sh").exits(1).prints(&[
        "denied",
        "the write succeeds: a write glob is widened to `/work/books`",
        "gate    refuses the whole work",
    ]);
    ask("books/2026.csv")
        .exits(0)
        .prints(&["books/*.csv (own.yaml:4)", "gate    lets it pass"]);
    for never in [".git/config", ".loki/x", "../x", "books/.GIT/hooks/a.csv"] {
        let said = ask(never).exits(1);
        assert!(!said.stdout.contains("to allow it"), "{said}");
    }
}

#[test]
fn cli_policy_explain_asks_what_the_gateway_asks() {
    let world = world();
    let ask = |target: &str| {
        let words = format!("explain shop-books --policy own.yaml --connect {target}");
        policy(&world, &words)
    };
    ask("api.stripe.com:443").exits(0).prints(&[
        "allowed: shop-books connect `api.stripe.com:443`",
        "rule    api.stripe.com:443 (own.yaml:3)",
    ]);
    ask("api.stripe.com:80").exits(1).prints(&[
        "only port 443 is",
        "\"api.stripe.com:443\", \"api.stripe.com:80\"]",
    ]);
    ask("api.strip.com:443")
        .exits(1)
        .prints(&["did you mean `api.stripe.com:443`?"]);
    ask("10.0.0.1:443").exits(1).prints(&["no route"]);
    for usage in ["api.stripe.com", "a:0", "a:65536", "a:-1", ":x"] {
        ask(usage).exits(2).says(&["HOST:PORT"]);
    }
}

#[test]
fn cli_policy_explain_asks_of_one_request_what_the_gateway_asks() {
    let world = world();
    let own = "version: 1\nagents: { shop-books: {} }\nnetwork_policies:\n  shop-books:\n    egress:\n      \
        - { host: api.stripe.com, port: 443, methods: [GET], paths: [\"/v1/**\"] }\n      \
        - \"open.stripe.com:443\"\n      \
        - { host: plain.stripe.com, port: 8080, protocol: http, methods: [GET] }\n";
    world.write("asks.yaml", own);
    let ask = |question: &str| {
        let words = format!("explain shop-books --policy asks.yaml --connect {question}");
        policy(&world, &words)
    };
    ask("api.stripe.com:443")
        .exits(0)
        .prints(&["each request is decided by itself"]);
    ask("api.stripe.com:443 --path /v1/charges?limit=3")
        .exits(0)
        .prints(&[
            "allowed: shop-books request `GET https://api.stripe.com:443/v1/charges?limit=3`",
            "rule    api.stripe.com:443 (asks.yaml:6)",
            "inside  the gateway passes it on",
        ]);
    ask("plain.stripe.com:8080 --path /x")
        .exits(0)
        .prints(&["http://plain.stripe.com:8080/x"]);
    let said = ask("api.stripe.com:443 --method POST --path /v1/charges").exits(1);
    let said = said.prints(&[
        "reason  `POST` is not allowed there, only `GET`",
        "inside  the gateway answers it itself",
        "{ host: \"api.stripe.com\", port: 443, methods: [\"POST\"], paths: [\"/v1/charges\"] }]",
    ]);
    let advice = said.stdout.split_once("asks.yaml:\n").unwrap().1;
    let lines = advice.lines().filter_map(|line| line.strip_prefix("    "));
    let advice = lines.fold("agents: { shop-books: {} }\n".to_owned(), |text, line| {
        text + line + "\n"
    });
    world.write("asks.yaml", advice);
    ask("api.stripe.com:443 --method POST --path /v1/charges").exits(0);
    ask("api.stripe.com:443 --path /v1/charges").exits(0);
    ask("api.stripe.com:443 --method POST --path /v1/refunds").exits(1);
    let said = ask("api.stripe.com:443 --path /v1/%2e%2e/x").exits(1);
    let said = said.prints(&["the path holds a `.` or `..` component"]);
    assert!(!said.stdout.contains("to allow it"), "{said}");
    ask("open.stripe.com:443 --method DELETE")
        .exits(0)
        .prints(&["says nothing of requests"]);
    ask("other.stripe.com:443 --path /x")
        .exits(1)
        .prints(&["no egress rule names"]);
    for usage in [
        "api.stripe.com --path /x",
        "api.stripe.com:443 --path x",
        "api.stripe.com:443 --method get",
    ] {
        ask(usage).exits(2).says(&["HOST:PORT"]);
    }
    policy(
        &world,
        "explain shop-books --policy asks.yaml --write x --method GET",
    )
    .exits(2);
    let shown = policy(&world, "show shop-books --policy asks.yaml --json");
    let shown = json(&shown.exits(0));
    assert_eq!(shown["connect"][0]["request"]["methods"][0], "GET");
    assert_eq!(shown["connect"][1]["request"], Value::Null);
    let said = policy(&world, "show shop-books --policy asks.yaml");
    said.exits(0)
        .prints(&["api.stripe.com:443 tls, GET /v1/**"]);
}

#[test]
fn cli_policy_explain_advises_nothing_that_a_denial_closes() {
    let world = world();
    world.write(
        "organisation.yaml",
        "version: 1\npermissions: { deny: { write: [\"src/keys/**\"], execute: [cargo] } }\n\
         network_policies: { deny: [\"*.evil.test\"] }\n",
    );
    let ask = |question: &str| {
        let words = format!("explain eng-backend --policy organisation.yaml {question}");
        policy(&world, &words)
    };
    for question in [
        "--write src/keys/a",
        "--execute cargo",
        "--connect x.evil.test:443",
    ] {
        let said = ask(question)
            .exits(1)
            .prints(&["denied", "no rule could allow it"]);
        assert!(!said.stdout.contains("to allow it"), "{said}");
    }
    ask("--connect a.test:443")
        .exits(1)
        .prints(&["to allow it"]);
    let said = policy(&world, "diff current organisation.yaml --role eng-backend");
    said.exits(1).prints(&[
        "- write    src/keys/** of src/**",
        "- execute  cargo",
        "- connect  what `deny *.evil.test` closes  organisation.yaml:3",
    ]);
}

#[test]
fn cli_policy_explain_knows_programs_and_what_they_bring() {
    let world = world();
    let ask = |program: &str| policy(&world, &format!("explain eng-frontend --execute {program}"));
    ask("sh").exits(0).prints(&["part of `@text`"]);
    ask("/usr/bin/sh").exits(0).prints(&["allowed"]);
    ask("./src/frontend/run")
        .exits(0)
        .prints(&["src/frontend/**"]);
    ask("/usr/lib/git-core/git-remote-https")
        .exits(0)
        .prints(&["it comes with `git`"]);
    ask("cargo")
        .exits(1)
        .prints(&["`@rust`", "neither run nor be read"]);
    ask("pyton3").exits(1).prints(&["did you mean `python3`?"]);
    ask("/etc/passwd").exits(1).prints(&["denied"]);
}

#[test]
fn cli_policy_explain_answers_many_questions_at_once_and_one_denial_counts() {
    let world = world();
    let said = policy(
        &world,
        "explain eng-qa --read src/x --write tests/a --write src/a --execute git --connect a.test:443 --json",
    );
    let told = json(&said.exits(1));
    let answers = told["answers"].as_array().unwrap();
    let allowed: Vec<(&str, bool)> = answers
        .iter()
        .map(|a| {
            (
                a["asked"].as_str().unwrap(),
                a["allowed"].as_bool().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("tests/a", true),
        ("src/a", false),
        ("src/x", true),
        ("git", true),
        ("a.test:443", false),
    ];
    assert_eq!(allowed, expected);
    for field in [
        "question", "rule", "reason", "kernel", "gate", "near", "next",
    ] {
        assert!(
            answers.iter().all(|answer| answer.get(field).is_some()),
            "{field}"
        );
    }
    policy(&world, "explain eng-qa").exits(2).says(&["--write"]);
}

#[test]
fn cli_policy_schema_is_a_schema_of_the_shipped_policies() {
    let world = World::new();
    let schema = json(&policy(&world, "schema").exits(0).says_nothing());
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    assert!(!validator.is_valid(&serde_json::json!({ "version": 1, "permission": {} })));
    assert!(validator.is_valid(&serde_json::json!({ "version": 1 })));
}

#[test]
fn cli_policy_diff_tells_gains_from_losses() {
    let world = world();
    let other = STRIPE
        .replace("api.stripe.com:443", "api.example.com:443")
        .replace("books/*.csv", "books/**");
    world.write(
        "other.yaml",
        other + "resources: { shop-books: { memory: 4GiB } }\n",
    );
    for same in ["diff own.yaml own.yaml", "diff - current"] {
        policy(&world, same)
            .exits(0)
            .says(&["no role may do more or less"]);
    }
    let said = policy(&world, "diff own.yaml other.yaml").exits(1);
    said.says_nothing().prints(&[
        "shop-books\n",
        "+ write    books/**  other.yaml:4",
        "+ connect  api.example.com:443 tls  other.yaml:3",
        "- connect  api.stripe.com:443 tls  own.yaml:3",
        "~ resources.memory 2GiB -> 4GiB",
    ]);
    let said = policy(&world, "diff current own.yaml --json");
    let told = json(&said.exits(1));
    assert_eq!(told["equal"], false);
    assert_eq!(told["roles"][0]["status"], "added");
    policy(&world, "diff own.yaml other.yaml --role eng-qa").exits(0);
    policy(&world, "diff own.yaml missing.yaml")
        .exits(3)
        .says(&["missing.yaml"]);
}

/// A decision: allowed by a rule, or denied by one or by none.
type By<'a> = Result<&'a str, Option<&'a str>>;

/// A request to the one host that the policy opens.
fn request(asked: &str, by: By<'_>, times: u64) -> Event {
    let (asked_by, asked_for) = asked.split_once(' ').unwrap();
    let mut event = egress("api.stripe.com", Some(443), by, times);
    if let Event::Egress {
        kind, method, path, ..
    } = &mut event
    {
        *kind = EgressKind::Request;
        *method = Some(asked_by.to_owned());
        *path = Some(asked_for.to_owned());
    }
    event
}

fn egress(host: &str, port: Option<u16>, by: By<'_>, count: u64) -> Event {
    let rule = by.map_or_else(|denied| denied, Some);
    Event::Egress {
        method: None,
        path: None,
        sandbox: "s1".to_owned(),
        task: None,
        role: "shop-books".parse().unwrap(),
        kind: if port.is_some() {
            EgressKind::Connect
        } else {
            EgressKind::Name
        },
        host: host.to_owned(),
        port,
        allowed: by.is_ok(),
        rule: rule.map(str::to_owned),
        reason: by
            .is_err()
            .then(|| format!("no egress rule names `{host}`")),
        count,
    }
}

fn gated(attempt: u32, breaches: Vec<Breach>) -> Event {
    Event::Gated {
        task: "books".parse().unwrap(),
        attempt,
        files: 2,
        breaches,
    }
}

fn breach(rule: &str, path: &str) -> Breach {
    Breach {
        rule: rule.to_owned(),
        path: path.to_owned(),
        message: format!("broke the rule {rule}"),
    }
}

/// Writes the journal of a run in which `shop-books` used one host, asked for others, committed
/// what is in the repository's last commit and was once refused at the gate.
fn recorded(world: &World) -> RunId {
    let run: RunId = "20270115-080000-ab12".parse().unwrap();
    let clock = || "2027-01-15T08:00:00Z".parse().unwrap();
    let mut journal = Writer::create(&world.path(".loki"), &run, clock).unwrap();
    let commit = world.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let task = || "books".parse().unwrap();
    let planned = serde_json::json!({ "type": "planned", "tasks": [
        { "id": "books", "role": "shop-books", "title": "Keep the books" },
    ] });
    let rule = "api.stripe.com:443 (own.yaml:3)";
    let events = [
        Event::RunStarted {
            run: run.clone(),
            loki: "0".to_owned(),
            spec: "spec.md".to_owned(),
            spec_sha256: String::new(),
            title: "Books".to_owned(),
            provider: "command".to_owned(),
            base: commit.clone(),
            branch: format!("loki/{run}"),
            engine: "none".to_owned(),
            policy_sha256: String::new(),
            asked: None,
        },
        serde_json::from_value(planned).unwrap(),
        egress("api.stripe.com", None, Ok(rule), 2),
        egress("api.stripe.com", Some(443), Ok(rule), 7),
        // Allowed by the rule, refused for what was spoken: no policy decides that.
        egress("api.stripe.com", Some(443), Err(Some(rule)), 1),
        request("POST /v1/charges", Ok(rule), 4),
        // The record does not say whether a rule refused it or what was sent with it.
        request("GET /v1/files", Err(Some(rule)), 2),
        egress("evil.test", None, Err(None), 3),
        egress("db.test", Some(5432), Err(None), 1),
        egress("*", None, Err(None), 40),
        Event::Overrun {
            sandbox: "s1".to_owned(),
            task: Some(task()),
            role: "shop-books".parse().unwrap(),
            limit: Limit::Disk,
            allowed: 1,
            seen: 2,
        },
        gated(
            1,
            vec![
                breach("write-globs", "src/evil.rs"),
                breach("size", "books/a.csv"),
            ],
        ),
        gated(2, Vec::new()),
        Event::Committed {
            task: task(),
            attempt: 2,
            commit,
        },
    ];
    for event in &events {
        journal.append(event).unwrap();
    }
    run
}

/// Returns a world with a recorded run that committed two tables and one note.
fn recorded_world() -> World {
    let world = world();
    for file in ["books/a.csv", "books/b.csv", "notes/\u{202e}x {1}.md"] {
        world.write(file, "1\n");
    }
    world.commit();
    world
}

#[test]
fn cli_policy_replay_lists_every_verdict_that_would_change() {
    let world = recorded_world();
    recorded(&world);
    world.write(
        "new.yaml",
        STRIPE
            .replace("api.stripe.com:443", "evil.test:443")
            .replace(
                "\"books/*.csv\"",
                "\"books/a.csv\", \"src/**\", \"notes/**\"",
            ),
    );
    let said = policy(&world, "replay --policy new.yaml").exits(1);
    let said = said.prints(&[
        "connect api.stripe.com:443",
        "request POST api.stripe.com:443/v1/charges",
        "name evil.test",
        "write books/b.csv",
        "write src/evil.rs",
    ]);
    assert!(!said.stdout.contains("a.csv"), "{said}");
    assert!(!said.stdout.contains("db.test"), "{said}");
    said.says(&["21 decisions of 1 run: 18 would change", "45 refusals"]);
    let said = policy(&world, "replay --policy new.yaml --json");
    let told = json(&said.exits(1));
    assert_eq!(told["not_asked"], 45);
    let changes = told["changes"].as_array().unwrap();
    let one = changes
        .iter()
        .find(|change| change["asked"] == "api.stripe.com:443")
        .unwrap();
    assert_eq!(
        (&one["was"], &one["becomes"], &one["times"]),
        (&true.into(), &false.into(), &7.into())
    );
}

#[test]
fn cli_policy_replay_under_the_same_rights_changes_nothing() {
    let world = recorded_world();
    let run = recorded(&world);
    world.write(
        "same.yaml",
        STRIPE.replace("\"books/*.csv\"", "\"books/*.csv\", \"notes/**\""),
    );
    let said = policy(&world, &format!("replay --policy same.yaml --run {run}")).exits(0);
    assert_eq!(said.stdout, "", "{said}");
    let narrower = STRIPE
        .replace("\"books/*.csv\"", "\"books/*.csv\", \"notes/**\"")
        .replace(
            "\"api.stripe.com:443\"",
            "{ host: api.stripe.com, port: 443, methods: [GET] }",
        );
    world.write("narrower.yaml", narrower);
    let said = policy(&world, "replay --policy narrower.yaml").exits(1);
    said.says(&["4 would change"]).prints(&[
        "request POST api.stripe.com:443/v1/charges",
        "narrower.yaml:3",
    ]);
    policy(&world, "replay --policy same.yaml --run nosuch")
        .exits(2)
        .says(&["no run `nosuch`", run.as_str()]);
    let empty = self::world();
    let none = policy(&empty, "replay --policy own.yaml");
    none.exits(2).says(&["no run was made", "loki start"]);
}

#[test]
fn cli_policy_suggest_writes_a_policy_that_allows_what_the_run_needed_and_no_more() {
    let world = recorded_world();
    recorded(&world);
    let said = policy(&world, "suggest --policy own.yaml")
        .exits(0)
        .says_nothing()
        .prints(&[
            "- \"api.stripe.com:443\" # 7 connections",
            "- \"books/*\" # 2 files, 2 changes",
            "# - \"evil.test\" # denied 3 times",
            "# - \"src/evil.rs\" # refused 1 time at the hand-over",
            "which programs ran",
        ]);
    assert!(!said.stdout.contains('\u{202e}'), "{said}");
    world.write("suggested.yaml", &said.stdout);
    let agents = "version: 1\nagents: { shop-books: {} }\n";
    world.write("agents.yaml", agents);
    let files = "--policy agents.yaml --policy suggested.yaml";
    policy(&world, "check agents.yaml suggested.yaml").exits(0);
    let said = policy(&world, &format!("replay {files}"));
    said.exits(0).says(&["0 would change"]);
    let shown = policy(&world, &format!("show shop-books --json {files}"));
    let shown = json(&shown.exits(0));
    assert_eq!(shown["connect"].as_array().unwrap().len(), 1);
    assert_eq!(shown["write"].as_array().unwrap().len(), 2);
    policy(&world, "suggest --role shop-boks")
        .exits(2)
        .says(&["did you mean `shop-books`?"]);
}

#[test]
fn cli_policy_suggest_stands_alone_when_no_policy_knows_the_role() {
    let world = recorded_world();
    recorded(&world);
    let said = policy(&world, "suggest").exits(0);
    let said = said.prints(&["agents:\n  shop-books: {}"]);
    world.write("suggested.yaml", &said.stdout);
    policy(&world, "check suggested.yaml").exits(0);
}

/// Checks files in one run, and returns those of which no fault was shown.
fn unshown(world: &World, paths: &[String]) -> Vec<String> {
    let mut args = vec!["policy", "check"];
    args.extend(paths.iter().map(String::as_str));
    let said = world.loki(&args).exits(3);
    let shown = |c: char| c == '\n' || !c.is_control();
    assert!(
        said.stderr.chars().all(shown),
        "a control character is shown"
    );
    let faults = |path: &str| {
        let mut lines = said.stderr.lines();
        lines.any(|line| {
            line.strip_prefix(path)
                .is_some_and(|rest| rest.starts_with(':'))
        })
    };
    let missing = paths.iter().filter(|path| !faults(path));
    let marks = said
        .stderr
        .lines()
        .filter(|line| line.trim_end().ends_with('^'));
    let shown = paths.len() - missing.clone().count();
    assert!(marks.count() >= shown * 2 / 3, "pictures are missing");
    missing.cloned().collect()
}

#[test]
fn cli_policy_check_shows_every_fault_of_the_whole_corpus_in_one_run() {
    let world = World::new();
    let samples = files("tests/policies/invalid", "yaml");
    assert!(samples.len() >= 60, "only {} samples", samples.len());
    let paths: Vec<String> = samples
        .iter()
        .map(|path| root().join(path).to_string_lossy().into_owned())
        .collect();
    // What follows from all files together is told once each file by itself is sound: values above
    // a maximum, and expectations that fail.
    let later = unshown(&world, &paths);
    for path in &later {
        let text = std::fs::read_to_string(path).unwrap();
        let together = text.contains("maximum:") || text.contains("expect:\n");
        assert!(together, "no fault of {path} is shown");
    }
    assert!(later.len() <= 3, "{later:?}");
    if !later.is_empty() {
        assert_eq!(unshown(&world, &later), Vec::<String>::new());
    }
}
