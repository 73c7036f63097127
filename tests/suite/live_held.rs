//! Several runs in one process, with and without a terminal (docs/runs.md): a start that is handed
//! over, one that is left alone, one that is watched, one that is killed with the process.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::harness::{Engine, Running, World, crash::nothing_left};

const SOON: Duration = Duration::from_secs(90);

/// Two tasks one after the other, or only one.
fn spec(names: &[&str]) -> String {
    let mut text = "# Files\n\nFiles, one after the other.\n\n## Tasks\n\n".to_owned();
    for (at, name) in names.iter().enumerate() {
        text += &format!("{}. `{name}` (eng-backend): Write it.\n", at + 1);
        if let Some(before) = at.checked_sub(1).map(|before| names[before]) {
            text += &format!("   - depends on: `{before}`\n");
        }
    }
    text + &format!("   - accept: `test -s src/{}`\n", names[names.len() - 1])
}

/// The tasks `slow…` work long enough for a person to type something.
const AGENT: &str = "#!/bin/sh\nmkdir -p src\necho begun\ncase $LOKI_TASK in slow*) sleep 3;; endless*) exec sleep 600;; esac\necho done > src/$LOKI_TASK\n";

fn world(engine: Engine) -> World {
    let world = World::on(engine);
    world.write("long.md", spec(&["slow-one", "two"]));
    world.write("short.md", spec(&["one"]));
    world.write("other.md", spec(&["slow-other", "last"]));
    world.write("endless.md", spec(&["endless"]));
    world.write("agent.sh", AGENT);
    let agent = world.path("agent.sh");
    fs::set_permissions(agent, fs::Permissions::from_mode(0o755)).unwrap();
    world.commit();
    world
}

fn start<'a>(spec: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let provider = ["--provider", "command", "--command", "./agent.sh"];
    [&["start", spec], &provider[..], more].concat()
}

/// What `--detach --json` says.
struct Detached {
    run: String,
    pid: u32,
}

#[track_caller]
fn detached(world: &World, args: &[&str]) -> Detached {
    let said = world.loki(args).exits(0);
    let told: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(told["schema"], 1, "{said}");
    Detached {
        run: told["run"].as_str().unwrap().to_owned(),
        pid: u32::try_from(told["pid"].as_u64().unwrap()).unwrap(),
    }
}

/// Waits until something is so.
#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < SOON, "it did not happen: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, after)| !after.starts_with(['Z', 'X']))
}

fn works(world: &World, run: &str, log: &str) -> bool {
    let log = world.path(&format!(".loki/logs/{run}/{log}.log"));
    fs::read_to_string(log).is_ok_and(|text| text.contains("begun"))
}

#[track_caller]
fn outcome(world: &World, run: &str) -> String {
    let said = world.loki(&["status", "--run", run, "--json"]).exits(0);
    let status: Value = serde_json::from_str(&said.stdout).unwrap();
    status["outcome"].as_str().unwrap_or_default().to_owned()
}

/// Asserts that a process has nothing of the terminal it was started from.
#[track_caller]
fn stands_alone(world: &World, pid: u32) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = after.split(' ').collect();
    assert_eq!(fields[3], pid.to_string(), "a session of its own: {stat}");
    assert_eq!(fields[4], "0", "no terminal: {stat}");
    let open = |fd: u32| fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap();
    assert_eq!(open(0), Path::new("/dev/null"));
    let log = world.path(".loki/logs/orchestrator.log");
    assert_eq!((open(1), open(2)), (log.clone(), log.clone()));
    assert_eq!(log.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let root = fs::canonicalize(world.path("")).unwrap();
    let here = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    assert_eq!(here, root);
    let door = world.path(".loki/orchestrator");
    assert_eq!(door.metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

/// When something of a task was first written into the journal of a run.
#[track_caller]
fn when(world: &World, run: &str, kind: &str, task: &str) -> jiff::Timestamp {
    let found = events(world, run).into_iter().find(|record| {
        record["event"]["type"] == kind
            && [&record["event"]["task"], &record["event"]["task"]["id"]].contains(&&task.into())
    });
    let found = found.unwrap_or_else(|| panic!("run {run} has no {kind} of {task}"));
    found["ts"].as_str().unwrap().parse().unwrap()
}

#[track_caller]
fn events(world: &World, run: &str) -> Vec<Value> {
    let said = world.loki(&["events", "--run", run, "--json"]).exits(0);
    let lines = said.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Changes the tasks of two runs that go on: by the verb, and by files of which one says no run.
#[track_caller]
fn each_gets_its_own(world: &World, [first, own]: [&str; 2]) {
    let dropped = format!("title: Dropped\nrun: {own}\n");
    world.write(".loki/inbox/dropped.yaml", dropped);
    world.write(".loki/inbox/lost.yaml", "title: Lost\n");
    let added = format!("task `slow-added` is added, in run {first}");
    let line = ["task", "add", "Slow, added", "--run", first];
    drop(world.loki(&line).exits(0).says(&[&added]));
    drop(world.loki(&line).exits(2));
    let why = world.path(".loki/inbox/refused/lost.yaml.why.txt");
    until("a file for no run is refused", || why.exists());
    let why = fs::read_to_string(why).unwrap();
    assert!(why.contains("several runs go on here"), "{why}");
    let taken = || {
        let events = events(world, own);
        events
            .iter()
            .any(|one| one["event"]["by"] == "`.loki/inbox/dropped.yaml`")
    };
    until("the other is taken up", taken);
}

/// Goes on with a run whose files have to be there again.
#[track_caller]
fn is_gone_on_with(world: &World, own: &str) {
    world.write("other.md", spec(&["slow-other", "last"]));
    world.write(
        "../given.yaml",
        "version: 1\npermissions:\n  eng-qa: { read: [\"src/**\"] }\n",
    );
    let again = detached(world, &["resume", own, "--detach", "--json"]);
    assert_eq!(again.run, own);
    let said = world.loki(&["attach", own]).exits(0);
    drop(said.says(&["dropped: landed as", "is done"]));
    until("the process ends", || !lives(again.pid));
}

/// One process, four runs: one without a terminal, one that is handed over with its files gone right
/// after, one that cannot be held, one that is gone on with. The first two have one agent at once
/// between them.
#[test]
fn live_several_runs_are_held_by_one_process_and_each_ends_as_its_own() {
    let world = world(Engine::Docker);
    world.write(
        "../given.yaml",
        "version: 1\npermissions:\n  eng-qa: { read: [\"src/**\"] }\n",
    );
    let alone = ["--parallel", "1", "--detach", "--json"];
    let first = detached(&world, &start("long.md", &alone));
    stands_alone(&world, first.pid);
    let watched = world.spawn(&["attach", &first.run]);

    let policy = ["--parallel", "1", "--policy", "../given.yaml"];
    let mut second = world.spawn(&start("other.md", &policy));
    let process = format!("process {} works here, and holds this run, too", first.pid);
    second.wait_until(SOON, |said| said.stderr.contains(&process));
    fs::remove_file(world.path("other.md")).unwrap();
    fs::remove_file(world.path("../given.yaml")).unwrap();
    second.wait_until(SOON, |said| said.stderr.contains(": Files → loki/"));
    let own = run_of(&second);
    each_gets_its_own(&world, [&first.run, &own]);
    second.wait_until(SOON, |said| said.stderr.contains("slow-other: attempt 1"));
    until("its agent works", || works(&world, &own, "slow-other-1"));
    let said = world
        .loki(&["status", "--run", &first.run, "--json"])
        .exits(0);
    let status: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(status["beside"][0]["run"], own.as_str(), "{said}");

    // A person's Ctrl-C is about the run of that terminal alone.
    second.signal(Signal::INT);
    let said = second.wait(SOON).never_panicked().exits(130);
    let said = said.says(&[
        "asked to drain by Ctrl-C",
        "slow-other: landed as",
        "stopped",
    ]);
    assert!(!said.stderr.contains("last: attempt"), "{said}");
    assert!(lives(first.pid), "the other run goes on");
    assert_eq!(outcome(&world, &first.run), "", "it has not ended");

    let podman = ["--engine", "podman"];
    let refused = world
        .loki(&[&podman[..], &start("short.md", &[])].concat())
        .exits(1);
    drop(refused.says(&["has another container engine", "`loki attach`"]));

    let said = watched.wait(SOON).never_panicked();
    let said = said
        .exits(0)
        .says(&["two: landed as", "slow-added: landed as", "is done"]);
    assert!(!said.stderr.contains("slow-other"), "{said}");
    let ended = when(&world, &first.run, "committed", "slow-one");
    assert!(when(&world, &own, "task_claimed", "slow-other") > ended);
    until("the process ends with its last run", || !lives(first.pid));
    assert_eq!(outcome(&world, &first.run), "done");
    assert!(!world.path(".loki/orchestrator/socket").exists());

    is_gone_on_with(&world, &own);
    nothing_left(&world);
}

/// The run that a terminal shows.
#[track_caller]
fn run_of(shown: &Running) -> String {
    let said = shown.so_far();
    let line = said.stderr.lines().find_map(|line| {
        let (_, rest) = line.split_once(" run ")?;
        rest.split_once(": ").map(|(run, _)| run.to_owned())
    });
    line.unwrap_or_else(|| panic!("no run is shown\n{said}"))
}

/// Starts in the same instant are held by one process, whoever comes first. It is killed with two runs
/// in it: whoever watches is told, and both are gone on with, in one process again. The end of one
/// is not that of the other.
#[test]
fn live_starts_in_the_same_instant_are_one_process_and_those_it_leaves_when_killed_are_again() {
    let world = world(Engine::PodmanRootful);
    let lines =
        ["short.md", "endless.md", "other.md"].map(|spec| start(spec, &["--detach", "--json"]));
    let told = lines.each_ref().map(|line| world.spawn(line)).map(|one| {
        let said = one.wait(SOON).never_panicked().exits(0);
        serde_json::from_str::<Value>(&said.stdout).unwrap()
    });
    assert!(
        told.iter().all(|one| one["pid"] == told[0]["pid"]),
        "{told:?}"
    );
    let [short, endless, other] = told.each_ref().map(|one| one["run"].as_str().unwrap());
    let pid = u32::try_from(told[0]["pid"].as_u64().unwrap()).unwrap();
    let mut watched = world.spawn(&["attach", other]);
    until("both agents work", || {
        works(&world, endless, "endless-1") && works(&world, other, "slow-other-1")
    });
    watched.wait_until(SOON, |said| said.stderr.contains(other));
    let killed = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(killed, Signal::KILL).unwrap();
    let said = watched.wait(SOON).never_panicked().exits(1);
    let hint = format!("`loki resume {other}`");
    drop(said.says(&["is gone", &hint]));
    assert!(world.path(".loki/orchestrator/socket").exists());

    let again = detached(&world, &["resume", endless, "--detach", "--json"]);
    let said = world.loki(&["resume", other]).exits(0);
    let process = format!("process {} works here", again.pid);
    drop(said.says(&[&process, "resumed", "last: landed as", "done: branch"]));
    assert!(lives(again.pid), "the other run goes on");
    let said = world.loki(&["stop", "--now", endless]).exits(0);
    drop(said.says(&["to end at once", "it ended"]));
    until("the process ends", || !lives(again.pid));
    drop(world.loki(&["resume", short]));
    assert_eq!(
        [short, endless, other].map(|run| outcome(&world, run)),
        ["done", "stopped", "done"]
    );
    drop(world.loki(&["drop", endless, "--yes"]).exits(0));
    nothing_left(&world);
}
