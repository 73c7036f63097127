//! `loki resume` where nothing is started: what it refuses, and what it says of runs that are over.

use loki::{
    event::{Asked, Event, Outcome},
    journal::Writer,
    name::RunId,
};

use super::harness::World;

const SPEC: &str =
    "# Page\n\n## Tasks\n\n1. `page` (eng-backend): Write it.\n\n## Tests\n\n- `true`\n";

fn run() -> RunId {
    "20270115-080000-ab12".parse().unwrap()
}

/// A repository with a specification of one task.
fn world() -> World {
    let world = World::new();
    world.write("spec.md", SPEC);
    world.write("agent.sh", "#!/bin/sh\ntrue\n");
    world.commit();
    world
}

fn started(world: &World) -> Event {
    Event::RunStarted {
        run: run(),
        loki: "0".to_owned(),
        spec: "spec.md".to_owned(),
        spec_sha256: loki::digest::Digest::of(SPEC.as_bytes()).to_string(),
        title: "Page".to_owned(),
        provider: "command".to_owned(),
        base: world.git(&["rev-parse", "HEAD"]).trim().to_owned(),
        branch: format!("loki/{}", run()),
        engine: "none".to_owned(),
        policy_sha256: "another".to_owned(),
        asked: Some(Asked {
            directory: String::new(),
            command: Some("./agent.sh".to_owned()),
            replayed: None,
            policy: Vec::new(),
            parallel: 1,
        }),
    }
}

/// Writes the journal of a run, as an orchestrator that died left it.
fn recorded(world: &World, events: &[Event]) -> std::path::PathBuf {
    let clock = || "2027-01-15T08:00:00Z".parse().unwrap();
    let mut journal = Writer::create(&world.path(".loki"), &run(), clock).unwrap();
    for event in events {
        drop(journal.append(event).unwrap());
    }
    journal.sync().unwrap();
    journal.path().to_owned()
}

fn ended(outcome: Outcome) -> Event {
    Event::RunEnded {
        outcome,
        reason: None,
    }
}

#[test]
fn where_no_run_was_made_there_is_nothing_to_resume() {
    let world = world();
    world
        .loki(&["resume"])
        .exits(0)
        .says(&["no run of this repository is left unfinished"]);
    world
        .loki(&["resume", "20270115-080000-ffff"])
        .exits(2)
        .says(&[
            "there is no run `20270115-080000-ffff` here",
            "`loki status`",
        ]);
    world
        .loki(&["resume", "../../etc"])
        .exits(2)
        .says(&["error"]);
}

#[test]
fn a_run_that_failed_is_over_and_resume_says_so() {
    let world = world();
    recorded(&world, &[started(&world), ended(Outcome::Failed)]);
    world
        .loki(&["resume", run().as_str()])
        .exits(1)
        .says(&["has failed and cannot be gone on with", "`loki start`"]);
    world
        .loki(&["resume"])
        .exits(0)
        .says(&["no run of this repository is left unfinished"]);
}

#[test]
fn what_changed_since_the_start_is_taken_only_on_a_persons_word() {
    let world = world();
    recorded(&world, &[started(&world)]);
    world
        .loki(&["resume"])
        .exits(3)
        .says(&["the policy is not the one", "`loki resume --accept-policy`"]);
    world.write("spec.md", format!("{SPEC}\nAnd more.\n"));
    world
        .loki(&["resume", "--accept-policy"])
        .exits(3)
        .says(&["`spec.md` has changed", "`loki resume --accept-spec`"]);
    // Both taken, only the engine is missing.
    world
        .loki(&["resume", "--accept-policy", "--accept-spec"])
        .exits(4)
        .says(&["engine"]);
    let status = world.loki(&["status"]).exits(0);
    status
        .prints(&["Phase: interrupted"])
        .says(&["the orchestrator of this run is gone", "`loki resume 2027"]);
}

#[test]
fn a_journal_of_a_newer_loki_is_refused_and_an_older_one_says_what_is_missing() {
    let world = world();
    let path = recorded(&world, &[started(&world)]);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("{\"format\":4,", "{\"format\":5,")).unwrap();
    world
        .loki(&["resume"])
        .exits(1)
        .says(&["has format 5", "use the newer loki"]);
    std::fs::remove_file(&path).unwrap();

    let mut old = started(&world);
    if let Event::RunStarted { asked, .. } = &mut old {
        *asked = None;
    }
    recorded(&world, &[old]);
    world
        .loki(&["resume"])
        .exits(1)
        .says(&["of an older Loki", "`loki start` begins anew"]);
}

#[test]
fn a_journal_that_was_changed_is_not_gone_on_with() {
    let world = world();
    let path = recorded(&world, &[started(&world)]);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"Page\"", "\"Rage\"")).unwrap();
    world
        .loki(&["resume"])
        .exits(1)
        .says(&["record 1 of", "is not what was written"]);
}
