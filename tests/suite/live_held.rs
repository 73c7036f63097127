//! Several runs in one process, with and without a terminal (docs/runs.md): a start that is handed
//! over, one that is left alone, one that is watched, one that is killed with the process.

use std::{
    fs,
    io::Write as _,
    os::{
        fd::AsRawFd as _,
        unix::{fs::PermissionsExt as _, net::UnixStream},
    },
    path::Path,
    time::{Duration, Instant},
};

use loki::journal::{Door, Lock};
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

/// The tasks `slow…` work until they are let go.
const AGENT: &str = "#!/bin/sh\nmkdir -p src\necho begun\ncase $LOKI_TASK in\nslow*) until [ -e src/go ]; do sleep 0.1; done; rm -f src/go;;\nendless*) exec sleep 600;;\nesac\necho done > src/$LOKI_TASK\n";

fn world(engine: Engine) -> World {
    let world = World::on(engine);
    world.write("long.md", spec(&["slow-one", "slow-two"]));
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

/// Lets the agent finish that works at a slow task.
#[track_caller]
fn let_go(world: &World, run: &str, task: &str) {
    let slots = world.path(&format!(".loki/worktrees/{run}"));
    let working = || {
        let all = fs::read_dir(&slots).into_iter().flatten().flatten();
        let mut names = all.map(|slot| slot.file_name().into_string().unwrap());
        names.find(|name| {
            let of = name.rsplit_once('-').map(|(of, _)| of);
            let has_begun = works(world, run, name) && slots.join(name).join("work/src").is_dir();
            of == Some(task) && has_begun
        })
    };
    until("its agent works", || working().is_some());
    let slot = slots.join(working().unwrap());
    fs::write(slot.join("work/src/go"), "").unwrap();
}

/// How often a run was asked to end.
#[track_caller]
fn asked_to_end(world: &World, run: &str) -> usize {
    let events = events(world, run);
    let asked = |one: &&Value| one["event"]["type"] == "stop_requested";
    events.iter().filter(asked).count()
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
    let added = format!("task `added` is added, in run {first}");
    let line = ["task", "add", "Added", "--run", first];
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
    let alone = ["--parallel", "1", "--no-batch", "--detach", "--json"];
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
    let podman = ["--engine", "podman"];
    let refused = world
        .loki(&[&podman[..], &start("short.md", &[])].concat())
        .exits(1);
    drop(refused.says(&["has another container engine", "`loki attach`"]));
    let_go(&world, &first.run, "slow-one");
    second.wait_until(SOON, |said| said.stderr.contains("slow-other: attempt 1"));
    until("its agent works", || works(&world, &own, "slow-other-1"));
    let said = world
        .loki(&["status", "--run", &first.run, "--json"])
        .exits(0);
    let status: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(status["beside"][0]["run"], own.as_str(), "{said}");

    // A person's Ctrl-C is about the run of that terminal alone.
    second.signal(Signal::INT);
    second.wait_until(SOON, |said| {
        said.stderr.contains("asked to drain by Ctrl-C")
    });
    let_go(&world, &own, "slow-other");
    let said = second.wait(SOON).never_panicked().exits(130);
    let next = format!("next: `loki resume {own}` goes on with it");
    let said = said.says(&["slow-other: landed as", "stopped: asked to end by", &next]);
    assert!(!said.stderr.contains("last: attempt"), "{said}");
    assert!(lives(first.pid), "the other run goes on");
    assert_eq!(outcome(&world, &first.run), "", "it has not ended");

    let_go(&world, &first.run, "slow-two");
    let said = watched.wait(SOON).never_panicked();
    let said = said
        .exits(0)
        .says(&["slow-two: landed as", "added: landed as", "is done"]);
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
    let gone_on = world.spawn(&["resume", other]);
    let_go(&world, other, "slow-other");
    let said = gone_on.wait(SOON).never_panicked().exits(0);
    let process = format!("process {} works here", again.pid);
    drop(said.says(&[&process, "resumed", "last: landed as", "done: branch"]));
    assert!(lives(again.pid), "the other run goes on");
    let said = world.loki(&["stop", "--now", endless]).exits(0);
    drop(said.says(&["to end at once", "it ended"]));
    until("the process ends", || !lives(again.pid));
    drop(world.loki(&["resume", short]).exits(0));
    assert_eq!(
        [short, endless, other].map(|run| outcome(&world, run)),
        ["done", "stopped", "done"]
    );
    drop(world.loki(&["drop", endless, "--yes"]).exits(0));
    nothing_left(&world);
}

/// A hang-up is about the run of that terminal, also when that run is over: what was started without
/// a terminal goes on in the process that stays.
#[test]
fn live_a_hang_up_ends_no_run_of_another_and_a_start_that_fails_leaves_none() {
    let world = world(Engine::Docker);
    let blocked = world.path(".loki/cache/deps");
    world.write(".loki/cache/deps", "in the way");
    drop(world.loki(&start("short.md", &[])).exits(1));
    assert_eq!(journals(&world), 0, "a run was begun that cannot be driven");
    assert_eq!(world.git(&["branch", "--list", "loki/*"]), "");
    fs::remove_file(blocked).unwrap();

    let mut terminal = world.spawn(&start("other.md", &[]));
    terminal.wait_until(SOON, |said| said.stderr.contains("slow-other: attempt 1"));
    let own = run_of(&terminal);
    let said = world.loki(&start("endless.md", &["--detach", "--json"]));
    let said = said.exits(0);
    let told: Value = serde_json::from_str(&said.stdout).unwrap();
    let beside = told["run"].as_str().unwrap();
    assert_eq!(told["pid"], terminal.id(), "{said}");
    assert!(told["log"].is_null(), "its words go to a terminal: {said}");
    until("its agent works", || works(&world, beside, "endless-1"));
    let_go(&world, &own, "slow-other");
    let stays = format!("this process goes on with run {beside}");
    terminal.wait_until(SOON, |said| said.stderr.contains(&stays));

    terminal.signal(Signal::HUP);
    // It takes further runs, and asked none to end.
    let said = world.loki(&start("short.md", &[])).exits(0);
    drop(said.says(&["holds this run, too", "done: branch"]));
    assert_eq!(asked_to_end(&world, beside), 0);
    drop(world.loki(&["stop", beside, "--now"]).exits(0));
    let said = terminal.wait(SOON).never_panicked().exits(0);
    drop(said.says(&["slow-other: landed as", "done: branch"]));
    drop(world.loki(&["drop", beside, "--yes"]).exits(0));
    nothing_left(&world);
}

fn journals(world: &World) -> usize {
    let journals = fs::read_dir(world.path(".loki/journal"));
    let journals = journals.into_iter().flatten().flatten();
    let is_one = |name: &String| name.ends_with(".jsonl");
    journals
        .map(|one| one.file_name().into_string().unwrap())
        .filter(is_one)
        .count()
}

/// `loki stop RUN` lets that run's agents finish and is about no other; without a name it is about
/// all. Ctrl-C at whoever watches is about none.
#[test]
fn live_one_run_is_stopped_or_all_are_and_who_only_watches_stops_none() {
    let world = world(Engine::Docker);
    let alone = ["--detach", "--json"];
    let one = detached(&world, &start("long.md", &alone));
    let other = detached(&world, &start("other.md", &alone));
    assert_eq!(one.pid, other.pid);
    let mut watched = world.spawn(&["attach", &other.run]);
    watched.wait_until(SOON, |said| said.stderr.contains("slow-other"));
    // What comes from now on it shows as it comes.
    drop(
        world
            .loki(&["task", "add", "Extra", "--run", &other.run])
            .exits(0),
    );
    watched.wait_until(SOON, |said| said.stderr.contains("extra: landed as"));
    watched.signal(Signal::INT);
    let said = watched.wait(SOON).never_panicked().exits(130);
    drop(said.says(&["no longer watched", &format!("`loki stop {}`", other.run)]));

    until("both agents work", || {
        works(&world, &one.run, "slow-one-1") && works(&world, &other.run, "slow-other-1")
    });
    let stop = world.spawn(&["stop", &one.run]);
    until("it is asked", || asked_to_end(&world, &one.run) == 1);
    let_go(&world, &one.run, "slow-one");
    let said = stop.wait(SOON).never_panicked().exits(0);
    drop(said.says(&["to end when its agents have finished", "it ended"]));
    assert_eq!(outcome(&world, &one.run), "stopped");
    assert_eq!(outcome(&world, &other.run), "", "the other goes on");
    assert_eq!(asked_to_end(&world, &other.run), 0);

    let again = detached(&world, &["resume", &one.run, "--detach", "--json"]);
    assert_eq!(again.pid, other.pid);
    until("its next agent works", || {
        works(&world, &one.run, "slow-two-1")
    });
    let stop = world.spawn(&["stop"]);
    until("both are asked", || {
        (
            asked_to_end(&world, &one.run),
            asked_to_end(&world, &other.run),
        ) == (2, 1)
    });
    let_go(&world, &one.run, "slow-two");
    let_go(&world, &other.run, "slow-other");
    drop(
        stop.wait(SOON)
            .never_panicked()
            .exits(0)
            .says(&["it ended"]),
    );
    until("the process ends with its runs", || !lives(other.pid));
    for run in [&one.run, &other.run] {
        assert_eq!(outcome(&world, run), "stopped");
        drop(world.loki(&["drop", run, "--yes"]).exits(0));
    }
    nothing_left(&world);
}

/// A run whose journal meets a full disk is over for whoever watches it, and no other run is.
#[test]
fn live_who_watches_a_run_that_breaks_off_is_told_while_others_go_on() {
    let world = world(Engine::Docker);
    let full = "LOKI_KILL_AT_WRITE=14:full";
    let loki = [full, env!("CARGO_BIN_EXE_loki")];
    let line = [&loki[..], &start("endless.md", &["--detach", "--json"])].concat();
    let said = world.start("env", &line).wait(SOON).exits(0);
    let told: Value = serde_json::from_str(&said.stdout).unwrap();
    let stays = told["run"].as_str().unwrap();
    let breaks = detached(&world, &start("other.md", &["--detach", "--json"]));
    assert_eq!(told["pid"], breaks.pid);
    let mut watched = world.spawn(&["attach", &breaks.run]);
    watched.wait_until(SOON, |said| said.stderr.contains("slow-other"));
    let_go(&world, &breaks.run, "slow-other");
    let said = watched.wait(SOON).never_panicked().exits(1);
    let hint = format!("`loki resume {}`", breaks.run);
    drop(said.says(&["broke off", "orchestrator.log", &hint]));
    let log = fs::read_to_string(world.path(".loki/logs/orchestrator.log")).unwrap();
    let line = log.lines().find(|line| line.contains("cannot append to"));
    let line = line.unwrap_or_else(|| panic!("it does not say why: {log}"));
    assert!(line.contains(&format!(" run {}: ", breaks.run)), "{line}");
    assert!(lives(breaks.pid), "the other goes on");
    assert_eq!(outcome(&world, stays), "");
    drop(world.loki(&["stop", "--now"]).exits(0));
    drop(world.loki(&["resume", &breaks.run]).exits(0));
    drop(world.loki(&["drop", stays, "--yes"]).exits(0));
    nothing_left(&world);
}

/// A caller that has gone before it was answered never heard its run's name: nobody would know that
/// it works.
#[test]
fn live_a_run_whose_caller_is_gone_before_it_was_answered_never_begins() {
    let world = world(Engine::Docker);
    let wish = said_by(&world, &start("short.md", &[]));
    let holder = detached(&world, &start("endless.md", &["--detach", "--json"]));
    let place = world.path(".loki/orchestrator");
    for _ in 0..3 {
        // Its path is longer than a socket's may be.
        let place = fs::File::open(&place).unwrap();
        let path = format!("/proc/self/fd/{}/socket", place.as_raw_fd());
        let mut talk = UnixStream::connect(path).unwrap();
        talk.write_all(wish.as_bytes()).unwrap();
    }
    let log = world.path(".loki/logs/orchestrator.log");
    until("all three were let go", || {
        let said = fs::read_to_string(&log).unwrap();
        said.matches("asked to end before the run had begun")
            .count()
            == 3
    });
    assert_eq!(journals(&world), 1, "a run began for nobody");
    drop(world.loki(&["stop", &holder.run, "--now"]).exits(0));
    drop(world.loki(&["drop", &holder.run, "--yes"]).exits(0));
    nothing_left(&world);
}

/// What a start says to the process that holds the repository: to this test.
fn said_by(world: &World, start: &[&str]) -> String {
    let state = world.path(".loki");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let run = "20270115-080000-ab12".parse().unwrap();
    let _lock = Lock::acquire(&state, &run, jiff::Timestamp::UNIX_EPOCH).unwrap();
    let door = Door::open(&state).unwrap();
    let caller = world.spawn(start);
    let wish = runtime.block_on(async {
        let mut talk = door.next().await.unwrap();
        talk.hear(1 << 20).await.unwrap().unwrap()
    });
    drop(caller);
    wish + "\n"
}

/// Whoever started a run has left; what is said then goes to a file, without the values of secrets.
/// What the environment names by a relative path is found from where it was typed.
#[test]
fn live_a_detached_process_masks_what_it_logs() {
    let world = world(Engine::Docker);
    let canary = "CANARYvalue4711secret";
    let text = spec(&["one"]);
    world.write(
        "told.md",
        format!("{text}\n## Tests\n\n- `test {canary} = no`\n"),
    );
    let policy = "version: 1\nsecrets: { eng-backend: [GATE_KEY] }\n";
    world.write("policy.yaml", policy);
    drop(world.loki(&["secrets", "init"]).exits(0));
    let set = world.loki_fed(&["secrets", "set", "GATE_KEY"], canary);
    drop(set.exits(0));
    // The key is where only a relative name leads.
    fs::create_dir(world.path("sub")).unwrap();
    let key = world.path("../home/.config/loki/identity.txt");
    fs::rename(key, world.path("sub/key.txt")).unwrap();
    let line = format!(
        "cd sub && LOKI_AGE_IDENTITY=key.txt exec {} start ../told.md --command ../agent.sh --policy ../policy.yaml --detach",
        env!("CARGO_BIN_EXE_loki")
    );
    let said = world.start("sh", &["-c", &line]).wait(SOON).exits(0);
    let run = said.stdout.trim().to_owned();
    until("it has ended", || outcome(&world, &run) == "failed");
    let log = world.path(".loki/logs/orchestrator.log");
    let said = || fs::read_to_string(&log).unwrap();
    until("it says so", || said().contains("next: `loki logs --run"));
    let said = said();
    assert!(said.contains("test [secret:GATE_KEY] = no"), "{said}");
    assert!(!said.contains(canary), "{said}");
    assert_eq!(world.leftovers(), Vec::<String>::new());
}
