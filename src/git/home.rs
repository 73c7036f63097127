//! Brings landed work into the user's own checkout or onto a branch of the user's, when asked: only
//! forward, and only where nothing of the user's would be lost.
//!
//! It starts no hook, filter or driver, as every other call: contents arrive byte for byte, pointers
//! of Git LFS as pointers.

use super::{GitError, Join, ObjectId, Repository, repository::printable};

/// What bringing work home came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Brought {
    /// It is there already.
    Already,
    /// The branch stands at this commit now.
    Forward(ObjectId),
}

impl Repository {
    /// Moves the checkout, its branch and its files, forward to a commit.
    ///
    /// # Errors
    /// When the checkout has changes of its own, is sparse, or has moved on.
    pub fn bring_here(&self, commit: &ObjectId) -> Result<Brought, GitError> {
        let changed = self.dirty()?;
        if let Some(path) = changed.first() {
            return Err(GitError::Dirty {
                path: path.clone(),
                count: changed.len(),
            });
        }
        if self.is_sparse()? {
            return Err(GitError::Sparse {
                root: self.root().to_owned(),
            });
        }
        let name = self.branch().unwrap_or("HEAD").to_owned();
        if !self.is_ahead((&name, self.head()), commit)? {
            return Ok(Brought::Already);
        }
        let call = self
            .place
            .git("merge")
            .args(["--ff-only", "--quiet", "--no-stat"]);
        let call = call.args(["--no-verify", "--no-autostash", "--no-overwrite-ignore"]);
        call.arg(commit.as_str())
            .env("GIT_COMMITTER_NAME", "Loki")
            .env("GIT_COMMITTER_EMAIL", "loki@localhost")
            .run()?;
        Ok(Brought::Forward(commit.clone()))
    }

    /// Moves a branch of the user's, which need not exist, forward to a commit.
    ///
    /// # Errors
    /// When its name is none, when it is checked out somewhere, or has moved on.
    pub fn bring_to(&self, branch: &str, commit: &ObjectId) -> Result<Brought, GitError> {
        let name = format!("refs/heads/{branch}");
        let checked = self.place.reading("check-ref-format").arg(&name);
        let plain = checked.accept(&[0, 1]).run()?.code == 0;
        let own = ["loki", "loki-tasks"].iter().any(|own| {
            branch == *own
                || branch
                    .strip_prefix(own)
                    .is_some_and(|rest| rest.starts_with('/'))
        });
        if !plain || branch.starts_with('-') || own {
            return Err(GitError::BranchName {
                branch: printable(branch.as_bytes()),
            });
        }
        if self.is_checked_out(&name)? {
            return Err(GitError::CheckedOut {
                branch: printable(branch.as_bytes()),
            });
        }
        let old = self.commit_of(&name)?;
        if let Some(old) = &old
            && !self.is_ahead((branch, old), commit)?
        {
            return Ok(Brought::Already);
        }
        let from = old.unwrap_or_else(|| commit.zero());
        let call = self.place.git("update-ref");
        let call = call.args(["--no-deref", "-m", "loki apply", "--end-of-options"]);
        call.args([&name, commit.as_str(), from.as_str()])
            .env("GIT_COMMITTER_NAME", "Loki")
            .env("GIT_COMMITTER_EMAIL", "loki@localhost")
            .run()?;
        Ok(Brought::Forward(commit.clone()))
    }

    /// Returns whether a branch can move forward to a commit; it cannot where it is there already.
    fn is_ahead(&self, (name, at): (&str, &ObjectId), commit: &ObjectId) -> Result<bool, GitError> {
        match self.join(at, commit)? {
            Join::Landed => Ok(false),
            Join::Forward(_) => Ok(true),
            Join::Merge(_) | Join::Conflict(_) => Err(GitError::MovedOn {
                branch: printable(name.as_bytes()),
                commit: commit.to_string(),
            }),
        }
    }

    /// Returns whether a checkout has but some of the files.
    fn is_sparse(&self) -> Result<bool, GitError> {
        let mut sparse = false;
        for scope in ["--local", "--worktree"] {
            let call = self.place.reading("config").arg(scope);
            let call = call.args(["--type=bool", "--get", "core.sparseCheckout"]);
            let answer = call.accept(&[0, 1, 128]).run()?;
            sparse |= answer.code == 0 && answer.line()? == "true";
        }
        Ok(sparse)
    }

    fn is_checked_out(&self, name: &str) -> Result<bool, GitError> {
        let call = self.place.reading("worktree");
        let answer = call.args(["list", "--porcelain", "-z"]).run()?;
        let wanted = format!("branch {name}");
        let mut lines = answer.records();
        Ok(lines.any(|line| line == wanted.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Brought;
    use crate::git::{GitError, ObjectId, world::World};

    /// A world whose branch `loki/r1` is one commit ahead of `main`.
    fn ahead() -> (World, ObjectId) {
        let world = World::new();
        world.git(&["checkout", "-q", "-b", "loki/r1"]);
        world.file("src/new.rs", "new\n");
        world.save("landed");
        world.git(&["checkout", "-q", "main"]);
        let landed = world.open().resolve("loki/r1").unwrap();
        (world, landed)
    }

    #[test]
    fn a_clean_checkout_moves_forward_with_its_files_and_starts_nothing() {
        let (world, landed) = ahead();
        world.file(".git/hooks/post-merge", "#!/bin/sh\ntouch ../MARKER\n");
        let hook = world.root().join(".git/hooks/post-merge");
        let mode: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(hook, mode).unwrap();
        let repository = world.open();
        assert_eq!(
            repository.bring_here(&landed).unwrap(),
            Brought::Forward(landed.clone())
        );
        assert_eq!(
            fs::read_to_string(world.root().join("src/new.rs")).unwrap(),
            "new\n"
        );
        assert_eq!(world.git(&["rev-parse", "main"]), landed.as_str());
        assert_eq!(world.git(&["status", "--porcelain"]), "");
        assert!(!world.dir.path().join("MARKER").exists());
        let repository = world.open();
        assert_eq!(repository.bring_here(&landed).unwrap(), Brought::Already);
    }

    #[test]
    fn what_the_user_has_is_never_lost() {
        let (world, landed) = ahead();
        world.file("README.md", "mine\n");
        let fault = world.open().bring_here(&landed).unwrap_err();
        assert!(matches!(fault, GitError::Dirty { count: 1, .. }), "{fault}");
        world.git(&["checkout", "-q", "README.md"]);
        world.file("src/new.rs", "mine, not committed\n");
        assert!(matches!(
            world.open().bring_here(&landed),
            Err(GitError::Dirty { .. })
        ));
        fs::remove_file(world.root().join("src/new.rs")).unwrap();
        world.file(".git/info/exclude", "/.loki/\nsrc/new.rs\n");
        world.file("src/new.rs", "mine, ignored\n");
        assert!(world.open().bring_here(&landed).is_err());
        assert_eq!(
            fs::read_to_string(world.root().join("src/new.rs")).unwrap(),
            "mine, ignored\n"
        );
        fs::remove_file(world.root().join("src/new.rs")).unwrap();
        world.git(&["config", "core.sparseCheckout", "true"]);
        assert!(matches!(
            world.open().bring_here(&landed),
            Err(GitError::Sparse { .. })
        ));
    }

    #[test]
    fn a_branch_that_moved_on_is_left_alone() {
        let (world, landed) = ahead();
        world.file("other.txt", "other\n");
        world.save("meanwhile");
        let before = world.git(&["rev-parse", "main"]);
        assert!(matches!(
            world.open().bring_here(&landed),
            Err(GitError::MovedOn { .. })
        ));
        assert_eq!(world.git(&["rev-parse", "main"]), before);
    }

    #[test]
    fn another_branch_is_made_or_moved_forward_unless_it_is_checked_out() {
        let (world, landed) = ahead();
        let repository = world.open();
        assert_eq!(
            repository.bring_to("work/new", &landed).unwrap(),
            Brought::Forward(landed.clone())
        );
        assert_eq!(world.git(&["rev-parse", "work/new"]), landed.as_str());
        assert_eq!(
            repository.bring_to("work/new", &landed).unwrap(),
            Brought::Already
        );
        assert!(matches!(
            repository.bring_to("main", &landed),
            Err(GitError::CheckedOut { .. })
        ));
        for bad in [
            "-x", "a..b", "loki/r1", "loki", "a b", "", "x\u{1b}", "a.lock",
        ] {
            let fault = repository.bring_to(bad, &landed).unwrap_err();
            assert!(
                matches!(fault, GitError::BranchName { .. }),
                "{bad}: {fault}"
            );
        }
        world.git(&["branch", "old", "main"]);
        assert_eq!(
            repository.bring_to("old", &landed).unwrap(),
            Brought::Forward(landed)
        );
    }
}
