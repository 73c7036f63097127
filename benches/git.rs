//! What a worktree and the gate cost, beside plain git, `cp -a` and tar with the same files in the
//! same run. `LOKI_BENCH_FILES` says how many files the repository holds, `LOKI_BENCH_ROUNDS` how
//! often each side is measured, and `TMPDIR` where.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures time, starts other programs and prints what it found"
)]

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use loki::{
    git::{Caps, ObjectId, Repository, Slot, SlotSpec},
    name::{RunId, TaskId},
    policy::{Files, Glob, Globs, Origin},
    redact::Redactor,
};

/// Files in one directory.
const FOLDER: usize = 20;
/// Files that an agent changes.
const CHANGED: usize = 1000;
/// Worktrees that are made at once.
const AT_ONCE: usize = 8;

fn number(name: &str, otherwise: usize) -> usize {
    let said = env::var(name).ok();
    said.and_then(|said| said.parse().ok()).unwrap_or(otherwise)
}

fn path(at: usize) -> String {
    format!("src/{}/{}/{at}.rs", at / FOLDER / 40, at / FOLDER)
}

/// Between 500 and 5,000 bytes that pack about as source code does.
fn text(at: usize) -> String {
    let words = [
        "let ", "fn ", "match ", "self.", "return ", ");\n", "    ", "Result<",
    ];
    let mut dice = 0x9E37_79B9_7F4A_7C15_u64 ^ (at as u64 + 1);
    let mut next = move || {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        usize::try_from(dice >> 33).expect("31 bits fit")
    };
    let length = 500 + next() % 4500;
    let mut text = String::with_capacity(length + 16);
    while text.len() < length {
        if next() % 3 == 0 {
            write!(text, "{:x} ", next()).expect("a string takes it");
        } else {
            text.push_str(words[next() % words.len()]);
        }
    }
    text
}

fn git(dir: &Path, arguments: &[&str]) {
    let ended = Command::new("git")
        .current_dir(dir)
        .args(arguments)
        .status();
    assert!(ended.expect("git runs").success(), "git {arguments:?}");
}

/// Makes a repository of one pack, without a checkout.
fn grow(root: &Path, files: usize) {
    fs::create_dir(root).expect("the disk takes folders");
    git(root, &["init", "-q", "-b", "main"]);
    let mut import = Command::new("git");
    let import = import.current_dir(root).args(["fast-import", "--quiet"]);
    let mut child = import.stdin(Stdio::piped()).spawn().expect("git runs");
    let mut pipe = std::io::BufWriter::new(child.stdin.take().expect("it is piped"));
    let mut tell = |text: String| std::io::Write::write_all(&mut pipe, text.as_bytes());
    tell(
        "commit refs/heads/main\ncommitter U <u@localhost> 1700000000 +0000\ndata 5\nfirst\n"
            .into(),
    )
    .expect("git reads");
    for at in 0..files {
        let text = text(at);
        let head = format!("M 100644 inline {}\ndata {}\n", path(at), text.len());
        tell(head + &text + "\n").expect("git reads");
    }
    drop(pipe);
    assert!(child.wait().expect("git ends").success());
}

struct Place {
    repository: Repository,
    run: RunId,
    top: PathBuf,
}

impl Place {
    fn slot(&self, name: &str) -> Slot {
        let task: TaskId = name.parse().expect("it is a name");
        let spec = SlotSpec {
            run: &self.run,
            task: &task,
            base: self.repository.head(),
            read: None,
            owner: None,
        };
        let dir = self.top.join("slots").join(name);
        Slot::prepare(&self.repository, &dir, spec).expect("a slot is prepared")
    }

    fn outside(&self, name: &str) -> PathBuf {
        self.top.join("outside").join(name)
    }
}

/// What something took: time, and that of all processors together, which other work on the machine
/// changes least.
#[derive(Clone, Copy, Default)]
struct Took {
    wall: Duration,
    cpu: Duration,
}

fn timed<T>(work: impl FnOnce() -> T) -> (Took, T) {
    let (begun, used) = (Instant::now(), processors());
    let made = work();
    let (wall, cpu) = (begun.elapsed(), processors().saturating_sub(used));
    (Took { wall, cpu }, made)
}

/// The processor time of this process and of those that it has waited for, in steps of 10 ms.
fn processors() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("proc is there");
    let after = stat.rsplit(')').next().unwrap_or_default();
    let words = after.split_whitespace().skip(11).take(4);
    let ticks: u64 = words.filter_map(|word| word.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// The median of the times, and the mean of the processor times.
fn told(mut all: Vec<Took>) -> (f64, serde_json::Value) {
    all.sort_by_key(|took| took.wall);
    let cpu: Duration = all.iter().map(|took| took.cpu).sum();
    let count = f64::from(u32::try_from(all.len()).expect("few rounds"));
    let wall = all.get(all.len() / 2).copied().unwrap_or_default().wall;
    let wall = wall.as_secs_f64() * 1000.0;
    let cpu = cpu.as_secs_f64() * 1000.0 / count;
    (
        wall,
        serde_json::json!({ "ms": round(wall), "cpu_ms": round(cpu) }),
    )
}

fn shell(script: &str, from: &Path, to: &Path) {
    let ended = Command::new("sh")
        .args(["-euc", script])
        .arg(from)
        .arg(to)
        .status();
    assert!(ended.expect("sh runs").success(), "{script}");
}

/// One worktree: by Loki, by plain git, and copies of the same files.
fn worktrees(place: &Place, rounds: usize) -> serde_json::Value {
    let mut all: [Vec<Took>; 5] = Default::default();
    for round in 0..rounds {
        let fresh = Place {
            repository: Repository::open(place.repository.root()).expect("it opens"),
            run: place.run.clone(),
            top: place.top.clone(),
        };
        let (first, one) = timed(|| fresh.slot(&format!("first-{round}")));
        let (next, two) = timed(|| fresh.slot(&format!("next-{round}")));
        let (plain, copied, tarred) = (
            place.outside(&format!("plain-{round}")),
            place.outside(&format!("copied-{round}")),
            place.outside(&format!("tarred-{round}")),
        );
        let shown = plain.display().to_string();
        let add = ["worktree", "add", "--quiet", "--detach", &shown, "main"];
        let (git_took, ()) = timed(|| git(place.repository.root(), &add));
        let (cp, ()) = timed(|| shell("cp -a \"$0\" \"$1\"", one.work(), &copied));
        let script = "mkdir \"$1\"; tar -C \"$0\" -cf - . | tar -C \"$1\" -xf -";
        let (tar, ()) = timed(|| shell(script, one.work(), &tarred));
        for (list, took) in all.iter_mut().zip([first, next, git_took, cp, tar]) {
            list.push(took);
        }
        for slot in [one, two] {
            slot.remove(&place.repository).expect("it is removed");
        }
        git(
            place.repository.root(),
            &["worktree", "remove", "--force", &shown],
        );
        for gone in [&copied, &tarred] {
            fs::remove_dir_all(gone).expect("it is removed");
        }
    }
    let [first, next, plain, cp, tar] = all.map(told);
    serde_json::json!({
        "next_of_cp": round(next.0 / cp.0), "next_of_tar": round(next.0 / tar.0),
        "next_of_git": round(next.0 / plain.0),
        "loki_first": first.1, "loki_next": next.1,
        "git_worktree_add": plain.1, "cp_a": cp.1, "tar": tar.1,
    })
}

fn round(ratio: f64) -> f64 {
    (ratio * 100.0).round() / 100.0
}

/// Many worktrees, one after another and at once.
fn together(place: &Place) -> serde_json::Value {
    let names: Vec<String> = (0..AT_ONCE).map(|at| format!("many-{at}")).collect();
    let remove = |slots: Vec<Slot>| {
        let each = slots.iter();
        each.for_each(|slot| slot.remove(&place.repository).expect("it is removed"));
    };
    let one_by_one = || {
        names
            .iter()
            .map(|name| place.slot(name))
            .collect::<Vec<_>>()
    };
    let (serial, slots) = timed(one_by_one);
    remove(slots);
    let at_once = || {
        std::thread::scope(|scope| {
            let making: Vec<_> = names
                .iter()
                .map(|name| scope.spawn(|| place.slot(name)))
                .collect();
            let made = making.into_iter().map(|one| one.join().expect("no panic"));
            made.collect::<Vec<_>>()
        })
    };
    let (parallel, slots) = timed(at_once);
    remove(slots);
    serde_json::json!({
        "worktrees": AT_ONCE,
        "at_once_of_one_by_one": round(parallel.wall.as_secs_f64() / serial.wall.as_secs_f64()),
        "one_by_one": told(vec![serial]).1,
        "at_once": told(vec![parallel]).1,
    })
}

/// The gate over changed files, beside `git add` and `git commit` of the same.
fn gate(place: &Place, rounds: usize) -> serde_json::Value {
    let all = Globs(vec![Glob {
        text: "**".to_owned(),
        origin: Origin::default(),
        except: Vec::new(),
    }]);
    let rules = Files {
        read: all.clone(),
        write: all,
    };
    let (mut loki, mut idle, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let slot = place.slot(&format!("gate-{round}"));
        let judge = || -> Option<ObjectId> {
            let (caps, secrets) = (Caps::default(), Redactor::default());
            let handed = place.repository.hand_over(&slot, &rules, &caps, &secrets);
            handed.expect("it is judged").passed().cloned()
        };
        // Git looks twice at what changed in the second in which it was listed.
        std::thread::sleep(Duration::from_millis(1100));
        idle.push(timed(judge).0);
        let other = place.outside(&format!("gate-{round}"));
        let shown = other.display().to_string();
        git(
            place.repository.root(),
            &["worktree", "add", "--quiet", "--detach", &shown, "main"],
        );
        change(slot.work(), round);
        change(&other, round + rounds);
        let (took, tree) = timed(judge);
        assert!(tree.is_some(), "the work passes");
        loki.push(took);
        plain.push(timed(|| git(&other, &["add", "--all"])).0);
        git(
            place.repository.root(),
            &["worktree", "remove", "--force", &shown],
        );
        slot.remove(&place.repository).expect("it is removed");
    }
    let (loki, idle, plain) = (told(loki), told(idle), told(plain));
    serde_json::json!({
        "changed": CHANGED, "of_git_add": round(loki.0 / plain.0),
        "loki": loki.1, "loki_nothing_changed": idle.1, "git_add": plain.1,
    })
}

fn change(work: &Path, round: usize) {
    for at in 0..CHANGED {
        let text = format!("// {round}\n{}", text(at));
        fs::write(work.join(path(at)), text).expect("the disk takes files");
    }
}

fn main() {
    let (files, rounds) = (
        number("LOKI_BENCH_FILES", CHANGED),
        number("LOKI_BENCH_ROUNDS", 7),
    );
    let dir = tempfile::tempdir().expect("there is a place for files");
    let top = dir.path().to_owned();
    fs::create_dir(top.join("outside")).expect("the disk takes folders");
    grow(&top.join("repo"), files.max(CHANGED));
    let place = Place {
        repository: Repository::open(&top.join("repo")).expect("it opens"),
        run: "r1".parse().expect("it is a name"),
        top,
    };
    let mut result = serde_json::json!({
        "files": files.max(CHANGED),
        "rounds": rounds,
        "load": fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
        "worktree": worktrees(&place, rounds),
        "gate": gate(&place, rounds),
    });
    if files <= 10 * CHANGED {
        result["together"] = together(&place);
    }
    println!("{result:#}");
}
