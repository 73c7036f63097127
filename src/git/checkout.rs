//! A commit's files in a directory, for a container to see.
//!
//! ```text
//! dir/
//!   work/        bind-mounted as /work
//!     .git/      empty: the mount point of the container's private repository
//!   index        the host's index of work/, out of the container's sight
//! ```
//!
//! `.git` is made before a container starts and never touched while one may run, for removing a
//! mount point on the host detaches the mount inside. Files that the role may not read are absent,
//! and marked so in the index, so that their absence is no change. So are submodules.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    GitError, ObjectId, Owner, Repository,
    command::Place,
    error::At,
    files,
    index::{Facts, Index, Mode},
    tree,
};
use crate::{
    name::{RunId, TaskId},
    policy::Globs,
};

/// What is to be materialised.
#[derive(Debug, Clone, Copy)]
pub struct Checkout<'a> {
    /// A commit, or a tree.
    pub tree: &'a ObjectId,
    /// Which files; none is all of them.
    pub read: Option<&'a Globs>,
    /// Who gets them; only root can give files away, others keep them.
    pub owner: Option<Owner>,
}

/// A tree materialised for a check or a review: no branch, and nothing comes back from it.
#[derive(Debug)]
pub struct Export {
    dir: PathBuf,
}

impl Export {
    pub(super) fn at(files: &Files) -> Self {
        Self {
            dir: files.dir.clone(),
        }
    }

    /// Returns the directory to mount as `/work`.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// Removes it, whatever stands in it. Repeatable.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn remove(&self) -> Result<(), GitError> {
        tree::remove(&self.dir)
    }
}

impl Repository {
    /// Materialises a tree below `dir`.
    ///
    /// # Errors
    /// When `dir/work` holds files, or git fails.
    pub fn export(&self, dir: &Path, checkout: Checkout<'_>) -> Result<Export, GitError> {
        let files = lay_out(dir)?;
        files.fill(self, checkout)?;
        Ok(Export { dir: files.dir })
    }
}

/// A worktree and its index, side by side.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) dir: PathBuf,
    pub(super) work: PathBuf,
    pub(super) index: PathBuf,
}

/// Makes the directories of a slot; those that are there already must be empty.
pub(super) fn lay_out(dir: &Path) -> Result<Files, GitError> {
    fs::create_dir_all(dir).at("create", dir)?;
    let dir = fs::canonicalize(dir).at("open", dir)?;
    let work = dir.join("work");
    let mount_point = work.join(".git");
    for made in [&work, &mount_point] {
        match fs::create_dir(made) {
            Err(cause) if cause.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(cause).at("create", made);
            }
            _ => {}
        }
    }
    let walk = tree::walk(&work)?;
    let index = dir.join("index");
    if !walk.entries.is_empty() || index.exists() {
        return Err(GitError::Occupied { dir });
    }
    Ok(Files { dir, work, index })
}

impl Files {
    /// Names those of a slot that is laid out.
    pub(super) fn at(dir: &Path) -> Result<Self, GitError> {
        let dir = fs::canonicalize(dir).at("open", dir)?;
        let (work, index) = (dir.join("work"), dir.join("index"));
        Ok(Self { dir, work, index })
    }

    /// Where git believes the worktree of a task to be.
    pub(super) fn meta(&self, run: &RunId, task: &TaskId) -> PathBuf {
        self.dir.join("meta").join(format!("{run}-{task}"))
    }

    /// Returns the repository over this worktree, whose attribute files count for nothing.
    pub(super) fn place(&self, repository: &Repository) -> Place {
        repository
            .place
            .over(&self.work, repository.head().empty_tree())
    }

    /// Writes the files of a tree and returns the paths that were left out.
    pub(super) fn fill(
        &self,
        repository: &Repository,
        checkout: Checkout<'_>,
    ) -> Result<Absent, GitError> {
        Ok(self.filled(repository, checkout)?.absent)
    }

    /// Writes the files of a tree and returns what stands there then.
    pub(super) fn filled(
        &self,
        repository: &Repository,
        checkout: Checkout<'_>,
    ) -> Result<Filled, GitError> {
        let place = self.place(repository);
        let index = self.listed(repository, &place, checkout.tree)?;
        let (chosen, absent) = choose(&index, checkout.read);
        let to = (self.work.as_path(), checkout.owner);
        let facts = files::write(&place, to, &index, &chosen)?;
        self.note(&index.write(&facts))?;
        Ok(Filled {
            index,
            facts,
            absent,
        })
    }

    /// Goes from the files of one tree, to which nobody has done anything since, to those of
    /// another.
    pub(super) fn refilled(
        &self,
        repository: &Repository,
        checkout: Checkout<'_>,
        before: &Filled,
    ) -> Result<Filled, GitError> {
        let place = self.place(repository);
        let index = self.listed(repository, &place, checkout.tree)?;
        let (chosen, absent) = choose(&index, checkout.read);
        let to = (self.work.as_path(), checkout.owner);
        let stand = (&*before.index, before.facts.as_slice());
        let facts = files::change(&place, to, stand, (&index, &chosen))?;
        fs::remove_file(&self.index).at("remove", &self.index)?;
        self.note(&index.write(&facts))?;
        Ok(Filled {
            index,
            facts,
            absent,
        })
    }

    fn note(&self, index: &[u8]) -> Result<(), GitError> {
        let mut file = File::create_new(&self.index).at("create", &self.index)?;
        file.write_all(index).at("write", &self.index)
    }

    /// Returns the list of a tree's files: git makes it once for each tree.
    fn listed(
        &self,
        repository: &Repository,
        place: &Place,
        tree: &ObjectId,
    ) -> Result<Arc<Index>, GitError> {
        if let Some(known) = repository.known_index(tree) {
            return Ok(known);
        }
        let fresh = self.dir.join("index.new");
        let read = place.git("read-tree").index(&fresh).arg(tree.as_str());
        let answer = read.run()?;
        let bytes = fs::read(&fresh).at("read", &fresh)?;
        fs::remove_file(&fresh).at("remove", &fresh)?;
        let index = Index::read(bytes, tree.as_str().len() / 2).ok_or_else(|| answer.odd())?;
        Ok(repository.keep_index(tree, index))
    }
}

/// A tree as it stands in a worktree.
#[derive(Debug)]
pub(super) struct Filled {
    index: Arc<Index>,
    facts: Vec<Option<Facts>>,
    pub(super) absent: Absent,
}

/// Says of each file of a list whether it is to be there, and which are not.
fn choose(index: &Index, read: Option<&Globs>) -> (Vec<bool>, Absent) {
    let read = read.map(Globs::matcher);
    let may_read = |path: &[u8]| match (&read, std::str::from_utf8(path)) {
        (None, _) => true,
        (Some(read), Ok(path)) => read.matches(path).is_some(),
        (Some(_), Err(_)) => false,
    };
    let mut absent = Absent::default();
    let mut chosen = Vec::with_capacity(index.entries.len());
    for entry in &index.entries {
        let left_out = match entry.mode {
            Mode::Module => Some(&mut absent.modules),
            _ if may_read(&entry.path) => None,
            _ => Some(&mut absent.unread),
        };
        chosen.push(left_out.is_none());
        if let Some(paths) = left_out {
            paths.insert(entry.path.clone());
        }
    }
    (chosen, absent)
}

/// What of a tree is not in a worktree.
#[derive(Debug, Default, Clone)]
pub(super) struct Absent {
    /// What the role may not read.
    pub(super) unread: BTreeSet<Vec<u8>>,
    /// Submodules.
    pub(super) modules: BTreeSet<Vec<u8>>,
}
