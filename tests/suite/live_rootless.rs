//! Podman as an ordinary user: no root, no daemon, no help. On hosts whose cgroups such a user
//! cannot use, Loki refuses until the user's own policy accepts it, and then says what is not held.
//!
//! Run by root, the tests use the user that `scripts/engines.sh user` makes; run by anybody else,
//! that person's own Podman.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use super::harness::{Run, Running, as_backend, source::root};

const LIMIT: Duration = Duration::from_secs(600);
const USER: &str = "loki-test";
const ACCEPTS: &str = "version: 1\nminimum_isolation: { default: { cgroup: none } }\n";

/// An ordinary user of this machine.
#[derive(Debug, Clone)]
struct Account {
    uid: u32,
    gid: u32,
    home: PathBuf,
}

impl Account {
    /// Returns the user whose Podman is used, made and furnished once for all tests.
    fn get() -> &'static Self {
        static ACCOUNT: OnceLock<Account> = OnceLock::new();
        ACCOUNT.get_or_init(|| {
            let account = Self::find();
            account.take_images();
            account
        })
    }

    fn find() -> Self {
        if !is_root() {
            let home = std::env::var_os("HOME").expect("HOME is set");
            let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
            return Self {
                uid: uid.as_raw(),
                gid: gid.as_raw(),
                home: home.into(),
            };
        }
        let made = Command::new(root().join("scripts/engines.sh"))
            .args(["user", USER])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "scripts/engines.sh user: {said}");
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let line = passwd
            .lines()
            .find(|line| line.starts_with(&format!("{USER}:")));
        let fields: Vec<&str> = line.expect("the user was made").split(':').collect();
        Self {
            uid: fields[2].parse().unwrap(),
            gid: fields[3].parse().unwrap(),
            home: fields[5].into(),
        }
    }

    /// Gives the user the images that the other tests built, which saves building them again.
    fn take_images(&self) {
        let cache = self.home.join(".cache/loki");
        let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache/loki");
        if !is_root() {
            return;
        }
        for folder in [self.home.join(".cache"), cache.clone()] {
            fs::create_dir_all(&folder).unwrap();
            chown(&folder, Some(self.uid), Some(self.gid)).unwrap();
        }
        for entry in fs::read_dir(built).into_iter().flatten().flatten() {
            let to = cache.join(entry.file_name());
            if entry.path().extension().is_some_and(|kind| kind == "tar") && !to.exists() {
                let part = to.with_extension(format!("part-{}", std::process::id()));
                fs::copy(entry.path(), &part).unwrap();
                chown(&part, Some(self.uid), Some(self.gid)).unwrap();
                fs::rename(part, to).unwrap();
            }
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A repository and settings of that user, removed with everything in it.
struct Desk {
    account: &'static Account,
    folder: tempfile::TempDir,
}

impl Desk {
    /// Makes a desk whose user's own policy is this text, none if empty.
    fn with_policy(text: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("loki-rootless-")
            .tempdir()
            .unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let desk = Self {
            account: Account::get(),
            folder,
        };
        // The build directory may be closed to the user.
        fs::copy(env!("CARGO_BIN_EXE_loki"), desk.path("loki")).unwrap();
        for folder in ["repo/src", "config/loki/policies", "tmp", "said"] {
            fs::create_dir_all(desk.path(folder)).unwrap();
        }
        if !text.is_empty() {
            fs::write(desk.path("config/loki/policies/own.yaml"), text).unwrap();
        }
        fs::write(desk.path("repo/src/words.txt"), "words\n").unwrap();
        desk.give(desk.folder.path());
        desk.shell("git init -q -b main && git add -A && git commit -q -m first");
        desk
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    /// Hands a tree to the user.
    fn give(&self, path: &Path) {
        chown(path, Some(self.account.uid), Some(self.account.gid)).unwrap();
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                self.give(&entry.unwrap().path());
            }
        }
    }

    /// Starts a program as the user, in the repository, with nothing of root's environment.
    fn start(&self, program: &Path, args: &[&str]) -> Running {
        let mut command = if is_root() {
            let (uid, gid) = (self.account.uid, self.account.gid);
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={uid}"));
            command.arg(format!("--regid={gid}"));
            command
                .args(["--init-groups", "--inh-caps=-all"])
                .arg(program);
            command
        } else {
            Command::new(program)
        };
        command
            .args(args)
            .current_dir(self.path("repo"))
            .env_clear()
            .envs([
                ("PATH", "/usr/local/bin:/usr/bin:/bin"),
                ("LC_ALL", "C.UTF-8"),
                ("LOKI_ENGINE", "podman"),
                ("GIT_AUTHOR_NAME", "A Person"),
                ("GIT_AUTHOR_EMAIL", "person@example.test"),
                ("GIT_COMMITTER_NAME", "A Person"),
                ("GIT_COMMITTER_EMAIL", "person@example.test"),
            ])
            .env("HOME", &self.account.home)
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("TMPDIR", self.path("tmp"));
        let hide = self.folder.path().to_string_lossy();
        Running::start(command, &self.path("said"), &hide)
    }

    fn spawn(&self, args: &[&str]) -> Running {
        self.start(&self.path("loki"), args)
    }

    fn loki(&self, args: &[&str]) -> Run {
        self.spawn(args).wait(LIMIT).never_panicked()
    }

    fn shell(&self, script: &str) -> String {
        let run = self.start(Path::new("/bin/sh"), &["-c", script]);
        run.wait(LIMIT).exits(0).stdout
    }

    fn inside(&self, script: &str) -> Run {
        self.loki(&as_backend(&["sh", "-c", script]))
    }

    /// Asserts that nothing is left of this desk: no container, no directory of a sandbox, no file
    /// that is not the user's.
    #[track_caller]
    fn nothing_left(&self) {
        let all =
            self.shell("podman ps --all --quiet --no-trunc --filter label=loki.run 2>/dev/null");
        for id in all.split_whitespace() {
            // Another test's may be gone by now.
            let look = format!("podman inspect {id} 2>/dev/null || true");
            assert!(
                !self.shell(&look).contains("$TEST"),
                "container {id} is left"
            );
        }
        let held = self.shell("find .loki/worktrees .loki/adhoc -mindepth 2 2>/dev/null || true");
        assert_eq!(held, "", "directories of sandboxes are left");
        let strangers = self.shell(&format!("find . ! -uid {} -print", self.account.uid));
        assert_eq!(strangers, "", "files that are not the user's");
    }
}

/// Returns whether this host has limits for an ordinary user; the tests below are about the case
/// that it has none, and say so elsewhere.
fn limits(desk: &Desk) -> bool {
    let said = desk.loki(&["doctor", "--json"]).in_any_case();
    let found: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}\n{said}"));
    assert!(said.stdout.contains("(rootless, API"), "{said}");
    found["isolation"]["cgroup_limits"] == true
}

#[test]
fn live_rootless_without_limits_is_refused_until_a_policy_accepts_it() {
    let desk = Desk::with_policy("");
    if limits(&desk) {
        desk.inside("true").exits(0).says_nothing();
        return;
    }
    let words = [
        "memory and process limits are not enforced",
        "`minimum_isolation: { default: { cgroup: none } }`",
    ];
    fs::copy(
        root().join("examples/simple-todo-app.md"),
        desk.path("repo/spec.md"),
    )
    .unwrap();
    desk.give(&desk.path("repo/spec.md"));
    drop(desk.loki(&["start", "spec.md"]).exits(4).says(&words));
    drop(desk.inside("true").exits(125).says(&words));
    drop(desk.loki(&["doctor"]).exits(4).prints(&words));
    assert!(!desk.path("repo/.loki/journal").exists(), "a run began");
    desk.nothing_left();

    // A policy that comes with the command widens as little as one that comes with the code.
    fs::write(desk.path("repo/given.yaml"), ACCEPTS).unwrap();
    let given = ["start", "spec.md", "--policy", "given.yaml"];
    drop(desk.loki(&given).in_any_case());
    assert!(!desk.path("repo/.loki/journal").exists(), "a run began");
}

#[test]
fn live_rootless_a_program_is_confined_like_anywhere_else() {
    let desk = Desk::with_policy(ACCEPTS);
    let probe = "id -u; cat /proc/self/status; cat /proc/net/dev; stat -c 'file %u' src/words.txt; \
                 echo new > src/new.py && stat -c 'new %u' src/new.py; \
                 touch /etc/x; touch /work/outside; cat /etc/shadow; echo end";
    let said = desk.inside(probe).exits(0);
    let uid = desk.account.uid;
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert_eq!(lines[0], uid.to_string(), "{said}");
    for line in [
        "CapInh:\t0000000000000000".to_owned(),
        "CapPrm:\t0000000000000000".to_owned(),
        "CapEff:\t0000000000000000".to_owned(),
        "CapBnd:\t0000000000000000".to_owned(),
        "CapAmb:\t0000000000000000".to_owned(),
        "NoNewPrivs:\t1".to_owned(),
        "Seccomp:\t2".to_owned(),
        format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}"),
        format!("file {uid}"),
        format!("new {uid}"),
        "end".to_owned(),
    ] {
        assert!(lines.contains(&line.as_str()), "no {line:?}\n{said}");
    }
    let devices: Vec<&str> = lines
        .iter()
        .filter_map(|line| Some(line.trim().split_once(": ")?.0))
        .collect();
    assert_eq!(devices, ["lo"], "{said}");
    let said = said.says(&["/etc/x", "/work/outside", "/etc/shadow"]);
    let refused = said
        .stderr
        .lines()
        .filter(|line| line.contains("Permission denied") || line.contains("Read-only"));
    assert_eq!(refused.count(), 3, "{said}");
    assert!(
        !desk.path("repo/src/new.py").exists(),
        "the copy is thrown away"
    );
    desk.nothing_left();
}

/// Forks until it cannot, and says how far it came.
const BOMB: &str = "python3 -c '
import os, signal, time
made = []
try:
    while len(made) < 5000:
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        made.append(child)
except OSError as fault:
    print(\"stopped\", fault.errno)
print(\"made\", len(made), flush=True)
for child in made:
    os.kill(child, signal.SIGKILL)
'";

#[test]
fn live_rootless_processes_are_held_and_the_record_says_what_is_not() {
    let desk = Desk::with_policy(&format!(
        "{ACCEPTS}resources: {{ default: {{ pids: 64 }} }}\n"
    ));
    let said = desk.inside(BOMB).exits(0);
    let made: u32 = said
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("made ")?.parse().ok())
        .unwrap_or_else(|| panic!("{said}"));
    assert!((10..64).contains(&made), "{said}");
    let said = said.prints(&["stopped 11"]);
    if limits(&desk) {
        return;
    }
    drop(said.says(&["memory and processors are not held"]));
    let said = desk.loki(&["doctor", "--json"]).exits(0);
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    let found = &found["isolation"];
    assert_eq!(found["rootless"], true);
    assert_eq!(found["cgroup_limits"], false);
    assert_eq!(found["held"]["by"], "rlimit");
    assert_eq!(found["held"]["processes"], 64);
    assert_eq!(found["held"]["memory"], Value::Null);
}

#[test]
fn live_rootless_the_shipped_example_ends_as_tested_merged_code() {
    let desk = Desk::with_policy(ACCEPTS);
    fs::copy(
        root().join("examples/simple-todo-app.md"),
        desk.path("spec.md"),
    )
    .unwrap();
    desk.give(&desk.path("spec.md"));
    let said = desk.loki(&["start", "../spec.md"]).exits(0);
    drop(said.says(&["done: branch `loki/"]));
    let said = desk.loki(&["status", "--json"]).exits(0);
    let status: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(status["outcome"], "done", "{said}");
    let events = desk.loki(&["events", "--json"]).exits(0).stdout;
    let started: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].clone())
        .filter(|event| event["type"] == "sandbox_started")
        .collect();
    assert!(started.len() >= 6, "{events}");
    for event in started {
        let found = &event["isolation"];
        assert_eq!(found["uid"], desk.account.uid, "{event}");
        assert_eq!(found["rootless"], true, "{event}");
        assert!(
            found["engine"].as_str().unwrap().starts_with("podman "),
            "{event}"
        );
        assert!(event["image"].as_str().unwrap().starts_with("sha256:"));
    }
    drop(desk.loki(&["audit", "verify"]).exits(0));
    let owner = fs::metadata(desk.path("repo/.loki/journal")).unwrap().uid();
    assert_eq!(owner, desk.account.uid);
    desk.nothing_left();
}

#[test]
fn live_rootless_what_a_killed_run_left_is_removed_by_the_next() {
    let desk = Desk::with_policy(ACCEPTS);
    let args = as_backend(&["sh", "-c", "echo up; exec sleep 300"]);
    let mut running = desk.spawn(&args);
    running.wait_until(LIMIT, |said| said.stdout == "up\n");
    running.signal(Signal::KILL);
    drop(running.wait(LIMIT).exits(137));
    let left = desk.loki(&["sandbox", "ls", "--json"]).exits(0).stdout;
    assert!(left.contains("adhoc"), "nothing was left to remove: {left}");
    drop(
        desk.loki(&["sandbox", "rm", "--all"])
            .exits(0)
            .says(&["removed "]),
    );
    drop(desk.inside("true").exits(0));
    desk.nothing_left();
}

const SECRET: &str = "rootless-canary-4c1d90aa2b";

#[test]
fn live_rootless_secrets_are_delivered_as_a_file_and_a_variable_and_show_nowhere() {
    let desk = Desk::with_policy(&format!(
        "{ACCEPTS}secrets:\n  eng-backend:\n    - {{ name: FILE_KEY, deliver: file }}\n    - {{ name: ENV_KEY, deliver: env }}\n"
    ));
    desk.shell(&format!(
        "../loki secrets init; for name in FILE_KEY ENV_KEY; do printf %s-$name {SECRET} | ../loki secrets set $name; done"
    ));
    let script = "stat -c '%a %s' /run/secrets/FILE_KEY; stat -f -c %T /run/secrets
        sha256sum < /run/secrets/FILE_KEY; printf %s \"$ENV_KEY\" | sha256sum
        echo x 2>/dev/null > /run/secrets/FILE_KEY || echo held; cat /run/secrets/FILE_KEY; echo; echo ready; exec sleep 600";
    let mut running = desk.spawn(&as_backend(&["sh", "-c", script]));
    running.wait_until(LIMIT, |said| said.stdout.contains("ready"));
    // Another test's may be gone by now.
    let known = desk.shell(
        "for id in $(podman ps --quiet --filter label=loki.run); do podman inspect $id 2>/dev/null || true; done",
    );
    assert!(
        known.contains("/run/secrets") && !known.contains(SECRET),
        "{known}"
    );
    let said = running.so_far();
    running.signal(Signal::TERM);
    drop(running.wait(LIMIT).exits(143));
    let sum = |name: &str| loki::digest::Digest::of(format!("{SECRET}-{name}").as_bytes());
    let expected = format!(
        "400 {}\ntmpfs\n{}  -\n{}  -\nheld\n[secret:FILE_KEY]\nready\n",
        SECRET.len() + "-FILE_KEY".len(),
        sum("FILE_KEY"),
        sum("ENV_KEY")
    );
    assert_eq!(said.stdout, expected, "{said}");
    desk.nothing_left();
}
