//! The death of an orchestrator at every place where it matters, a full disk, an engine that takes
//! a container away: each time the run is gone on with, nothing that was reported is lost, and
//! nothing is left behind. docs/crash.md says what is promised; `make soak` asks it 200 times.

use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant, SystemTime},
};

use super::harness::{
    Engine, World,
    crash::{
        REPLAY, done_and_nothing_left, dying, nothing_left, nothing_reported_is_lost, replayed,
        survives,
    },
};

const LIMIT: Duration = Duration::from_secs(120);

/// Runs each of these on threads of its own, as many at once as there are processors.
fn each<T: Sync>(of: &[T], test: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let test = &test;
    std::thread::scope(|scope| {
        let work = || loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            match of.get(at) {
                Some(one) => test(one),
                None => return,
            }
        };
        let workers = std::thread::available_parallelism().map_or(2, usize::from);
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            assert!(thread.join().is_ok(), "a point failed, see above");
        }
    });
}

/// Returns the number of the first record of each type that a whole run has, and of the last.
fn records(engine: Engine) -> (BTreeMap<String, u64>, u64) {
    let world = replayed(engine);
    world.loki(&REPLAY).exits(0);
    done_and_nothing_left(&world);
    let all = world.events();
    let mut first = BTreeMap::new();
    for record in &all {
        let kind = record["event"]["type"].as_str().unwrap().to_owned();
        first.entry(kind).or_insert(record["seq"].as_u64().unwrap());
    }
    (first, all.len() as u64)
}

/// In the suite: the first record, some of what something irreversible precedes or follows, the
/// last. `LOKI_CRASH=all` kills at every write, three ways, on both engines; `LOKI_SOAK=200` at so
/// many random ones, chosen by `LOKI_SEED`, which is said.
#[test]
fn live_a_run_killed_at_a_write_of_its_journal_goes_on_and_nothing_is_lost() {
    let (first, last) = records(Engine::Docker);
    let asked = |name: &str| std::env::var(name).ok();
    let points = match (asked("LOKI_CRASH").as_deref(), asked("LOKI_SOAK")) {
        (Some("all"), _) => every(last),
        (_, Some(kills)) => random(kills.parse().expect("LOKI_SOAK is a number"), last),
        _ => sample(&first, last),
    };
    let begun = Instant::now();
    let unbegun = AtomicUsize::new(0);
    each(&points, |(engine, point)| {
        let began = survives(*engine, point);
        let first = matches!(point.as_str(), "1:before" | "1:torn");
        assert!(began != first, "{point}");
        unbegun.fetch_add(usize::from(first), Ordering::Relaxed);
    });
    // Seen where output is shown: nothing of this is reached when a point fails.
    println!(
        "{} kills at {last} writes, {} before anything was told: every run was gone on with, 0 records lost, 0 leftovers, {:.1} s a kill",
        points.len(),
        unbegun.into_inner(),
        begun.elapsed().as_secs_f64() / points.len() as f64,
    );
}

/// THREATS G11: between the gate's answer and the word that work waits, nothing in the journal may
/// read as work that lands.
#[test]
fn attack_g11_live_no_crash_lands_work_that_waits_for_a_person() {
    let waiting = || {
        let world = replayed(Engine::Docker);
        let script =
            "#!/bin/sh\nmkdir -p src\necho first > src/first\nprintf 'all:\\n' > src/Makefile\n";
        world.write("m/first-1.sh", script);
        world.git(&[
            "commit",
            "--quiet",
            "--all",
            "--message=makes what make runs",
        ]);
        world
    };
    let whole = waiting();
    drop(whole.loki(&REPLAY).exits(5));
    let at = |kind: &str| {
        let all = whole.events();
        let found = all.iter().find(|one| one["event"]["type"] == kind);
        found.expect(kind)["seq"].as_u64().unwrap()
    };
    let points: Vec<u64> = (at("gated")..=at("waiting")).collect();
    assert!(points.len() > 1, "{points:?}");
    each(&points, |point| {
        let world = waiting();
        drop(dying(&world, &format!("{point}:after"), &REPLAY).exits(137));
        let resumed = world.loki(&["resume"]).exits(5);
        drop(resumed.says(&["`src/Makefile` (makefile)", "loki approve"]));
        assert_eq!(world.events_of("landing").len(), 0, "after {point}");
        let landed = world.git(&["ls-tree", "-r", "--name-only", &world.run_branch()]);
        assert!(!landed.contains("Makefile"), "after {point}: {landed}");
    });
}

type Points = Vec<(Engine, String)>;

const WAYS: [&str; 3] = ["before", "after", "torn"];

fn every(last: u64) -> Points {
    let engines = Engine::ALL.into_iter();
    let of =
        |engine| (1..=last).flat_map(move |at| WAYS.map(|how| (engine, format!("{at}:{how}"))));
    engines.flat_map(of).collect()
}

fn sample(first: &BTreeMap<String, u64>, last: u64) -> Points {
    let docker = [
        ("run_started", "torn"),
        ("run_started", "after"),
        ("sandbox_started", "after"),
        ("committed", "after"),
        ("landing", "after"),
        ("task_done", "torn"),
    ];
    let at = |engine, kind: &str, how: &str| (engine, format!("{}:{how}", first[kind]));
    let mut points: Points = docker
        .into_iter()
        .map(|(kind, how)| at(Engine::Docker, kind, how))
        .collect();
    points.push(at(Engine::PodmanRootful, "task_done", "before"));
    points.push((Engine::Docker, format!("{last}:after")));
    points
}

/// Numbers that follow from a seed (splitmix64), so that what failed can be asked again.
fn random(kills: usize, last: u64) -> Points {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = since.unwrap().as_secs();
    let asked = std::env::var("LOKI_SEED").ok();
    let mut state: u64 = asked.map_or(now, |seed| seed.parse().expect("LOKI_SEED is a number"));
    println!("LOKI_SEED={state}");
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let point = |_| {
        let at = 1 + next() % last;
        let way = usize::try_from(next() % 3).unwrap();
        (Engine::Docker, format!("{at}:{}", WAYS[way]))
    };
    (0..kills).map(point).collect()
}

/// The same run is killed again and again, in what goes on with it too, one write later each time.
#[test]
fn live_a_run_that_is_killed_again_and_again_still_ends() {
    let world = replayed(Engine::Docker);
    let mut told = vec![dying(&world, "4:after", &REPLAY).exits(137)];
    let mut rounds = 0;
    loop {
        rounds += 1;
        assert!(rounds < 12, "the run does not come forward");
        let run = dying(&world, &format!("{}:torn", 3 + 6 * rounds), &["resume"]);
        let ended = world.status()["outcome"] == "done";
        told.push(run.exits(if ended { 0 } else { 137 }));
        if ended {
            break;
        }
    }
    assert!(rounds > 2, "nothing was killed in going on: {rounds}");
    for said in &told {
        nothing_reported_is_lost(&world, said);
    }
    done_and_nothing_left(&world);
    let status = world.status();
    let interrupted = status["tasks"][0]["interrupted"].as_u64().unwrap();
    assert!(interrupted > 0, "{status}");
    assert_eq!(world.events_of("resumed").len(), rounds, "{status}");
}

/// Listens for whoever connects, and counts them.
fn sink() -> (u16, std::sync::Arc<AtomicUsize>) {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&count);
    // Ends with the test process: nothing else can tell a blocked accept to stop.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            drop(stream);
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (port, count)
}

#[test]
fn live_an_attempt_that_may_have_changed_something_outside_is_not_made_again_unasked() {
    let (port, reached) = sink();
    let reached = || reached.load(Ordering::Relaxed);
    let world = replayed(Engine::Docker);
    world.write(
        "m/first-1.sh",
        "#!/bin/sh\nmkdir -p src\necho first > src/first\n\
         exec python3 -c 'import socket; socket.create_connection((\"out.test\", 9000)).close()'\n",
    );
    world.write(
        "../home/.config/loki/policies/out.yaml",
        format!(
            "version: 1\nnetwork_policies: {{ eng-backend: {{ egress: [{{ host: out.test, port: 9000, protocol: tcp }}] }} }}\nhosts: {{ out.test: \"127.0.0.1:{port}\" }}\n"
        ),
    );
    world.git(&["commit", "--quiet", "--all", "--message=reaches out"]);
    // The fifth record is the name that was asked for, the sixth the connection.
    let killed = dying(&world, "6:after", &REPLAY).exits(137);
    let connected = world.events_of("egress");
    assert_eq!(connected[1]["kind"], "connect", "{connected:?}\n{killed}");

    let status = world.loki(&["status"]).exits(0);
    status
        .prints(&["interrupted", "[~] first"])
        .says(&["`loki resume "]);
    let before = reached();
    world.loki(&["resume"]).exits(5).says(&[
        "task `first` was cut off in attempt 1 and may have changed something outside",
        "a connection to out.test:9000 that nobody looked into",
        "waiting for a person: ",
        "--repeat first`",
    ]);
    assert_eq!(reached(), before, "it was made again unasked");
    assert_eq!(world.status()["outcome"], "waiting");
    nothing_left_but_the_plan(&world);
    world
        .loki(&["resume", "--repeat", "nobody"])
        .exits(2)
        .says(&["no attempt at a task `nobody` was cut off"]);

    drop(world.loki(&["resume", "--repeat", "first"]).exits(0));
    assert_eq!(reached(), before + 1);
    let interrupted = world.events_of("interrupted");
    assert_eq!(interrupted[0]["by"], "`--repeat`", "{interrupted:?}");
    assert_eq!(
        interrupted[0]["outside"][0],
        "a connection to out.test:9000 that nobody looked into"
    );
    done_and_nothing_left(&world);
}

#[track_caller]
fn nothing_left_but_the_plan(world: &World) {
    assert_eq!(
        world.leftovers(),
        Vec::<String>::new(),
        "containers are left"
    );
    assert_eq!(world.git(&["worktree", "list"]).lines().count(), 1);
}

/// The write fails in the middle of a record, as on a disk that is full.
#[test]
fn live_a_journal_that_cannot_be_written_stops_the_run_and_room_lets_it_go_on() {
    each(&["3:full", "15:full"], |point| {
        let world = replayed(Engine::Docker);
        let stopped = dying(&world, point, &REPLAY).exits(1);
        let stopped = stopped.says(&["cannot append to", ".jsonl", "`loki resume "]);
        assert!(world.leftovers().is_empty(), "{point}: containers are left");
        world
            .loki(&["audit", "verify"])
            .exits(0)
            .prints(&["chain intact"])
            .says(&["never completed"]);
        let on = world.loki(&["resume"]).exits(0);
        drop(on.says(&["of a record that was never completed cut off"]));
        nothing_reported_is_lost(&world, &stopped);
        done_and_nothing_left(&world);
    });
}

/// `.loki` on a small disk of its own, with so much room left: whatever is the first that cannot be
/// written, the run stops, and goes on once there is room.
#[test]
fn live_a_disk_that_fills_up_stops_the_run_and_room_lets_it_go_on() {
    let began = AtomicUsize::new(0);
    each(&["120k", "400k"], |room| {
        let world = replayed(Engine::Docker);
        let disk = Disk::under(&world, room);
        let stopped = world.loki(&REPLAY).exits(1);
        let stopped = stopped.says(&["No space left on device"]);
        assert!(world.leftovers().is_empty(), "{room}: containers are left");
        disk.make_room();
        if world.path(".loki/journal").is_dir() && !world.events().is_empty() {
            began.fetch_add(1, Ordering::Relaxed);
            drop(world.loki(&["resume"]).exits(0));
            nothing_reported_is_lost(&world, &stopped);
        } else {
            drop(world.loki(&REPLAY).exits(0));
        }
        done_and_nothing_left(&world);
    });
    assert!(
        began.into_inner() > 0,
        "no run began before its disk was full"
    );
}

/// A disk of 8 MB under a world's `.loki`, filled but for some room. Taken away at the end.
struct Disk<'a>(&'a World);

impl<'a> Disk<'a> {
    fn under(world: &'a World, room: &str) -> Self {
        let script = format!(
            "mkdir .loki && mount -t tmpfs -o size=8m,mode=755 none .loki && head -c 8m /dev/zero > .loki/filler 2>/dev/null; truncate --size=-{room} .loki/filler"
        );
        world.start("sh", &["-c", &script]).wait(LIMIT).exits(0);
        Self(world)
    }

    fn make_room(&self) {
        fs::remove_file(self.0.path(".loki/filler")).unwrap();
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let run = self.0.start("umount", &["--lazy", ".loki"]).wait(LIMIT);
        if !std::thread::panicking() {
            run.exits(0);
        }
    }
}

/// Somebody kills the container of a working agent: the attempt fails and the next one lands.
#[test]
fn live_a_container_that_is_killed_from_outside_costs_one_attempt() {
    for engine in Engine::ALL {
        let world = replayed(engine);
        world.write("m/first-1.sh", "#!/bin/sh\necho begun\nexec sleep 600\n");
        world.write(
            "m/first-2.sh",
            "#!/bin/sh\nmkdir -p src\necho first > src/first\n",
        );
        let text = fs::read_to_string(world.path("m/macro.yaml")).unwrap();
        let text = text.replace("[first-1.sh]", "[first-1.sh, first-2.sh]");
        world.write("m/macro.yaml", text);
        let mut run = world.spawn(&REPLAY);
        let log = |world: &World| {
            let runs = fs::read_dir(world.path(".loki/logs")).into_iter().flatten();
            runs.flatten().any(|run| {
                fs::read_to_string(run.path().join("first-1.log"))
                    .is_ok_and(|said| said.contains("begun"))
            })
        };
        run.wait_until(LIMIT, |_| log(&world));
        let containers = world.occupied();
        assert_eq!(containers.len(), 1, "{containers:?}");
        world
            .start(engine.program(), &["kill", &containers[0]])
            .wait(LIMIT)
            .exits(0);
        drop(run.wait(LIMIT).never_panicked().exits(0));
        let failed = world.events_of("task_failed");
        assert_eq!(failed.len(), 1, "{failed:?}");
        done_and_nothing_left(&world);
    }
}

/// An engine whose socket can be taken away and given back.
struct Cut {
    socket: std::path::PathBuf,
    gone: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Cut {
    fn before_docker(world: &World) -> Self {
        use std::os::unix::net::{UnixListener, UnixStream};
        let socket = world.path("../engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let gone = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let away = std::sync::Arc::clone(&gone);
        // Ends with the test process: nothing else can tell a blocked accept to stop.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                if away.load(Ordering::Relaxed) {
                    continue;
                }
                let engine = UnixStream::connect("/var/run/docker.sock").unwrap();
                for (mut from, mut to) in [
                    (stream.try_clone().unwrap(), engine.try_clone().unwrap()),
                    (engine, stream),
                ] {
                    std::thread::spawn(move || {
                        // Either side may end it.
                        std::io::copy(&mut from, &mut to).ok();
                        to.shutdown(std::net::Shutdown::Both).ok();
                    });
                }
            }
        });
        Self { socket, gone }
    }

    fn go_away(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    fn come_back(&self) {
        self.gone.store(false, Ordering::Relaxed);
    }

    fn loki(&self, args: &[&str]) -> Vec<String> {
        let host = format!("DOCKER_HOST=unix://{}", self.socket.display());
        [host.as_str(), env!("CARGO_BIN_EXE_loki")]
            .iter()
            .chain(args)
            .map(|word| (*word).to_owned())
            .collect()
    }
}

#[test]
fn live_an_engine_that_goes_away_stops_the_run_and_is_no_fault_of_the_work() {
    let world = replayed(Engine::Docker);
    let script = "#!/bin/sh\necho begun\nsleep 1\nmkdir -p src\necho first > src/first\n";
    world.write("m/first-1.sh", script);
    let cut = Cut::before_docker(&world);
    let words = cut.loki(&REPLAY);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut run = world.start("env", &words);
    run.wait_until(LIMIT, |said| said.stderr.contains("first-1: sandbox for"));
    cut.go_away();
    let stopped = run.wait(LIMIT).never_panicked().exits(1);
    let stopped = stopped.says(&["stopped: ", "start the engine, then `loki resume "]);
    assert_eq!(world.status()["outcome"], "stopped", "{stopped}");
    assert!(
        world.events_of("task_failed").is_empty(),
        "it counts as a try"
    );
    cut.come_back();
    let words = cut.loki(&["resume"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    drop(world.start("env", &words).wait(LIMIT).exits(0));
    nothing_reported_is_lost(&world, &stopped);
    done_and_nothing_left(&world);
    nothing_left(&world);
}
