//! What a commit changed, as text for people, whatever attributes and configuration say.

use std::collections::BTreeSet;

use super::{GitError, ObjectId, Repository, repository::printable};

impl Repository {
    /// Returns what lies between two commits as a patch: raw bytes, which an agent chose. Of
    /// `only`, when it names any path (as the gate shows it), of all else.
    ///
    /// # Errors
    /// When a commit is not here any more, or git fails.
    pub fn patch(
        &self,
        (from, to): (&ObjectId, &ObjectId),
        only: &BTreeSet<String>,
    ) -> Result<Vec<u8>, GitError> {
        let tree = self.tree_of(from)?;
        let mut paths = Vec::new();
        if !only.is_empty() {
            let names = self.place.reading("diff-tree");
            let names = names.args(["-r", "-z", "--name-only", "--no-renames"]);
            let answer = names.args([tree.as_str(), to.as_str()]).run()?;
            let wanted = answer
                .records()
                .filter(|path| only.contains(&printable(path)));
            paths = wanted.map(<[u8]>::to_vec).collect();
            if paths.is_empty() {
                return Ok(Vec::new());
            }
        }
        // No attribute of a tree makes a file one that is not shown.
        let place = self.place.over(self.root(), to.empty_tree());
        let call = place.reading("diff-tree").args([
            "-r",
            "-p",
            "-U3",
            "--no-color",
            "--no-renames",
            "--no-ext-diff",
            "--no-textconv",
            "--full-index",
            "--src-prefix=a/",
            "--dst-prefix=b/",
            "--submodule=short",
        ]);
        let call = call.args([tree.as_str(), to.as_str(), "--"]);
        use std::os::unix::ffi::OsStrExt as _;
        let paths = paths.iter().map(|path| std::ffi::OsStr::from_bytes(path));
        Ok(call.args(paths).run()?.stdout)
    }

    /// Returns the first parent of a commit, none when it has none.
    ///
    /// # Errors
    /// When git fails.
    pub fn parent_of(&self, commit: &ObjectId) -> Result<Option<ObjectId>, GitError> {
        self.commit_of(&format!("{commit}^1"))
    }

    /// Returns the commit under a ref of Loki's, none when there is no such ref.
    ///
    /// # Errors
    /// When git fails.
    pub fn kept(&self, name: &str) -> Result<Option<ObjectId>, GitError> {
        self.commit_of(name)
    }
}
