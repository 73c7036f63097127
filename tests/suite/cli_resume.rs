//! `loki resume` where nothing is started: what it refuses, and what it says of runs that are over.

use loki::event::{Event, Outcome};

use super::harness::{World, recorded_run};

const SPEC: &str =
    "# Page\n\n## Tasks\n\n1. `page` (eng-backend): Write it.\n\n## Tests\n\n- `true`\n";

/// A repository with a specification of one task.
fn world() -> World {
    World::with_spec(SPEC)
}

fn started(world: &World) -> Event {
    world.run_started(SPEC)
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
    world.record(&[started(&world), ended(Outcome::Failed)]);
    world
        .loki(&["resume", recorded_run().as_str()])
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
    world.record(&[started(&world)]);
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
    let path = world.record(&[started(&world)]);
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
    world.record(&[old]);
    world
        .loki(&["resume"])
        .exits(1)
        .says(&["of an older Loki", "`loki start` begins anew"]);
}

#[test]
fn a_journal_that_was_changed_is_not_gone_on_with() {
    let world = world();
    let path = world.record(&[started(&world)]);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"Page\"", "\"Rage\"")).unwrap();
    world
        .loki(&["resume"])
        .exits(1)
        .says(&["record 1 of", "is not what was written"]);
}
