//! `.loki/policies`: the policy that comes with the code, what it may do before a person trusts it,
//! what trust is worth after a change, and what may be committed there.

use std::{fs, os::unix::fs::symlink};

use super::harness::{START, World};

const FILE: &str = ".loki/policies/team.yaml";
const NARROWS: &str = "version: 1\npermissions:\n  eng-backend: { write: [\"src/**\"] }\n";
const WIDENS: &str =
    "version: 1\npermissions:\n  eng-qa:\n    write: [\"**\"]\n    execute: [\"@shell\"]\n";
const SPEC: &str = "# Greeting\n\nA program that greets.\n\n## Tasks\n\n\
    - `greet` (eng-backend): Write `src/greet.sh`\n  - accept: `sh src/greet.sh`\n";

/// Returns a world whose repository brings this policy, not committed.
fn repository(policy: &str) -> World {
    let world = World::new();
    world.write("spec.md", SPEC);
    world.write("agent.sh", "#!/bin/sh\n");
    world.commit();
    world.write(FILE, policy);
    world
}

/// Returns what a role may write, as `loki agents list` says.
#[track_caller]
fn writes(world: &World, role: &str) -> Vec<String> {
    let said = world.loki(&["agents", "list", "--json"]).exits(0);
    let agents: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let agents = agents["agents"].as_array().unwrap();
    let agent = agents.iter().find(|agent| agent["role"] == role).unwrap();
    let globs = agent["files"]["write"].as_array().unwrap();
    let text = |glob: &serde_json::Value| glob["text"].as_str().unwrap().to_owned();
    globs.iter().map(text).collect()
}

#[test]
fn cli_a_project_narrows_without_trust() {
    let world = repository(NARROWS);
    assert_eq!(writes(&world, "eng-backend"), ["src/**"]);
    world.loki(&["policy", "check"]).exits(0).says_nothing();
    let trust = world.loki(&["policy", "trust"]).exits(0);
    trust.says(&["these files only narrow"]);
    assert!(!world.path("../home/.config/loki/trust").exists());
}

#[test]
fn cli_a_project_widens_once_it_is_trusted_and_until_it_changes() {
    let world = repository(WIDENS);
    let shipped = {
        let world = World::new();
        world.commit();
        writes(&world, "eng-qa")
    };
    let ignored = [
        "team.yaml:4:",
        "`write: **` would widen `eng-qa`",
        "`loki policy trust`",
    ];
    world.loki(&["policy", "check"]).exits(0).says(&ignored);
    world.loki(&START).exits(4).says(&ignored);
    assert_eq!(
        writes(&world, "eng-qa"),
        shipped,
        "what it covers is all that it keeps"
    );

    // Without a terminal nobody can agree.
    let asked = world.loki(&["policy", "trust"]).exits(1);
    asked
        .prints(&["`write: **` would widen"])
        .says(&["nothing was trusted", "--yes"]);
    assert_eq!(writes(&world, "eng-qa"), shipped);

    world
        .loki(&["policy", "trust", "--yes"])
        .exits(0)
        .says(&["trusted until a file changes"]);
    assert_eq!(writes(&world, "eng-qa"), ["**"]);
    world.loki(&["policy", "check"]).exits(0).says_nothing();
    world
        .loki(&["policy", "trust"])
        .exits(0)
        .says(&["trusted already"]);

    world.write(FILE, WIDENS.replace("@shell", "@net"));
    let changed = world.loki(&["policy", "check"]).exits(0);
    changed.says(&[
        "`.loki/policies/team.yaml` is not what you trusted",
        "-    execute: [\"@shell\"]",
        "+    execute: [\"@net\"]",
        "`write: **` would widen",
    ]);
    assert_eq!(writes(&world, "eng-qa"), shipped);
    world.write(FILE, WIDENS);
    assert_eq!(
        writes(&world, "eng-qa"),
        ["**"],
        "exactly these files were trusted"
    );
    world.write(".loki/policies/more.yaml", "version: 1\n");
    assert_eq!(writes(&world, "eng-qa"), shipped, "a further file ends it");
    fs::remove_file(world.path(".loki/policies/more.yaml")).unwrap();

    world
        .loki(&["policy", "trust", "--remove"])
        .exits(0)
        .says(&["no longer trusted"]);
    assert_eq!(writes(&world, "eng-qa"), shipped);
    world
        .loki(&["policy", "trust", "--remove"])
        .exits(0)
        .says(&["was not trusted"]);
}

#[test]
fn cli_pins_that_were_changed_are_not_believed() {
    let world = repository(WIDENS);
    world.loki(&["policy", "trust", "--yes"]).exits(0);
    let pins = fs::read_dir(world.path("../home/.config/loki/trust")).unwrap();
    let pins = pins.map(|entry| entry.unwrap().path()).next().unwrap();
    let text = fs::read_to_string(&pins).unwrap();
    fs::write(&pins, text.replace("@shell", "@net")).unwrap();
    let said = ["does not have its hash", "loki policy trust --remove"];
    world.loki(&["policy", "check"]).exits(3).says(&said);
}

#[test]
fn cli_trust_needs_something_to_trust_that_has_no_faults() {
    let world = World::new();
    world.commit();
    let none = world.loki(&["policy", "trust", "--yes"]).exits(2);
    none.says(&["no `.loki/policies`"]);
    let world = repository("version: 1\nhosts: { a.test: \"127.0.0.1:80\" }\n");
    let bad = world.loki(&["policy", "trust", "--yes"]).exits(3);
    bad.says(&["team.yaml:2:", "`hosts` may not stand in this layer"]);
    assert!(!world.path("../home/.config/loki/trust").exists());
}

#[test]
fn cli_only_policies_may_be_committed_where_loki_keeps_its_state() {
    let world = repository(NARROWS);
    world.git(&["add", "--force", FILE]);
    world.git(&["commit", "--quiet", "--message=policy"]);
    // No engine: everything before it was accepted.
    world.loki(&START).exits(4);
    for (path, link) in [
        (".loki/policies/more/x.yaml", false),
        (".loki/policies/x.txt", false),
        (".loki/lock", false),
        (".loki/linked/x.yaml", true),
    ] {
        world.write(path, "x");
        if link {
            fs::remove_file(world.path(path)).unwrap();
            symlink("/etc/hostname", world.path(path)).unwrap();
        }
        world.git(&["add", "--force", path]);
        world.git(&["commit", "--quiet", "--message=planted"]);
        world.loki(&START).exits(2).says(&[path]);
        world.git(&["rm", "--quiet", "--force", path]);
        world.git(&["commit", "--quiet", "--message=gone"]);
    }
}

#[test]
fn cli_what_is_no_regular_file_is_no_policy_of_a_project() {
    let world = repository(NARROWS);
    fs::create_dir(world.path(".loki/policies/dir.yaml")).unwrap();
    let said = world.loki(&["policy", "check"]).exits(3);
    said.says(&["dir.yaml", "is not a regular file"]);
}

#[test]
fn cli_a_repository_that_cannot_be_believed_is_never_taken_for_none() {
    let world = repository(NARROWS);
    symlink("/etc/hostname", world.path(".loki/policies/planted.yaml")).unwrap();
    let explain = ["policy", "explain", "eng-backend", "--write", "docs/a"];
    for verb in [
        &["policy", "check"][..],
        &["policy", "show"],
        &["agents", "list"],
        &["policy", "trust", "--yes"],
        &explain,
        &["sandbox", "attest", "--only", "N8"],
    ] {
        let said = world.loki(verb).exits(2).says(&["planted.yaml"]);
        assert_eq!(said.stdout, "", "{said}");
    }
    // Without the link, the same question is answered by the project's policy.
    fs::remove_file(world.path(".loki/policies/planted.yaml")).unwrap();
    drop(world.loki(&explain).exits(1));
}

#[test]
fn cli_a_policy_counts_before_the_first_commit() {
    let world = World::new();
    world.git(&["init", "--quiet"]);
    world.write(".loki/policies/team.yaml", "rolls: []\n");
    for verb in [&["policy", "check"][..], &["agents", "list"]] {
        drop(world.loki(verb).exits(3).says(&["team.yaml", "rolls"]));
    }
}

/// A command runs on the host, whoever trusted the files.
#[test]
fn cli_a_project_names_no_command_and_a_persons_own_file_does() {
    const COMMAND: &str = "version: 1\nnetwork_policies:\n  eng-qa:\n    egress:\n      \
        - { host: api.example.com, port: 443, credential: { command: [/bin/echo, token-0001], name: API, bearer: true } }\n";
    let world = World::new();
    world.commit();
    world.write("own.yaml", COMMAND);
    let shown = ["policy", "show", "eng-qa", "--policy", "own.yaml"];
    world
        .loki(&shown)
        .exits(0)
        .prints(&["adds API of command [\"/bin/echo\", \"token-0001\"] as bearer"]);
    world.write(FILE, COMMAND);
    for verb in ["check", "trust"] {
        world.loki(&["policy", verb]).exits(3).says(&[
            "`command` may not stand in this layer",
            "~/.config/loki/policies",
        ]);
    }
}
