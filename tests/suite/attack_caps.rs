//! Caps, attacked (THREATS K7 to K11): each overrun ends that sandbox alone, says why, and leaves
//! the others as they were. Times are ratios within one run, or wide: the machine is shared.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use loki::event::Limit;
use rustix::process::Signal;
use tokio::io::AsyncReadExt as _;

use super::harness::{self, Engine, Run, Running, START, Stand, Standing, World, p95};

const SOON: Duration = Duration::from_secs(60);

/// Starts processes without end, each of which does the same.
const BOMB: &str = "import os, time\nprint('ready', flush=True)\nwhile True:\n  try: os.fork()\n  except OSError: pass\n";

/// Runs a test on every engine at once; one that fails fails the whole.
fn on_each(test: impl AsyncFn(Engine) + Sync) {
    harness::on_each(|engine| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(test(engine));
    });
}

/// Runs a Python program in `loki sandbox run` under these caps.
#[track_caller]
fn capped(engine: Engine, caps: &str, program: &str) -> (Run, World) {
    let world = World::on(engine);
    world.write("src/app.py", "");
    world.write("caps.yaml", policy(caps));
    world.commit();
    let args = ["--role", "eng-backend", "--policy", "caps.yaml", "--"];
    let line = [&["sandbox", "run"], &args[..], &["python3", "-c", program]].concat();
    (world.loki(&line), world)
}

fn policy(caps: &str) -> String {
    format!("version: 1\n{}\n", resources(caps))
}

/// These caps, and no pace of writing: it would slow a flood until no cap is passed.
fn resources(caps: &str) -> String {
    format!(
        "resources: {{ eng-backend: {{ {caps} }} }}\nrate_limits: {{ eng-backend: {{ api_calls_per_minute: none, file_writes_per_minute: none }} }}"
    )
}

/// Asserts that another sandbox still works.
async fn is_well(other: &Standing) {
    assert_eq!(other.sh("echo well > src/x; cat src/x").await, "well\n");
}

#[test]
fn attack_k07_a_fork_bomb_is_held_seen_and_ended_and_slows_nobody() {
    on_each(async |engine| {
        let stand = Stand::on(engine).await;
        let held = resources("cpus: 0.5, pids: 64, memory: 256MiB, timeout: 2m");
        let bomber = stand.launch("bomber", &held).await;
        let other = stand.launch("other", &resources("cpus: 2")).await;
        let quiet = other.p95(60).await;
        let _bomb = bomber.start(&["python3", "-c", BOMB]).await;
        let begun = Instant::now();
        let mut times = Vec::new();
        while begun.elapsed() < Duration::from_secs(10) {
            times.push(other.p95(20).await);
        }
        let bombed = p95(times);
        let ratio = bombed.as_secs_f64() / quiet.as_secs_f64();
        println!("{engine:?}: exec p95 {quiet:?} alone, {bombed:?} beside a fork bomb: {ratio:.2}");
        assert!(
            ratio < 20.0 && bombed < Duration::from_secs(1),
            "{quiet:?} {bombed:?}"
        );
        let over = bomber.overrun(SOON).await;
        assert_eq!((over.limit, over.allowed), (Limit::Processes, 64));
        bomber.sandbox.kill().await;
        is_well(&other).await;
        bomber.sandbox.end().await.unwrap();
        other.sandbox.end().await.unwrap();
    });
}

#[test]
fn attack_k07_a_fork_bomb_ends_the_command_with_the_cap_and_the_key_that_sets_it() {
    on_each(async |engine| {
        let (run, world) = capped(engine, "pids: 40, timeout: 60s", BOMB);
        drop(
            run.exits(137)
                .says(&["it started more processes than its 40", "`resources.pids`"]),
        );
        assert_eq!(world.leftovers(), Vec::<String>::new());
    });
}

/// The first process of a sandbox is gone only after all others. Measured with twenty of each:
/// docs/limits.md.
#[test]
fn attack_k07_the_kill_switch_leaves_nobody_alive() {
    on_each(async |engine| {
        let stand = Stand::on(engine).await;
        for (what, rounds, program) in [
            (
                "quiet",
                5,
                "import time; print('ready', flush=True); time.sleep(600)",
            ),
            ("bomb", 3, BOMB),
        ] {
            let mut times = Vec::new();
            for n in 0..rounds {
                let caps = resources("cpus: 1, pids: 100, memory: 256MiB");
                let victim = stand.launch(&format!("{what}-{n}"), &caps).await;
                let mut started = victim.start(&["python3", "-c", program]).await;
                let mut ready = [0; 6];
                started.stdout.read_exact(&mut ready).await.unwrap();
                if what == "bomb" {
                    // It doubles within milliseconds; its cap is full by then.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                let container = victim.sandbox.container().to_owned();
                let begun = Instant::now();
                victim.sandbox.kill().await;
                times.push(begun.elapsed());
                assert_eq!(alive(&container), 0, "{what}: someone lives");
                victim.sandbox.end().await.unwrap();
            }
            times.sort_unstable();
            let (p50, p95) = (times[times.len() / 2], p95(times.clone()));
            println!("{engine:?}: kill to dead, {what}: p50 {p50:?}, p95 {p95:?}, {times:?}");
            assert!(p50 < Duration::from_secs(1), "{what}: {times:?}");
        }
    });
}

/// Counts the processes of this host that are in a container's cgroup and not yet dead.
fn alive(container: &str) -> usize {
    let all = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let inside = |path: &Path| {
        let state = fs::read_to_string(path.join("stat")).unwrap_or_default();
        let dead = state
            .rsplit_once(") ")
            .is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']));
        let groups = fs::read_to_string(path.join("cgroup")).unwrap_or_default();
        !dead && groups.contains(container) && !groups.contains("conmon")
    };
    all.filter(|entry| inside(&entry.path())).count()
}

#[test]
fn attack_k08_twice_the_memory_ends_that_sandbox_alone() {
    on_each(async |engine| {
        let stand = Stand::on(engine).await;
        let held = resources("memory: 96MiB, timeout: 2m");
        let other = stand.launch("other", &held).await;
        let balloon = stand.launch("balloon", &held).await;
        drop(
            balloon
                .start(&["python3", "-c", "x = b'1' * (192 << 20)"])
                .await,
        );
        let over = balloon.overrun(SOON).await;
        assert_eq!((over.limit, over.allowed), (Limit::Memory, 96 << 20));
        balloon.sandbox.kill().await;
        is_well(&other).await;
        assert_eq!(other.sandbox.overrun_at_end().await, None);
        balloon.sandbox.end().await.unwrap();
        other.sandbox.end().await.unwrap();
    });
}

#[test]
fn attack_k08_memory_in_files_counts_too() {
    let shared = "open('/dev/shm/x', 'wb').write(bytes(50 << 20))\nopen('/tmp/x', 'wb').write(bytes(60 << 20))\nprint('DONE')";
    on_each(async |engine| {
        let (run, _world) = capped(engine, "memory: 96MiB, timeout: 60s", shared);
        let said = run.exits(137).says(&[
            "it needed more memory than its 96 MiB",
            "`resources.memory`",
        ]);
        assert!(!said.stdout.contains("DONE"), "{said}");
    });
}

/// Writes as fast as it can, up to a number of MiB that keeps the host safe if nobody stops it.
fn flood(into: &str, keep: &str) -> String {
    format!(
        "import os\nblock = bytes(1 << 20)\nfor n in range(3000):\n  path = '{into}/flood%d' % n\n  f = open(path, 'wb', 0)\n  f.write(block)\n  {keep}\nprint('DONE')"
    )
}

/// Returns how many bytes a second a sandbox writes, by the same program, where nothing stops it.
async fn write_rate(stand: &Stand) -> f64 {
    let free = stand
        .launch("rate", &resources("disk: 2GiB, memory: 512MiB"))
        .await;
    let program = flood("/work/src", "f.close()").replace("range(3000)", "range(200)");
    let timed = format!("import time\nbegun = time.time()\n{program}\nprint(time.time() - begun)");
    let mut took = f64::MAX;
    // The fastest of three: what else this machine does only ever slows it.
    for _ in 0..3 {
        let said = free.run(&["python3", "-c", &timed]).await.out;
        took = took.min(said.lines().last().unwrap().parse().unwrap());
    }
    free.sandbox.end().await.unwrap();
    f64::from(200 << 20) / took
}

/// Returns the bytes of all files below a directory.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let sizes = entries.map(|entry| match entry.metadata().unwrap() {
        found if found.is_dir() => size(&entry.path()),
        found => found.len(),
    });
    sizes.sum()
}

#[test]
fn attack_k09_a_full_disk_is_noticed_within_two_seconds_wherever_it_is_filled() {
    on_each(async |engine| {
        let stand = Stand::on(engine).await;
        let rate = write_rate(&stand).await;
        let quota: u64 = 16 << 20;
        let held = resources("disk: 16MiB, memory: 512MiB, timeout: 2m");
        let open = "keep = globals().setdefault('keep', []); keep.append(f); os.remove(path)";
        for (name, into, keep) in [
            ("tree", "/work/src", "f.close()"),
            ("home", "/home/agent", "f.close()"),
            ("removed", "/work/src", open),
        ] {
            let writer = stand.launch(name, &held).await;
            drop(writer.start(&["python3", "-c", &flood(into, keep)]).await);
            let begun = Instant::now();
            let over = writer.overrun(SOON).await;
            let noticed = begun.elapsed();
            writer.sandbox.kill().await;
            assert_eq!((over.limit, over.allowed), (Limit::Disk, quota), "{name}");
            // What was removed and still open went with the sandbox; what was seen of it counts.
            let (work, home) = (writer.slot.work(), writer.slot.home());
            let written = over.seen.max(size(&work.join("src")) + size(&home));
            let most = quota as f64 + 2.0 * rate;
            println!(
                "{engine:?}: {name}: {} MiB after {noticed:?}, at {} MiB/s",
                written >> 20,
                rate as u64 >> 20
            );
            assert!((written as f64) < most, "{name}: {written} of {most}");
            writer.sandbox.end().await.unwrap();
        }
    });
}

#[test]
fn attack_k09_a_million_files_are_stopped_long_before() {
    let create = |into: &str| {
        format!(
            "import os\nos.makedirs('{into}/f')\nfor n in range(10**6): os.close(os.open('{into}/f/%d' % n, os.O_CREAT | os.O_WRONLY))"
        )
    };
    on_each(async |engine| {
        let stand = Stand::on(engine).await;
        let held = resources("disk: 16MiB, memory: 1GiB, timeout: 2m");
        for (name, into) in [("tree", "/work/src"), ("home", "/home/agent")] {
            let writer = stand.launch(name, &held).await;
            drop(writer.start(&["python3", "-c", &create(into)]).await);
            let begun = Instant::now();
            let over = writer.overrun(SOON).await;
            writer.sandbox.kill().await;
            let (root, noticed) = (writer.slot.path(), begun.elapsed());
            let inside = if name == "tree" {
                "work/src/f"
            } else {
                "home/f"
            };
            let made = fs::read_dir(root.join(inside)).unwrap().count();
            println!("{engine:?}: {name}: {made} files after {noticed:?}");
            assert_eq!((over.limit, over.allowed), (Limit::Files, 2048));
            assert!(made < 1_000_000, "{made} files");
            writer.sandbox.end().await.unwrap();
        }
    });
}

/// `/tmp` is in memory: where the engine takes a cap on inodes, the file system is full; else the
/// memory that inodes take is.
#[test]
fn attack_k09_a_million_files_in_tmp_meet_a_full_file_system_or_the_memory_cap() {
    let create = "import errno\ntry:\n  for n in range(10**6): open('/tmp/%d' % n, 'w').close()\nexcept OSError as e: print('FULL' if e.errno == errno.ENOSPC else e)\nelse: print('OPEN')";
    on_each(async |engine| {
        let (run, _world) = capped(engine, "memory: 256MiB, timeout: 2m", create);
        match engine {
            Engine::Docker => drop(run.exits(0).prints(&["FULL"])),
            Engine::PodmanRootful => drop(run.exits(137).says(&["more memory than its 256 MiB"])),
        }
    });
}

#[test]
fn attack_k09_one_file_cannot_grow_past_the_disk() {
    let one = "f = open('/work/src/x', 'wb', 0)\nwhile True: f.write(bytes(1 << 20))";
    on_each(async |engine| {
        let (run, _world) = capped(engine, "disk: 8MiB, timeout: 60s", one);
        drop(
            run.exits(137)
                .says(&["it wrote 8 MiB to disk", "`resources.disk`"]),
        );
    });
}

/// A run whose agent has this script; the specification has these tasks.
fn run_world(engine: Engine, tasks: &str, agent: &str, caps: &str) -> World {
    let world = World::on(engine);
    let tests = "## Tests\n\n```sh\ntest -d src\n```\n";
    world.write(
        "spec.md",
        format!("# Files\n\nSome files.\n\n## Tasks\n\n{tasks}\n{tests}"),
    );
    world.write("agent.sh", format!("#!/bin/sh\n{agent}\n"));
    world.write("src/shared.txt", "base\n");
    world.write("caps.yaml", policy(caps));
    let chmod = world.start("chmod", &["+x", "agent.sh"]);
    drop(chmod.wait(SOON).exits(0));
    world.commit();
    world
}

/// Megabytes of memory that a process has, none once it is gone.
fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib / 1024)
}

/// Three floods, each of which ends its attempt alone: text, one line without an end, and bytes
/// that are no text. The fourth attempt is told why, and does the work.
#[test]
fn attack_k10_a_flood_of_output_ends_the_attempt_and_fills_neither_disk_nor_memory() {
    let agent = "case $LOKI_ATTEMPT in\n1) yes | head -c 5G;;\n2) head -c 1G /dev/zero | tr '\\0' x;;\n3) head -c 1G /dev/urandom;;\n*) cat > src/brief.txt; exit 0;;\nesac\necho survived > src/bad.txt";
    on_each(async |engine| {
        let world = run_world(
            engine,
            "1. `one` (eng-backend): Write.\n",
            agent,
            "log: 1MiB, timeout: 2m",
        );
        let line = [&START[..], &["--policy", "caps.yaml"]].concat();
        let mut running = world.spawn(&line);
        running.wait_until(SOON, |said| said.stderr.contains("sandbox for"));
        let before = resident(running.id()).unwrap();
        let mut most = before;
        let begun = Instant::now();
        while let Some(now) = resident(running.id()).filter(|_| begun.elapsed() < SOON) {
            most = most.max(now);
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(running.wait(SOON).exits(0));
        println!("{engine:?}: resident {before} MiB before, {most} MiB at most");
        assert!(most < before + 64, "{before} MiB grew to {most} MiB");
        let overruns = world.events_of("overrun");
        assert_eq!(overruns.len(), 3, "{overruns:?}");
        for (n, over) in overruns.iter().enumerate() {
            assert_eq!(over["limit"], "log", "{over}");
            assert_eq!(over["sandbox"], format!("one-{}", n + 1), "{over}");
            assert_eq!(over["allowed"], 1 << 20, "{over}");
        }
        for log in fs::read_dir(world.path(".loki/logs")).unwrap() {
            for file in fs::read_dir(log.unwrap().path()).unwrap() {
                let size = file.unwrap().metadata().unwrap().len();
                assert!(size <= (1 << 20) + 200, "a log of {size} bytes");
            }
        }
        let brief = world.git(&["show", &format!("{}:src/brief.txt", world.run_branch())]);
        assert!(
            brief.contains("it printed") && brief.contains("may print 1 MiB"),
            "{brief}"
        );
    });
}

/// Passes `yes` on through `sandbox run` and holds that no memory is taken for it.
fn pass_on(world: &World, bytes: &str) {
    let program = format!("echo ready >&2; yes | head -c {bytes}");
    let mut flood = world.start("sh", &["-c", &thrown_away(&program)]);
    flood.wait_until(SOON, |said| said.stderr.contains("ready"));
    let (before, most) = watched(&flood);
    drop(flood.wait(SOON).exits(0));
    println!("resident {before} MiB before {bytes}, {most} MiB at most");
    assert!(most < before + 64, "{before} MiB grew to {most} MiB");
}

fn thrown_away(program: &str) -> String {
    let loki = env!("CARGO_BIN_EXE_loki");
    format!("exec {loki} sandbox run --role eng-backend -- sh -c '{program}' > /dev/null")
}

/// Returns the megabytes that a process has now, and the most that it has until its end.
fn watched(running: &Running) -> (u64, u64) {
    let before = resident(running.id()).unwrap();
    let mut most = before;
    while let Some(now) = resident(running.id()) {
        most = most.max(now);
        std::thread::sleep(Duration::from_millis(5));
    }
    (before, most)
}

/// Nothing of what `sandbox run` passes on is kept, so there is no cap on it and no memory for it.
#[test]
fn attack_k10_what_is_passed_on_takes_no_memory_and_can_be_stopped() {
    let world = World::on(Engine::Docker);
    world.commit();
    pass_on(&world, flood_size());
    let mut endless = world.start("sh", &["-c", &thrown_away("echo ready >&2; yes")]);
    endless.wait_until(SOON, |said| said.stderr.contains("ready"));
    let begun = Instant::now();
    endless.signal(Signal::INT);
    drop(endless.wait(SOON).exits(130));
    println!("stopped after {:?}", begun.elapsed());
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

/// The same by `start`, into a log that may hold it all.
#[test]
fn attack_k10_what_is_kept_of_a_run_takes_no_memory() {
    let amount = flood_size();
    let agent = format!("yes | head -c {amount}; cat > src/brief.txt");
    let caps = "log: 6GiB, timeout: 30m";
    let task = "1. `one` (eng-backend): Write.\n";
    let world = run_world(Engine::Docker, task, &agent, caps);
    let line = [&START[..], &["--policy", "caps.yaml"]].concat();
    let mut running = world.spawn(&line);
    running.wait_until(SOON, |said| said.stderr.contains("sandbox for"));
    let (before, most) = watched(&running);
    drop(running.wait(SOON).exits(0));
    println!("resident {before} MiB before {amount} in a log, {most} MiB at most");
    assert!(most < before + 64, "{before} MiB grew to {most} MiB");
    let mebibytes = size(&world.path(".loki/logs")) >> 20;
    let least = if amount == "5G" { 5 << 10 } else { 256 };
    assert!(mebibytes >= least, "only {mebibytes} MiB came through");
}

/// How much is passed on: `make soak` asks for 5 GB.
fn flood_size() -> &'static str {
    match std::env::var("LOKI_FLOOD").as_deref() {
        Ok("5G") => "5G",
        _ => "256M",
    }
}

/// Two agents at once: one passes a cap and is ended, the other never notices.
#[test]
fn attack_k09_an_overrun_ends_one_agent_of_a_run_and_leaves_the_other() {
    let tasks = "1. `bad` (eng-backend): Write.\n2. `good` (eng-backend): Write.\n";
    let agent = "if [ $LOKI_TASK$LOKI_ATTEMPT = bad1 ]; then\n  n=0; while [ $n -lt 300 ]; do head -c 1M /dev/zero > src/f$n; n=$((n+1)); done; sleep 30\nfi\n[ $LOKI_TASK = good ] && sleep 4\necho $LOKI_ATTEMPT > src/$LOKI_TASK.txt";
    on_each(async |engine| {
        let world = run_world(engine, tasks, agent, "disk: 16MiB, timeout: 2m");
        let line = [&START[..], &["--policy", "caps.yaml"]].concat();
        drop(world.loki(&line).exits(0).says(&[
            "bad-1: ended: it wrote",
            "may write 16 MiB",
            "`resources.disk` of role `eng-backend`, set in caps.yaml:",
        ]));
        let overruns = world.events_of("overrun");
        assert_eq!(overruns.len(), 1, "{overruns:?}");
        assert_eq!(overruns[0]["task"], "bad");
        assert_eq!(overruns[0]["limit"], "disk");
        let order: Vec<String> = world
            .events()
            .iter()
            .map(|record| record["event"]["type"].as_str().unwrap().to_owned())
            .filter(|kind| ["overrun", "agent_ended", "task_failed"].contains(&kind.as_str()))
            .take(3)
            .collect();
        assert_eq!(order, ["overrun", "agent_ended", "task_failed"]);
        let show =
            |name: &str| world.git(&["show", &format!("{}:src/{name}.txt", world.run_branch())]);
        assert_eq!(
            (show("bad").as_str(), show("good").as_str()),
            ("2\n", "1\n")
        );
        assert_eq!(world.status()["overruns"][0]["sandbox"], "bad-1");
        let text = fs::read_to_string(world.path(".loki/STATUS.txt")).unwrap();
        assert!(text.contains("Overrun: bad-1: it wrote"), "{text}");
        drop(world.loki(&["audit", "verify"]).exits(0));
    });
}

#[test]
fn live_a_quiet_agent_is_idle_unless_a_child_of_it_works() {
    on_each(async |engine| {
        let (idle, _one) = capped(
            engine,
            "idle_timeout: 2s, timeout: 60s",
            "import time; time.sleep(30)",
        );
        drop(
            idle.exits(137)
                .says(&["nothing for 2", "`resources.idle_timeout`"]),
        );
        let busy = "import subprocess\nsubprocess.run(['sh', '-c', 'timeout 5 sh -c \"while :; do :; done\"; echo DONE'])";
        let (busy, _two) = capped(engine, "idle_timeout: 2s, timeout: 60s", busy);
        drop(busy.exits(0).prints(&["DONE"]));
        let talk = "import time\nfor n in range(5): print(n, flush=True); time.sleep(1)";
        let (talks, _three) = capped(engine, "idle_timeout: 2s, timeout: 60s", talk);
        drop(talks.exits(0).prints(&["4"]));
    });
}

#[test]
fn live_a_program_that_takes_too_long_is_ended() {
    on_each(async |engine| {
        let busy = "while True: pass";
        let (run, world) = capped(engine, "timeout: 1s", busy);
        drop(
            run.exits(137)
                .says(&["it ran for 1 s", "`resources.timeout`"]),
        );
        assert_eq!(world.leftovers(), Vec::<String>::new());
    });
}

/// Answers each connection on this host's loopback with four bytes.
fn sink() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends with the test process: nothing else can tell a blocked accept to stop.
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            std::thread::spawn(move || {
                let mut connection = connection.unwrap();
                if matches!(connection.read(&mut [0; 16]), Ok(1..)) {
                    connection.write_all(b"sink").ok();
                }
            });
        }
    });
    port
}

const ASK: &str = "import socket, sys, time\ntimes = []\nfor n in range(40):\n  begun = time.time()\n  s = socket.create_connection(('sink.test', 9000), 20)\n  s.sendall(b'hi')\n  assert s.recv(4) == b'sink'\n  s.close()\n  times.append(time.time() - begun)\nprint(sorted(times)[37])";

/// Opens ten thousand connections that say nothing, every descriptor it may have, and every
/// watch, and holds them.
const HOARD: &str = "import ctypes, os, socket, time
libc = ctypes.CDLL(None)
address = socket.gethostbyname('sink.test')
for child in range(4):
  if os.fork(): continue
  kept = []
  for n in range(2500):
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex((address, 9000))
    kept.append(s)
  while libc.inotify_init() >= 0: pass
  try:
    while True: kept.append(os.open('/dev/null', os.O_RDONLY))
  except OSError: print('FULL', len(kept), flush=True)
  time.sleep(600)
time.sleep(600)";

#[test]
fn attack_k11_a_hoard_of_connections_and_descriptors_is_nobody_elses_loss() {
    let port = sink();
    let reach = format!(
        "network_policies: {{ eng-backend: {{ egress: [{{ host: sink.test, port: 9000, protocol: tcp }}] }} }}\nhosts: {{ sink.test: \"127.0.0.1:{port}\" }}"
    );
    on_each(async |engine| {
        let stand = Stand::on(engine).await;
        let with = |caps: &str| format!("{}\n{reach}", resources(caps));
        let (hoarder, other) = (
            stand
                .launch("hoarder", &with("cpus: 0.5, timeout: 2m"))
                .await,
            stand.launch("other", &with("timeout: 2m")).await,
        );
        let ask = async || other.python(ASK).await.trim().parse::<f64>().unwrap();
        let (alone, quiet) = (ask().await, other.p95(40).await);
        let mut hoard = hoarder.start(&["python3", "-c", HOARD]).await;
        // One read may bring the words of several children.
        let mut said = Vec::new();
        while said.windows(4).filter(|word| word == b"FULL").count() < 4 {
            let read = hoard.stdout.read_buf(&mut said);
            let count = tokio::time::timeout(SOON, read).await.unwrap().unwrap();
            assert_ne!(count, 0, "the hoard is none: {}", said.escape_ascii());
        }
        let (beside, hoarded) = (ask().await, other.p95(40).await);
        println!(
            "{engine:?}: request p95 {alone:.4} s alone, {beside:.4} s beside; exec p95 {quiet:?}, {hoarded:?}"
        );
        assert!(beside < alone * 20.0 + 0.5, "{alone} {beside}");
        assert!(hoarded < quiet * 20 + Duration::from_millis(500));
        // It lost nothing but its own: it can still be ended, at once.
        hoarder.sandbox.kill().await;
        is_well(&other).await;
        hoarder.sandbox.end().await.unwrap();
        other.sandbox.end().await.unwrap();
    });
}
