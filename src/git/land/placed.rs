//! Holds a merge to the paths that were written: what one side moved, git follows with what the
//! other side wrote, and older versions of it cannot be told not to. So lines that nobody wrote to a
//! path would land there. Such a merge conflicts instead.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{GitError, ObjectId, Repository, hand_over::differences};

/// What a path became: mode and contents.
type Became = (Vec<u8>, Vec<u8>);

impl Repository {
    /// Returns the paths that are, in a tree that git merged, not what their own two sides make of
    /// them.
    pub(super) fn misplaced(
        &self,
        (ours, theirs): (&ObjectId, &ObjectId),
        tree: &ObjectId,
    ) -> Result<Vec<Vec<u8>>, GitError> {
        let common = self
            .place
            .reading("merge-base")
            .args([ours.as_str(), theirs.as_str()]);
        let common = common.accept(&[0, 1]).run()?;
        let base = match common.code {
            0 => common.id()?,
            _ => self.head().empty_tree(),
        };
        let (ours, theirs, merged) = (
            self.became(&base, ours)?,
            self.became(&base, theirs)?,
            self.became(&base, tree)?,
        );
        let paths: BTreeSet<&Vec<u8>> = [&ours, &theirs, &merged]
            .into_iter()
            .flat_map(BTreeMap::keys)
            .collect();
        let is_misplaced = |path: &&Vec<u8>| {
            let (one, other) = (ours.get(*path), theirs.get(*path));
            match (one, other) {
                (Some(one), Some(other)) if one != other => is_gone(one) || is_gone(other),
                _ => one.or(other) != merged.get(*path),
            }
        };
        Ok(paths.into_iter().filter(is_misplaced).cloned().collect())
    }

    fn became(
        &self,
        from: &ObjectId,
        to: &ObjectId,
    ) -> Result<BTreeMap<Vec<u8>, Became>, GitError> {
        let changed = differences(&self.place, from, to)?.into_iter();
        Ok(changed
            .map(|one| (one.path, (one.new_mode, one.new_id)))
            .collect())
    }
}

fn is_gone((mode, _): &Became) -> bool {
    mode == b"000000"
}
