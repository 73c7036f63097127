//! Verbs of the binary that need no engine: what they accept, what they refuse, with which exit
//! code, and that every refusal names the thing and says what to type next.

use super::harness::{World, source::read};

const SPEC: &str = "# Greeting\n\nA program that greets.\n\n## Tasks\n\n\
    - `greet` (eng-backend): Write `src/greet.sh`, which prints hello\n  \
    - accept: `sh src/greet.sh`\n";

const COMMAND: [&str; 4] = ["--provider", "command", "--command", "./agent.sh"];

/// Returns a world with a committed repository that holds a valid specification.
fn repository() -> World {
    let world = World::new();
    world.write("spec.md", SPEC);
    world.write("agent.sh", "#!/bin/sh\ncat\n");
    world.commit();
    world
}

/// Starts a run of a file with a provider that needs no engine to be accepted.
fn start(world: &World, spec: &str) -> super::harness::Run {
    let mut args = vec!["start", spec];
    args.extend(COMMAND);
    world.loki(&args)
}

/// Asserts that nothing of the user's changed and that no branch was made.
#[track_caller]
fn untouched(world: &World) {
    assert_eq!(
        world.git(&["status", "--porcelain"]),
        "",
        "the checkout was touched"
    );
    let branches = world.git(&["for-each-ref", "--format=%(refname)", "refs/heads"]);
    assert_eq!(branches, "refs/heads/main\n", "a branch was left behind");
}

#[test]
fn cli_version_is_the_one_of_the_package() {
    let world = World::new();
    for args in [["version"], ["--version"]] {
        world
            .loki(&args)
            .exits(0)
            .prints(&[env!("CARGO_PKG_VERSION")])
            .says_nothing();
    }
}

#[test]
fn cli_help_lists_every_verb_and_every_verb_has_help() {
    let world = World::new();
    let verbs = [
        "start", "status", "logs", "events", "stop", "sandbox", "policy", "doctor", "image",
        "agents", "clean", "version",
    ];
    world.loki(&["--help"]).exits(0).prints(&verbs);
    for verb in verbs {
        world
            .loki(&[verb, "--help"])
            .exits(0)
            .prints(&["Usage: loki"]);
    }
    for (verb, inner) in [
        ("sandbox", vec!["run", "ls", "rm"]),
        ("policy", vec!["check"]),
        ("image", vec!["build", "list"]),
        ("agents", vec!["list"]),
    ] {
        world.loki(&[verb, "--help"]).exits(0).prints(&inner);
    }
}

#[test]
fn cli_every_verb_of_the_documents_exists() {
    let world = World::new();
    let mut seen = 0;
    for page in ["README.md", "docs/development.md"] {
        for line in read(page).lines().filter(|line| line.starts_with("loki ")) {
            let verb = line
                .split_whitespace()
                .nth(1)
                .expect("a verb follows `loki`");
            world.loki(&[verb, "--help"]).exits(0);
            seen += 1;
        }
    }
    assert!(seen >= 3, "the documents show only {seen} commands");
}

#[test]
fn cli_a_wrong_command_line_is_a_usage_error() {
    let world = repository();
    world.loki(&[]).exits(2).says(&["Usage: loki"]);
    world
        .loki(&["strat", "spec.md"])
        .exits(2)
        .says(&["strat", "start"]);
    world.loki(&["start"]).exits(2).says(&["SPEC"]);
    world
        .loki(&["start", "spec.md", "--no-such-option"])
        .exits(2)
        .says(&["--no-such-option"]);
    world.loki(&["status", "--json=yes"]).exits(2);
    untouched(&world);
}

#[test]
fn cli_a_specification_without_a_provider_is_refused_with_the_list() {
    let world = repository();
    world
        .loki(&["start", "spec.md"])
        .exits(2)
        .says(&["`command`", "`replay`", "--provider"]);
    let run = world
        .loki(&["start", "spec.md", "--provider", "nosuch"])
        .exits(2);
    run.says(&["nosuch", "command", "replay"]);
    let run = world
        .loki(&["start", "spec.md", "--provider", "command"])
        .exits(2);
    run.says(&["--command"]);
    untouched(&world);
}

#[test]
fn cli_a_macro_that_is_missing_is_asked_for_and_one_that_is_none_is_explained() {
    let world = repository();
    let replay = ["start", "spec.md", "--provider", "replay"];
    world
        .loki(&replay)
        .exits(2)
        .says(&["needs a macro", "--macro DIR"]);
    world
        .loki(&[&replay[..], &["--macro", "nosuch"]].concat())
        .exits(3)
        .says(&["`nosuch`", "No such file", "macro.yaml"]);
    untouched(&world);
}

#[test]
fn cli_a_specification_that_cannot_be_read_is_named() {
    let world = repository();
    std::fs::create_dir(world.path("folder")).unwrap();
    start(&world, "missing.md").exits(3).says(&["`missing.md`"]);
    start(&world, "folder").exits(3).says(&["`folder`"]);
    start(&world, "/dev/null").exits(3).says(&["`/dev/null`"]);
    untouched(&world);
}

#[test]
fn cli_a_specification_that_is_no_text_is_refused() {
    let world = repository();
    for (name, bytes) in [
        ("empty.md", Vec::new()),
        ("blank.md", b"\n \n\t\n".to_vec()),
        ("binary.md", b"\x7fELF\x02\x01\0\0\0".to_vec()),
        ("latin.md", b"# Caf\xe9\n".to_vec()),
    ] {
        world.write(name, bytes);
        world.git(&["add", "--all"]);
        world.git(&["commit", "--quiet", "--message=more"]);
        start(&world, name).exits(3).says(&[name]);
    }
    untouched(&world);
}

#[test]
fn cli_a_huge_specification_is_refused_without_reading_it_all() {
    let world = World::new();
    world.write(".gitignore", "huge.md\n");
    world.commit();
    let file = std::fs::File::create(world.path("huge.md")).unwrap();
    file.set_len(100 * 1024 * 1024).unwrap();
    start(&world, "huge.md").exits(3).says(&["huge.md"]);
    untouched(&world);
}

#[test]
fn cli_every_fault_of_a_plan_is_reported() {
    for (fault, tasks, named) in [
        (
            "unknown role",
            "- `a` (eng-nosuch): A\n  - accept: `true`\n",
            "eng-nosuch",
        ),
        (
            "cycle",
            "- `a` (eng-backend): A\n  - depends on: `b`\n  - accept: `true`\n\
             - `b` (eng-backend): B\n  - depends on: `a`\n  - accept: `true`\n",
            "`a`",
        ),
        (
            "unknown dependency",
            "- `a` (eng-backend): A\n  - depends on: `nosuch`\n  - accept: `true`\n",
            "nosuch",
        ),
        (
            "same name twice",
            "- `a` (eng-backend): A\n  - accept: `true`\n- `a` (eng-backend): B\n  - accept: `true`\n",
            "`a`",
        ),
    ] {
        let world = World::new();
        world.write("bad.md", format!("# Bad\n\nText.\n\n## Tasks\n\n{tasks}"));
        world.commit();
        let run = start(&world, "bad.md").exits(3).says(&["bad.md", named]);
        assert!(
            !world.path(".loki/journal").exists(),
            "{fault}: a run was begun\n{run}"
        );
        untouched(&world);
    }
}

#[test]
fn cli_names_are_never_commands_or_options() {
    let world = World::new();
    let names = [
        "$(touch x).md",
        "--help.md",
        "'; touch x.md",
        "a\nb.md",
        "-n.md",
    ];
    for name in names {
        world.write(name, "not a specification without tasks");
    }
    world.commit();
    for name in names {
        let mut args = vec!["start"];
        args.extend(COMMAND);
        args.extend(["--", name]);
        let run = world.loki(&args).exits(3);
        assert!(
            !run.stderr.contains("a\nb.md"),
            "a file name broke a line\n{run}"
        );
        assert!(
            !world.path("x").exists() && !world.path("x.md").exists(),
            "`{name}` was run"
        );
    }
    untouched(&world);
}

#[test]
fn cli_a_folder_without_a_repository_is_refused() {
    let world = World::new();
    world.write("spec.md", SPEC);
    start(&world, "spec.md").exits(2).says(&["git init"]);
    assert!(!world.path(".loki").exists(), "something was left behind");
}

#[test]
fn cli_a_repository_without_a_commit_is_refused() {
    let world = World::new();
    world.write("spec.md", SPEC);
    world.git(&["init", "--quiet", "--initial-branch=main"]);
    start(&world, "spec.md").exits(2).says(&["git commit"]);
    assert!(!world.path(".loki").exists(), "something was left behind");
}

#[test]
fn cli_state_that_comes_with_the_code_is_refused() {
    let world = repository();
    world.write(".loki/journal/20260101-000000-0000.jsonl", "{}\n");
    world.git(&["add", "--force", "--all"]);
    world.git(&["commit", "--quiet", "--message=planted"]);
    let said = ["`.loki/journal/20260101-000000-0000.jsonl`", "git rm"];
    start(&world, "spec.md").exits(2).says(&said);
    world.loki(&["clean", "--yes"]).exits(2).says(&said);
    untouched(&world);
}

#[test]
fn cli_no_engine_is_its_own_exit_code() {
    let world = repository();
    start(&world, "spec.md")
        .exits(4)
        .says(&["/nonexistent/engine.sock", "loki doctor"]);
    let run = world.loki(&["sandbox", "run", "--role", "eng-backend", "--", "true"]);
    run.exits(125).says(&["/nonexistent/engine.sock"]);
    world
        .loki(&["image", "build"])
        .exits(4)
        .says(&["/nonexistent/engine.sock"]);
    world.loki(&["doctor"]).exits(4);
    untouched(&world);
}

#[test]
fn cli_no_sandbox_cannot_be_asked_for() {
    let world = repository();
    for option in ["--no-sandbox", "--sandbox=false", "--unsafe"] {
        let mut args = vec!["start", "spec.md", option];
        args.extend(COMMAND);
        world.loki(&args).exits(2);
    }
    untouched(&world);
}

#[test]
fn cli_policy_check_accepts_the_short_forms() {
    let world = repository();
    let policy = "version: 1\npermissions:\n  eng-backend:\n    read: [\"src/**\"]\n    write: [\"src/**\"]\n    \
         execute: [node]\nnetwork_policies:\n  eng-api: { egress: [api.example.test, 443] }\n";
    world.write("good.yaml", policy);
    world.loki(&["policy", "check", "good.yaml"]).exits(0);
}

#[test]
fn cli_policy_check_reports_every_fault_with_its_place() {
    let world = repository();
    let policy = "version: 1\npermisions:\n  eng-backend: { read: [\"src/**\"] }\nnetwork_policies:\n  \
         eng-backend: { egress: [\"*:443\"] }\nresources:\n  default: { memory: lots }\n";
    world.write("bad.yaml", policy);
    let run = world.loki(&["policy", "check", "bad.yaml"]).exits(3);
    run.says(&[
        "bad.yaml:2:",
        "permisions",
        "bad.yaml:5:",
        "bad.yaml:7:",
        "lots",
    ]);
}

#[test]
fn cli_an_unquoted_glob_gets_the_hint_to_quote_it() {
    let world = repository();
    world.write(
        "glob.yaml",
        "version: 1\npermissions:\n  eng-backend:\n    read: [**]\n",
    );
    world
        .loki(&["policy", "check", "glob.yaml"])
        .exits(3)
        .says(&["glob.yaml:4:", "\"**\""]);
}

#[test]
fn cli_policy_check_refuses_what_is_no_policy() {
    let world = repository();
    world.write("empty.yaml", "");
    world.write("binary.yaml", b"\0\x01\xff\xfe");
    world.write("bomb.yaml", "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n");
    for file in ["missing.yaml", "empty.yaml", "binary.yaml", "bomb.yaml"] {
        world
            .loki(&["policy", "check", file])
            .exits(3)
            .says(&[file]);
    }
}

#[test]
fn cli_listings_of_nothing_are_valid_json() {
    let world = repository();
    for args in [["status", "--json"], ["events", "--json"]] {
        let run = world.loki(&args).exits(0);
        for line in run.stdout.lines().filter(|_| args[0] == "events") {
            serde_json::from_str::<serde_json::Value>(line)
                .unwrap_or_else(|e| panic!("{e}: {line}"));
        }
        if args[0] == "status" {
            serde_json::from_str::<serde_json::Value>(&run.stdout)
                .unwrap_or_else(|e| panic!("{e}\n{run}"));
        }
    }
    world
        .loki(&["agents", "list"])
        .exits(0)
        .prints(&["eng-backend"])
        .says_nothing();
}

#[test]
fn cli_looking_at_nothing_leaves_nothing() {
    let world = repository();
    for args in [
        vec!["status"],
        vec!["events"],
        vec!["agents", "list"],
        vec!["policy", "check"],
    ] {
        world.loki(&args).exits(0);
        assert!(!world.path(".loki").exists(), "{args:?} made a folder");
    }
    untouched(&world);
}
