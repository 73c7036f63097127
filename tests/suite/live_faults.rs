//! What goes wrong in a run on a real engine, and what a person is told: bad specifications, bad
//! agents, a full disk, a second run. Nothing of the person's is changed and nothing is left.

use std::time::Duration;

use super::harness::{Engine, START, Said, World};

const SOON: Duration = Duration::from_secs(60);

const ONE: &str = "1. `one` (eng-backend): Write the first file.\n";

/// A committed repository with a specification of these tasks and an agent with this script.
fn world(tasks: &str, agent: &str) -> World {
    let world = World::on(Engine::Docker);
    fill(&world, tasks, agent);
    world
}

fn fill(world: &World, tasks: &str, agent: &str) {
    world.write(
        "spec.md",
        format!(
            "# Files\n\nSome files.\n\n## Tasks\n\n{tasks}\n## Tests\n\n```sh\ntest -d src\n```\n"
        ),
    );
    world.write("agent.sh", format!("#!/bin/sh\n{agent}\n"));
    world.write("src/shared.txt", "base\n");
    world
        .start("chmod", &["+x", "agent.sh"])
        .wait(SOON)
        .exits(0);
    world.commit();
}

#[track_caller]
fn nothing_left(world: &World) {
    assert_eq!(
        world.leftovers(),
        Vec::<String>::new(),
        "containers are left"
    );
    assert_eq!(world.git(&["worktree", "list"]).lines().count(), 1);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
}

#[track_caller]
fn fails(world: &World, texts: &[&str]) -> Said {
    let said = world
        .loki(&START)
        .exits(1)
        .says(texts)
        .says(&["failed: ", "loki logs"]);
    assert_eq!(world.status()["outcome"], "failed");
    world.loki(&["audit", "verify"]).exits(0);
    nothing_left(world);
    said
}

#[track_caller]
fn refuses(world: &World, code: i32, texts: &[&str]) {
    drop(world.loki(&START).exits(code).says(texts));
    assert!(
        !world.path(".loki").exists(),
        "a refused start left `.loki`"
    );
    assert_eq!(
        world.git(&["for-each-ref", "--format=%(refname)"]),
        "refs/heads/main\n"
    );
    nothing_left(world);
}

#[test]
fn live_what_a_run_works_with_is_not_cleaned_away() {
    let world = world(ONE, "exec sleep 600");
    let mut first = world.spawn(&START);
    first.wait_until(SOON, |said| said.stderr.contains("sandbox for"));
    let run = world.status()["run"].as_str().unwrap().to_owned();
    world
        .loki(&["clean", "--yes"])
        .exits(1)
        .says(&[&run, "`loki stop`"]);
    assert_eq!(world.occupied().len(), 1, "the cleaning touched the run");
    world.loki(&["stop", "--now"]).exits(0);
    drop(first.wait(SOON).exits(143));
    nothing_left(&world);
}

#[test]
fn live_uncommitted_changes_stay_and_are_no_part_of_the_run() {
    let world = world(
        ONE,
        "cat src/shared.txt > src/seen.txt; ls src > src/list.txt",
    );
    world.write("src/shared.txt", "mine\n");
    world.write("src/new.txt", "mine too\n");
    world.git(&["add", "src/new.txt"]);
    let before = world.git(&["status", "--porcelain=v2"]);
    world
        .loki(&START)
        .exits(0)
        .says(&["2 uncommitted change(s)", "not part of the run"]);
    assert_eq!(world.git(&["status", "--porcelain=v2"]), before);
    assert_eq!(
        std::fs::read_to_string(world.path("src/shared.txt")).unwrap(),
        "mine\n"
    );
    let branch = world.run_branch();
    assert_eq!(
        world.git(&["show", &format!("{branch}:src/seen.txt")]),
        "base\n"
    );
    let seen = world.git(&["show", &format!("{branch}:src/list.txt")]);
    assert!(!seen.contains("new.txt"), "{seen}");
}

#[test]
fn live_work_that_the_gate_refuses_never_lands_and_is_kept_for_people() {
    let world = world(ONE, "echo work > src/work.txt; ln -s /etc/passwd src/leak");
    let said = fails(
        &world,
        &[
            "the hand-over gate refused the work",
            "`src/leak` (",
            "symlink",
        ],
    );
    assert!(said.stderr.contains("attempt 5 failed"), "{said}");
    let kept = world.git(&[
        "for-each-ref",
        "--format=%(refname)",
        "refs/loki/quarantine",
    ]);
    assert_eq!(kept.lines().count(), 5, "{kept}");
    let refused = kept.lines().next().unwrap();
    assert_eq!(
        world.git(&["show", &format!("{refused}:src/work.txt")]),
        "work\n"
    );
    never_landed(&world);
}

#[test]
fn live_a_repository_inside_the_work_is_refused_by_name() {
    let nested = "mkdir -p src/inner; cd src/inner; git init -q .; echo x > f; test -d .git";
    let world = world(ONE, nested);
    fails(
        &world,
        &["the hand-over gate refused the work", "nested", "src/inner"],
    );
    never_landed(&world);
    let run = world.run_branch().replace("loki/", "");
    let kept = format!(".loki/quarantine/{run}/one.tar");
    let text = world.start("tar", &["-xOf", &kept, "work/src/inner/f"]);
    assert_eq!(
        text.wait(std::time::Duration::from_secs(60))
            .exits(0)
            .stdout,
        "x\n",
        "refused work is lost"
    );
    let beside = std::fs::read_dir(world.path(&format!(".loki/quarantine/{run}"))).unwrap();
    assert_eq!(beside.count(), 1, "only data is kept, and once a task");
}

#[track_caller]
fn never_landed(world: &World) {
    let range = format!("main..{}", world.run_branch());
    assert_eq!(world.git(&["rev-list", "--count", &range]), "0\n");
}

#[test]
fn live_a_role_that_does_not_exist_is_refused_before_anything_is_made() {
    let world = world("1. `one` (eng-nobody): Write.\n", "true");
    refuses(&world, 3, &["spec.md", "eng-nobody", "`loki agents list`"]);
}

#[test]
fn live_tasks_that_wait_for_each_other_are_refused_before_anything_is_made() {
    let tasks = "1. `one` (eng-backend): Write.\n   - depends on: `two`\n2. `two` (eng-backend): Write.\n   - depends on: `one`\n";
    refuses(&world(tasks, "true"), 3, &["spec.md", "one", "two"]);
}

#[test]
fn live_an_agent_that_changes_nothing_fails_and_is_told_so() {
    let world = world(ONE, "cat > /dev/null");
    fails(&world, &["the agent changed nothing"]);
    assert_eq!(world.events_of("task_claimed").len(), 5);
}

#[test]
fn live_an_agent_that_fails_is_tried_five_times_and_shown() {
    let world = world(
        ONE,
        "echo \"attempt $LOKI_ATTEMPT\"; echo 'I gave up' >&2; exit 7",
    );
    fails(&world, &["exit code 7", "I gave up"]);
    assert_eq!(world.events_of("task_failed").len(), 5);
    world
        .loki(&["logs", "one"])
        .exits(0)
        .prints(&["attempt 1", "attempt 5", "I gave up"]);
}

#[test]
fn live_a_program_that_is_not_there_is_refused_before_anything_is_made() {
    let world = world(ONE, "true");
    world.git(&["rm", "--quiet", "agent.sh"]);
    world.git(&["commit", "--quiet", "--message=gone"]);
    refuses(&world, 2, &["agent.sh"]);
}

/// Both start from the same base and change the same line: one lands, the other starts again on
/// what landed, and lands too.
#[test]
fn live_two_tasks_that_meet_in_one_file_both_land() {
    let tasks = "1. `left` (eng-backend): Add a line.\n2. `right` (eng-backend): Add a line.\n";
    let agent = "sleep 3; echo \"$LOKI_TASK\" >> src/shared.txt";
    let world = world(tasks, agent);
    let said = world.loki(&START).exits(0);
    let conflicts = world.events_of("task_conflicted");
    assert_eq!(conflicts.len(), 1, "{said}");
    assert_eq!(conflicts[0]["files"][0], "src/shared.txt");
    let merged = world.git(&["show", &format!("{}:src/shared.txt", world.run_branch())]);
    let mut lines: Vec<&str> = merged.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["base", "left", "right"], "{said}");
    nothing_left(&world);
}

#[test]
fn live_clean_shows_what_it_would_remove_and_keeps_landed_work() {
    let world = world(ONE, "echo work > src/work.txt");
    world.loki(&START).exits(0);
    let shown = world.loki(&["clean"]).exits(0);
    shown.prints(&["directory "]).says(&["`loki clean --yes`"]);
    assert!(world.path(".loki").exists(), "showing removes nothing");
    let branch = world.run_branch();
    let left = format!("the landed work stays: `git branch -D {branch}`");
    world
        .loki(&["clean", "--yes"])
        .exits(0)
        .says(&["removed", &left]);
    assert!(!world.path(".loki").exists());
    assert_eq!(world.run_branch(), branch);
    world
        .loki(&["clean", "--yes"])
        .exits(0)
        .says(&["nothing of Loki's"]);
    nothing_left(&world);
}

/// A disk of its own under a world's repository. Taken away when the test ends.
struct SmallDisk<'a>(&'a World);

impl<'a> SmallDisk<'a> {
    fn under(world: &'a World, size: &str) -> Self {
        let options = format!("size={size}");
        let place = world.path("").to_string_lossy().into_owned();
        let mount = ["-t", "tmpfs", "-o", &options, "none", &place];
        world.start("mount", &mount).wait(SOON).exits(0);
        Self(world)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let place = self.0.path("").to_string_lossy().into_owned();
        let run = self.0.start("umount", &["--lazy", &place]).wait(SOON);
        if !std::thread::panicking() {
            run.exits(0);
        }
    }
}

#[test]
fn live_an_agent_that_fills_the_disk_ends_the_run_with_the_reason() {
    let world = World::on(Engine::Docker);
    let _disk = SmallDisk::under(&world, "3m");
    fill(
        &world,
        ONE,
        "cat /dev/zero > src/flood; echo flooded; exit 0",
    );
    let said = world
        .loki(&START)
        .exits(1)
        .says(&["No space left on device"]);
    assert!(
        said.stderr.contains("sandbox for"),
        "the disk was full too early: {said}"
    );
    world
        .loki(&["audit", "verify"])
        .exits(0)
        .prints(&["chain intact"]);
    assert_eq!(world.leftovers(), Vec::<String>::new());
    assert_eq!(world.git(&["status", "--porcelain"]), "");
}

#[test]
fn live_a_disk_that_is_full_already_is_said_at_the_start() {
    let world = World::on(Engine::Docker);
    let _disk = SmallDisk::under(&world, "1m");
    fill(&world, ONE, "true");
    world
        .start("sh", &["-c", "cat /dev/zero > .git/flood; true"])
        .wait(SOON)
        .exits(0);
    world
        .loki(&START)
        .exits(1)
        .says(&["No space left on device"]);
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[test]
fn live_a_branch_name_that_would_do_something_does_nothing() {
    let world = world(ONE, "echo work > src/work.txt");
    world.git(&[
        "checkout",
        "--quiet",
        "-b",
        "$(touch${IFS}x)`touch${IFS}y`;--help",
    ]);
    world.write("src/--help", "x\n");
    world.write("src/$(touch z)\n.txt", "x\n");
    world.git(&["add", "--all"]);
    world.git(&["commit", "--quiet", "--message=hostile"]);
    world.loki(&START).exits(0).says(&["done: branch `loki/"]);
    for made in ["x", "y", "z", "src/x", "src/z"] {
        assert!(!world.path(made).exists(), "`{made}` was made");
    }
    nothing_left(&world);
}

/// Without a network there is neither a registry nor packages: the reason and the way out are
/// said, and no half image is kept. A certificate of its own gives the image a tag of its own.
#[test]
fn live_an_image_that_cannot_be_built_says_why() {
    let world = World::on(Engine::PodmanRootful);
    world.commit();
    let loki = env!("CARGO_BIN_EXE_loki");
    let script = format!(
        "mount -t tmpfs none /run/podman
         {{ cat /etc/ssl/certs/ca-certificates.crt
           printf -- '-----BEGIN CERTIFICATE-----\\nQUJD\\n-----END CERTIFICATE-----\\n'; }} > ../tmp/ca
         mount --bind ../tmp/ca /etc/ssl/certs/ca-certificates.crt
         unset CONTAINER_HOST
         export XDG_CACHE_HOME=$HOME/cache
         exec {loki} --engine podman image build"
    );
    let alone = ["--net", "--mount", "sh", "-euc", &script];
    let run = world
        .start("unshare", &alone)
        .wait(Duration::from_secs(120));
    run.never_panicked().exits(4).says(&["error: ", "network"]);
    let kept = world
        .start("find", &["../home/cache", "-name", "*.tar*"])
        .wait(SOON)
        .exits(0);
    assert_eq!(kept.stdout, "", "a half image is kept");
}
