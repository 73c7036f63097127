//! What became of a landing: the journal says that the branch was about to move, only the branch
//! says whether it did.

use super::super::{GitError, ObjectId, Repository};
use crate::name::RunId;

/// Whether the branch of a run made the move that its journal announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// It did: the landing stands, and what follows it is to be journalled.
    Yes,
    /// It did not: it is where it was, so the landing may be made now or given up.
    No,
    /// It is elsewhere and does not hold the commit: somebody else moved or removed it.
    Elsewhere,
}

/// Says what became of a landing, a revert or any other move of a run's branch from `from` to `to`,
/// now that the branch is at `head`; `holds` says whether `head` holds `to`.
#[must_use]
pub fn moved(from: &ObjectId, to: &ObjectId, head: Option<&ObjectId>, holds: Holds) -> Moved {
    match (head, holds) {
        (Some(head), _) if head == to => Moved::Yes,
        (Some(head), _) if head == from => Moved::No,
        (Some(_), Holds::Yes) => Moved::Yes,
        _ => Moved::Elsewhere,
    }
}

/// Whether a branch holds a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// It is an ancestor of the head, or the head.
    Yes,
    /// It is not.
    No,
}

impl Repository {
    /// Looks at the branch of a run and says what became of its move from `from` to `to`.
    ///
    /// # Errors
    /// When git fails.
    pub fn moved(&self, run: &RunId, from: &ObjectId, to: &ObjectId) -> Result<Moved, GitError> {
        let head = self.run_head(run)?;
        let holds = match &head {
            Some(head) => self.holds(head, to)?,
            None => Holds::No,
        };
        Ok(moved(from, to, head.as_ref(), holds))
    }

    /// Says whether `head` holds `commit`; a commit that is not here is held by nothing.
    ///
    /// # Errors
    /// When git fails.
    pub fn holds(&self, head: &ObjectId, commit: &ObjectId) -> Result<Holds, GitError> {
        let call = self.place.reading("merge-base").arg("--is-ancestor");
        let call = call.args([commit.as_str(), head.as_str()]);
        let answer = call.accept(&[0, 1, 128]).run()?;
        Ok(match answer.code {
            0 => Holds::Yes,
            _ => Holds::No,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Holds, Moved, ObjectId, moved};
    use crate::git::world::World;

    fn id(digit: &str) -> ObjectId {
        digit.repeat(40).parse().unwrap()
    }

    #[test]
    fn where_the_branch_is_says_whether_it_moved() {
        let (from, to, other) = (id("1"), id("2"), id("3"));
        let table = [
            (Some(&to), Holds::Yes, Moved::Yes),
            (Some(&from), Holds::No, Moved::No),
            (Some(&other), Holds::Yes, Moved::Yes),
            (Some(&other), Holds::No, Moved::Elsewhere),
            (None, Holds::No, Moved::Elsewhere),
        ];
        for (head, holds, expected) in table {
            assert_eq!(moved(&from, &to, head, holds), expected, "{head:?}");
        }
    }

    #[test]
    fn a_move_that_died_before_or_after_the_ref_is_told_from_the_ref_alone() {
        let world = World::new();
        let repository = world.open();
        let base = repository.head().clone();
        repository.create_run_branch(&world.run, &base).unwrap();
        world.file("src/more", "1\n");
        world.save("more");
        let to = repository.resolve("main").unwrap();
        let look = || repository.moved(&world.run, &base, &to).unwrap();
        assert_eq!(look(), Moved::No);
        repository.advance(&world.run, &base, &to).unwrap();
        assert_eq!(look(), Moved::Yes);
        world.file("src/later", "1\n");
        world.save("later");
        let later = repository.resolve("main").unwrap();
        repository.advance(&world.run, &to, &later).unwrap();
        assert_eq!(look(), Moved::Yes);
        world.git(&["checkout", "-q", "--orphan", "other"]);
        world.save("other");
        world.git(&["update-ref", "refs/heads/loki/r1", "other"]);
        assert_eq!(look(), Moved::Elsewhere);
        world.git(&["update-ref", "-d", "refs/heads/loki/r1"]);
        assert_eq!(look(), Moved::Elsewhere);
        let gone = id("9");
        assert_eq!(repository.holds(&to, &gone).unwrap(), Holds::No);
    }
}
