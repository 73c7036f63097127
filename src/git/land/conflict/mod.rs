//! What stands against what when work cannot be merged: for the one who does it again.

use std::fmt::Write as _;

use super::{
    super::{GitError, ObjectId, Repository, repository::printable},
    Merged,
};
use crate::{
    policy::Globs,
    text::{is_hidden, shorten},
};

/// Conflicting files whose lines are shown.
const FILES: usize = 20;
/// Bytes of one file that are looked through for what conflicts.
const LARGEST: u64 = 4 << 20;
/// Lines shown of one file, and characters of one line.
const LINES: usize = 120;
const COLUMNS: usize = 300;
/// Bytes shown of all files together.
const SHOWN: usize = 24 << 10;

/// Work that cannot be merged, and both sides of it. All text is printable, each line one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What conflicts, in git's order.
    pub files: Vec<Conflicted>,
    /// Everything the branch changed since both sides parted.
    pub ours: Vec<String>,
    /// Everything the work changed since then.
    pub theirs: Vec<String>,
}

/// One file that both sides changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflicted {
    /// Its name.
    pub path: String,
    /// The lines that conflict, both sides between git's markers; a remark where there are none to
    /// show.
    pub lines: String,
}

impl Repository {
    /// Says where `commit` conflicts with `head`, none where it does not. Lines of files that
    /// `read` does not cover are not shown.
    ///
    /// # Errors
    /// When git fails.
    pub fn conflict(
        &self,
        head: &ObjectId,
        commit: &ObjectId,
        read: &Globs,
    ) -> Result<Option<Conflict>, GitError> {
        let merged = self.merge(head, commit)?;
        if merged.is_clean {
            return Ok(None);
        }
        let common = self
            .place
            .reading("merge-base")
            .args([head.as_str(), commit.as_str()]);
        let common = common.accept(&[0, 1]).run()?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        if common.code == 0 {
            let common = common.id()?;
            ours = self.changed_between(&common, head)?;
            theirs = self.changed_between(&common, commit)?;
        }
        let files = self.conflicted(&merged, read)?;
        Ok(Some(Conflict {
            files,
            ours,
            theirs,
        }))
    }

    /// Returns the paths that differ between two commits or trees, made printable.
    ///
    /// # Errors
    /// When one is not here, or git fails.
    pub fn changed_between(&self, from: &ObjectId, to: &ObjectId) -> Result<Vec<String>, GitError> {
        let call = self.place.reading("diff-tree").args([
            "-r",
            "-z",
            "--name-only",
            "--no-renames",
            "--no-ext-diff",
            "--no-textconv",
        ]);
        let answer = call.args([from.as_str(), to.as_str()]).run()?;
        Ok(answer.records().map(printable).collect())
    }

    fn conflicted(&self, merged: &Merged, read: &Globs) -> Result<Vec<Conflicted>, GitError> {
        let mut left = SHOWN;
        let mut files = Vec::new();
        for (at, name) in merged.names.iter().enumerate() {
            let path = printable(name);
            // A name that is not printable as it is stands in no glob either.
            let lines = if read.matches(&path).is_none() {
                "(your role may not read this file)".to_owned()
            } else if at >= FILES || left == 0 {
                "(not shown: there is too much of it)".to_owned()
            } else {
                self.both_sides(&merged.tree, name)?
            };
            let lines = cut(lines, left);
            left -= lines.len().min(left);
            files.push(Conflicted { path, lines });
        }
        Ok(files)
    }

    /// Returns the lines of a file between conflict markers.
    fn both_sides(&self, tree: &ObjectId, name: &[u8]) -> Result<String, GitError> {
        use std::os::unix::ffi::OsStrExt as _;
        let name = std::ffi::OsStr::from_bytes(name);
        let call = self.place.reading("ls-tree").args(["-z", "-l"]);
        let listed = call.args([tree.as_str(), "--"]).arg(name).run()?;
        let entry = listed.records().next().map(String::from_utf8_lossy);
        let mut facts = entry.iter().flat_map(|entry| entry.split_whitespace());
        let (Some("100644" | "100755"), Some("blob"), Some(id), Some(size)) =
            (facts.next(), facts.next(), facts.next(), facts.next())
        else {
            return Ok("(one side removed it, or made it something else than a file)".to_owned());
        };
        if size.parse().is_ok_and(|size: u64| size > LARGEST) {
            return Ok("(not shown: it is too large)".to_owned());
        }
        let id: ObjectId = id.parse()?;
        let call = self.place.reading("cat-file").args(["blob", id.as_str()]);
        Ok(marked(&call.run()?.stdout))
    }
}

/// Returns what stands between conflict markers, fit to be shown.
fn marked(contents: &[u8]) -> String {
    if contents.contains(&0) {
        return "(not shown: it is binary)".to_owned();
    }
    let text = String::from_utf8_lossy(contents);
    let mut shown = String::new();
    let (mut inside, mut count) = (false, 0);
    for (number, line) in text.lines().enumerate() {
        let begins = line.starts_with("<<<<<<< ");
        if begins && !inside {
            writeln!(shown, "@@ line {} @@", number + 1).expect("a string takes all text");
        }
        inside |= begins;
        if !inside {
            continue;
        }
        count += 1;
        if count > LINES {
            shown.push_str("(and more)\n");
            break;
        }
        shown.push_str(&plain(line));
        shown.push('\n');
        inside = !line.starts_with(">>>>>>> ");
    }
    if shown.is_empty() {
        return "(one side removed or renamed it, or both added it)".to_owned();
    }
    shown
}

/// Returns one line in which nothing but tabs is hidden, cut to a bearable length.
fn plain(line: &str) -> String {
    let mut shown = String::new();
    for c in line.chars().take(COLUMNS) {
        match c {
            '\t' => shown.push(c),
            c if is_hidden(c) => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    if line.chars().nth(COLUMNS).is_some() {
        shown.push('…');
    }
    shown
}

fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        shorten(&mut text, most);
        text.push_str("\n(and more)");
    }
    text
}

#[cfg(test)]
mod tests;
