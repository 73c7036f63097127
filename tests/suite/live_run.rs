//! Whole runs as a person meets them, on real engines: the shipped example, the same with a test
//! taken away, and an own specification worked on by an own program.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use serde_json::Value;

use super::harness::{Engine, Run, START, Said, World, source::root};

const LIMIT: Duration = Duration::from_secs(180);
const SPEC: &str = "examples/simple-todo-app.md";
const MACRO: &str = "examples/simple-todo-app.macro";
const TASKS: [&str; 6] = ["store", "page", "api", "journey", "guide", "review"];

/// Everything of a person's that a run could touch.
#[derive(Debug, PartialEq)]
struct Mine {
    head: String,
    branch: String,
    staged: String,
    files: BTreeMap<String, (Vec<u8>, SystemTime)>,
    config: Vec<u8>,
}

impl Mine {
    fn of(world: &World) -> Self {
        let mut files = BTreeMap::new();
        collect(&world.path(""), &mut files);
        Self {
            head: world.git(&["rev-parse", "HEAD"]),
            branch: world.git(&["symbolic-ref", "HEAD"]),
            staged: world.git(&["ls-files", "--stage"]),
            files,
            config: fs::read(world.path(".git/config")).unwrap(),
        }
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<String, (Vec<u8>, SystemTime)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with(".git") || path.ends_with(".loki") {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else {
            let time = path.metadata().unwrap().modified().unwrap();
            files.insert(path.display().to_string(), (fs::read(&path).unwrap(), time));
        }
    }
}

/// A repository of someone who has work of their own in it.
fn lived_in(engine: Engine) -> World {
    let world = World::on(engine);
    world.write("README.md", "# Mine\n");
    world.write("notes/today.txt", "buy milk\n");
    world.commit();
    world
}

fn example(path: &str) -> String {
    root().join(path).to_string_lossy().into_owned()
}

/// Asserts that nothing is left but the branch and `.loki`.
#[track_caller]
fn nothing_left(world: &World) {
    assert_eq!(
        world.leftovers(),
        Vec::<String>::new(),
        "containers are left"
    );
    assert_eq!(
        world.git(&["status", "--porcelain", "--untracked-files=all"]),
        ""
    );
    assert_eq!(
        world
            .git(&["worktree", "list", "--porcelain"])
            .matches("worktree ")
            .count(),
        1
    );
    let slots = fs::read_dir(world.path(".loki/worktrees"));
    let slots: Vec<_> = slots
        .map(|all| all.map(|one| one.unwrap().path()).collect())
        .unwrap_or_default();
    assert!(
        slots
            .iter()
            .all(|run: &std::path::PathBuf| fs::read_dir(run).unwrap().next().is_none()),
        "{slots:?}"
    );
}

#[test]
fn live_the_shipped_example_ends_as_tested_merged_code_on_docker() {
    shipped_example(Engine::Docker);
}

#[test]
fn live_the_shipped_example_ends_as_tested_merged_code_on_podman() {
    shipped_example(Engine::PodmanRootful);
}

fn shipped_example(engine: Engine) {
    let world = lived_in(engine);
    let before = Mine::of(&world);
    let run = world.loki(&["start", &example(SPEC), "--sandbox"]).exits(0);
    run.says(&[
        "NOTE: this is a shipped example",
        "its recorded macro is replayed",
        "done: branch `loki/",
    ]);
    assert_eq!(
        Mine::of(&world),
        before,
        "something of the person's was changed"
    );
    nothing_left(&world);
    let branches = world.git(&["for-each-ref", "--format=%(refname:short)"]);
    assert_eq!(branches, format!("{}\nmain\n", world.run_branch()));
    the_app_works(&world);
    the_story_is_complete(&world.events());
    every_commit_says_who(&world);
    the_run_is_told_the_same_everywhere(&world);
}

/// Takes the branch out with real git and runs its tests on this machine.
#[track_caller]
fn the_app_works(world: &World) {
    let script = format!(
        "git clone --quiet --branch {} . ../tmp/app && cd ../tmp/app && python3 -m unittest discover -s tests",
        world.run_branch()
    );
    let said = world.start("sh", &["-euc", &script]).wait(LIMIT).exits(0);
    said.says(&["Ran 22 tests", "OK"]);
    for file in [
        "README.md",
        "notes/today.txt",
        "web/index.html",
        "src/todo/server.py",
        "docs/guide.md",
    ] {
        assert!(
            world.path("../tmp/app").join(file).is_file(),
            "`{file}` is not on the branch"
        );
    }
}

/// The example shows what Loki is for: a retry, a denial, a review, two at once.
#[track_caller]
fn the_story_is_complete(events: &[Value]) {
    let of = |kind: &str| -> Vec<&Value> {
        events
            .iter()
            .map(|record| &record["event"])
            .filter(|event| event["type"] == kind)
            .collect()
    };
    assert!(
        of("task_failed")
            .iter()
            .any(|e| e["retry"] == true && e["reason"].as_str().unwrap().contains("test_api"))
    );
    let denied: Vec<_> = of("egress")
        .into_iter()
        .filter(|e| e["allowed"] == false)
        .collect();
    assert!(
        denied
            .iter()
            .any(|e| e["host"] == "telemetry.example" && e["reason"].is_string()),
        "{denied:?}"
    );
    assert!(
        of("reviewed")
            .iter()
            .any(|e| e["passed"] == true && e["role"] == "review-code")
    );
    assert!(overlapped(events), "no two tasks were worked on at once");
    let isolation = &of("sandbox_started")[0]["isolation"];
    for held in [
        "no_capabilities",
        "no_new_privs",
        "seccomp",
        "cgroup_limits",
        "no_network",
    ] {
        assert_eq!(isolation[held], true, "{isolation}");
    }
    assert_ne!(isolation["uid"], 0, "{isolation}");
    assert_eq!(of("run_ended")[0]["outcome"], "done");
}

/// Whether sandboxes of two tasks stood at the same time.
fn overlapped(events: &[Value]) -> bool {
    let mut standing: BTreeMap<&str, &str> = BTreeMap::new();
    for event in events.iter().map(|record| &record["event"]) {
        let sandbox = event["sandbox"].as_str().unwrap_or_default();
        match event["type"].as_str().unwrap() {
            "sandbox_started" => {
                standing.insert(sandbox, event["task"].as_str().unwrap_or_default());
            }
            "sandbox_ended" => {
                standing.remove(sandbox);
            }
            _ => {}
        }
        let mut tasks: Vec<&&str> = standing.values().collect();
        tasks.sort_unstable();
        tasks.dedup();
        if tasks.len() > 1 {
            return true;
        }
    }
    false
}

#[track_caller]
fn every_commit_says_who(world: &World) {
    let (branch, records) = (world.run_branch(), world.events().len());
    let list = world.git(&["rev-list", &branch, "^main"]);
    assert!(list.lines().count() >= 5, "{list}");
    for commit in list.lines() {
        let body = world.git(&["log", "-1", "--format=%(trailers)", commit]);
        let value = |key: &str| {
            let line = body
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            line.unwrap_or_else(|| panic!("commit {commit} has no trailer {key}\n{body}"))
                .to_owned()
        };
        assert_eq!(format!("loki/{}", value("Loki-Run")), branch);
        assert!(TASKS.contains(&value("Loki-Task").as_str()), "{body}");
        assert!(value("Loki-Role").contains('-'), "{body}");
        assert_eq!(value("Loki-Policy").len(), 64, "{body}");
        assert!(
            (1..=records).contains(&value("Loki-Journal").parse().unwrap()),
            "{body}"
        );
    }
}

#[track_caller]
fn the_run_is_told_the_same_everywhere(world: &World) {
    let status = world.status();
    assert_eq!(status["schema"], 1);
    assert_eq!(status["phase"], "ended");
    assert_eq!(status["outcome"], "done");
    assert_eq!(status["counts"]["completed"], TASKS.len());
    assert_eq!(status["counts"]["retries"], 1);
    assert_eq!(status["faults"], Value::Array(Vec::new()));
    assert_eq!(status["branch"], world.run_branch().as_str());
    let shown = world
        .loki(&["status"])
        .exits(0)
        .prints(&TASKS)
        .says_nothing();
    let file = fs::read_to_string(world.path(".loki/STATUS.txt")).unwrap();
    assert_eq!(
        file.trim(),
        shown.stdout.trim(),
        "STATUS.txt says something else than `loki status`"
    );
    let mut queues = 0;
    for entry in fs::read_dir(world.path(".loki/queue")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        serde_json::from_str::<Value>(&text)
            .unwrap_or_else(|e| panic!("`{}`: {e}\n{text}", path.display()));
        queues += 1;
    }
    assert!(queues >= 5, "{queues} queue files");
    let completed = fs::read_to_string(world.path(".loki/queue/completed.json")).unwrap();
    for task in TASKS {
        assert!(
            completed.contains(&format!("\"{task}\"")),
            "{task} is missing\n{completed}"
        );
    }
    let records = world.events().len();
    world
        .loki(&["audit", "verify"])
        .exits(0)
        .prints(&[&format!("{records} records, chain intact")]);
    world.loki(&["logs", "api"]).exits(0).prints(&["test_api"]);
}

/// Runs the example with its macro changed by `edit`, which gets a script's name and text.
fn replayed(edit: impl Fn(&str, String) -> String) -> (World, Run) {
    let world = lived_in(Engine::Docker);
    for entry in fs::read_dir(root().join(MACRO)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        world.write(
            &format!("../macro/{name}"),
            edit(&name, fs::read_to_string(&path).unwrap()),
        );
    }
    let given = world.path("../macro").to_string_lossy().into_owned();
    let run = world.loki(&[
        "start",
        &example(SPEC),
        "--provider",
        "replay",
        "--macro",
        &given,
    ]);
    (world, run)
}

/// Replaces a text that must be there in one script.
fn change(
    script: &'static str,
    from: &'static str,
    to: &'static str,
) -> impl Fn(&str, String) -> String {
    move |name, text| {
        if name != script {
            return text;
        }
        assert!(text.contains(from), "`{script}` no longer holds {from:?}");
        text.replace(from, to)
    }
}

#[track_caller]
fn red((world, run): (World, Run), check: &str) -> Said {
    let said = run.exits(1).says(&["failed: ", check, "loki logs"]);
    assert_eq!(world.events_of("run_ended")[0]["outcome"], "failed");
    nothing_left(&world);
    said
}

#[test]
fn live_an_unchanged_macro_of_ones_own_is_green() {
    let (world, run) = replayed(|_, text| text);
    let said = run.exits(0);
    assert!(
        !said.stderr.contains("NOTE: this is a shipped example"),
        "{said}"
    );
    nothing_left(&world);
}

#[test]
fn live_a_test_method_that_went_missing_turns_the_run_red() {
    let gone = "def test_a_foreign_file_is_left_alone";
    let run = replayed(change(
        "store-1.sh",
        gone,
        "def a_foreign_file_is_left_alone",
    ));
    red(run, "StoreTest.test_a_foreign_file_is_left_alone");
}

#[test]
fn live_a_test_file_that_went_missing_turns_the_run_red() {
    let run = replayed(change(
        "store-1.sh",
        "cat > tests/test_store.py",
        "cat > src/unused.py",
    ));
    red(
        run,
        "check `python3 -m unittest -v tests.test_store` failed",
    );
}

#[test]
fn live_a_test_that_was_broken_turns_the_run_red() {
    let run = replayed(change(
        "store-1.sh",
        "self.store.clear_done(), 1)",
        "self.store.clear_done(), 2)",
    ));
    red(
        run,
        "check `python3 -m unittest -v tests.test_store` failed",
    );
}

#[test]
fn live_an_own_program_works_on_an_own_specification_on_every_engine() {
    for engine in Engine::ALL {
        let world = lived_in(engine);
        for file in ["agent.sh", "spec.md"] {
            let text = fs::read(root().join("examples/hello-command").join(file)).unwrap();
            world.write(file, text);
        }
        world
            .start("chmod", &["+x", "agent.sh"])
            .wait(LIMIT)
            .exits(0);
        world.commit();
        let before = Mine::of(&world);
        let said = world.loki(&START).exits(0);
        assert!(said.stderr.contains("danish: landed as"), "{said}");
        assert_eq!(Mine::of(&world), before);
        let branch = world.run_branch();
        let danish = world.git(&["show", &format!("{branch}:src/danish.py")]);
        assert!(danish.contains("Hej"), "{danish}");
        assert!(
            world
                .events_of("checked")
                .iter()
                .all(|check| check["passed"] == true)
        );
        nothing_left(&world);
    }
}
