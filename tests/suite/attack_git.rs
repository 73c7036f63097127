//! THREATS G: what an agent plants must never run on the host, nor be read or followed there.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use loki::{
    git::{Caps, Checkout, HandOver, Join, ObjectId, Repository, Signature, Slot, SlotSpec},
    name::{Role, RunId, TaskId},
    policy::{Files, Glob, Globs, Origin},
};

/// A user's repository, a program that leaves a marker, and two branches that conflict.
struct World {
    dir: tempfile::TempDir,
    run: RunId,
    task: TaskId,
    role: Role,
}

impl World {
    fn new() -> Self {
        let world = Self {
            dir: tempfile::tempdir().unwrap(),
            run: "r1".parse().unwrap(),
            task: "t1".parse().unwrap(),
            role: "eng-backend".parse().unwrap(),
        };
        fs::create_dir(world.root()).unwrap();
        let script = format!("#!/bin/sh\ntouch '{}'\n", world.marker().display());
        program(&world.evil(), &script);
        world.must(&["init", "-q", "-b", "main"]);
        write(&world.root().join("src/app.rs"), "one\n");
        world.must(&["add", "-A"]);
        world.must(&["commit", "-q", "-m", "first"]);
        world.must(&["checkout", "-q", "-b", "side"]);
        write(&world.root().join("src/app.rs"), "side\n");
        world.must(&["commit", "-q", "-a", "-m", "side"]);
        world.must(&["checkout", "-q", "main"]);
        world
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn evil(&self) -> PathBuf {
        self.dir.path().join("evil.sh")
    }

    fn marker(&self) -> PathBuf {
        self.dir.path().join("MARKER")
    }

    fn must(&self, arguments: &[&str]) -> String {
        let output = git(&self.root(), arguments);
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    fn signature(&self) -> Signature<'_> {
        Signature {
            run: &self.run,
            task: Some(&self.task),
            mates: &[],
            role: &self.role,
            policy: "p0",
            journal: 1,
            time: 1_700_000_000,
        }
    }

    fn slot(&self, repository: &Repository, name: &str, base: &ObjectId) -> Slot {
        self.try_slot(repository, name, base).unwrap()
    }

    fn try_slot(
        &self,
        repository: &Repository,
        name: &str,
        base: &ObjectId,
    ) -> Result<Slot, loki::git::GitError> {
        let dir = repository.worktrees_dir().join("r1").join(name);
        let (run, task) = (&self.run, &self.task);
        Slot::prepare(
            repository,
            &dir,
            SlotSpec {
                run,
                task,
                base,
                read: None,
                owner: None,
            },
        )
    }
}

/// Plain git, as a careless host would run it.
fn git(dir: &Path, arguments: &[&str]) -> Output {
    let mut git = Command::new("git");
    for who in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{who}_NAME"), "U")
            .env(format!("GIT_{who}_EMAIL"), "u@localhost");
    }
    git.env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    git.env("EDITOR", "true")
        .current_dir(dir)
        .args(arguments)
        .output()
        .unwrap()
}

fn write(file: &Path, text: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

fn append(file: &Path, text: &str) {
    let before = fs::read_to_string(file).unwrap_or_default();
    write(file, &format!("{before}{text}"));
}

fn program(file: &Path, text: &str) {
    write(file, text);
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
}

fn everything() -> Files {
    let all = Globs(vec![Glob {
        text: "**".into(),
        origin: Origin::default(),
        except: Vec::new(),
    }]);
    Files {
        read: all.clone(),
        write: all,
    }
}

fn judge(repository: &Repository, slot: &Slot) -> HandOver {
    repository
        .hand_over(
            slot,
            &everything(),
            &Caps::default(),
            &loki::redact::Redactor::default(),
        )
        .unwrap()
}

/// Where a vector is planted.
struct Place<'a> {
    /// A git directory whose configuration the vector changes.
    git_dir: &'a Path,
    /// The files of the agent.
    work: &'a Path,
    /// The program to get started.
    evil: &'a str,
}

type Vector = (&'static str, fn(&Place<'_>));

const HOOKS: &[&str] = &[
    "pre-commit",
    "prepare-commit-msg",
    "commit-msg",
    "post-commit",
    "post-checkout",
    "pre-merge-commit",
    "post-merge",
    "post-index-change",
    "reference-transaction",
    "pre-auto-gc",
    "post-rewrite",
];

fn config(place: &Place<'_>, text: &str) {
    append(
        &place.git_dir.join("config"),
        &text.replace("EVIL", place.evil),
    );
}

fn hooks(dir: &Path, evil: &str) {
    for hook in HOOKS {
        program(&dir.join(hook), &format!("#!/bin/sh\n{evil}\n"));
    }
}

fn attribute(place: &Place<'_>, text: &str) {
    append(&place.work.join(".gitattributes"), text);
}

/// A second git directory that differs from the first in its configuration.
fn twin(place: &Place<'_>) -> PathBuf {
    let twin = place.git_dir.parent().unwrap().join("target-twin");
    copy(place.git_dir, &twin);
    append(
        &twin.join("config"),
        &format!("[core]\n\tfsmonitor = {}\n", place.evil),
    );
    twin
}

/// Vectors that a repository's configuration and files can carry.
const VECTORS: &[Vector] = &[
    ("core.fsmonitor", |p| {
        config(p, "[core]\n\tfsmonitor = EVIL\n");
    }),
    ("core.hooksPath", |p| {
        hooks(&p.git_dir.join("others"), p.evil);
        config(
            p,
            &format!(
                "[core]\n\thooksPath = {}\n",
                p.git_dir.join("others").display()
            ),
        );
    }),
    (".git/hooks", |p| hooks(&p.git_dir.join("hooks"), p.evil)),
    ("filter.clean", |p| {
        attribute(p, "* filter=evil\n");
        config(p, "[filter \"evil\"]\n\tclean = EVIL\n\trequired = true\n");
    }),
    ("filter.smudge", |p| {
        attribute(p, "* filter=evil\n");
        config(p, "[filter \"evil\"]\n\tsmudge = EVIL\n\trequired = true\n");
    }),
    ("filter.process", |p| {
        attribute(p, "* filter=evil\n");
        config(p, "[filter \"evil\"]\n\tprocess = EVIL\n");
    }),
    ("info/attributes", |p| {
        append(&p.git_dir.join("info/attributes"), "* filter=evil\n");
        config(p, "[filter \"evil\"]\n\tclean = EVIL\n");
    }),
    ("diff.textconv", |p| {
        attribute(p, "* diff=evil\n");
        config(p, "[diff \"evil\"]\n\ttextconv = EVIL\n");
    }),
    ("diff.command", |p| {
        attribute(p, "* diff=evil\n");
        config(p, "[diff \"evil\"]\n\tcommand = EVIL\n");
    }),
    ("diff.external", |p| {
        config(p, "[diff]\n\texternal = EVIL\n");
    }),
    ("merge.driver", |p| {
        attribute(p, "* merge=evil\n");
        config(p, "[merge \"evil\"]\n\tdriver = EVIL\n");
    }),
    ("merge.default", |p| {
        config(
            p,
            "[merge]\n\tdefault = evil\n[merge \"evil\"]\n\tdriver = EVIL\n",
        );
    }),
    ("gpg.program", |p| {
        config(p, "[gpg]\n\tprogram = EVIL\n[commit]\n\tgpgSign = true\n");
    }),
    ("include.path", |p| {
        write(
            &p.git_dir.join("more"),
            &format!("[core]\n\tfsmonitor = {}\n", p.evil),
        );
        config(p, "[include]\n\tpath = more\n");
    }),
    ("config.worktree", |p| {
        write(
            &p.git_dir.join("config.worktree"),
            &format!("[core]\n\tfsmonitor = {}\n", p.evil),
        );
        config(p, "[extensions]\n\tworktreeConfig = true\n");
    }),
    ("core.editor", |p| config(p, "[core]\n\teditor = EVIL\n")),
    ("core.sshCommand", |p| {
        config(
            p,
            "[core]\n\tsshCommand = EVIL\n[remote \"x\"]\n\turl = ssh://127.0.0.1/x\n",
        );
    }),
    ("remote.uploadpack", |p| {
        config(p, "[remote \"x\"]\n\turl = .\n\tuploadpack = EVIL\n");
    }),
    ("ext transport", |p| {
        config(
            p,
            "[protocol \"ext\"]\n\tallow = always\n[remote \"x\"]\n\turl = ext::EVIL\n",
        );
    }),
    ("embedded bare repository", |p| {
        let sub = p.work.join("sub");
        git(p.work, &["init", "-q", "--bare", "sub"]);
        append(
            &sub.join("config"),
            &format!("\tbare = false\n\tworktree = .\n\tfsmonitor = {}\n", p.evil),
        );
    }),
];

/// Vectors that bend a `.git` itself; the user's cannot be bent so.
const BENT: &[Vector] = &[
    (".git file", |p| {
        let twin = twin(p);
        fs::remove_dir_all(p.git_dir).unwrap();
        write(p.git_dir, &format!("gitdir: {}\n", twin.display()));
    }),
    ("commondir", |p| {
        let twin = twin(p);
        write(
            &p.git_dir.join("commondir"),
            &format!("{}\n", twin.display()),
        );
    }),
];

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp")
        .arg("-rT")
        .args([from, to])
        .status()
        .unwrap();
    assert!(done.success());
}

/// Does what hosts do with the repositories of their agents.
fn careless(dir: &Path) {
    for arguments in [
        &["status"][..],
        &["diff"],
        &["add", "-A"],
        &["commit", "-q", "-m", "x"],
        &["commit", "--amend"],
        &["log", "-p", "-1"],
        &["diff", "HEAD~1"],
        &["checkout", "HEAD~1", "--", "src/app.rs"],
        &["checkout", "-q", "-f", "HEAD"],
        &["merge", "-q", "side"],
        &["fetch", "x"],
    ] {
        git(dir, arguments);
    }
    if dir.join("sub").is_dir() {
        git(&dir.join("sub"), &["status"]);
    }
}

/// Does everything Loki ever does with a repository and a slot.
fn loki(world: &World, plant: impl FnOnce(&Path)) {
    let repository = Repository::open(&world.root()).unwrap();
    let base = repository.head().clone();
    repository.create_run_branch(&world.run, &base).unwrap();
    let slot = world.slot(&repository, "a", &base);
    plant(slot.work());
    write(&slot.work().join("src/app.rs"), "agent\n");
    let repository = Repository::open(&world.root()).unwrap();
    repository.dirty().unwrap();
    let work = judge(&repository, &slot);
    repository
        .quarantine(&slot, 1, &work, &world.signature())
        .unwrap();
    if let Some(tree) = &work.tree {
        let commit = repository
            .commit(&slot, tree, "work", &world.signature())
            .unwrap();
        let side = repository.resolve("side").unwrap();
        assert!(matches!(
            repository.join(&side, &commit).unwrap(),
            Join::Conflict(_)
        ));
        let sealed = repository
            .seal(tree, (&base, &commit), "land", &world.signature())
            .unwrap();
        repository.advance(&world.run, &base, &sealed).unwrap();
        let again = world.slot(&repository, "b", &sealed);
        again.remove(&repository).unwrap();
        let dir = repository.worktrees_dir().join("r1/c");
        let checkout = Checkout {
            tree: &sealed,
            read: None,
            owner: None,
        };
        repository.export(&dir, checkout).unwrap().remove().unwrap();
    }
    slot.remove(&repository).unwrap();
    repository.sweep(&[]).unwrap();
    let refs = repository.run_refs(&world.run).unwrap();
    repository.delete_refs(&refs).unwrap();
}

#[test]
fn attack_g01_control_plain_git_fires() {
    let mut silent = Vec::new();
    for (name, plant) in VECTORS.iter().chain(BENT) {
        let world = World::new();
        let work = world.root();
        let evil = world.evil().display().to_string();
        write(&work.join("src/app.rs"), "agent\n");
        plant(&Place {
            git_dir: &work.join(".git"),
            work: &work,
            evil: &evil,
        });
        careless(&work);
        if !world.marker().exists() {
            silent.push(*name);
        }
    }
    assert_eq!(
        silent,
        Vec::<&str>::new(),
        "planted so that not even plain git fires them"
    );
}

#[test]
fn attack_g01_what_an_agent_plants_in_its_repository_never_fires() {
    for (name, plant) in VECTORS.iter().chain(BENT) {
        let world = World::new();
        let evil = world.evil().display().to_string();
        loki(&world, |work| {
            copy(&world.root().join(".git"), &work.join(".git"));
            plant(&Place {
                git_dir: &work.join(".git"),
                work,
                evil: &evil,
            });
        });
        assert!(!world.marker().exists(), "{name} fired");
    }
}

#[test]
fn attack_g01_drivers_of_the_users_are_not_the_agents_to_start() {
    for (name, plant) in VECTORS {
        let world = World::new();
        let evil = world.evil().display().to_string();
        let git_dir = world.root().join(".git");
        loki(&world, |work| {
            plant(&Place {
                git_dir: &git_dir,
                work,
                evil: &evil,
            });
        });
        assert!(!world.marker().exists(), "{name} fired");
    }
}

/// A pipe without a writer: whoever opens it to read hangs until it is killed.
fn tripwire(file: &Path) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
}

#[test]
fn attack_g02_g03_the_agents_git_directory_and_index_are_never_read() {
    let world = World::new();
    let repository = Repository::open(&world.root()).unwrap();
    let slot = world.slot(&repository, "a", repository.head());
    let names = [
        "HEAD",
        "config",
        "config.worktree",
        "commondir",
        "index",
        "packed-refs",
    ];
    for name in names
        .iter()
        .chain(&["objects/info/alternates", "info/exclude", "info/attributes"])
    {
        tripwire(&slot.work().join(".git").join(name));
    }
    write(&slot.work().join("src/app.rs"), "agent\n");
    let work = judge(&repository, &slot);
    assert_eq!(work.changes.len(), 1, "{:?}", work.breaches);
    repository
        .commit(&slot, work.passed().unwrap(), "work", &world.signature())
        .unwrap();
    fs::remove_dir_all(slot.work().join(".git")).unwrap();
    tripwire(&slot.work().join(".git"));
    assert_eq!(judge(&repository, &slot).tree, work.tree);
    for name in names {
        tripwire(&slot.work().join("src/nested/.git").join(name));
    }
    let nested = judge(&repository, &slot);
    assert!(
        nested
            .breaches
            .iter()
            .any(|breach| breach.rule == "nested-repository")
    );
    assert_eq!(nested.tree, None);
    slot.remove(&repository).unwrap();
}

#[test]
fn attack_g04_modules_and_links_to_repositories_are_not_entered() {
    let world = World::new();
    let head = world.must(&["rev-parse", "HEAD"]);
    let module = "[submodule \"sub\"]\n\tpath = sub\n\turl = ext::evil\n\tupdate = !evil\n";
    write(&world.root().join(".gitmodules"), module);
    world.must(&["add", "-A"]);
    world.must(&[
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("160000,{head},sub"),
    ]);
    world.must(&["commit", "-q", "-m", "module"]);
    let repository = Repository::open(&world.root()).unwrap();
    let slot = world.slot(&repository, "a", repository.head());
    assert!(!slot.work().join("sub").exists());
    append(&slot.work().join(".gitmodules"), "# changed\n");
    let work = judge(&repository, &slot);
    assert_eq!(work.changes[0].path, ".gitmodules");
}

#[test]
fn attack_g05_names_that_fold_to_git_never_come_out_of_a_tree() {
    let names = [
        ".git",
        ".GIT",
        ".Git",
        ".giT",
        "git~1",
        "GIT~1",
        ".git.",
        ".git ",
        ".git. .",
        ".git::$INDEX_ALLOCATION",
        ".g\u{200c}it",
        ".gi\u{feff}t",
    ];
    for name in names {
        let world = World::new();
        let repository = Repository::open(&world.root()).unwrap();
        let commit = planted_commit(&world, name);
        let fault = world.try_slot(&repository, "a", &commit).unwrap_err();
        assert!(
            matches!(fault, loki::git::GitError::Command { .. }),
            "{name}: {fault}"
        );
        let work = repository.worktrees_dir().join("r1/a/work");
        assert_eq!(
            fs::read_dir(work.join(".git")).unwrap().count(),
            0,
            "{name}"
        );
        Slot::remove_dir(&repository, &repository.worktrees_dir().join("r1/a")).unwrap();
    }
}

/// A commit whose tree holds a directory of a forbidden name, written past every check.
fn planted_commit(world: &World, name: &str) -> ObjectId {
    let tree = world.must(&["rev-parse", "HEAD^{tree}"]);
    let digits: Vec<char> = tree.chars().collect();
    let pairs = digits.chunks(2).map(String::from_iter);
    let raw: Vec<u8> = pairs
        .map(|pair| u8::from_str_radix(&pair, 16).unwrap())
        .collect();
    let file = world.dir.path().join("tree");
    fs::write(&file, [b"40000 ", name.as_bytes(), b"\0", &raw].concat()).unwrap();
    let flags = ["hash-object", "-t", "tree", "-w", "--literally"];
    let tree = world.must(&[&flags[..], &[file.to_str().unwrap()]].concat());
    world
        .must(&["commit-tree", "-m", "planted", &tree])
        .parse()
        .unwrap()
}

#[test]
fn attack_g07_links_out_of_the_worktree_are_never_opened() {
    let world = World::new();
    let repository = Repository::open(&world.root()).unwrap();
    let slot = world.slot(&repository, "a", repository.head());
    tripwire(&world.dir.path().join("outside/secret"));
    let outside = world.dir.path().join("outside");
    for name in ["link", ".gitignore", "sub/.gitattributes", "src/.gitignore"] {
        let link = slot.work().join(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(outside.join("secret"), link).unwrap();
    }
    symlink(&outside, slot.work().join("dir")).unwrap();
    let first = judge(&repository, &slot);
    assert!(
        first
            .breaches
            .iter()
            .any(|breach| breach.rule == "git-name"),
        "{first:?}"
    );
    for name in [".gitignore", "sub/.gitattributes", "src/.gitignore"] {
        fs::remove_file(slot.work().join(name)).unwrap();
    }
    let work = judge(&repository, &slot);
    let seen: Vec<_> = work
        .breaches
        .iter()
        .map(|b| (b.rule.as_str(), b.path.as_str()))
        .collect();
    assert_eq!(
        seen,
        [("symlink-escape", "dir"), ("symlink-escape", "link")]
    );
    slot.remove(&repository).unwrap();
    assert!(outside.join("secret").exists());
}

#[test]
fn attack_g10_no_path_of_an_agent_leaves_its_directory() {
    for name in ["..", ".", "a/../../x", "/etc/x"] {
        let world = World::new();
        let repository = Repository::open(&world.root()).unwrap();
        let commit = planted_commit(&world, name);
        assert!(world.try_slot(&repository, "a", &commit).is_err(), "{name}");
    }
    for text in [
        "..",
        "a/b",
        "../x",
        "-x",
        "a.lock",
        "A",
        "$(touch x)",
        "a\nb",
        "",
    ] {
        assert!(
            text.parse::<TaskId>().is_err() && text.parse::<RunId>().is_err(),
            "{text}"
        );
    }
}

#[test]
fn attack_s12_hostile_names_are_only_names() {
    let world = World::new();
    let names = [
        "$(touch MARKER)",
        "--help",
        "'; touch MARKER",
        "new\nline",
        "`touch MARKER`",
    ];
    for name in names {
        write(&world.root().join(name), "user\n");
    }
    world.must(&["add", "-A"]);
    world.must(&["commit", "-q", "-m", "names"]);
    world.must(&["update-ref", "refs/heads/$(touch${IFS}MARKER)", "HEAD"]);
    world.must(&["symbolic-ref", "HEAD", "refs/heads/$(touch${IFS}MARKER)"]);
    loki(&world, |work| {
        for name in names {
            append(&work.join(name), "agent\n");
        }
    });
    assert!(!world.marker().exists() && !world.root().join("MARKER").exists());
    assert_eq!(world.must(&["status", "--porcelain"]), "");
}

#[test]
fn attack_g06_refs_and_packs_of_an_agent_are_not_looked_at() {
    let world = World::new();
    let repository = Repository::open(&world.root()).unwrap();
    let refs = world.must(&["for-each-ref"]);
    let slot = world.slot(&repository, "a", repository.head());
    let head = repository.head().as_str();
    let own = slot.work().join(".git");
    let hostile = [
        "refs/heads/-upload-pack=x",
        "refs/heads/a\x1b[2J",
        "refs/../../x",
    ];
    let lines = hostile.map(|name| format!("{head} {name}\n")).concat();
    let crowd: String = (0..100_000)
        .map(|number| format!("{head} refs/heads/{number}\n"))
        .collect();
    write(&own.join("packed-refs"), &(lines + &crowd));
    write(&own.join("refs/heads/--output=x"), head);
    let pack = own.join("objects/pack/pack-0.pack");
    write(&pack, "PACK");
    let sparse = fs::File::options().write(true).open(&pack).unwrap();
    sparse.set_len(1 << 40).unwrap();
    write(&slot.work().join("src/app.rs"), "agent\n");
    let work = judge(&repository, &slot);
    assert_eq!(work.changes.len(), 1, "{:?}", work.breaches);
    let commit = repository
        .commit(&slot, work.passed().unwrap(), "work", &world.signature())
        .unwrap();
    slot.remove(&repository).unwrap();
    let mine = repository.run_refs(&world.run).unwrap();
    assert_eq!(mine, ["refs/heads/loki-tasks/r1/t1"]);
    repository.delete_refs(&mine).unwrap();
    assert_eq!(world.must(&["for-each-ref"]), refs);
    assert!(repository.resolve(commit.as_str()).is_ok());
    // What a person types is a revision and nothing else.
    for typed in [
        "--upload-pack=x",
        "-v",
        "--output=x",
        "a\x1b[2J",
        "HEAD\0",
        "",
        "--",
    ] {
        let fault = repository.resolve(typed).unwrap_err().to_string();
        assert!(!fault.contains('\x1b'), "{fault}");
    }
    // A pack in the worktree itself counts as the large file that it is.
    let slot = world.slot(&repository, "b", repository.head());
    write(&slot.work().join("src/pack-0.pack"), "PACK");
    let file = slot.work().join("src/pack-0.pack");
    let sparse = fs::File::options().write(true).open(file).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let work = judge(&repository, &slot);
    let rules: Vec<&str> = work.breaches.iter().map(|one| one.rule.as_str()).collect();
    assert_eq!(rules, ["size", "size"]);
    assert_eq!(work.tree, None);
}
