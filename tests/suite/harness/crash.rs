//! A replayed run that can be killed at any write of its journal, and what must be true once it
//! was gone on with.

use std::{fs, path::Path, time::Duration};

use super::{Engine, Run, Said, World};

/// Longer than any run or resume of these takes.
const LIMIT: Duration = Duration::from_secs(180);

const SPEC: &str = "# Two files\n\nTwo files, one after the other.\n\n## Tasks\n\n\
    1. `first` (eng-backend): Write the first file.\n\
    2. `second` (eng-backend): Write the second file.\n\n\
    ## Tests\n\n```sh\ntest -s src/second\n```\n";

const MACRO: &str = "type: loki_macro\nversion: 1\ndecomposition:\n\
    \x20 - {id: first, role: eng-backend, title: First, accept: [\"test -s src/first\"]}\n\
    \x20 - {id: second, role: eng-backend, title: Second, depends_on: [first]}\n\
    scripts:\n  first: [first-1.sh]\n  second: [second-1.sh]\n";

/// Starts the replayed run.
pub(crate) const REPLAY: [&str; 6] = ["start", "spec.md", "--provider", "replay", "--macro", "m"];

/// A repository with a run of two tasks, one after the other, to replay.
pub(crate) fn replayed(engine: Engine) -> World {
    let world = World::on(engine);
    fill(&world);
    world
}

/// Writes the specification and the macro, and commits them.
pub(crate) fn fill(world: &World) {
    world.write("spec.md", SPEC);
    world.write("m/macro.yaml", MACRO);
    for task in ["first", "second"] {
        let script = format!("#!/bin/sh\nmkdir -p src\necho {task} > src/{task}\n");
        world.write(&format!("m/{task}-1.sh"), script);
    }
    world.commit();
}

/// Runs the binary, which dies at a write of its journal such as `7:torn`.
#[track_caller]
pub(crate) fn dying(world: &World, point: &str, args: &[&str]) -> Run {
    let point = format!("LOKI_KILL_AT_WRITE={point}");
    let loki = [&[point.as_str(), env!("CARGO_BIN_EXE_loki")], args].concat();
    world.start("env", &loki).wait(LIMIT).never_panicked()
}

/// Returns what the journal of the newest run says, one line an event, without number and time.
fn told(world: &World) -> Vec<String> {
    let said = world.loki(&["events"]).exits(0).stdout;
    let rest = |line: &str| line.splitn(3, ' ').nth(2).map(str::to_owned);
    said.lines()
        .filter_map(|line| rest(line.trim_start()))
        .collect()
}

/// Asserts that everything that a process had told is in the journal now, and every commit that it
/// said had landed on the branch.
#[track_caller]
pub(crate) fn nothing_reported_is_lost(world: &World, said: &Said) {
    let told = told(world);
    let reported = said.stderr.lines().filter_map(|line| {
        let (clock, text) = line.split_once(' ')?;
        (clock.len() == 8 && clock.matches(':').count() == 2).then_some(text)
    });
    for text in reported {
        assert!(
            told.iter().any(|one| one == text),
            "`{text}` is lost\n{said}"
        );
        if let Some((_, commit)) = text.split_once("landed as ") {
            let range = format!("{commit}..{}", world.run_branch());
            world.git(&["rev-list", &range]);
            let base = ["merge-base", "--is-ancestor", commit, &world.run_branch()];
            world.git(&base);
        }
    }
}

/// Asserts that a run is done, each task once, and that nothing is left but its branch and its
/// records.
#[track_caller]
pub(crate) fn done_and_nothing_left(world: &World) {
    let status = world.status();
    assert_eq!(status["outcome"], "done", "{status}");
    assert_eq!(status["faults"], serde_json::json!([]), "{status}");
    for task in ["first", "second"] {
        let file = format!("{}:src/{task}", world.run_branch());
        assert_eq!(world.git(&["show", &file]), format!("{task}\n"));
    }
    let done = world.events_of("task_done");
    assert_eq!(done.len(), 2, "each task lands once: {done:?}");
    world
        .loki(&["audit", "verify"])
        .exits(0)
        .prints(&["chain intact"]);
    nothing_left(world);
}

/// Asserts that no container, worktree, ref or temporary file of a run is left.
#[track_caller]
pub(crate) fn nothing_left(world: &World) {
    assert_eq!(
        world.leftovers(),
        Vec::<String>::new(),
        "containers are left"
    );
    let refs = world.git(&["for-each-ref", "--format=%(refname)"]);
    let others = refs
        .lines()
        .filter(|name| *name != "refs/heads/main" && !name.starts_with("refs/heads/loki/"));
    assert_eq!(
        others.collect::<Vec<_>>(),
        Vec::<&str>::new(),
        "refs are left"
    );
    assert_eq!(world.git(&["worktree", "list"]).lines().count(), 1);
    let mut left = Vec::new();
    find(&world.path(".loki"), &mut left);
    find(&world.path(".git"), &mut left);
    assert_eq!(left, Vec::<String>::new(), "temporary files are left");
    let slots = fs::read_dir(world.path(".loki/worktrees"));
    assert_eq!(slots.into_iter().flatten().count(), 0, "slots are left");
    // Each is a mount of a sandbox that stands, and none does.
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let here = world.path(".loki/worktrees").to_string_lossy().into_owned();
    assert!(!mounts.contains(&here), "mounts are left: {mounts}");
}

/// Collects what has the name of a file that was being made.
fn find(folder: &Path, left: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        // The checkpoints' own is a lock that stays: nobody holds it.
        let kept = path.ends_with("checkpoints/lock") || path.ends_with(".loki/lock");
        let made = name.ends_with(".new")
            || name.ends_with(".part")
            || name.ends_with(".lock")
            || name.starts_with(".tmp")
            || name.starts_with("tmp_obj_");
        if made && !kept {
            left.push(path.display().to_string());
        }
        if path.is_dir() && !path.is_symlink() {
            find(&path, left);
        }
    }
}

/// Kills the run at a point, goes on with it, and asserts what was promised. Returns whether a run
/// was there to go on with.
#[track_caller]
pub(crate) fn survives(engine: Engine, point: &str) -> bool {
    let world = replayed(engine);
    let killed = dying(&world, point, &REPLAY).exits(137);
    let resumed = world.loki(&["resume"]).exits(0);
    let began = !resumed
        .stderr
        .contains("no run of this repository is left unfinished")
        || world.path(".loki/journal").read_dir().unwrap().count() > 0;
    if began {
        nothing_reported_is_lost(&world, &killed);
        done_and_nothing_left(&world);
        let again = world.loki(&["resume"]).exits(0);
        drop(again.says(&["no run of this repository is left unfinished"]));
    } else {
        nothing_left(&world);
        // The key is the user's, not the run's.
        let of_the_run = |line: &&str| !line.starts_with("made the key ");
        let told: Vec<&str> = killed.stderr.lines().filter(of_the_run).collect();
        assert_eq!(
            told,
            Vec::<&str>::new(),
            "something was told of a run that never began"
        );
    }
    began
}
