//! Taking a landing back, without a worktree: the branch gets the change the other way round.

use super::super::{GitError, ObjectId, Repository, repository::printable};

/// What taking a landing back would give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// The branch without it has this tree.
    Tree(ObjectId),
    /// The branch holds nothing of it any more.
    Nothing,
    /// What came later changed these files too, names made printable.
    Conflict(Vec<String>),
}

impl Repository {
    /// Says what the branch at `head` would be without what changed from `from` to `to`. Moves
    /// nothing.
    ///
    /// # Errors
    /// When git fails.
    pub fn undo(
        &self,
        head: &ObjectId,
        from: &ObjectId,
        to: &ObjectId,
    ) -> Result<Undone, GitError> {
        // A merge of commits made for it: the landed tree is what both parted from. Older versions
        // of git take no common base by name.
        let parted = self.alone(to, None)?;
        let (ours, theirs) = (
            self.alone(head, Some(&parted))?,
            self.alone(from, Some(&parted))?,
        );
        let merged = self.merge(&ours, &theirs)?;
        if !merged.is_clean {
            let names = merged.names.iter().map(|name| printable(name));
            return Ok(Undone::Conflict(names.collect()));
        }
        if merged.tree == self.tree_of(head)? {
            return Ok(Undone::Nothing);
        }
        Ok(Undone::Tree(merged.tree))
    }

    /// Writes a commit with the tree of another and none of its history. No ref ever names it.
    fn alone(&self, of: &ObjectId, parent: Option<&ObjectId>) -> Result<ObjectId, GitError> {
        let tree = self.tree_of(of)?;
        let call = self.place.git("commit-tree").arg("--no-gpg-sign");
        let call = call.args(parent.iter().flat_map(|parent| ["-p", parent.as_str()]));
        let who = [
            "GIT_AUTHOR_NAME",
            "GIT_AUTHOR_EMAIL",
            "GIT_COMMITTER_NAME",
            "GIT_COMMITTER_EMAIL",
        ];
        let call = who
            .into_iter()
            .fold(call, |call, name| call.env(name, "loki"));
        let call = call
            .env("GIT_AUTHOR_DATE", "1000000000 +0000")
            .env("GIT_COMMITTER_DATE", "1000000000 +0000");
        call.args(["-F", "-", tree.as_str()])
            .input("undo\n")
            .run()?
            .id()
    }
}

#[cfg(test)]
mod tests {
    use super::Undone;
    use crate::git::{ObjectId, Repository, world::World};

    /// Changes files on main and returns where it is then.
    fn step(world: &World, repository: &Repository, files: &[(&str, &str)]) -> ObjectId {
        for (path, text) in files {
            world.file(path, text);
        }
        world.save("step");
        repository.resolve("main").unwrap()
    }

    #[test]
    fn what_landed_is_taken_back_and_what_came_later_stays() {
        let world = World::new();
        let repository = world.open();
        let base = repository.head().clone();
        let one = step(
            &world,
            &repository,
            &[("src/one", "1\n"), ("README.md", "1\n")],
        );
        let two = step(&world, &repository, &[("src/two", "2\n")]);
        let Undone::Tree(tree) = repository.undo(&two, &base, &one).unwrap() else {
            panic!("it cannot be taken back")
        };
        let names = world.git(&["ls-tree", "-r", "--name-only", tree.as_str()]);
        assert!(
            names.contains("src/two") && !names.contains("src/one"),
            "{names}"
        );
        let readme = world.git(&["show", &format!("{tree}:README.md")]);
        assert_eq!(readme, "one\ntwo\nthree");
        assert_eq!(world.git(&["rev-parse", "main"]), two.as_str());
        assert_eq!(
            repository.undo(&base, &base, &one).unwrap(),
            Undone::Nothing
        );
    }

    #[test]
    fn what_came_later_and_changed_the_same_stands_in_the_way() {
        let world = World::new();
        let repository = world.open();
        let base = repository.head().clone();
        let one = step(&world, &repository, &[("README.md", "1\n")]);
        let two = step(&world, &repository, &[("README.md", "2\n")]);
        assert_eq!(
            repository.undo(&two, &base, &one).unwrap(),
            Undone::Conflict(vec!["README.md".to_owned()])
        );
    }
}
