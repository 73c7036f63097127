//! THREATS G11: files that the host would run, tokens and misleading text wait for a person, by
//! name and contents.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::Duration,
};

use loki::{
    git::{Caps, HandOver, Repository, Slot, SlotSpec, Terms},
    host_files::{self, Kind, Only},
    policy::{Files, Glob, Globs, Origin},
    redact::Redactor,
};

use super::harness::{Engine, START, World};

const SOON: Duration = Duration::from_secs(120);

/// Returns a path that a glob covers, which no other example has.
fn example(at: usize, glob: &str) -> String {
    let mut path = String::new();
    let mut rest = glob;
    loop {
        let mut letters = rest.chars();
        let Some(c) = letters.next() else { break };
        rest = letters.as_str();
        match c {
            '{' => {
                let (choice, after) = rest.split_once('}').expect("braces are closed");
                let first = choice.split(',').find(|one| !one.is_empty());
                path += &example(at, first.expect("a choice"));
                rest = after;
            }
            '*' => {
                rest = rest.strip_prefix('*').unwrap_or(rest);
                path += "x";
            }
            c => path.push(c),
        }
    }
    match glob.strip_prefix("**/") {
        Some(_) => format!("k{at}/{}", path.strip_prefix("x/").unwrap_or(&path)),
        None => path,
    }
}

/// Every kind with an example for each of its globs.
fn examples() -> BTreeMap<String, &'static Kind> {
    let mut all = BTreeMap::new();
    for (at, kind) in host_files::kinds().iter().enumerate() {
        for (glob, path) in kind.paths.iter().enumerate() {
            all.insert(example(at * 100 + glob, path), kind);
        }
    }
    all
}

/// Writes a file of a kind, as an agent would.
fn plant(root: &Path, path: &str, kind: &Kind, text: &str) {
    let file = root.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let text = match kind.keys.first() {
        Some(key) => format!("{{\"{key}\":\"{text}\"}}"),
        None => text.to_owned(),
    };
    fs::write(&file, text).unwrap();
    if kind.only == Some(Only::Executable) {
        fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    }
}

fn git(root: &Path, arguments: &[&str]) {
    let mut git = Command::new("git");
    git.env("GIT_CONFIG_GLOBAL", "/dev/null");
    let who = ["-c", "user.name=U", "-c", "user.email=u@localhost"];
    let done = git.args(who).args(arguments).current_dir(root).output();
    assert!(done.as_ref().unwrap().status.success(), "{done:?}");
}

fn slot(repository: &Repository, name: &str) -> Slot {
    let (run, task) = ("r1".parse().unwrap(), name.parse().unwrap());
    let spec = SlotSpec {
        run: &run,
        task: &task,
        base: repository.head(),
        read: None,
        owner: None,
    };
    let dir = repository.worktrees_dir().join("r1").join(name);
    Slot::prepare(repository, &dir, spec).unwrap()
}

/// Judges by a role that may write everything.
fn judge(repository: &Repository, slot: &Slot, approved: &BTreeSet<String>) -> HandOver {
    let all = Globs(vec![Glob {
        text: "**".to_owned(),
        origin: Origin::default(),
        except: Vec::new(),
    }]);
    let files = Files {
        read: all.clone(),
        write: all,
    };
    let terms = Terms {
        files: &files,
        caps: &Caps::default(),
        secrets: &Redactor::default(),
        granted: &BTreeSet::new(),
        approved,
    };
    repository.judge(slot, &terms).unwrap()
}

/// Holds all examples in a slot against what is told to wait, then approves all but one.
fn each_waits_until_it_is_approved(repository: &Repository, slot: &Slot) {
    let handed = judge(repository, slot, &BTreeSet::new());
    assert_eq!(handed.breaches, []);
    let told: BTreeSet<(String, String)> = handed
        .needs
        .iter()
        .map(|need| (need.path.clone(), need.kind.clone().unwrap_or_default()))
        .collect();
    for (path, kind) in examples() {
        let waits = told.contains(&(path.clone(), kind.name.clone()));
        assert!(waits, "`{path}` of kind `{}` would land unseen", kind.name);
    }
    let mut approved: BTreeSet<String> = handed
        .needs
        .iter()
        .map(|need| need.digest.clone())
        .collect();
    assert!(judge(repository, slot, &approved).passed().is_some());
    for (path, _) in examples() {
        let one = handed.needs.iter().find(|need| need.path == path).unwrap();
        approved.remove(&one.digest);
    }
    let again = judge(repository, slot, &approved);
    assert!(again.passed().is_none());
    let left: BTreeSet<&String> = again.needs.iter().map(|need| &need.path).collect();
    let all = examples();
    assert_eq!(
        left,
        all.keys().collect(),
        "only what is named was approved"
    );
}

#[test]
fn attack_g11_every_kind_that_is_added_or_altered_waits_for_a_named_approval() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repo");
    fs::create_dir(&root).unwrap();
    git(&root, &["init", "-q", "-b", "main"]);
    git(&root, &["commit", "-q", "--allow-empty", "-m", "first"]);
    let repository = Repository::open(&root).unwrap();
    let added = slot(&repository, "added");
    for (path, kind) in examples() {
        plant(added.work(), &path, kind, "one");
        plant(&root, &path, kind, "one");
    }
    assert!(examples().len() > 300, "{}", examples().len());
    each_waits_until_it_is_approved(&repository, &added);
    git(&root, &["add", "-A", "--force", "--", ".", ":!.loki"]);
    git(&root, &["commit", "-q", "-m", "all of them"]);
    let repository = Repository::open(&root).unwrap();
    let altered = slot(&repository, "altered");
    assert_eq!(judge(&repository, &altered, &BTreeSet::new()).needs, []);
    for (path, kind) in examples() {
        plant(altered.work(), &path, kind, "two");
    }
    each_waits_until_it_is_approved(&repository, &altered);
}

const SPEC: &str = "\
# Two tasks that make what the host runs

## Tasks

1. `first` (eng-backend): Write a Makefile.
2. `second` (eng-backend): Write settings, when told to.

## Tests

```sh
python3 -m unittest discover -s tests
```
";

const AGENT: &str = r#"#!/bin/sh
mkdir -p src
case $LOKI_TASK in
first) printf 'all:\n\t@echo \033[2J\n' > src/Makefile; echo one > src/a.txt ;;
second) until [ -e src/go ]; do sleep 0.1; done; rm -f src/go; echo 'export X=1' > src/.envrc ;;
esac
"#;

/// One whole way on an engine: the run goes on while a task waits, a person approves one and
/// rejects the other, and brings home what landed.
#[test]
fn attack_g11_live_nothing_lands_that_a_person_has_not_approved() {
    let world = World::on(Engine::Docker);
    world.write("spec.md", SPEC);
    world.write("agent.sh", AGENT);
    world
        .start("chmod", &["+x", "agent.sh"])
        .wait(SOON)
        .exits(0);
    world.commit();
    let mut run = world.spawn(&START);
    run.wait_until(SOON, |said| said.stderr.contains("first: waits for you"));
    assert_eq!(world.events_of("landing").len(), 0);
    let status = world.loki(&["status"]).exits(0);
    status.prints(&[
        "[?] first",
        "src/Makefile (makefile)",
        "loki approve first",
        "Waiting:     1",
    ]);
    let asked = world.loki(&["approve", "first"]).exits(1);
    let asked = asked.prints(&["+\t@echo \\u{1b}[2J"]);
    let asked = asked.says(&[
        "nothing was approved",
        "--yes",
        "src/Makefile (hidden-text)",
    ]);
    assert!(!asked.stdout.contains('\u{1b}') && !asked.stdout.contains("a.txt"));
    world
        .loki(&["approve", "first", "src/other"])
        .exits(2)
        .says(&["these do: src/Makefile"]);
    world
        .loki(&["reject", "second", "--reason", "x"])
        .exits(2)
        .says(&["it is claimed"]);
    world
        .loki(&["approve", "first", "src/Makefile", "--yes"])
        .exits(0)
        .says(&["lands it"]);
    run.wait_until(SOON, |said| said.stderr.contains("first: landed as"));
    let slots = world.path(".loki/worktrees");
    let name = fs::read_dir(&slots)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs::write(name.join("second-1/work/src/go"), "").unwrap();
    let ended = run.wait(SOON).exits(5);
    let name = name.file_name().unwrap().to_string_lossy().into_owned();
    let approve = format!("loki approve {name}/second");
    ended.says(&[
        "waiting for a person: task `second` waits",
        &approve,
        "`src/.envrc` (direnv)",
    ]);
    let branch = format!("loki/{name}");
    let landed = world.git(&["ls-tree", "-r", "--name-only", &branch, "src"]);
    assert_eq!(landed.trim(), "src/Makefile\nsrc/a.txt");
    the_other_is_rejected(&world, &name);
    what_landed_comes_home(&world, &name);
}

/// After the end of the run the journal takes the decision.
fn the_other_is_rejected(world: &World, run: &str) {
    let shown = world.loki(&["show", "second", "--json"]).exits(0);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["task"]["state"], "waiting");
    assert_eq!(shown["task"]["needs"][0]["kind"], "direnv");
    let waiting = format!("refs/loki/waiting/{run}/second/1");
    assert!(
        shown["refs"]
            .as_array()
            .unwrap()
            .contains(&waiting.clone().into())
    );
    world
        .loki(&["diff", "second"])
        .exits(0)
        .prints(&["+export X=1"]);
    let stale = "0".repeat(64);
    world
        .loki(&["approve", "second", "--digest", &stale])
        .exits(1)
        .says(&["may have changed"]);
    world
        .loki(&["drop", "second", "--yes"])
        .exits(1)
        .says(&["loki reject"]);
    world
        .loki(&["reject", "second", "--reason", "no direnv"])
        .exits(0)
        .says(&["loki resume"]);
    let refs = world.git(&["for-each-ref", "--format=%(refname)", "refs/loki"]);
    assert_eq!(refs.trim(), format!("refs/loki/quarantine/{run}/second/1"));
    let task = &world.status()["tasks"][1];
    assert_eq!(task["state"], "pending");
    assert!(task["last_error"].as_str().unwrap().contains("no direnv"));
    world
        .loki(&["approve", "second", "--yes"])
        .exits(2)
        .says(&["does not wait"]);
    world.loki(&["audit", "verify"]).exits(0);
}

fn what_landed_comes_home(world: &World, run: &str) {
    let diff = world.loki(&["diff"]).exits(0);
    diff.prints(&["b/src/Makefile", "b/src/a.txt"]);
    world
        .loki(&["apply", run.get(..12).unwrap(), "--to", "home"])
        .exits(0)
        .says(&["branch `home`"]);
    world.write("README.md", "not committed\n");
    world.loki(&["apply"]).exits(1).says(&["uncommitted"]);
    fs::remove_file(world.path("README.md")).unwrap();
    world
        .loki(&["apply"])
        .exits(0)
        .says(&["your checkout is at"]);
    assert!(world.path("src/Makefile").exists());
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    world
        .loki(&["drop", run])
        .exits(1)
        .says(&["nothing was deleted"]);
    world.loki(&["drop", run, "--yes"]).exits(0);
    let refs = world.git(&["for-each-ref", "--format=%(refname:short)"]);
    assert_eq!(refs.trim(), "home\nmain");
}

#[test]
fn the_gate_lists_what_it_looks_for() {
    let world = World::new();
    let said = world.loki(&["gate", "kinds", "--json"]).exits(0);
    let listed: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let kinds = listed["kinds"].as_array().unwrap();
    assert!(kinds.len() >= 40 && kinds.iter().all(|kind| kind["runs"].is_string()));
    world
        .loki(&["gate", "kinds"])
        .exits(0)
        .prints(&["makefile", "claude", "package-scripts"]);
    world
        .loki(&["gate", "patterns"])
        .exits(0)
        .prints(&["github-pat", "private-key"]);
}
