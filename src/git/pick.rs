//! Single files of a commit or tree, read from the repository without checking anything out.

use std::collections::{BTreeMap, BTreeSet};

use super::{GitError, ObjectId, Repository, hand_over::blobs};

/// What stands behind a name of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A directory.
    Directory,
    /// A submodule.
    Module,
}

/// A name of a tree whose path is UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its path below the root of the tree.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// The object behind it.
    pub id: String,
}

/// Which names of a tree are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Below<'a> {
    /// Those in its root.
    Root,
    /// These paths themselves.
    At(&'a [String]),
    /// Everything below a directory; empty is the root.
    All(&'a str),
}

impl Repository {
    /// Lists names of a commit's or tree's files. What is no UTF-8 is left out.
    ///
    /// # Errors
    /// When git fails.
    pub fn names(&self, tree: &ObjectId, below: Below<'_>) -> Result<Vec<Named>, GitError> {
        let call = self.place.reading("ls-tree").args(["-z", "--full-tree"]);
        let (deep, paths) = match below {
            Below::Root => (false, Vec::new()),
            Below::At(paths) => (false, paths.to_vec()),
            Below::All("") => (true, Vec::new()),
            Below::All(directory) => (true, vec![format!("{directory}/")]),
        };
        let call = if deep { call.arg("-r") } else { call };
        let call = call.args(["--end-of-options", tree.as_str()]);
        let answer = call.args(paths.iter().map(String::as_str)).run()?;
        Ok(answer.records().filter_map(named).collect())
    }

    /// Reads contents by their objects. What is larger than 8 MiB is left out.
    ///
    /// # Errors
    /// When git fails.
    pub fn contents(&self, ids: &[String]) -> Result<BTreeMap<String, Vec<u8>>, GitError> {
        let wanted: BTreeSet<&[u8]> = ids.iter().map(String::as_bytes).collect();
        let read = blobs(&self.place, wanted)?;
        let text = |id: &[u8]| String::from_utf8_lossy(id).into_owned();
        Ok(read
            .into_iter()
            .map(|(id, bytes)| (text(id), bytes))
            .collect())
    }
}

fn named(record: &[u8]) -> Option<Named> {
    let record = std::str::from_utf8(record).ok()?;
    let (facts, path) = record.split_once('\t')?;
    let mut facts = facts.split(' ');
    let kind = match facts.next()? {
        "040000" => Kind::Directory,
        "120000" => Kind::Link,
        "160000" => Kind::Module,
        _ => Kind::File,
    };
    Some(Named {
        path: path.to_owned(),
        kind,
        id: facts.nth(1)?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::world::World;

    #[test]
    fn names_and_contents_come_from_the_commit_and_not_from_the_disk() {
        let world = World::new();
        world.file("a.txt", "one\n");
        world.file("b/c.txt", "two\n");
        world.file("b/*.txt", "three\n");
        std::os::unix::fs::symlink("/etc/passwd", world.root().join("link")).unwrap();
        world.save("all");
        world.file("a.txt", "changed\n");
        let repository = world.open();
        let head = repository.head().clone();
        let root = repository.names(&head, Below::Root).unwrap();
        let kind = |path: &str| root.iter().find(|one| one.path == path).map(|one| one.kind);
        assert_eq!(kind("a.txt"), Some(Kind::File));
        assert_eq!(kind("b"), Some(Kind::Directory));
        assert_eq!(kind("link"), Some(Kind::Link));
        let paths = |below: Below<'_>| -> Vec<String> {
            let names = repository.names(&head, below).unwrap();
            names.into_iter().map(|one| one.path).collect()
        };
        assert_eq!(paths(Below::All("b")), ["b/*.txt", "b/c.txt"]);
        assert_eq!(paths(Below::At(&["b/*.txt".to_owned()])), ["b/*.txt"]);
        assert_eq!(paths(Below::At(&["none".to_owned()])), Vec::<String>::new());
        let id = root
            .iter()
            .find(|one| one.path == "a.txt")
            .unwrap()
            .id
            .clone();
        let read = repository.contents(std::slice::from_ref(&id)).unwrap();
        assert_eq!(read[&id], b"one\n");
    }
}
