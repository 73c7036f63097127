//! `loki sandbox attest` itself: it notices what is open, its signature, its exit codes, and that it
//! leaves nothing behind.

use std::{fs, os::unix::fs::PermissionsExt as _};

use rustix::process::Signal;

use super::{Engine, LIMIT, World, on_each, sink, world};

const ONE: [&str; 4] = ["sandbox", "attest", "--only", "K3"];

/// Returns the engine's containers that carry this process's name, running or not.
fn containers(world: &World, engine: Engine, process: u32) -> Vec<String> {
    let list = [
        "ps",
        "--all",
        "--filter",
        "label=loki.run",
        "--format",
        "{{.Names}}",
    ];
    let said = world.start(engine.program(), &list).wait(LIMIT).exits(0);
    let own = format!("-{process}-");
    let names = said.stdout.lines().filter(|name| name.contains(&own));
    names.map(str::to_owned).collect()
}

/// Returns what stands in the slots of attestations, by the process that made them.
fn slots(process: u32) -> bool {
    let slots = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache/loki/attest");
    let mut entries = fs::read_dir(slots).into_iter().flatten().flatten();
    let own = format!("{process}-");
    entries.any(|entry| entry.file_name().to_string_lossy().starts_with(&own))
}

#[test]
fn attest_fails_where_a_policy_opens_what_a_probe_is_after() {
    on_each(|engine| {
        let world = world(engine);
        let wide = format!(
            "version: 1\nhosts: {{ denied.test: \"127.0.0.1:{}\" }}\nnetwork_policies: {{ eng-backend: {{ egress: [\"denied.test:80\"] }} }}\n",
            sink()
        );
        world.write("wide.yaml", wide);
        let only = [
            "sandbox",
            "attest",
            "--only",
            "N3,n4,k3",
            "--policy",
            "wide.yaml",
        ];
        let said = world
            .loki(&only)
            .exits(1)
            .prints(&["1 passed, 2 failed", "reached GET"]);
        assert_eq!(said.stdout.matches("FAIL").count(), 2, "{said}");
        // The control: without that policy the same rows hold.
        drop(
            world
                .loki(&["sandbox", "attest", "--only", "N3,N4,K3"])
                .exits(0)
                .prints(&["3 passed, 0 failed"]),
        );
    });
}

#[test]
fn a_key_in_the_environment_of_loki_is_in_no_sandbox() {
    on_each(|engine| {
        let world = world(engine);
        let args = [
            "ANTHROPIC_API_KEY=canary-of-the-host",
            "loki",
            "sandbox",
            "attest",
            "--only",
            "S1,S14",
            "--json",
        ];
        let said = world.start("env", &args).wait(LIMIT).exits(0);
        assert!(!said.stdout.contains("canary-of-the-host"), "{said}");
    });
}

#[test]
fn an_attestation_is_verified_by_its_key_and_by_no_other() {
    let world = world(Engine::Docker);
    let said = world
        .loki(&[&ONE[..], &["--out", "a.json", "--json"]].concat())
        .exits(0);
    assert_eq!(
        fs::read_to_string(world.path("a.json")).unwrap(),
        said.stdout
    );
    let signed: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let key = signed["public_key"].as_str().unwrap();
    let file = world.path("../home/.config/loki/journal.key");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));

    let verify = ["sandbox", "attest", "--verify", "a.json"];
    let holds = ["the signature holds", key, "1 passed, 0 failed"];
    drop(world.loki(&verify).exits(0).prints(&holds));
    fs::rename(&file, file.with_extension("away")).unwrap();
    let named = |key: &str| world.loki(&[&verify[..], &["--key", key]].concat());
    drop(named(key).exits(0).prints(&holds));
    drop(
        named(&"0".repeat(64))
            .exits(1)
            .says(&["signed with another key", key]),
    );
    drop(named("zz").exits(2).says(&["64"]));
    // Nobody's word is taken for the key that stands in the file itself.
    drop(world.loki(&verify).exits(2).says(&["--key PUB"]));
    assert!(!file.exists(), "checking makes no key");
    drop(world.loki(&ONE).exits(0));
    drop(
        world
            .loki(&verify)
            .exits(1)
            .says(&["signed with another key"]),
    );

    let text = said.stdout.replacen("\"pass\"", "\"fail\"", 1);
    assert_ne!(text, said.stdout);
    world.write("a.json", text);
    drop(
        named(key)
            .exits(1)
            .says(&["`a.json` cannot be trusted", "the content was changed"]),
    );
    world.write("a.json", "{}");
    drop(
        named(key)
            .exits(1)
            .says(&["not an attestation of this form"]),
    );
    drop(
        world
            .loki(&["sandbox", "attest", "--verify", "none.json", "--key", key])
            .exits(2),
    );
}

#[test]
fn what_cannot_be_attested_is_said_at_once() {
    let world = World::new();
    world.write("README.md", "# App\n");
    world.commit();
    let attest = |more: &[&str]| world.loki(&[&["sandbox", "attest"], more].concat());
    drop(
        attest(&["--only", "N1,X9"])
            .exits(2)
            .says(&["`X9`", "docs/attest.md"]),
    );
    drop(
        attest(&["--role", "nobody"])
            .exits(2)
            .says(&["`nobody`", "loki agents list"]),
    );
    drop(attest(&["--key", "00"]).exits(2));
    drop(attest(&["--verify", "a.json", "--only", "N1"]).exits(2));
    drop(attest(&[]).exits(4).says(&["engine"]));
}

#[test]
fn rows_without_a_probe_alone_show_nothing() {
    let world = world(Engine::Docker);
    let said = world
        .loki(&["sandbox", "attest", "--only", "N8,K10"])
        .exits(1);
    drop(said.prints(&["0 passed, 0 failed, 2 not applicable", "attack_n08"]));
}

#[test]
fn attest_leaves_nothing_behind_even_when_it_is_killed() {
    on_each(|engine| {
        let world = world(engine);
        let running = world.spawn(&ONE);
        let process = running.id();
        drop(running.wait(LIMIT).exits(0));
        assert_eq!(containers(&world, engine, process), Vec::<String>::new());
        assert!(!slots(process), "a slot is left");

        for (signal, code) in [(Signal::INT, 130), (Signal::KILL, 137)] {
            let mut running = world.spawn(&["sandbox", "attest"]);
            let process = running.id();
            running.wait_until(LIMIT, |_| containers(&world, engine, process).len() >= 5);
            running.signal(signal);
            drop(running.wait(LIMIT).exits(code));
            // What was killed cannot clean up: the next one does.
            if signal == Signal::KILL {
                let left = containers(&world, engine, process);
                assert!(
                    left.iter().any(|name| name.contains("attest-control")),
                    "{left:?}"
                );
                drop(world.loki(&ONE).exits(0));
            }
            assert_eq!(containers(&world, engine, process), Vec::<String>::new());
            assert!(!slots(process), "a slot is left");
        }
    });
}
