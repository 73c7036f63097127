//! The worktree of one attempt at one task.
//!
//! ```text
//! .loki/worktrees/<run>/<slot>/
//!   work/  index                 as in `checkout`
//!   meta/<run>-<task>/           where git believes the worktree to be: one `.git` file
//! ```
//!
//! `git worktree list` shows the task's branch as checked out in `meta`, so nobody else checks it
//! out; the container sees `work` only.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    thread,
};

use super::{
    Checkout, GitError, ObjectId, Owner, Repository,
    checkout::{Files, lay_out},
    error::At,
    refs::task_branch,
    repository::path_in,
    tree,
};
use crate::{
    name::{RunId, TaskId},
    policy::Globs,
};

/// Whose slot it is and what is in it.
#[derive(Debug, Clone, Copy)]
pub struct SlotSpec<'a> {
    /// The run.
    pub run: &'a RunId,
    /// The task.
    pub task: &'a TaskId,
    /// The commit the task starts from; the task's branch is set to it.
    pub base: &'a ObjectId,
    /// Which files the role may read; none is all of them.
    pub read: Option<&'a Globs>,
    /// Who gets the files; only root can give files away, others keep them.
    pub owner: Option<Owner>,
}

/// A worktree of one attempt, on the task's branch, without a `.git` file in the container's
/// sight.
#[derive(Debug)]
pub struct Slot {
    pub(super) files: Files,
    pub(super) run: RunId,
    pub(super) task: TaskId,
    pub(super) base: ObjectId,
    /// Paths that the role may not read.
    pub(super) absent: BTreeSet<Vec<u8>>,
    /// Where submodules of the base would stand.
    pub(super) modules: BTreeSet<Vec<u8>>,
}

impl Slot {
    /// Makes the directories a container can be started on before the slot has a task, and
    /// returns the one to mount as `/work`. [`Slot::prepare`] fills it later.
    ///
    /// # Errors
    /// When `dir` cannot be made, or holds files.
    pub fn lay_out(dir: &Path) -> Result<PathBuf, GitError> {
        lay_out(dir).map(|files| files.work)
    }

    /// Puts a task's files below `dir` and registers the worktree. A task's branch from an earlier
    /// attempt is set back to the base; what the attempt left stays reachable by its commit.
    ///
    /// # Errors
    /// When `dir` holds files or git fails; call [`Slot::remove_dir`] then.
    pub fn prepare(
        repository: &Repository,
        dir: &Path,
        spec: SlotSpec<'_>,
    ) -> Result<Self, GitError> {
        let files = lay_out(dir)?;
        let branch = task_branch(spec.run, spec.task);
        let name = format!("refs/heads/{branch}");
        let meta = files.meta(spec.run, spec.task);
        let checkout = Checkout {
            tree: spec.base,
            read: spec.read,
            owner: spec.owner,
        };
        let (registered, absent) = thread::scope(|scope| {
            let registering = scope.spawn(|| {
                repository.set_task_branch(&name, spec.base)?;
                let call = repository.place.git("worktree");
                let call = call.args(["add", "--quiet", "--force", "--no-checkout", "--"]);
                let _alone = repository.lock_worktrees();
                call.arg(&meta).arg(&branch).run().map(drop)
            });
            let absent = files.fill(repository, checkout);
            let registered = registering.join();
            (registered.expect("registering does not panic"), absent)
        });
        registered?;
        let absent = absent?;
        let (run, task, base) = (spec.run.clone(), spec.task.clone(), spec.base.clone());
        Ok(Self {
            files,
            run,
            task,
            base,
            absent: absent.unread,
            modules: absent.modules,
        })
    }

    /// Returns the directory to mount as `/work`.
    #[must_use]
    pub fn work(&self) -> &Path {
        &self.files.work
    }

    /// Returns the commit the slot was filled from.
    #[must_use]
    pub fn base(&self) -> &ObjectId {
        &self.base
    }

    /// Removes the slot. No container may run on it any more. Repeatable.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn remove(&self, repository: &Repository) -> Result<(), GitError> {
        Self::remove_dir(repository, &self.files.dir)
    }

    /// Removes whatever stands at a slot's place: what git knows of it, and the directory. Links
    /// are not followed, permissions do not matter, and nothing being there is fine.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn remove_dir(repository: &Repository, dir: &Path) -> Result<(), GitError> {
        repository.forget_worktrees(dir)?;
        tree::remove(dir)
    }
}

impl Repository {
    /// Removes the slots of every run that is not in `keep`, and returns these runs' directories.
    /// The user's own worktrees are not looked at.
    ///
    /// # Errors
    /// When something cannot be read or removed.
    pub fn sweep(&self, keep: &[RunId]) -> Result<Vec<PathBuf>, GitError> {
        let top = self.worktrees_dir();
        let mut swept = Vec::new();
        for dir in directories(&top)? {
            let name = dir.file_name().and_then(|name| name.to_str());
            if !keep.iter().any(|run| Some(run.as_str()) == name) {
                Slot::remove_dir(self, &dir)?;
                swept.push(dir);
            }
        }
        self.forget_lost(&top)?;
        Ok(swept)
    }

    /// Sets a task's branch to a commit, wherever an earlier attempt left it.
    pub(super) fn set_task_branch(&self, name: &str, base: &ObjectId) -> Result<(), GitError> {
        match self.move_ref(name, None, base) {
            Err(GitError::Moved { .. }) => {
                let earlier = self.commit_of(name)?;
                self.move_ref(name, earlier.as_ref(), base)
            }
            done => done,
        }
    }

    /// Removes what is left of the worktrees of one run. Nothing of that run may work there any
    /// more; others may.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn sweep_run(&self, run: &RunId) -> Result<(), GitError> {
        let dir = self.worktrees_dir().join(run.as_str());
        match fs::symlink_metadata(&dir) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
            _ => tree::remove(&dir)?,
        }
        self.forget_worktrees(&dir)
    }

    /// Removes git's notes on worktrees that stand below `dir`.
    fn forget_worktrees(&self, dir: &Path) -> Result<(), GitError> {
        self.forget(|place| place.starts_with(dir))
    }

    /// Removes git's notes on worktrees that stood below `dir` and are gone.
    fn forget_lost(&self, dir: &Path) -> Result<(), GitError> {
        self.forget(|place| place.starts_with(dir) && !place.exists())
    }

    fn forget(&self, doomed: impl Fn(&Path) -> bool) -> Result<(), GitError> {
        let _alone = self.lock_worktrees();
        for notes in directories(&self.common_dir().join("worktrees"))? {
            if path_in(&notes.join("gitdir")).is_some_and(|place| doomed(&place)) {
                tree::remove(&notes)?;
            }
        }
        Ok(())
    }
}

/// Returns what stands in a directory; one that is not there holds nothing.
fn directories(top: &Path) -> Result<Vec<PathBuf>, GitError> {
    let entries = match fs::read_dir(top) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("read", top)?,
    };
    let paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>();
    paths.at("read", top)
}

/// Returns the programs to run **inside** a sandbox, in `/work`, to give an agent a repository of
/// its own with one commit. Never run them on the host. `.git` must be the agent's.
#[must_use]
pub fn private_repository_script() -> Vec<Vec<&'static str>> {
    vec![
        inside(&["init", "--quiet", "--initial-branch=work"]),
        inside(&ADD),
        inside(&["commit", "--quiet", "--allow-empty", "--message=base"]),
    ]
}

/// Returns the programs to run like those of [`private_repository_script`] where its repository is
/// there and the files have changed since. It is emptied, objects and all, before it is made anew:
/// of what the files were before, an agent of a fresh repository would see nothing either.
#[must_use]
pub fn private_repository_anew() -> Vec<Vec<&'static str>> {
    let emptied = [
        // Else what has the name of a file of the worktree would stay.
        inside(&["read-tree", "--empty"]),
        inside(&["--git-dir=.git", "--work-tree=.git", "clean", "-ffdxq"]),
    ];
    emptied
        .into_iter()
        .chain(private_repository_script())
        .collect()
}

/// All contents in one pack: a file each would be more files than the mount may hold.
const ADD: [&str; 6] = [
    "-c",
    "core.bigFileThreshold=1",
    "-c",
    "pack.compression=1",
    "add",
    "--all",
];

fn inside(rest: &[&'static str]) -> Vec<&'static str> {
    let who = [
        "git",
        "-c",
        "user.name=Loki",
        "-c",
        "user.email=loki@localhost",
    ];
    let plain = [
        "-c",
        "commit.gpgSign=false",
        "-c",
        "core.hooksPath=/dev/null",
    ];
    [&who[..], &plain, rest].concat()
}
