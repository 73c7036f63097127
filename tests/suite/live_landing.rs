//! Landing on a real engine: work that is green alone and red together does not land, and work
//! that conflicts is done again by an agent that is told both sides. Then the run is shipped, with
//! a token that no agent sees.

use std::time::Duration;

use serde_json::Value;

use super::harness::{Engine, START, World, forge::Forge};

const SOON: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(300);
const TOKEN: &str = "ghp_canary0123456789abcdefABCDEF";

/// `left` and `right` are green alone and red together; `top` and `end` change the same line.
const SPEC: &str = "# Landing\n\nFour at once.\n\n## Tasks\n\n\
    1. `left` (eng-backend): Make the left.\n   - accept: `test -e src/left`\n\
    2. `right` (eng-backend): Make the right.\n   - accept: `test -e src/right`\n\
    3. `top` (eng-backend): Change the line.\n\
    4. `end` (eng-backend): Change the line too.\n\n\
    ## Tests\n\n```sh\nsh check.sh\n```\n";

const CHECK: &str = "if test -e src/left && test -e src/right; then\n\
    test -e src/both || { echo 'left and right clash'; exit 1; }\nfi\n";

/// Every first attempt waits until all four have begun, which they do at once.
const AGENT: &str = "#!/bin/sh\ncat > src/brief-$LOKI_TASK-$LOKI_ATTEMPT.txt\n\
    env > src/env-$LOKI_TASK.txt; cat /proc/*/cmdline /proc/*/environ >> src/env-$LOKI_TASK.txt 2>&1\n\
    test $LOKI_ATTEMPT = 1 && sleep 3\n\
    case $LOKI_TASK in\n\
    left|right) echo x > src/$LOKI_TASK; test $LOKI_ATTEMPT = 1 || echo x > src/both ;;\n\
    *) printf 'by %s\\n' $LOKI_TASK >> src/shared.txt ;;\n\
    esac\n";

/// Makes a code host the repository's `origin`, and keeps its token.
fn code_host(world: &World) -> Forge {
    let root = world.path("../tmp/served");
    let bare = root.join("o/r.git");
    std::fs::create_dir_all(bare.parent().unwrap()).unwrap();
    let bare = bare.to_str().unwrap();
    world.git(&["init", "-q", "--bare", "--initial-branch=main", bare]);
    world.git(&["push", "-q", bare, "main"]);
    let forge = Forge::serve(&root, TOKEN);
    world.write("../tmp/ca.pem", &forge.authority);
    let url = format!("https://localhost:{}/o/r.git", forge.port);
    world.git(&["remote", "add", "origin", &url]);
    world.loki(&["secrets", "init"]).exits(0);
    world
        .loki_fed(&["secrets", "set", "GITHUB_TOKEN"], TOKEN)
        .exits(0);
    forge
}

fn of<'e>(events: &'e [Value], kind: &str) -> Vec<&'e Value> {
    let events = events.iter().map(|record| &record["event"]);
    events.filter(|event| event["type"] == kind).collect()
}

#[test]
fn live_what_is_green_alone_and_red_together_does_not_land_and_a_conflict_is_done_again() {
    let world = World::on(Engine::Docker);
    world.write("spec.md", SPEC);
    world.write("check.sh", CHECK);
    world.write("agent.sh", AGENT);
    world.write("src/shared.txt", "base\n");
    let chmod = world.start("chmod", &["+x", "agent.sh"]);
    chmod.wait(SOON).exits(0);
    world.commit();
    let forge = code_host(&world);
    let start = START.join(" ");
    let start = format!("SSL_CERT_FILE=$PWD/../tmp/ca.pem exec loki {start} --ship");
    let run = world.start("sh", &["-c", &start]).wait(LIMIT);
    let said = run.never_panicked().exits(0);
    let events = world.events();
    red_together(&world, &events);
    done_again(&world, &events);
    all_verified(&world, &events);
    let pulls = forge.pulls();
    assert_eq!(pulls.len(), 1, "{said}");
    assert_eq!(said.stdout.trim(), pulls[0]["html_url"].as_str().unwrap());
    assert_eq!(of(&events, "shipped").len(), 1);
    for task in ["left", "right", "top", "end"] {
        let seen = landed(&world, &format!("src/env-{task}.txt"));
        let is_blind = seen.contains("LOKI_TASK") && !seen.contains(TOKEN);
        assert!(is_blind, "{task} saw the token, or nothing");
    }
    world.loki(&["audit", "verify"]).exits(0);
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

/// Returns a file as it is on the run's branch.
fn landed(world: &World, file: &str) -> String {
    world.git(&["show", &format!("{}:{file}", world.run_branch())])
}

/// The second of the two failed once, and was told what clashed.
#[track_caller]
fn red_together(world: &World, events: &[Value]) {
    let failed = of(events, "task_failed");
    assert_eq!(failed.len(), 1, "{failed:?}");
    let reason = failed[0]["reason"].as_str().unwrap();
    for part in [
        "together they are red",
        "`sh check.sh` failed",
        "left and right clash",
    ] {
        assert!(reason.contains(part), "{reason}");
    }
    let late = failed[0]["task"].as_str().unwrap();
    assert!(["left", "right"].contains(&late), "{reason}");
    let brief = landed(world, &format!("src/brief-{late}-2.txt"));
    assert!(brief.contains("left and right clash"), "{brief}");
}

/// The second of the two that conflict was done again, with both sides before it.
#[track_caller]
fn done_again(world: &World, events: &[Value]) {
    let conflicts = of(events, "task_conflicted");
    assert_eq!(conflicts.len(), 1, "{conflicts:?}");
    assert_eq!(conflicts[0]["files"], serde_json::json!(["src/shared.txt"]));
    let again = conflicts[0]["task"].as_str().unwrap();
    let first = if again == "top" { "end" } else { "top" };
    let brief = landed(world, &format!("src/brief-{again}-2.txt"));
    for part in [
        "Conflict in src/shared.txt".to_owned(),
        format!("changed by task {first} (Change the line"),
        format!("by {first}\n======="),
        format!("by {again}\n>>>>>>> "),
    ] {
        assert!(brief.contains(&part), "{part}\n{brief}");
    }
    assert!(!brief.contains('\u{1b}'), "{brief}");
    assert_eq!(landed(world, "src/shared.txt").lines().count(), 3);
}

/// Nothing landed that was not verified, the branch moved as was announced, and the tree that had
/// been checked already was not checked again.
#[track_caller]
fn all_verified(world: &World, events: &[Value]) {
    let (verified, landing) = (of(events, "verified"), of(events, "landing"));
    assert_eq!((verified.len(), landing.len()), (4, 4));
    for (verified, landing) in verified.iter().zip(&landing) {
        assert_eq!(verified["task"], landing["task"]);
        assert_eq!(verified["head"], landing["from"]);
        let commit = landing["commit"].as_str().unwrap();
        let tree = world.git(&["rev-parse", &format!("{commit}^{{tree}}")]);
        assert_eq!(tree.trim(), verified["tree"]);
        world.loki(&["why", commit]).exits(0);
    }
    assert!(
        verified.iter().any(|one| one["reused"] == true),
        "{verified:?}"
    );
}

const PACKAGE: &str = "{\n  \"name\": \"a\",\n  \"x\": {\n    \"p\": 1,\n    \"q\": 2,\n    \"r\": 3,\n    \"s\": 4\n  },\n  \"end\": 1\n}\n";

/// First attempts wait until both have begun. One writes a script where it runs nothing, the other
/// takes away what it stands in.
const PAIR: &str = r#"#!/bin/sh
cat > src/brief-$LOKI_TASK-$LOKI_ATTEMPT.txt
test $LOKI_ATTEMPT = 1 && sleep 2
case $LOKI_TASK-$LOKI_ATTEMPT in
nest-1) sed -i '/"q"/a\    "scripts": {"postinstall": "evil"},' src/package.json ;;
flat-1) sed -i -e '/"x": {/d' -e '/^  },/d' -e 's/"s": 4$/"s": 4,/' src/package.json ;;
*) echo done > src/$LOKI_TASK.txt ;;
esac
"#;

/// THREATS G11: what each of two tasks may hand over, and both together may not, does not land.
#[test]
fn attack_g11_live_what_two_tasks_make_together_is_judged_before_it_lands() {
    let world = World::on(Engine::Docker);
    world.write(
        "spec.md",
        "# Pair\n\nTwo at once.\n\n## Tasks\n\n1. `nest` (eng-backend): Add.\n2. `flat` (eng-backend): Flatten.\n\n## Tests\n\n```sh\ntest -s src/package.json\n```\n",
    );
    world.write("agent.sh", PAIR);
    world.write("src/package.json", PACKAGE);
    let chmod = world.start("chmod", &["+x", "agent.sh"]);
    chmod.wait(SOON).exits(0);
    world.commit();
    drop(world.loki(&START).exits(0));
    let events = world.events();
    let failed = of(&events, "task_failed");
    assert_eq!(failed.len(), 1, "{failed:?}");
    let reason = failed[0]["reason"].as_str().unwrap();
    for part in [
        "not together with what landed meanwhile",
        "`src/package.json` (host-executable)",
    ] {
        assert!(reason.contains(part), "{reason}");
    }
    let late = failed[0]["task"].as_str().unwrap();
    let brief = landed(&world, &format!("src/brief-{late}-2.txt"));
    assert!(brief.contains("not together with"), "{brief}");
    let package: Value = serde_json::from_str(&landed(&world, "src/package.json")).unwrap();
    assert_eq!(package["scripts"], Value::Null, "{package}");
    let refused = of(&events, "gated").into_iter();
    let refused = refused.filter(|one| one["breaches"] != serde_json::json!([]));
    assert_eq!(refused.count(), 1);
}
