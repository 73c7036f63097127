//! Questions to the gate and to history that change nothing: would this path pass, and what did
//! that commit change.

use std::collections::BTreeSet;

use super::{
    GitError, ObjectId, Repository,
    inspect::{self, Difference},
    tree::{Entry, Kind, Walk},
};
use crate::{event::Breach, policy::Globs};

/// Returns why the gate would refuse a new file at `path`, relative to the worktree; empty when it
/// would let it pass. The inspectors that look at an agent's work are asked, so that no answer
/// here can differ from theirs.
#[must_use]
pub fn refusals(path: &str, write: &Globs) -> Vec<Breach> {
    let ends = path.match_indices('/').map(|(at, _)| at);
    let directories = ends.filter_map(|end| path.get(..end));
    let mut entries: Vec<Entry> = directories
        .map(|directory| Entry::listed(directory.as_bytes(), Kind::Directory))
        .collect();
    entries.push(Entry::listed(path.as_bytes(), Kind::File));
    let walk = Walk {
        entries,
        ..Walk::default()
    };
    let created = Difference {
        path: path.as_bytes().to_vec(),
        old_mode: b"000000".to_vec(),
        new_mode: b"100644".to_vec(),
        ..Difference::default()
    };
    let mut remarks = inspect::names(&walk, &BTreeSet::new(), &|_| None);
    remarks.extend(inspect::changes(&[created], &walk.entries, write));
    remarks.iter().map(inspect::Remark::breach).collect()
}

impl Repository {
    /// Returns the paths that a commit changed against its parent, as they are: an agent chose
    /// them, so show them escaped.
    ///
    /// # Errors
    /// When the commit is not here any more, or git fails.
    pub fn changed_paths(&self, commit: &ObjectId) -> Result<Vec<String>, GitError> {
        let call = self.place.reading("diff-tree").args([
            "--root",
            "--no-commit-id",
            "-r",
            "-z",
            "--name-only",
            "--no-renames",
            "--no-ext-diff",
            "--no-textconv",
        ]);
        let answer = call.arg(commit.as_str()).run()?;
        let paths = answer.records().filter(|path| !path.is_empty());
        Ok(paths
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::refusals;
    use crate::git::world::{World, globs};

    #[test]
    fn the_gate_is_asked_about_names_as_about_globs() {
        let write = globs(&["src/**"]);
        let rules = |path: &str| -> Vec<String> {
            let refused = refusals(path, &write).into_iter();
            refused.map(|breach| breach.rule).collect()
        };
        assert_eq!(rules("src/deep/a.rs"), Vec::<String>::new());
        assert_eq!(rules("notes/a.md"), ["write-globs"]);
        assert_eq!(rules(".loki/x"), ["write-globs"]);
        assert_eq!(rules("src/.GIT/config"), ["git-name"]);
        assert_eq!(rules("src/../a"), ["write-globs"]);
    }

    #[test]
    fn a_commit_names_what_it_changed_and_the_first_one_everything() {
        let world = World::new();
        world.file("src/ä b.rs", "x\n");
        world.save("second");
        let repository = world.open();
        let second = repository.head().clone();
        assert_eq!(repository.changed_paths(&second).unwrap(), ["src/ä b.rs"]);
        let first = repository.resolve("HEAD~1").unwrap();
        assert_eq!(repository.changed_paths(&first).unwrap().len(), 4);
        let gone = "0".repeat(40).parse().unwrap();
        assert!(repository.changed_paths(&gone).is_err());
    }
}
