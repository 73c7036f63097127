//! Sandboxes that stand ready, on real engines: what an idle one is, that a claim is quick and gives
//! its occupant nothing of anybody else, and that a pool makes nothing fail.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use loki::{
    git::{Owner, Repository, SlotSpec, private_repository_script},
    policy::{AgentPool, Layer, Policy, Rights, Source},
    sandbox::{
        Grant, Home, Labels, Launcher, Occupant, Sandbox, Slot, owner,
        pool::{Claimed, Contents, Grounds, Pool, Standing, Want},
        repository_label,
    },
};
use serde_json::Value;
use tokio::io::AsyncReadExt;

use super::harness::{Engine, Running, START, World, launcher};

/// Files of the worktree that is claimed.
const FILES: usize = 200;
const PATIENCE: Duration = Duration::from_secs(120);
/// How long an idle guest is watched.
const QUIET: Duration = Duration::from_millis(400);

/// A pool over a repository of some files.
struct Place {
    engine: Engine,
    world: World,
    launcher: Launcher,
    repository: Arc<Repository>,
    image: String,
    pool: Pool,
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

impl Place {
    async fn on(engine: Engine) -> Self {
        let made = tokio::task::spawn_blocking(move || {
            let world = World::on(engine);
            for at in 0..FILES {
                world.write(&format!("src/{}/{at}.txt", at / 20), "line\n".repeat(at));
            }
            world.write("hidden/key", "only for others\n");
            world.commit();
            let image = world.image();
            (world, image)
        });
        let (world, image) = made.await.unwrap();
        let launcher = launcher(engine).await;
        let repository = Arc::new(Repository::open(&world.path("")).unwrap());
        let run = "pooled".parse().unwrap();
        repository
            .create_run_branch(&run, repository.head())
            .unwrap();
        let grounds = Grounds {
            run,
            repository: Arc::clone(&repository),
            label: repository_label(repository.root()),
            state: repository.root().join(".loki"),
            now,
        };
        let settings = AgentPool {
            min_idle: 2,
            max_total: 20,
            pre_warm_roles: Some(vec!["eng-backend".parse().unwrap()]),
        };
        let pool = Pool::new(launcher.clone(), grounds, settings);
        Self {
            engine,
            world,
            launcher,
            repository,
            image,
            pool,
        }
    }

    fn want(&self, rights: &Rights, coming: u32) -> Want {
        Want {
            rights: rights.clone().into(),
            image: self.image.clone(),
            home: agent("of somebody"),
            contents: Contents::Task(rights.files.visible()),
            coming,
            open: coming,
        }
    }

    fn occupant(&self, rights: &Rights, name: &str) -> Occupant {
        Occupant {
            name: format!("loki-pooled-{name}-{}", owner()),
            rights: rights.clone().into(),
            labels: Labels {
                run: "pooled".to_owned(),
                task: name.to_owned(),
                repository: repository_label(self.repository.root()),
                owner: owner(),
            },
            home: agent(name),
            image: self.image.clone(),
            given: Vec::new(),
        }
    }

    async fn settles(&self, idle: u32) -> Standing {
        let settled = async {
            loop {
                let standing = self.pool.standing();
                let waiting: u32 = standing.kinds.iter().map(|one| one.idle).sum();
                let under_way: u32 = standing.kinds.iter().map(|one| one.preparing).sum();
                if (waiting, under_way) == (idle, 0) {
                    return standing;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let settled = tokio::time::timeout(PATIENCE, settled).await;
        settled.unwrap_or_else(|_| panic!("not {idle} idle: {:?}", self.pool.standing()))
    }

    /// Does what a claim does: files from the run's head, binding, private repository.
    async fn stand(&self, claimed: Claimed, occupant: &Occupant, task: &str) -> Sandbox {
        let Claimed {
            mut prepared,
            ahead,
            stood,
        } = claimed;
        assert!(stood, "it was waited for");
        let dir = self
            .repository
            .worktrees_dir()
            .join(format!("pooled/{task}-1"));
        prepared.move_to(&Slot::at(dir.clone())).unwrap();
        let user = prepared.user();
        let (repository, read) = (
            Arc::clone(&self.repository),
            occupant.rights.files.visible(),
        );
        let (run, task) = ("pooled".parse().unwrap(), task.parse().unwrap());
        let head = self.repository.run_head(&run).unwrap().unwrap();
        let ahead = ahead.expect("its files were put there ahead");
        if ahead.base() != &head {
            prepared.files_moved();
        }
        let fill = move || {
            let spec = SlotSpec {
                run: &run,
                task: &task,
                base: &head,
                read: Some(&read),
                owner: Owner::of(user),
            };
            ahead.claim(&repository, &dir, spec)
        };
        tokio::task::spawn_blocking(fill).await.unwrap().unwrap();
        let bound = self.launcher.bind(prepared, occupant, Arc::new(|_| {}));
        let sandbox = bound
            .await
            .unwrap_or_else(|fault| panic!("not bound: {fault}"));
        sandbox
            .make_repository(&private_repository_script())
            .await
            .unwrap();
        sandbox
    }

    /// Moves the run's branch, as a landing does.
    fn land_something(&self) {
        let world = &self.world;
        tokio::task::block_in_place(|| {
            world.write("src/0/landed.txt", format!("{:?}\n", Instant::now()));
            world.commit();
            world.git(&["update-ref", "refs/heads/loki/pooled", "HEAD"]);
        });
    }

    /// Asks the engine's own program.
    fn ask(&self, args: &[&str]) -> String {
        let asked = self.world.start(self.engine.program(), args).wait(PATIENCE);
        asked.exits(0).stdout.trim().to_owned()
    }
}

/// The program of an agent, and what belongs to one attempt alone.
fn agent(word: &str) -> Vec<Home> {
    let file = |path: &str, executable| Home {
        path: path.to_owned(),
        contents: format!("#!/bin/sh\necho {word}\n").into_bytes(),
        executable,
    };
    vec![file(".loki/agent", true), file("notes", false)]
}

/// A role that may not read everything.
fn rights(policy: &str) -> Rights {
    let mut sources = Policy::builtin_sources();
    sources.push(Source {
        file: "pool.yaml".into(),
        text: format!(
            "version: 1\npermissions:\n  eng-backend:\n    read: [\"src/**\"]\n    write: [\"src/**\"]\n    \
             execute: [\"@shell\", git]\n{policy}\n"
        ),
        layer: Layer::Given,
    });
    let policy = Policy::check(&sources).unwrap_or_else(|faults| panic!("{faults:?}"));
    policy.rights(&"eng-backend".parse().unwrap()).unwrap()
}

/// Runs a shell script to its end, and returns what it printed and when its first byte came.
async fn sh(sandbox: &Sandbox, script: &str) -> (String, Instant) {
    let argv = ["sh", "-c", script].map(str::to_owned);
    let mut process = sandbox.exec(&argv, &[], &Grant::default()).await.unwrap();
    drop(process.stdin.take());
    let mut out = vec![process.stdout.read_u8().await.expect("it prints something")];
    let first = Instant::now();
    process.stdout.read_to_end(&mut out).await.unwrap();
    process.wait().await.unwrap();
    (String::from_utf8(out).unwrap(), first)
}

/// What an agent finds, a line each.
const SCRIPT: &str = "echo begun; id -u; echo $LOKI_ROLE; tail -1 ~/notes | cut -d' ' -f2; \
    find src -type f | wc -l; [ -e hidden ] && echo there || echo absent; \
    [ -z \"$(git status --porcelain)\" ] && echo clean; git rev-list --count HEAD; \
    git cat-file --batch-all-objects --batch-check | grep -c commit; \
    cat /loki/guest >/dev/null 2>&1 || echo denied";

#[tokio::test(flavor = "multi_thread")]
async fn live_a_claim_of_what_stands_ready_on_docker() {
    claims(Engine::Docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_a_claim_of_what_stands_ready_on_podman() {
    claims(Engine::PodmanRootful).await;
}

async fn claims(engine: Engine) {
    let place = Place::on(engine).await;
    let rights = rights("");
    place.pool.foresee(vec![place.want(&rights, 9)]);
    place.settles(2).await;
    tokio::task::block_in_place(|| idle_ones_are_nobodys_and_rest(&place));
    let mut times = Vec::new();
    for number in 0..4 {
        place.settles(2).await;
        let (task, mut files) = (format!("task{number}"), FILES);
        if number >= 2 {
            files += 1;
            place.land_something();
        }
        let occupant = place.occupant(&rights, &task);
        let begun = Instant::now();
        let contents = Contents::Task(rights.files.visible());
        let (claimed, lease) = place.pool.claim(&occupant, &contents).await;
        let claimed = claimed.expect("two were ready");
        let uid = claimed.prepared.user().0.to_string();
        let sandbox = place.stand(claimed, &occupant, &task).await;
        let (said, first) = sh(&sandbox, SCRIPT).await;
        times.push(first - begun);
        let files = files.to_string();
        let wanted = [
            "begun",
            &uid,
            "eng-backend",
            &task,
            &files,
            "absent",
            "clean",
            "1",
            "1",
            "denied",
        ];
        assert_eq!(said.lines().collect::<Vec<_>>(), wanted, "{said}");
        sandbox.end().await.unwrap();
        drop(lease);
    }
    eprintln!(
        "claim to the first byte, {FILES} files, on {engine:?}: {times:?}; from the third on the base had moved"
    );
    killed_ones_are_refused_and_replaced(&place, &rights).await;
    place.pool.end().await;
    let left = tokio::task::block_in_place(|| place.world.leftovers());
    assert!(left.is_empty(), "{left:?}");
    let slots = fs::read_dir(place.repository.worktrees_dir().join("pooled")).unwrap();
    let names = slots
        .flatten()
        .map(|one| one.file_name().into_string().unwrap());
    let idle: Vec<String> = names.filter(|name| name.starts_with("idle")).collect();
    assert!(idle.is_empty(), "{idle:?}");
}

/// What the kernel counts of a process: nanoseconds on a processor, and how often it got one.
fn ran(pid: &str) -> (String, String) {
    let schedule = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    let mut numbers = schedule.split_whitespace().map(str::to_owned);
    let (time, _, times) = (numbers.next(), numbers.next(), numbers.next());
    (time.unwrap(), times.unwrap())
}

/// Looks at the idle containers from outside: no role, no program, no time, hardly any memory.
fn idle_ones_are_nobodys_and_rest(place: &Place) {
    let ids = place.world.leftovers();
    assert_eq!(ids.len(), 2, "{ids:?}");
    let ask = |id: &str, what: &str| place.ask(&["inspect", "--format", what, id]);
    let pids: Vec<String> = ids.iter().map(|id| ask(id, "{{.State.Pid}}")).collect();
    for (id, pid) in ids.iter().zip(&pids) {
        let labels = ask(id, "{{json .Config.Labels}}");
        assert!(labels.contains(r#""loki.role":"none""#), "{labels}");
        assert!(labels.contains(r#""loki.task":"idle""#), "{labels}");
        let whole = place.ask(&["inspect", id]);
        assert!(!whole.contains("eng-backend"), "{whole}");
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        assert!(!environment.contains("LOKI_"), "{environment}");
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        assert_eq!(
            children.unwrap(),
            "",
            "a program runs in a slot without a role"
        );
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().split_whitespace().next().unwrap().to_owned()
        };
        assert_eq!(field("Threads:"), "1");
        let kilobytes: u64 = field("VmRSS:").parse().unwrap();
        assert!(kilobytes < 2048, "{status}");
    }
    let slots = fs::read_dir(place.repository.worktrees_dir().join("pooled")).unwrap();
    for slot in slots.map(|slot| slot.unwrap().path()) {
        let home = fs::read_dir(slot.join("home")).unwrap().flatten();
        let files: Vec<_> = home.map(|one| one.file_name()).collect();
        assert_eq!(files, [".gitconfig"], "{}", slot.display());
        assert!(!slot.join("work/hidden").exists() && slot.join("work/src").exists());
    }
    let before: Vec<_> = pids.iter().map(|pid| ran(pid)).collect();
    std::thread::sleep(QUIET);
    let after: Vec<_> = pids.iter().map(|pid| ran(pid)).collect();
    assert_eq!(before, after, "an idle guest got a processor");
}

/// What somebody kills is given to nobody, or fails to be bound, and is replaced either way.
async fn killed_ones_are_refused_and_replaced(place: &Place, rights: &Rights) {
    place.settles(2).await;
    let (occupant, contents) = (
        place.occupant(rights, "killed"),
        Contents::Task(rights.files.visible()),
    );
    let (claimed, lease) = place.pool.claim(&occupant, &contents).await;
    let mut prepared = claimed.expect("two were ready").prepared;
    let slot = Slot::at(place.repository.worktrees_dir().join("pooled/killed-1"));
    prepared.move_to(&slot).unwrap();
    tokio::task::block_in_place(|| {
        for id in place.world.leftovers() {
            // One that was just being replaced may be gone.
            let program = place.engine.program();
            let killed = place.world.start(program, &["kill", &id]).wait(PATIENCE);
            drop(killed.in_any_case());
        }
    });
    let bound = place.launcher.bind(prepared, &occupant, Arc::new(|_| {}));
    let used = match bound.await {
        // It was bound before it was seen to be dead: then nothing runs in it.
        Ok(sandbox) => sandbox
            .exec(&["true".to_owned()], &[], &Grant::default())
            .await
            .is_ok(),
        Err(_) => false,
    };
    assert!(!used, "a program ran in a container that was killed");
    drop(lease);
    place.settles(2).await;
    // Rights whose container would be another one find nothing here.
    let other = self::rights("resources: { eng-backend: { memory: 1GiB } }");
    let (claimed, _lease) = place
        .pool
        .claim(&place.occupant(&other, "other"), &contents)
        .await;
    assert!(
        claimed.is_none(),
        "less memory was asked for than the slots have"
    );
    let (claimed, _lease) = place.pool.claim(&occupant, &contents).await;
    let prepared = claimed.expect("they were replaced").prepared;
    let dir = prepared.slot().path().to_owned();
    prepared.end().await.unwrap();
    fs::remove_dir_all(dir).unwrap();
}

/// Three tasks, one after the other. The agent of the first waits for a file that the test puts there,
/// and so does the check of what it did.
const SPEC: &str = "# Three files\n\nThree files, one after the other.\n\n## Tasks\n\n\
    1. `first` (eng-backend): Write the first file.\n   \
    - accept: `until [ -e src/go ]; do sleep 0.1; done; test -s src/first`\n\
    2. `second` (eng-backend): Write the second file.\n   - depends on: `first`\n\
    3. `third` (eng-perf): Write the third file.\n   - depends on: `second`\n";
const AGENT: &str = "#!/bin/sh\nmkdir -p src\nif [ $LOKI_TASK = first ]; then\n  \
    until [ -e src/go ]; do sleep 0.1; done; rm -f src/go\nfi\necho done > src/$LOKI_TASK\n";
const POOL: &str = "version: 1\nagent_pool: { pre_warm_roles: [eng-backend, check] }\n";

/// Returns what the one pool that runs here has published, nothing before there is one.
fn pool(world: &World) -> Value {
    let said = world.loki(&["pool", "status", "--json"]).exits(0).stdout;
    let status: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(status["schema"], 1);
    status["pools"][0].clone()
}

/// Returns whether something was published after a moment: it may be a second old.
fn is_after(pool: &Value, moment: jiff::Timestamp) -> bool {
    let at = pool["at"].as_str();
    at.is_some_and(|at| at.parse::<jiff::Timestamp>().unwrap() > moment)
}

/// Returns the slots of a pool that are for a role.
fn shelf<'a>(pool: &'a Value, role: &str) -> Option<&'a Value> {
    let mut kinds = pool["kinds"].as_array()?.iter();
    kinds.find(|kind| {
        let roles = kind["roles"].as_array().unwrap();
        roles.iter().any(|one| one == role)
    })
}

fn idle(pool: &Value, role: &str) -> u64 {
    shelf(pool, role).map_or(0, |kind| kind["idle"].as_u64().unwrap())
}

/// Kills the containers that stand ready, and none that somebody works in.
fn kill_what_stands_ready(world: &World, engine: Engine) {
    let filter = "label=loki.task=idle";
    let ids = world.start(engine.program(), &["ps", "-q", "--filter", filter]);
    let ids = ids.wait(PATIENCE).exits(0).stdout;
    // What the first task waited for while it was being made says that it is idle, too.
    let (all, occupied) = (world.leftovers(), world.occupied());
    let ours: Vec<&str> = ids
        .split_whitespace()
        .filter(|id| all.iter().any(|one| one.starts_with(id)))
        .filter(|id| !occupied.iter().any(|one| one.starts_with(id)))
        .collect();
    assert!(ours.len() >= 2, "{ids}");
    let killed = world.start(engine.program(), &[&["kill"], &ours[..]].concat());
    drop(killed.wait(PATIENCE).in_any_case());
}

fn the_second_began_warm(world: &World) {
    let starts = world.events_of("sandbox_started");
    let warm = |name: &str| {
        let of = starts.iter().find(|event| event["sandbox"] == name);
        of.unwrap_or_else(|| panic!("{name}: {starts:?}"))["start"]["warm"].clone()
    };
    assert_eq!(
        (warm("first-1"), warm("second-1")),
        (false.into(), true.into()),
        "{starts:?}"
    );
    assert!(
        starts
            .iter()
            .all(|event| event["start"]["elapsed_us"].as_u64() > Some(0))
    );
}

/// Puts the file into a room of the run that its agent or its check waits for.
fn let_go(world: &World, run: &mut Running, room: &str) {
    let src = || {
        let runs = fs::read_dir(world.path(".loki/worktrees")).unwrap();
        let mut all = runs
            .flatten()
            .map(|run| run.path().join(room).join("work/src"));
        all.find(|src| src.is_dir())
    };
    run.wait_until(PATIENCE, |_| src().is_some());
    fs::write(src().unwrap().join("go"), "").unwrap();
}

#[test]
fn live_a_run_begins_its_next_tasks_in_what_stands_ready_whatever_becomes_of_that() {
    let engine = Engine::Docker;
    let world = World::on(engine);
    world.write("spec.md", SPEC);
    world.write("agent.sh", AGENT);
    world.write("pool.yaml", POOL);
    world
        .start("chmod", &["+x", "agent.sh"])
        .wait(PATIENCE)
        .exits(0);
    world.commit();
    let quiet = world.loki(&["pool", "status"]).exits(0);
    quiet.says(&["no orchestrator runs here", "`loki start SPEC.md`"]);
    let mut run = world.spawn(&[&START[..], &["--policy", "pool.yaml"]].concat());
    let ready = |pool: &Value| {
        ["eng-backend", "eng-perf"].map(|role| idle(pool, role)) == [1, 1]
            && idle(pool, "check") > 0
    };
    run.wait_until(PATIENCE, |_| ready(&pool(&world)));
    kill_what_stands_ready(&world, engine);
    let killed = jiff::Timestamp::now();
    run.wait_until(PATIENCE, |_| {
        let pool = pool(&world);
        is_after(&pool, killed) && ready(&pool)
    });
    let full = pool(&world);
    let files =
        ["eng-backend", "eng-perf", "check"].map(|role| &shelf(&full, role).unwrap()["files"]);
    assert_eq!(files, ["task", "empty", "copy"], "{full}");
    world
        .loki(&["pool", "status"])
        .exits(0)
        .prints(&["KEY", "eng-backend", "idle of a kind"]);
    let_go(&world, &mut run, "first-1");
    // While it is checked what the agent did, its check's sandbox is the only one that is somebody's.
    run.wait_until(PATIENCE, |_| {
        let pool = pool(&world);
        let check = shelf(&pool, "check").map(|kind| &kind["claimed"]);
        pool["claimed"] == 1 && check.is_some_and(|claimed| *claimed == 1)
    });
    let_go(&world, &mut run, "first-checks");
    run.wait(PATIENCE)
        .exits(0)
        .says(&["done: branch `loki/", "warm in "]);
    the_second_began_warm(&world);
    assert_eq!(world.leftovers(), Vec::<String>::new());
    let left = world.loki(&["pool", "status", "--json"]).exits(0).stdout;
    assert!(
        left.contains("\"pools\":[]") || left.contains("\"pools\": []"),
        "{left}"
    );
}
