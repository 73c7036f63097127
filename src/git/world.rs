//! A user's repository for tests, made with plain git.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Caps, HandOver, ObjectId, Repository, Signature, Slot, SlotSpec};
use crate::{
    name::{Role, RunId, TaskId},
    policy::{Files, Glob, Globs, Origin},
};

pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) run: RunId,
    pub(super) task: TaskId,
    pub(super) role: Role,
}

impl World {
    /// A repository with `src/app.rs`, `secret/key`, `README.md` and a `.gitignore` of `target/`.
    pub(super) fn new() -> Self {
        let world = Self {
            dir: tempfile::tempdir().unwrap(),
            run: "r1".parse().unwrap(),
            task: "store".parse().unwrap(),
            role: "eng-backend".parse().unwrap(),
        };
        fs::create_dir(world.root()).unwrap();
        world.git(&["init", "-q", "-b", "main"]);
        world.git(&["config", "user.name", "User"]);
        world.git(&["config", "user.email", "user@localhost"]);
        world.file("src/app.rs", "fn main() {}\n");
        world.file("secret/key", "canary\n");
        world.file("README.md", "one\ntwo\nthree\n");
        world.file(".gitignore", "target/\n");
        world.save("first");
        world
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// Runs plain git in the user's checkout.
    #[expect(clippy::disallowed_methods, reason = "the user's own git, not Loki's")]
    pub(super) fn git(&self, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        let output = git
            .args(arguments)
            .current_dir(self.root())
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    pub(super) fn file(&self, path: &str, text: &str) {
        write(&self.root(), path, text);
    }

    /// Commits everything on the user's branch.
    pub(super) fn save(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
    }

    pub(super) fn open(&self) -> Repository {
        Repository::open(&self.root()).unwrap()
    }

    pub(super) fn slot_dir(&self, name: &str) -> PathBuf {
        self.root().join(".loki/worktrees/r1").join(name)
    }

    /// Prepares a slot of a task, from a base, with everything readable.
    pub(super) fn slot(&self, repository: &Repository, task: &str, base: &ObjectId) -> Slot {
        self.sparse_slot(repository, task, base, None)
    }

    pub(super) fn sparse_slot(
        &self,
        repository: &Repository,
        task: &str,
        base: &ObjectId,
        read: Option<&Globs>,
    ) -> Slot {
        let id: TaskId = task.parse().unwrap();
        let spec = SlotSpec {
            run: &self.run,
            task: &id,
            base,
            read,
            owner: None,
        };
        Slot::prepare(repository, &self.slot_dir(task), spec).unwrap()
    }

    pub(super) fn signature(&self) -> Signature<'_> {
        Signature {
            run: &self.run,
            task: Some(&self.task),
            mates: &[],
            role: &self.role,
            policy: "p0",
            journal: 7,
            time: 1_700_000_000,
        }
    }
}

/// Writes a file below a directory, as an agent would.
#[expect(clippy::disallowed_methods, reason = "an agent's write, not Loki's")]
pub(super) fn write(root: &Path, path: &str, text: &str) {
    let file = root.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

pub(super) fn globs(texts: &[&str]) -> Globs {
    let glob = |text: &&str| Glob {
        text: (*text).to_owned(),
        origin: Origin::default(),
        except: Vec::new(),
    };
    Globs(texts.iter().map(glob).collect())
}

/// Judges a slot whose role may write `src/**`.
pub(super) fn judge(repository: &Repository, slot: &Slot) -> HandOver {
    let rules = Files {
        read: globs(&["**"]),
        write: globs(&["src/**"]),
    };
    repository
        .hand_over(
            slot,
            &rules,
            &Caps::default(),
            &crate::redact::Redactor::default(),
        )
        .unwrap()
}

/// Returns `rule path` of every breach.
pub(super) fn rules(work: &HandOver) -> Vec<String> {
    work.breaches
        .iter()
        .map(|breach| format!("{} {}", breach.rule, breach.path))
        .collect()
}
