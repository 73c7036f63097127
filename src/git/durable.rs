//! What a run must find again after a crash: whether a commit is there, locks that a killed git
//! left, and objects and refs that survive a power cut.

use std::{fs::File, path::Path};

use super::{GitError, ObjectId, Repository, error::At, refs::run_branch};
use crate::name::RunId;

impl Repository {
    /// Returns whether a commit and everything that it is made of directly is there.
    ///
    /// # Errors
    /// When git fails.
    pub fn has_commit(&self, commit: &ObjectId) -> Result<bool, GitError> {
        let call = self.place.reading("cat-file");
        let tree = call.args(["-e", &format!("{commit}^{{tree}}")]);
        Ok(tree.accept(&[0, 1, 128]).run()?.code == 0)
    }

    /// Puts everything of the repository on the disk: git writes single objects and refs without
    /// waiting for that.
    ///
    /// # Errors
    /// When the system cannot promise it.
    pub fn settle(&self) -> Result<(), GitError> {
        let dir = self.common_dir();
        let opened = File::open(dir).at("open", dir)?;
        rustix::fs::syncfs(&opened).at("sync", dir)
    }

    /// Removes the locks on refs of a run that a git left which was killed. Only for the holder of
    /// the repository's lock, before it starts a git of its own on that run.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn forget_stale_locks(&self, run: &RunId) -> Result<(), GitError> {
        let heads = self.common_dir().join("refs/heads");
        let branch = heads.join(format!("{}.lock", run_branch(run)));
        remove(&branch)?;
        let tasks = heads.join("loki-tasks").join(run.as_str());
        for entry in std::fs::read_dir(tasks).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|end| end == "lock") {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<(), GitError> {
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(cause).at("remove", path),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::World;

    #[test]
    fn a_commit_that_is_not_there_is_not_held() {
        let world = World::new();
        let repository = world.open();
        assert!(repository.has_commit(repository.head()).unwrap());
        let nothing = "1111111111111111111111111111111111111111".parse().unwrap();
        assert!(!repository.has_commit(&nothing).unwrap());
        repository.settle().unwrap();
    }

    #[test]
    fn locks_of_a_killed_git_on_refs_of_the_run_are_removed_and_no_others() {
        let world = World::new();
        let repository = world.open();
        let run = world.run.clone();
        repository
            .create_run_branch(&run, repository.head())
            .unwrap();
        let heads = world.root().join(".git/refs/heads");
        std::fs::create_dir_all(heads.join("loki-tasks/r1")).unwrap();
        let ours = ["loki/r1.lock", "loki-tasks/r1/store.lock"];
        for name in ours.iter().chain(&["main.lock"]) {
            std::fs::File::create(heads.join(name)).unwrap();
        }
        world.file("src/b.rs", "b\n");
        let base = repository.head().clone();
        assert!(
            repository.advance(&run, &base, &base).is_err(),
            "the lock holds"
        );
        repository.forget_stale_locks(&run).unwrap();
        repository.advance(&run, &base, &base).unwrap();
        assert!(ours.iter().all(|name| !heads.join(name).exists()));
        assert!(
            heads.join("main.lock").exists(),
            "the person's own git holds that one"
        );
    }
}
