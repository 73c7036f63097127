//! A worktree that is filled before anybody knows for which task.
//!
//! It is filled from one commit for one list of globs and one owner, and goes to a task of exactly
//! these. By then its directory may have been moved and the task's base may be another commit: only
//! the files that differ are touched, and what the gate compares with is the base's own list, as in
//! a worktree that was filled for the task from the start.
//!
//! It assumes that nothing wrote there meanwhile, for nothing runs in a sandbox that has no role.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    thread,
};

use super::{
    Checkout, Export, GitError, ObjectId, Owner, Repository, Slot, SlotSpec,
    checkout::{Files, Filled, lay_out},
    error::At,
    refs::task_branch,
    repository::path_in,
};
use crate::policy::Globs;

/// The directory in `meta` that git takes for the worktree until there is a task.
const NOBODY: &str = "idle";

/// A filled worktree without a task.
#[derive(Debug)]
pub struct Ahead {
    filled: Filled,
    base: ObjectId,
    read: Option<Globs>,
    owner: Option<Owner>,
    /// Git's notes on it, where they are of the form that is known here.
    notes: Option<PathBuf>,
}

impl Ahead {
    /// Fills a worktree below `dir`.
    ///
    /// # Errors
    /// When `dir` holds files or git fails; call [`Slot::remove_dir`] then.
    pub fn prepare(
        repository: &Repository,
        dir: &Path,
        checkout: Checkout<'_>,
    ) -> Result<Self, GitError> {
        let files = lay_out(dir)?;
        let filled = files.filled(repository, checkout)?;
        Ok(Self {
            filled,
            base: checkout.tree.clone(),
            read: checkout.read.cloned(),
            owner: checkout.owner,
            notes: None,
        })
    }

    /// Registers it with git, without a branch, so that becoming a task's takes less time.
    ///
    /// # Errors
    /// When git fails; call [`Slot::remove_dir`] then.
    pub fn registered(mut self, repository: &Repository, dir: &Path) -> Result<Self, GitError> {
        let files = Files::at(dir)?;
        self.notes = register(repository, &files.dir, &self.base)?;
        Ok(self)
    }

    /// Returns what it was filled from.
    #[must_use]
    pub fn base(&self) -> &ObjectId {
        &self.base
    }

    /// Makes it the worktree of a task; `dir` is where its directory stands now.
    ///
    /// # Errors
    /// When it was filled for another list of globs or another owner, or git fails; call
    /// [`Slot::remove_dir`] then.
    pub fn claim(
        self,
        repository: &Repository,
        dir: &Path,
        spec: SlotSpec<'_>,
    ) -> Result<Slot, GitError> {
        let files = Files::at(dir)?;
        let checkout = Checkout {
            tree: spec.base,
            read: spec.read,
            owner: spec.owner,
        };
        self.refuse_others(&files, checkout)?;
        let notes = self.notes.clone();
        let (registered, filled) = thread::scope(|scope| {
            let registering = scope.spawn(|| name(repository, &files, (notes, &spec)));
            let filled = self.follow(repository, &files, checkout);
            let registered = registering.join();
            (registered.expect("registering does not panic"), filled)
        });
        registered?;
        let absent = filled?.absent;
        let (run, task, base) = (spec.run.clone(), spec.task.clone(), spec.base.clone());
        Ok(Slot {
            files,
            run,
            task,
            base,
            absent: absent.unread,
            modules: absent.modules,
        })
    }

    /// Makes it the copy of a tree, from which nothing comes back; `dir` is where its directory
    /// stands now.
    ///
    /// # Errors
    /// Those of [`Ahead::claim`].
    pub fn export(
        self,
        repository: &Repository,
        dir: &Path,
        checkout: Checkout<'_>,
    ) -> Result<Export, GitError> {
        let files = Files::at(dir)?;
        self.refuse_others(&files, checkout)?;
        let export = Export::at(&files);
        self.follow(repository, &files, checkout)?;
        Ok(export)
    }

    /// What may be read by one is not shown to another, and what belongs to one is of no use to
    /// another.
    fn refuse_others(&self, files: &Files, checkout: Checkout<'_>) -> Result<(), GitError> {
        if self.read.as_ref() == checkout.read && self.owner == checkout.owner {
            return Ok(());
        }
        Err(GitError::Occupied {
            dir: files.dir.clone(),
        })
    }

    fn follow(
        self,
        repository: &Repository,
        files: &Files,
        checkout: Checkout<'_>,
    ) -> Result<Filled, GitError> {
        if self.base == *checkout.tree {
            return Ok(self.filled);
        }
        files.refilled(repository, checkout, &self.filled)
    }
}

/// Registers a worktree without a branch, and returns where git keeps its notes on it; none when
/// they are of a form that only git may write.
fn register(
    repository: &Repository,
    dir: &Path,
    base: &ObjectId,
) -> Result<Option<PathBuf>, GitError> {
    let meta = dir.join("meta").join(NOBODY);
    let call = repository.place.git("worktree").args(["add", "--quiet"]);
    let call = call.args(["--force", "--no-checkout", "--detach", "--"]);
    let _alone = repository.lock_worktrees();
    call.arg(&meta).arg(base.as_str()).run()?;
    let pointer = fs::read_to_string(meta.join(".git")).at("read", &meta)?;
    let notes = pointer.strip_prefix("gitdir: ").map(str::trim_end);
    Ok(notes.map(PathBuf::from).filter(|notes| {
        let head = fs::read_to_string(notes.join("HEAD")).unwrap_or_default();
        head.trim_end() == base.as_str() && path_in(&notes.join("gitdir")).is_some()
    }))
}

/// Gives a registered worktree the branch of its task: two small files, instead of the start of a
/// program. Where these are not known here git does it.
fn name(
    repository: &Repository,
    files: &Files,
    (notes, spec): (Option<PathBuf>, &SlotSpec<'_>),
) -> Result<(), GitError> {
    let branch = task_branch(spec.run, spec.task);
    repository.set_task_branch(&format!("refs/heads/{branch}"), spec.base)?;
    let old = files.dir.join("meta").join(NOBODY);
    let meta = files.meta(spec.run, spec.task);
    let _alone = repository.lock_worktrees();
    let Some(notes) = notes else {
        let call = repository.place.git("worktree").args(["add", "--quiet"]);
        let call = call.args(["--force", "--no-checkout", "--"]);
        return call.arg(&meta).arg(&branch).run().map(drop);
    };
    fs::rename(&old, &meta).at("rename", &old)?;
    let mut place = meta.join(".git").into_os_string().into_encoded_bytes();
    place.push(b'\n');
    replace(&notes, "gitdir", &place)?;
    replace(
        &notes,
        "HEAD",
        format!("ref: refs/heads/{branch}\n").as_bytes(),
    )
}

/// Replaces one of git's notes at once.
fn replace(notes: &Path, file: &str, bytes: &[u8]) -> Result<(), GitError> {
    let (fresh, path) = (notes.join(format!("{file}.loki")), notes.join(file));
    let written = File::create(&fresh).and_then(|mut file| file.write_all(bytes));
    written.at("write", &fresh)?;
    fs::rename(&fresh, &path).at("write", &path)
}

#[cfg(test)]
mod tests;
