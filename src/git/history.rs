//! Questions to history: what a commit says of itself, and which commit wrote a line.

use std::path::{Component, Path, PathBuf};

use super::{GitError, ObjectId, Repository, land::Holds};
use crate::text::visible;

/// A commit, as it says of itself: nothing here is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: ObjectId,
    /// Its parents.
    pub parents: Vec<String>,
    /// Who made it, `name <mail>`, made printable.
    pub author: String,
    /// Its whole message, as it is.
    pub message: String,
}

/// Which commit wrote a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blamed {
    /// The commit; none while no commit holds the line.
    pub commit: Option<ObjectId>,
    /// The line, as it is.
    pub text: String,
}

impl Repository {
    /// Reads a commit.
    ///
    /// # Errors
    /// When there is no such commit.
    pub fn commit_object(&self, id: &ObjectId) -> Result<Commit, GitError> {
        let call = self.place.reading("cat-file").args(["commit", id.as_str()]);
        let answer = call.run()?;
        let text = String::from_utf8_lossy(&answer.stdout);
        let (head, message) = text.split_once("\n\n").unwrap_or((&text, ""));
        let field = |name: &'static str| {
            let values = move |line: &'_ str| line.strip_prefix(name).map(str::to_owned);
            head.lines().filter_map(values)
        };
        let author = field("author ").next().unwrap_or_default();
        let author = author.rsplitn(3, ' ').nth(2).unwrap_or_default();
        Ok(Commit {
            id: id.clone(),
            parents: field("parent ").collect(),
            author: visible(author),
            message: message.to_owned(),
        })
    }

    /// Returns whether `branch`, a full ref name or id, holds a commit.
    ///
    /// # Errors
    /// When git fails.
    pub fn is_on(&self, head: &ObjectId, commit: &ObjectId) -> Result<bool, GitError> {
        Ok(self.holds(head, commit)? == Holds::Yes)
    }

    /// Says which commit wrote a line of a file, from 1: of the file as it is in the checkout, or
    /// as it is in the commit `at`. No program that the repository names has a say in it.
    ///
    /// # Errors
    /// When there is no such file or line.
    pub fn blame(&self, path: &Path, line: u32, at: Option<&ObjectId>) -> Result<Blamed, GitError> {
        let place = self.place.over(self.root(), self.head().empty_tree());
        let call = place
            .reading("blame")
            .args(["--porcelain", "--no-textconv"]);
        // An empty name clears the list that the repository's configuration begins.
        let call = call
            .arg("--ignore-revs-file=")
            .arg("-L")
            .arg(format!("{line},{line}"));
        let call = call.args(at.map(ObjectId::as_str));
        let answer = call.arg("--").arg(path).run()?;
        let text = String::from_utf8_lossy(&answer.stdout);
        let id = text.split(' ').next().unwrap_or_default();
        let id: ObjectId = id.parse().map_err(|_| answer.odd())?;
        let shown = text.lines().find_map(|line| line.strip_prefix('\t'));
        Ok(Blamed {
            commit: (id != id.zero()).then_some(id),
            text: shown.unwrap_or_default().to_owned(),
        })
    }

    /// Returns a path of the person's, given from the directory `here`, from the root of the
    /// checkout; none when it lies outside. Nothing is looked up and no link is followed.
    #[must_use]
    pub fn inside(&self, here: &Path, path: &Path) -> Option<PathBuf> {
        let mut whole = PathBuf::new();
        for part in here.join(path).components() {
            match part {
                Component::ParentDir => {
                    whole.pop();
                }
                Component::CurDir => {}
                part => whole.push(part),
            }
        }
        let inside = whole.strip_prefix(self.root()).ok()?;
        (!inside.as_os_str().is_empty()).then(|| inside.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::git::world::World;

    #[test]
    fn a_line_is_traced_to_its_commit_and_one_of_no_commit_is_said() {
        let world = World::new();
        world.file("src/app.rs", "fn main() {}\nsecond\n");
        world.save("second");
        world.file("src/app.rs", "fn main() {}\nsecond\nthird\n");
        let repository = world.open();
        let blame = |line| repository.blame(Path::new("src/app.rs"), line, None);
        let first = repository.resolve("HEAD~1").unwrap();
        assert_eq!(blame(1).unwrap().commit, Some(first));
        let second = blame(2).unwrap();
        assert_eq!(second.commit.as_ref(), Some(repository.head()));
        assert_eq!(second.text, "second");
        assert_eq!(blame(3).unwrap().commit, None);
        assert!(blame(4).is_err());
        let head = repository.head();
        assert!(
            repository
                .blame(Path::new("src/app.rs"), 3, Some(head))
                .is_err()
        );
        assert!(repository.blame(Path::new("src/none"), 1, None).is_err());
        let commit = repository.commit_object(head).unwrap();
        assert_eq!(commit.author, "User <user@localhost>");
        assert_eq!(
            (commit.message.as_str(), commit.parents.len()),
            ("second\n", 1)
        );
    }

    #[test]
    fn attack_g01_blame_starts_nothing_and_reads_nothing_that_a_repository_names() {
        let world = World::new();
        let marker = world.dir.path().join("fired");
        let script = world.dir.path().join("evil");
        crate::git::world::write(
            world.dir.path(),
            "evil",
            &format!("#!/bin/sh\ntouch {}\ncat \"$@\"\n", marker.display()),
        );
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode).unwrap();
        let evil = script.to_str().unwrap();
        world.file(".gitattributes", "* diff=evil filter=evil\n");
        world.save("attributes");
        for key in [
            "diff.evil.textconv",
            "diff.evil.command",
            "diff.external",
            "filter.evil.clean",
            "filter.evil.smudge",
            "core.fsmonitor",
            "core.pager",
            "core.sshCommand",
            "core.alternateRefsCommand",
        ] {
            world.git(&["config", key, evil]);
        }
        // The commit that wrote the line is on a list of those to be passed over.
        let first = world.git(&["rev-parse", "HEAD~1"]);
        crate::git::world::write(world.dir.path(), "list", &format!("{first}\n"));
        let list = world.dir.path().join("list");
        world.git(&["config", "blame.ignoreRevsFile", list.to_str().unwrap()]);
        let repository = world.open();
        let path = Path::new("src/app.rs");
        let found = repository.blame(path, 1, None).unwrap().commit.unwrap();
        assert_eq!(found.as_str(), first);
        assert!(!marker.exists());
        // The control: plain git fires.
        world.git(&["blame", "src/app.rs"]);
        assert!(marker.exists(), "the vector is dead");
    }

    #[test]
    fn paths_are_taken_from_where_the_person_is() {
        let world = World::new();
        let (repository, root) = (world.open(), world.root());
        let inside = |here: &Path, path: &str| repository.inside(here, Path::new(path));
        assert_eq!(inside(&root, "src/a"), Some("src/a".into()));
        assert_eq!(inside(&root.join("src"), "../x"), Some("x".into()));
        assert_eq!(
            inside(&root, root.join("y").to_str().unwrap()),
            Some("y".into())
        );
        for outside in ["..", ".", "/etc/passwd", "../../x"] {
            assert_eq!(inside(&root, outside), None, "{outside}");
        }
    }
}
