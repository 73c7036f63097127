//! THREATS G and S, as far as they are about files and text: what of the host's files an agent
//! sees, what the host opens of an agent's, and what an agent's text does to a terminal and to the
//! journal.

use std::{
    fs,
    mem::MaybeUninit,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt as _, symlink},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use loki::{
    git::{Caps, Checkout, Repository, Signature, Slot, SlotSpec, remove_tree},
    name::{RunId, TaskId},
    policy::{Files, Glob, Globs, Origin},
};
use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
    process::Signal,
};
use serde_json::Value;

use super::harness::{START, Said, World, on_each, opened_with};

const LIMIT: Duration = Duration::from_secs(300);
const CANARY: &str = "canary-5f1d83c07be94a22";
const LOKI: &str = env!("CARGO_BIN_EXE_loki");
const ROLE: [&str; 4] = ["sandbox", "run", "--role", "eng-backend"];
/// Prints every file below a place that holds the canary, and every git object of a repository
/// that does.
const FIND: &str = include_str!("harness/probes/find_canary.py");

fn everything() -> Globs {
    Globs(vec![Glob::parse("**", Origin::default()).unwrap()])
}

fn project(world: &World) {
    world.write("src/app.py", "print('app')\n");
    world.write("src/frontend/page.html", "<p>page</p>\n");
    world.write("README.md", "# App\n");
}

/// Says which of these files were opened since it was made.
struct Watch(OwnedFd);

impl Watch {
    fn of(paths: &[&Path]) -> Self {
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        for path in paths {
            inotify::add_watch(&watch, *path, WatchFlags::OPEN | WatchFlags::ACCESS).unwrap();
        }
        Self(watch)
    }

    /// Returns how often they were opened or read.
    fn opened(&self) -> usize {
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut space);
        let mut count = 0;
        loop {
            match reader.next() {
                Ok(event) => count += usize::from(event.events() != ReadFlags::IGNORED),
                Err(Errno::AGAIN) => return count,
                Err(errno) => panic!("{errno}"),
            }
        }
    }
}

/// A slot of an attempt, as the host makes it, without a sandbox on it.
struct Attempt {
    repository: Repository,
    slot: Slot,
    run: RunId,
    task: TaskId,
}

fn attempt(world: &World) -> Attempt {
    let repository = Repository::open(&world.path("")).unwrap();
    let (run, task): (RunId, TaskId) = ("r1".parse().unwrap(), "t1".parse().unwrap());
    let spec = SlotSpec {
        run: &run,
        task: &task,
        base: repository.head(),
        read: None,
        owner: None,
    };
    let dir = repository.worktrees_dir().join("r1").join("t1");
    let slot = Slot::prepare(&repository, &dir, spec).unwrap();
    Attempt {
        repository,
        slot,
        run,
        task,
    }
}

impl Attempt {
    /// Does all that the host does with a slot's files; returns whether the work passed.
    fn served(&self, keep: &Path) -> bool {
        let rules = Files {
            read: everything(),
            write: everything(),
        };
        let handed = self
            .repository
            .hand_over(
                &self.slot,
                &rules,
                &Caps::default(),
                &loki::redact::Redactor::default(),
            )
            .unwrap();
        let role = "eng-backend".parse().unwrap();
        let signature = Signature {
            run: &self.run,
            task: Some(&self.task),
            mates: &[],
            role: &role,
            policy: "p0",
            journal: 1,
            time: 1_700_000_000,
        };
        self.repository
            .quarantine(&self.slot, 1, &handed, &signature)
            .unwrap();
        self.slot.keep(keep, 1 << 20).unwrap();
        handed.passed().is_some()
    }
}

#[test]
fn attack_g07_the_target_of_a_link_is_never_opened_on_the_host() {
    let world = World::new();
    project(&world);
    let outside = world.path("../outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), CANARY).unwrap();
    // Links that come with the repository, and those that an agent makes.
    symlink(outside.join("secret"), world.path("src/committed")).unwrap();
    symlink("../../outside", world.path("src/folder")).unwrap();
    world.commit();
    let secret = outside.join("secret");
    let watch = Watch::of(&[&outside, &secret]);
    let attempt = attempt(&world);
    let work = attempt.slot.work();
    symlink(&secret, work.join("src/absolute")).unwrap();
    symlink(
        "../../../../../../../outside/secret",
        work.join("src/relative"),
    )
    .unwrap();
    symlink(&outside, work.join("src/directory")).unwrap();
    fs::remove_file(work.join("README.md")).unwrap();
    symlink(&secret, work.join("README.md")).unwrap();
    assert!(
        !attempt.served(&world.path("../kept.tar")),
        "links that lead out do not pass"
    );
    let export = world.path("../export");
    let all = everything();
    let checkout = Checkout {
        tree: attempt.repository.head(),
        read: Some(&all),
        owner: None,
    };
    drop(attempt.repository.export(&export, checkout).unwrap());
    let slot = loki::sandbox::Slot::at(export.clone());
    let writable = ["src/folder/made", "src/committed/made"].map(str::to_owned);
    slot.furnish((1, 1), &[], &writable.into()).unwrap();
    remove_tree(&export).unwrap();
    attempt.slot.remove(&attempt.repository).unwrap();
    assert_eq!(watch.opened(), 0, "the host opened what a link leads to");
    assert_eq!(names(&outside), ["secret"]);
    let kept = fs::read(world.path("../kept.tar")).unwrap();
    assert!(!String::from_utf8_lossy(&kept).contains(CANARY));
    // The control: whoever follows such a link is seen.
    assert_eq!(
        fs::read_to_string(world.path("src/committed")).unwrap(),
        CANARY
    );
    assert!(watch.opened() > 0);
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn attack_g08_a_hard_link_in_the_repository_is_copied_and_one_of_an_agents_does_not_pass() {
    let world = World::new();
    project(&world);
    let outside = world.path("../outside");
    fs::write(&outside, "outside\n").unwrap();
    fs::hard_link(&outside, world.path("src/linked.txt")).unwrap();
    world.commit();
    let inode = |path: &Path| fs::symlink_metadata(path).unwrap().ino();
    // The control: in the repository they are one file.
    assert_eq!(inode(&outside), inode(&world.path("src/linked.txt")));
    let attempt = attempt(&world);
    let copy = attempt.slot.work().join("src/linked.txt");
    assert_ne!(inode(&outside), inode(&copy));
    assert_eq!(fs::symlink_metadata(&copy).unwrap().nlink(), 1);
    fs::write(&copy, "changed by the agent\n").unwrap();
    assert_eq!(fs::read_to_string(&outside).unwrap(), "outside\n");
    assert!(
        attempt.served(&world.path("../kept.tar")),
        "a plain change passes"
    );
    // Rights inside keep an agent from this; the gate does not rely on them.
    fs::write(&outside, CANARY).unwrap();
    fs::hard_link(&outside, attempt.slot.work().join("src/stolen")).unwrap();
    assert!(!attempt.served(&world.path("../kept.tar")));
    let objects = world.git(&["cat-file", "--batch-all-objects", "--batch"]);
    assert!(!objects.contains(CANARY), "the outside file was taken over");
}

/// A process that outlives the agent's program goes on swapping a directory and a link while the
/// run ends: the host looks only when nothing runs any more.
#[test]
fn attack_g09_a_swap_of_a_directory_and_a_link_shows_nothing_of_the_host() {
    let swap = "import ctypes, os\nlibc = ctypes.CDLL(None)\nos.makedirs('src/d', exist_ok=True)\n\
        open('src/d/secret', 'w').write('inside')\nos.path.islink('src/l') or os.symlink('OUTSIDE', 'src/l')\n\
        print('swapping', flush=True)\n\
        while True: libc.renameat2(-100, b'src/d', -100, b'src/l', 2)\n";
    on_each(|engine| {
        let world = World::on(engine);
        project(&world);
        let outside = world.path("../outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), CANARY).unwrap();
        world.commit();
        let swap = swap.replace("OUTSIDE", &outside.to_string_lossy());
        world.write(
            "agent.sh",
            format!(
                "#!/bin/sh\ncat >/tmp/swap.py <<'END'\n{swap}END\n\
                 (setsid python3 /tmp/swap.py >/dev/null 2>&1 &)\nsleep 2\npgrep -f swap.py >/dev/null && echo still swapping\nexit 0\n"
            ),
        );
        world.write("spec.md", spec("swap"));
        let watch = Watch::of(&[&outside, &outside.join("secret")]);
        drop(world.loki(&START).in_any_case());
        drop(world.loki(&["logs"]).exits(0).prints(&["still swapping"]));
        assert_eq!(watch.opened(), 0, "the host followed the link");
        let objects = world.git(&["cat-file", "--batch-all-objects", "--batch"]);
        assert!(!objects.contains(CANARY), "the outside file was taken over");
        assert!(grep(&world.path(".loki"), CANARY).is_empty());
        assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), CANARY);
        assert_eq!(world.leftovers(), Vec::<String>::new());
    });
}

fn spec(task: &str) -> String {
    format!("# Attack\n\n## Tasks\n\n1. `{task}` (eng-backend): Attack.\n\n## Tests\n\n- `true`\n")
}

/// Returns the files below a folder that hold a text.
fn grep(folder: &Path, text: &str) -> Vec<PathBuf> {
    let (mut open, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(path) = open.pop() {
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            open.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap();
            let holds = bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes());
            found.extend(holds.then_some(path));
        }
    }
    found
}

#[test]
fn attack_g13_ignored_untracked_and_unlisted_files_are_absent() {
    let policy = "version: 1\nagents: { eng-narrow: { image: base } }\npermissions:\n  eng-narrow:\n    read: [\"src/frontend/**\"]\n    write: [\"docs/**\"]\n    execute: [\"@shell\", \"@git\", \"@python\"]\n";
    let look = "find . -path ./.git -prune -o ! -type d -print | sort; git status --porcelain; \
        git ls-files | sort; cat src/frontend/out src/frontend/up; ls -d src/* /work/../repo; echo end";
    on_each(|engine| {
        let world = World::on(engine);
        project(&world);
        world.write(".gitignore", ".env\nnode_modules/\n");
        world.write("src/backend/secret.py", CANARY);
        world.write("docs/guide.md", "guide\n");
        symlink("../backend/secret.py", world.path("src/frontend/out")).unwrap();
        symlink(
            "../../../../../../../../etc/shadow",
            world.path("src/frontend/up"),
        )
        .unwrap();
        world.commit();
        world.write(".env", CANARY);
        world.write("src/frontend/.env", CANARY);
        world.write("node_modules/x/.env", CANARY);
        world.write("src/frontend/untracked.txt", CANARY);
        world.write("p.yaml", policy);
        let narrow = [
            "sandbox",
            "run",
            "--role",
            "eng-narrow",
            "--policy",
            "p.yaml",
            "--",
        ];
        let said = world
            .loki(&[&narrow[..], &["sh", "-c", look]].concat())
            .exits(0);
        let seen = "docs/guide.md src/frontend/out src/frontend/page.html src/frontend/up";
        let listed: String = seen.split(' ').map(|path| format!("./{path}\n")).collect();
        let tracked: String = seen.split(' ').map(|path| format!("{path}\n")).collect();
        assert_eq!(
            said.stdout,
            format!("{listed}{tracked}src/frontend\nend\n"),
            "{said}"
        );
        assert!(
            said.stderr.contains("src/frontend/out: No such file"),
            "{said}"
        );
        assert!(
            said.stderr.contains("src/frontend/up: Permission denied"),
            "{said}"
        );
        let whole = world
            .loki(&[&ROLE[..], &["--", "python3", "-c", FIND]].concat())
            .exits(0);
        assert_eq!(
            found(&whole),
            ["/work/src/backend/secret.py", "object"],
            "only what is committed"
        );
    });
}

/// Returns what the search for the canary found, each once.
fn found(said: &Said) -> Vec<&str> {
    assert!(said.stdout.ends_with("LOOKED\n"), "{said}");
    let lines = said.stdout.lines();
    let mut found: Vec<&str> = lines
        .filter_map(|line| line.strip_prefix("FOUND "))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn attack_g14_g15_other_branches_stashes_reflogs_and_settings_are_not_in_a_sandbox() {
    on_each(|engine| {
        let world = World::on(engine);
        project(&world);
        world.commit();
        world.write("src/app.py", format!("stashed {CANARY}\n"));
        world.git(&["stash", "--quiet"]);
        world.git(&["checkout", "--quiet", "-b", "other"]);
        world.write("src/other.py", format!("branch {CANARY}\n"));
        world.git(&["add", "src/other.py"]);
        world.git(&["commit", "--quiet", "--message=other"]);
        world.git(&["checkout", "--quiet", "main"]);
        world.write("src/gone.py", format!("reflog {CANARY}\n"));
        world.git(&["add", "src/gone.py"]);
        world.git(&["commit", "--quiet", "--message=gone"]);
        world.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
        world.git(&[
            "config",
            "remote.origin.url",
            &format!("https://user:{CANARY}@git.test/x"),
        ]);
        let alternates = "find / -name alternates -not -path '/proc/*' 2>/dev/null; git count-objects -v; \
            git for-each-ref; git stash list; git config --list --show-origin; git reflog | wc -l; echo end";
        let said = world
            .loki(&[&ROLE[..], &["--", "sh", "-c", alternates]].concat())
            .exits(0);
        assert!(!said.stdout.contains("alternate"), "{said}");
        assert!(
            !said.stdout.contains(CANARY) && !said.stdout.contains("origin."),
            "{said}"
        );
        let refs = said.stdout.lines().filter(|line| line.contains("refs/"));
        assert_eq!(refs.count(), 1, "one branch of its own\n{said}");
        let said = world
            .loki(&[&ROLE[..], &["--", "python3", "-c", FIND]].concat())
            .exits(0);
        assert_eq!(found(&said), Vec::<&str>::new(), "{said}");
        // The control: with the user's own repository mounted, all of them are found.
        let mount = format!("--volume={}:/work", world.path("").display());
        let control = opened_with(&world, engine, FIND, &[&mount, "--workdir=/work"]);
        assert_eq!(
            found(&control),
            ["/work/.git/config", "object"],
            "{control}"
        );
        assert_eq!(
            control.stdout.matches("FOUND object").count(),
            3,
            "{control}"
        );
    });
}

#[test]
fn attack_s01_a_key_in_the_environment_of_loki_is_nowhere() {
    let names = [
        "ANTHROPIC_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "LOKI_CANARY",
        "TERM",
        "GIT_SSH_COMMAND",
    ];
    let settings: Vec<String> = names
        .iter()
        .map(|name| format!("{name}={CANARY}"))
        .collect();
    let look = "cat /proc/[0-9]*/environ | tr '\\0' '\\n'; cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'; echo ready; sleep 60";
    on_each(|engine| {
        let world = World::on(engine);
        project(&world);
        world.commit();
        let mut args: Vec<&str> = settings.iter().map(String::as_str).collect();
        args.push(LOKI);
        args.extend(ROLE);
        // The control: what is given on purpose is there, so whoever looks would find it.
        args.extend(["--env", "GIVEN=on-purpose", "--", "sh", "-c", look]);
        let mut running = world.start("env", &args);
        running.wait_until(LIMIT, |said| said.stdout.contains("ready\n"));
        let ids = world.leftovers();
        assert_eq!(ids.len(), 1);
        let ask = |args: &[&str]| {
            world
                .start(engine.program(), args)
                .wait(LIMIT)
                .exits(0)
                .stdout
        };
        let inspected = ask(&["inspect", &ids[0]]);
        assert!(inspected.contains("loki.role"), "{inspected}");
        let history = ask(&["image", "history", "--no-trunc", &world.image()]);
        let said = running.so_far();
        running.signal(Signal::TERM);
        drop(running.wait(LIMIT).exits(143));
        for text in [&inspected, &history, &said.stdout, &said.stderr] {
            assert!(!text.contains(CANARY), "{text}");
        }
        assert!(said.stdout.contains("GIVEN=on-purpose"), "{said}");
        assert!(!inspected.contains("on-purpose"), "{inspected}");
        // And a whole run, whose journal and logs stay.
        world.write("agent.sh", "#!/bin/sh\nenv; cat /proc/[0-9]*/environ | tr '\\0' '\\n'\nmkdir -p src && echo x >src/made\n");
        world.write("spec.md", spec("look"));
        let mut args: Vec<&str> = settings.iter().map(String::as_str).collect();
        args.push(LOKI);
        args.extend(START);
        drop(world.start("env", &args).wait(LIMIT).exits(0));
        assert_eq!(grep(&world.path(""), CANARY), Vec::<PathBuf>::new());
        assert!(
            !grep(&world.path(".loki"), "LOKI_TASK=look").is_empty(),
            "the log has the agent's own"
        );
    });
}

/// Sequences that move a cursor, set a title, touch the clipboard, ask the terminal, ring or hide.
const SEQUENCES: &[&str] = &[
    "\x1b[2J",
    "\x1b[H",
    "\x1b[3J",
    "\x1b[1A",
    "\x1b[1000D",
    "\x1b[6n",
    "\x1b[c",
    "\x1b[>c",
    "\x1b[5n",
    "\x1b[?25l",
    "\x1b[?1049h",
    "\x1b[?1000h",
    "\x1b[?2004h",
    "\x1b[?5h",
    "\x1b[8m",
    "\x1b[31m",
    "\x1b[4h",
    "\x1b[20h",
    "\x1b[r",
    "\x1b[2K",
    "\x1b[1P",
    "\x1b[9999b",
    "\x1b[!p",
    "\x1b[21t",
    "\x1b[14t",
    "\x1b[3;0;0t",
    "\x1b]0;title\x07",
    "\x1b]2;title\x1b\\",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b]52;c;?\x07",
    "\x1b]8;;http://evil.test\x07link\x1b]8;;\x07",
    "\x1b]4;1;?\x07",
    "\x1b]10;?\x07",
    "\x1b]1337;File=:AAAA\x07",
    "\x1b]9;4;1\x07",
    "\x1b]777;notify;a;b\x07",
    "\x1b]50;#1\x07",
    "\x1b]7;file://x/\x07",
    "\x1b]133;A\x07",
    "\x1bP+q544e\x1b\\",
    "\x1bP$qm\x1b\\",
    "\x1b_Gi=1\x1b\\",
    "\x1b^private\x1b\\",
    "\x1bc",
    "\x1b7",
    "\x1b8",
    "\x1bM",
    "\x1bD",
    "\x1b#8",
    "\x1b(0",
    "\x1b=",
    "\x1b[5i",
    "\u{9b}2J",
    "\u{9d}0;title\u{9c}",
    "\u{90}q\u{9c}",
    "\x07",
    "\x08\x08\x08",
    "\rforged",
    "\x0b",
    "\x0c",
    "\x0e",
    "\x7f",
    "\u{202e}abc",
    "\u{2066}abc",
    "\u{200b}",
    "\u{feff}",
];

/// Shows what a person at a terminal sees of a command.
#[track_caller]
fn shown(world: &World, args: &[&str]) -> String {
    let person = include_str!("harness/probes/person.py");
    let mut argv = vec!["-c", person, "[]", LOKI];
    argv.extend(args);
    let said = world.start("python3", &argv).wait(LIMIT).exits(0);
    let told: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(told["code"], 0, "{told}");
    told["shown"].as_str().unwrap().to_owned()
}

#[test]
fn attack_s08_s10_what_an_agent_prints_neither_drives_a_terminal_nor_forges_a_record() {
    let all = SEQUENCES;
    assert!(all.len() >= 60);
    let forged = "{\"seq\":1,\"ts\":\"2026-01-01T00:00:00Z\",\"prev\":\"0\",\"event\":{\"type\":\"run_ended\"},\"hash\":\"0\"}";
    on_each(|engine| {
        let world = World::on(engine);
        project(&world);
        let printed: String = all
            .iter()
            .enumerate()
            .map(|(n, text)| format!("{n}:{text}\n"))
            .collect();
        world.write("lib/printed", &printed);
        world.commit();
        let agent = format!(
            "#!/bin/sh\ncat lib/printed; cat lib/printed >&2\nprintf '%s\\n\\r\\n%s' '{forged}' '{forged}'\n\
             printf '\\000\\377\\376\\342\\200\\250line\\n'; printf '%s' '\"}}}}],\\'\n\
             if [ \"$LOKI_TASK\" = names ]; then while read -r line; do : >\"src/$line\" 2>/dev/null; done <lib/printed; fi\n\
             printf '%s\\n' \"$(head -c 300 /dev/zero | tr '\\0' x)\"; echo ok >src/ok; exit 0\n"
        );
        world.write("agent.sh", agent);
        world.write("spec.md", spec("print"));
        drop(world.loki(&START).exits(0));
        journal_is_whole(&world);
        for args in [&["logs"][..], &["status"], &["events"]] {
            is_plain(&shown(&world, args), args);
        }
        assert!(
            shown(&world, &["logs"]).contains("\\u{1b}[2J"),
            "it is shown, as text"
        );
        // Names that are refused are said too.
        world.write("spec.md", spec("names"));
        drop(world.loki(&START).in_any_case());
        let events = shown(&world, &["events"]);
        assert!(events.contains("src/"), "{events}");
        for args in [&["events"][..], &["status"], &["logs"]] {
            is_plain(&shown(&world, args), args);
        }
        journal_is_whole(&world);
    });
}

/// Asserts that a text holds nothing that a terminal would act on, but line breaks.
#[track_caller]
fn is_plain(text: &str, args: &[&str]) {
    let text = text.replace("\r\n", "\n");
    let hidden = |c: char| c != '\n' && c != '\t' && loki::text::is_hidden(c);
    let found: Vec<&str> = text.lines().filter(|line| line.contains(hidden)).collect();
    assert!(
        found.is_empty(),
        "`loki {}` shows {found:?}",
        args.join(" ")
    );
}

/// Asserts that each line of each journal is one record, and that the numbers have no gaps.
#[track_caller]
fn journal_is_whole(world: &World) {
    let journals: Vec<PathBuf> = grep(&world.path(".loki"), "\"seq\":1,")
        .into_iter()
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .collect();
    assert!(!journals.is_empty(), "no journal");
    for path in journals {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in (1..).zip(text.lines()) {
            let record: Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            assert_eq!(record["seq"], number, "{line}");
        }
        assert!(text.ends_with('\n'));
    }
    drop(world.loki(&["audit", "verify"]).exits(0));
}

#[test]
fn attack_s14_policy_journal_and_what_loki_put_inside_cannot_be_changed_or_seen() {
    let probe = include_str!("harness/probes/own_files.py");
    on_each(|engine| {
        let world = World::on(engine);
        project(&world);
        world.commit();
        let said = world
            .loki(&[&ROLE[..], &["--", "python3", "-c", probe]].concat())
            .exits(0);
        assert!(
            said.stdout.ends_with("LOOKED\n") && !said.stdout.contains("REACHED"),
            "{said}"
        );
        // The control: with the project itself mounted writable, and as root.
        world.write(".loki/journal/x.jsonl", "{}\n");
        let mount = format!("--volume={}:/work", world.path("").display());
        let control = opened_with(&world, engine, probe, &[&mount]);
        for wanted in [
            "write /etc/passwd",
            "write /etc/resolv.conf",
            "see /work/.loki",
            "write /usr/bin/true",
            "make /etc/loki",
        ] {
            assert!(
                control.stdout.contains(&format!("REACHED {wanted}\n")),
                "{wanted}\n{control}"
            );
        }
    });
}
