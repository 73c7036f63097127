//! A person's repository of any kind, and everything that Loki ever does with one.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use loki::{
    git::{
        Caps, Checkout, GitError, HandOver, Join, ObjectId, Repository, Signature, Slot, SlotSpec,
    },
    name::{Role, RunId, TaskId},
    policy::{Files, Glob, Globs, Origin},
    redact::Redactor,
};

/// What an agent adds.
pub(super) const ADDED: &str = "src/agent.txt";

pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    run: RunId,
    role: Role,
}

impl World {
    /// A directory with a repository in `repo`, made with these arguments of `git init`.
    pub(super) fn made(init: &[&str]) -> Self {
        let world = Self {
            dir: tempfile::tempdir().unwrap(),
            run: "r1".parse().unwrap(),
            role: "eng-backend".parse().unwrap(),
        };
        let init = [&["init", "-q"], init, &["repo"]].concat();
        must(world.dir.path(), &init);
        world.file("src/app.rs", b"fn main() {}\n");
        world.file("README.md", b"one\ntwo\n");
        world.save("first");
        world.file("README.md", b"one\ntwo\nthree\n");
        world.save("second");
        world
    }

    pub(super) fn new() -> Self {
        Self::made(&["-b", "main"])
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    pub(super) fn git(&self, arguments: &[&str]) -> String {
        must(&self.root(), arguments)
    }

    pub(super) fn file(&self, path: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>) {
        put(&self.root(), path, bytes);
    }

    pub(super) fn save(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
    }

    /// Does everything that Loki does with a repository, from `start`, and asserts that it gave and
    /// took every byte as it is and left the person's own alone.
    #[track_caller]
    pub(super) fn tour(&self, start: &Path) {
        let before = Mine::of(start);
        let repository = Repository::open(start).unwrap();
        self.work(&repository);
        self.forget(&repository);
        let after = Mine::of(start);
        before.is_still(&after);
        assert_eq!(must(start, &["worktree", "prune", "--dry-run"]), "");
    }

    /// Removes the branches of the run.
    pub(super) fn forget(&self, repository: &Repository) {
        let refs = repository.run_refs(&self.run).unwrap();
        repository.delete_refs(&refs).unwrap();
    }

    fn work(&self, repository: &Repository) {
        let base = repository.head().clone();
        repository.refuse_tracked_state().unwrap();
        repository.dirty().unwrap();
        repository.create_run_branch(&self.run, &base).unwrap();
        let one = self.task(repository, "one", ADDED);
        let two = self.task(repository, "two", "src/other.txt");
        assert!(matches!(
            repository.join(&base, &one).unwrap(),
            Join::Forward(_)
        ));
        repository.advance(&self.run, &base, &one).unwrap();
        let Join::Merge(tree) = repository.join(&one, &two).unwrap() else {
            panic!("the second task does not merge");
        };
        let sides = (&one, &two);
        let landed = repository.seal(&tree, sides, "land", &self.signature(None));
        let landed = landed.unwrap();
        repository.advance(&self.run, &one, &landed).unwrap();
        assert_eq!(repository.changed_paths(&one).unwrap(), [ADDED]);
        let dir = repository.worktrees_dir().join("r1/checks");
        let checkout = Checkout {
            tree: &landed,
            read: None,
            owner: None,
        };
        let export = repository.export(&dir, checkout).unwrap();
        holds_exactly(repository, &landed, &export.work());
        repository.sweep(&[]).unwrap();
    }

    /// One task: its files are the commit's, one is added, and that is all that is seen.
    fn task(&self, repository: &Repository, task: &str, path: &str) -> ObjectId {
        let slot = self.slot(repository, task, None).unwrap();
        holds_exactly(repository, slot.base(), slot.work());
        put(slot.work(), path, b"an agent's\r\n$Id$\n");
        let handed = judge(repository, &slot);
        assert_eq!(told(&handed), [format!("A {path}")]);
        let task = task.parse().unwrap();
        let signed = self.signature(Some(&task));
        let commit = repository
            .commit(&slot, handed.passed().unwrap(), "work", &signed)
            .unwrap();
        let stored = raw(repository.root(), &format!("{commit}:{path}"));
        assert_eq!(stored, b"an agent's\r\n$Id$\n");
        slot.remove(repository).unwrap();
        commit
    }

    pub(super) fn slot(
        &self,
        repository: &Repository,
        task: &str,
        read: Option<&Globs>,
    ) -> Result<Slot, GitError> {
        let dir = repository.worktrees_dir().join("r1").join(task);
        let task: TaskId = task.parse().unwrap();
        let spec = SlotSpec {
            run: &self.run,
            task: &task,
            base: repository.head(),
            read,
            owner: None,
        };
        Slot::prepare(repository, &dir, spec)
    }

    fn signature<'a>(&'a self, task: Option<&'a TaskId>) -> Signature<'a> {
        Signature {
            run: &self.run,
            task,
            mates: &[],
            role: &self.role,
            policy: "p0",
            journal: 1,
            time: 1_700_000_000,
        }
    }
}

/// Asserts that a directory holds the files of a commit, byte for byte, and nothing else.
#[track_caller]
pub(super) fn holds_exactly(repository: &Repository, commit: &ObjectId, work: &Path) {
    let listed = raw_git(
        repository.root(),
        &[
            "--no-replace-objects",
            "ls-tree",
            "-r",
            "-z",
            commit.as_str(),
        ],
    );
    let mut expected = BTreeMap::new();
    for record in listed
        .split(|byte| *byte == 0)
        .filter(|record| !record.is_empty())
    {
        let tab = record.iter().position(|byte| *byte == b'\t').unwrap();
        let facts = String::from_utf8(record[..tab].to_vec()).unwrap();
        let words: Vec<&str> = facts.split(' ').collect();
        if words[1] == "blob" {
            let bytes = raw(repository.root(), words[2]);
            expected.insert(record[tab + 1..].to_vec(), (words[0].to_owned(), bytes));
        }
    }
    let mut found = BTreeMap::new();
    files(work, b"", &mut |path, kind, bytes| {
        found.insert(path, (kind, bytes));
    });
    for (path, file) in &expected {
        let name = String::from_utf8_lossy(path);
        assert_eq!(found.get(path), Some(file), "`{name}` is not the commit's");
    }
    assert_eq!(
        found.len(),
        expected.len(),
        "there is more than the commit's"
    );
}

/// Tells every file below a directory: its path, git's mode, its bytes. `.git` and `.loki` at the
/// top are left out.
fn files(dir: &Path, prefix: &[u8], tell: &mut dyn FnMut(Vec<u8>, String, Vec<u8>)) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let name = name.as_bytes();
        if prefix.is_empty() && [&b".git"[..], b".loki"].contains(&name) {
            continue;
        }
        let path = [prefix, name].concat();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files(&entry.path(), &[&path[..], b"/"].concat(), tell);
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            tell(
                path,
                "120000".into(),
                target.as_os_str().as_bytes().to_vec(),
            );
        } else {
            let runs = entry.metadata().unwrap().mode() & 0o100 != 0;
            let kind = if runs { "100755" } else { "100644" };
            tell(path, kind.into(), fs::read(entry.path()).unwrap());
        }
    }
}

type Found = BTreeMap<Vec<u8>, (i64, Vec<u8>)>;

/// Everything of a person's: the files of the checkout with their times, every byte of the git
/// directories but objects and Loki's refs, and all refs.
#[derive(Debug)]
struct Mine {
    files: Found,
    state: Found,
    refs: String,
    excluded: Vec<u8>,
}

impl Mine {
    fn of(start: &Path) -> Self {
        let ask = |question| {
            PathBuf::from(must(
                start,
                &["rev-parse", "--path-format=absolute", question],
            ))
        };
        let (top, git_dir) = (ask("--show-toplevel"), ask("--git-dir"));
        let common = ask("--git-common-dir");
        let mut state = Found::new();
        for dir in [&git_dir, &common] {
            let prefix = [dir.as_os_str().as_bytes(), b"/"].concat();
            collect(dir, &prefix, &mut state);
        }
        state.retain(|path, _| !is_lokis(&String::from_utf8_lossy(path)));
        let mut files = Found::new();
        collect(&top, b"", &mut files);
        files.retain(|path, _| !path.starts_with(b".loki/") && !path.starts_with(b".git/"));
        Self {
            files,
            state,
            refs: must(start, &["for-each-ref"]) + &must(start, &["rev-parse", "HEAD"]),
            excluded: fs::read(common.join("info/exclude")).unwrap_or_default(),
        }
    }

    #[track_caller]
    fn is_still(&self, other: &Self) {
        let names = |found: &Found| -> Vec<String> {
            let names = found
                .keys()
                .map(|name| String::from_utf8_lossy(name).into_owned());
            names.collect()
        };
        assert_eq!(names(&self.state), names(&other.state));
        for (path, (_, bytes)) in &self.state {
            // Git itself touches the time of a shared index that it reads.
            let name = String::from_utf8_lossy(path);
            assert!(other.state[path].1 == *bytes, "`{name}` was changed");
        }
        assert!(self.files == other.files, "the checkout was changed");
        assert_eq!(self.refs, other.refs);
        let before = self.excluded.strip_suffix(b"\n").unwrap_or(&self.excluded);
        let added = other.excluded.strip_prefix(before).unwrap();
        let line = b"/.loki/";
        assert!(
            added.trim_ascii() == line || (added.trim_ascii().is_empty() && before.ends_with(line))
        );
    }
}

/// Whether a file of a git directory is one that Loki adds to, or tells in another way.
fn is_lokis(path: &str) -> bool {
    let added = ["/objects/", "/reftable/", "/info/exclude"];
    let named = ["refs/heads/loki", "refs/loki"];
    added.iter().chain(&named).any(|part| path.contains(part))
}

fn collect(dir: &Path, prefix: &[u8], found: &mut Found) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let path = [prefix, entry.file_name().as_bytes()].concat();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            collect(&entry.path(), &[&path[..], b"/"].concat(), found);
            continue;
        }
        let bytes = if kind.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            target.as_os_str().as_bytes().to_vec()
        } else if kind.is_file() {
            fs::read(entry.path()).unwrap()
        } else {
            b"special".to_vec()
        };
        let time = entry.metadata().unwrap().mtime_nsec();
        found.insert(path, (time, bytes));
    }
}

pub(super) fn judge(repository: &Repository, slot: &Slot) -> HandOver {
    let rules = Files {
        read: globs(&["**"]),
        write: globs(&["**"]),
    };
    repository
        .hand_over(slot, &rules, &Caps::default(), &Redactor::default())
        .unwrap()
}

/// Returns each change, then each breach.
pub(super) fn told(handed: &HandOver) -> Vec<String> {
    let changes = handed.changes.iter();
    let changes = changes.map(|one| format!("{} {}", one.status, one.path));
    let breaches = handed.breaches.iter();
    changes
        .chain(breaches.map(|one| format!("{} {}", one.rule, one.path)))
        .collect()
}

pub(super) fn globs(texts: &[&str]) -> Globs {
    let glob = |text: &&str| Glob {
        text: (*text).to_owned(),
        origin: Origin::default(),
        except: Vec::new(),
    };
    Globs(texts.iter().map(glob).collect())
}

pub(super) fn put(root: &Path, path: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>) {
    let file = root.join(OsStr::from_bytes(path.as_ref()));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, bytes).unwrap();
}

/// Plain git, as the person runs it.
pub(super) fn plain(dir: &Path, arguments: &[&str]) -> Output {
    let mut git = Command::new("git");
    for who in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{who}_NAME"), "U")
            .env(format!("GIT_{who}_EMAIL"), "u@localhost");
    }
    git.env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_COUNT", "2")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("GIT_CONFIG_KEY_1", "protocol.file.allow")
        .env("GIT_CONFIG_VALUE_1", "always")
        .env("GIT_OPTIONAL_LOCKS", "0");
    git.current_dir(dir).args(arguments).output().unwrap()
}

#[track_caller]
fn raw_git(dir: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = plain(dir, arguments);
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    output.stdout
}

#[track_caller]
pub(super) fn must(dir: &Path, arguments: &[&str]) -> String {
    let text = String::from_utf8(raw_git(dir, arguments)).unwrap();
    text.trim_end().to_owned()
}

/// Returns the bytes of an object, unconverted.
#[track_caller]
pub(super) fn raw(dir: &Path, object: &str) -> Vec<u8> {
    raw_git(dir, &["--no-replace-objects", "cat-file", "blob", object])
}
