//! `loki pool status` where no container is made: what it says of what others publish, and of what
//! they do not.

use loki::{
    journal::{Lock, publish},
    name::RunId,
    sandbox::owner,
};

use super::harness::World;

fn run(last: char) -> RunId {
    format!("20270115-080000-ab1{last}").parse().unwrap()
}

/// What the pool of a run publishes whose last preparation has failed.
fn published(world: &World, run: &RunId, times: u32) {
    let text = format!(
        r#"{{"schema":1,"run":"{run}","owner":"{}","at":"2027-01-15T08:00:00.123456789Z","min_idle":3,
        "max_total":20,"claimed":1,"room":7,"warm":2,"cold":1,
        "failure":{{"at":"2027-01-15T08:00:00.5Z","reason":"no engine","times":{times},"again":"2027-01-15T08:00:01.987654321Z"}},
        "kinds":[{{"key":"0123456789ab","image":"sha256:0","files":"task","roles":["eng-backend"],"wanted":1,
        "idle":1,"preparing":0,"claimed":1,"since":"2027-01-15T07:59:59.999999999Z"}}]}}"#,
        owner()
    );
    publish(
        &world.path(".loki"),
        &format!("pool.{run}.json"),
        text.as_bytes(),
    )
    .unwrap();
}

#[test]
fn a_pool_is_told_of_in_words_for_people() {
    let world = World::new();
    world.commit();
    world
        .loki(&["pool", "status"])
        .exits(0)
        .says(&["no orchestrator runs here", "`loki start SPEC.md`"]);
    published(&world, &run('2'), 1);
    let once = world.loki(&["pool", "status"]).exits(0).stdout;
    assert!(once.contains("preparing failed 1 time, next try at 2027-01-15T08:00:01Z: no engine"));
    assert!(once.contains("2027-01-15T07:59:59Z"), "{once}");
    published(&world, &run('2'), 2);
    let twice = world.loki(&["pool", "status"]).exits(0).stdout;
    assert!(twice.contains("failed 2 times in a row, "), "{twice}");
}

#[test]
fn a_run_that_keeps_none_ready_is_told_with_the_reason() {
    let world = World::new();
    world.commit();
    published(&world, &run('2'), 1);
    let now = jiff::Timestamp::UNIX_EPOCH;
    let lock = Lock::acquire(&world.path(".loki"), &run('1'), now).unwrap();
    lock.say(&[run('1'), run('2')]).unwrap();
    let said = world.loki(&["pool", "status"]).exits(0);
    assert!(!said.stderr.contains(run('2').as_str()), "{said}");
    drop(said.says(&[
        &format!("run {} keeps none ready", run('1')),
        "`agent_pool: { min_idle: 0 }`",
    ]));
}

#[test]
fn attack_g1_a_pool_is_not_read_through_a_link() {
    let world = World::new();
    world.commit();
    let elsewhere = World::new();
    published(&elsewhere, &run('2'), 1);
    // A run was made here, so the verb looks no further.
    std::fs::create_dir_all(world.path(".loki/journal")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(".loki/state"), world.path(".loki/state")).unwrap();
    let said = world.loki(&["pool", "status", "--json"]).exits(1);
    assert_eq!(said.stdout, "", "{said}");
    drop(said.says(&[".loki/state", "look at it, then `rm` it"]));
}
