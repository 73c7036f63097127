//! What it takes until the program has answered, from before it is started to after it has ended.

use std::{path::Path, process::Command};

use crate::{
    Effort,
    group::Group,
    harness::World,
    queue::Owner,
    tools::{fork_and_exec, timed},
};

/// Starts for each round.
const EACH: usize = 10;
/// Tasks of the run that `status` tells of.
const TASKS: usize = 20;

fn loki(within: &Path, words: &[&str]) -> f64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loki"));
    let command = command.args(words).current_dir(within);
    command.env("DOCKER_HOST", "unix:///nonexistent/engine.sock");
    timed(command).expect("it answers")
}

pub(crate) fn measure(effort: Effort) -> Group {
    let world = World::new();
    world.write("README.md", "# Try\n");
    world.commit();
    let mut owner = Owner::of(&world.path("."), TASKS);
    while owner.claim().is_some() {}
    owner.sync();
    drop(owner);
    let (mut fork, mut version, mut status) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds * EACH {
        fork.push(fork_and_exec());
        version.push(loki(&world.path("."), &["--version"]));
        status.push(loki(&world.path("."), &["status"]));
    }
    let mut group = Group::default();
    for (name, took) in [("version", version), ("status", status)] {
        group.alone(&format!("cli/{name}"), &took);
        let id = format!("cli/{name}-of-fork");
        group.beside(&id, &took, ("fork and exec", &fork));
    }
    group
}
