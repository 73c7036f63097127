//! What may not leave a sandbox, or not without a person: one small function for each kind.
//!
//! Inspectors of *names* look at everything in a worktree before git does, those of *contents* at
//! what git would read, those of *changes* at what git would commit.

pub(super) mod contents;
pub(super) mod host;
pub(super) mod letters;
pub(super) mod links;
pub(super) mod nested;
pub(super) mod patterns;

use std::collections::{BTreeMap, BTreeSet};

use self::links::Ways;
use super::{
    hand_over::Caps,
    repository::printable,
    tree::{Entry, Kind, Walk},
};
use crate::{event::Breach, policy::Globs};

/// The rule that a link which leads out of the tree breaks.
pub(super) const ESCAPE: &str = "symlink-escape";
const RULE_LINK: &str = "must be a file, not a link";

/// A breach whose path is still exact, so that git can be asked whether it is ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remark {
    pub(super) rule: &'static str,
    pub(super) path: Vec<u8>,
    pub(super) message: String,
}

impl Remark {
    pub(super) fn new(rule: &'static str, path: &[u8], message: impl Into<String>) -> Self {
        Self {
            rule,
            path: path.to_vec(),
            message: message.into(),
        }
    }

    /// Returns it fit for people.
    pub(super) fn breach(&self) -> Breach {
        let path = printable(&self.path);
        Breach {
            rule: self.rule.to_owned(),
            path,
            message: self.message.clone(),
        }
    }

    /// Returns whether a base may have it: git stores it, and nobody is to blame who left it alone.
    pub(super) fn may_be_old(&self) -> bool {
        self.message == nested::BARE || self.message == RULE_LINK
    }

    /// Returns whether git may not be let loose on a worktree that holds it.
    pub(super) fn stops_git(&self) -> bool {
        !matches!(self.rule, "special-file" | "set-id" | "write-globs")
    }
}

/// One path that differs between the base and the work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) path: Vec<u8>,
    /// The mode as git writes it, `000000` for none.
    pub(super) old_mode: Vec<u8>,
    pub(super) new_mode: Vec<u8>,
    /// The contents' object, zeros for none.
    pub(super) old_id: Vec<u8>,
    pub(super) new_id: Vec<u8>,
}

/// Tells how a file begins, none when it cannot be read.
pub(super) type Beginning<'a> = &'a dyn Fn(&[u8]) -> Option<Vec<u8>>;

/// Runs every inspector of names. Of contents only those count that make a name what it is.
pub(super) fn names(
    walk: &Walk,
    absent: &BTreeSet<Vec<u8>>,
    beginning: Beginning<'_>,
) -> Vec<Remark> {
    let entries = &walk.entries;
    let mut remarks = Vec::new();
    remarks.extend(special_files(entries));
    remarks.extend(nested::repositories(entries, absent, beginning));
    remarks.extend(git_names(entries));
    remarks.extend(set_ids(entries));
    remarks.extend(unreadable(entries));
    remarks.extend(hard_links(entries));
    remarks.extend(unseen(entries, absent));
    let deep = "is nested deeper than 100 directories";
    remarks.extend(
        walk.too_deep
            .iter()
            .map(|path| Remark::new("depth", path, deep)),
    );
    if walk.too_many {
        remarks.push(Remark::new(
            "count",
            b".",
            "the worktree holds more than 2000000 names, or 256 MiB of them",
        ));
    }
    remarks
}

fn special_files(entries: &[Entry]) -> impl Iterator<Item = Remark> {
    entries.iter().filter_map(|entry| match entry.kind {
        Kind::Special(what) => Some(Remark::new(
            "special-file",
            &entry.path,
            format!("is a {what}, not a file"),
        )),
        _ => None,
    })
}

fn git_names(entries: &[Entry]) -> impl Iterator<Item = Remark> {
    entries.iter().filter_map(|entry| {
        let name = entry
            .path
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default();
        let nested = name == b".git" && entry.path.len() > name.len();
        if folds_to_git(name) && !nested {
            let message = "is read as `.git` on some file systems";
            return Some(Remark::new("git-name", &entry.path, message));
        }
        let rules = [&b".gitmodules"[..], b".gitattributes", b".gitignore"].contains(&name);
        (rules && matches!(entry.kind, Kind::Link(_)))
            .then(|| Remark::new("git-name", &entry.path, RULE_LINK))
    })
}

/// Returns whether some file system reads a name as `.git`: by case, by NTFS short names, streams,
/// trailing dots and backslashes, or by characters that HFS+ ignores.
pub(super) fn folds_to_git(name: &[u8]) -> bool {
    // The usual case.
    if name.is_ascii() && !name.iter().any(|byte| byte.eq_ignore_ascii_case(&b'g')) {
        return false;
    }
    let text = String::from_utf8_lossy(name);
    let kept = text.chars().filter(|letter| !is_ignored_by_hfs(*letter));
    let folded: String = kept.flat_map(char::to_lowercase).collect();
    folded.split('\\').any(|part| {
        let stream = part.split(':').next().unwrap_or_default();
        matches!(stream.trim_end_matches(['.', ' ']), ".git" | "git~1")
    })
}

fn is_ignored_by_hfs(letter: char) -> bool {
    matches!(
        letter,
        '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
    )
}

fn set_ids(entries: &[Entry]) -> impl Iterator<Item = Remark> {
    entries
        .iter()
        .filter(|entry| entry.kind == Kind::File && entry.mode & 0o6000 != 0)
        .map(|entry| {
            Remark::new(
                "set-id",
                &entry.path,
                "carries a set-user-id or set-group-id bit",
            )
        })
}

fn unreadable(entries: &[Entry]) -> impl Iterator<Item = Remark> {
    entries
        .iter()
        .filter(|entry| entry.unreadable)
        .map(|entry| Remark::new("unreadable", &entry.path, "cannot be read by Loki"))
}

/// Finds files that have a name somewhere outside the worktree.
fn hard_links(entries: &[Entry]) -> impl Iterator<Item = Remark> {
    let linked = |entry: &&Entry| entry.links > 1 && entry.kind != Kind::Directory;
    let mut seen = BTreeMap::<_, u64>::new();
    for entry in entries.iter().filter(linked) {
        *seen.entry(entry.inode).or_default() += 1;
    }
    let outside = move |entry: &&Entry| seen.get(&entry.inode).is_some_and(|n| *n < entry.links);
    entries.iter().filter(linked).filter(outside).map(|entry| {
        Remark::new(
            "hard-link",
            &entry.path,
            "is also linked outside the worktree",
        )
    })
}

/// Finds files that stand where the role may not even read; git would not see them.
fn unseen(entries: &[Entry], absent: &BTreeSet<Vec<u8>>) -> impl Iterator<Item = Remark> {
    entries
        .iter()
        .filter(|entry| absent.contains(&entry.path))
        .map(|entry| {
            Remark::new(
                "write-globs",
                &entry.path,
                "stands in place of a file the role may not read",
            )
        })
}

/// Checks sizes and the count of what would be committed.
pub(super) fn sizes(candidates: &[&Entry], caps: &Caps) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for entry in candidates
        .iter()
        .filter(|entry| entry.size > caps.file_bytes)
    {
        let message = format!("holds {} bytes, more than {}", entry.size, caps.file_bytes);
        remarks.push(Remark::new("size", &entry.path, message));
    }
    let total = candidates
        .iter()
        .map(|entry| entry.size)
        .fold(0, u64::saturating_add);
    if total > caps.total_bytes {
        let message = format!(
            "the changes hold {total} bytes, more than {}",
            caps.total_bytes
        );
        remarks.push(Remark::new("size", b".", message));
    }
    if candidates.len() > caps.files {
        let message = format!(
            "{} files changed, more than {}",
            candidates.len(),
            caps.files
        );
        remarks.push(Remark::new("count", b".", message));
    }
    remarks
}

/// Runs every inspector of changes.
pub(super) fn changes(changes: &[Difference], entries: &[Entry], write: &Globs) -> Vec<Remark> {
    let write = write.matcher();
    let may_write = |path: &str| write.matches(path).is_some();
    let mut remarks = Vec::new();
    remarks.extend(
        changes
            .iter()
            .filter_map(|change| write_globs(change, &may_write)),
    );
    remarks.extend(changes.iter().filter_map(git_links));
    remarks.extend(symlinks(changes, entries));
    remarks
}

fn write_globs(change: &Difference, may_write: &dyn Fn(&str) -> bool) -> Option<Remark> {
    let path = &change.path;
    let Ok(text) = std::str::from_utf8(path) else {
        return Some(Remark::new("file-name", path, "is not a name in UTF-8"));
    };
    if text.split('/').next() == Some(".loki") {
        return Some(Remark::new(
            "write-globs",
            path,
            "`.loki` is never an agent's to change",
        ));
    }
    let verb = match (change.old_mode.as_slice(), change.new_mode.as_slice()) {
        (b"000000", _) => "created",
        (_, b"000000") => "removed",
        _ => "changed",
    };
    (!may_write(text)).then(|| {
        Remark::new(
            "write-globs",
            path,
            format!("was {verb}, but no write glob of the role covers it"),
        )
    })
}

fn git_links(change: &Difference) -> Option<Remark> {
    (change.new_mode == b"160000").then(|| {
        Remark::new(
            "nested-repository",
            &change.path,
            "is a link to another repository",
        )
    })
}

/// Finds links that lead out of the worktree: every changed one, and those of the base that only
/// lead out since something on their way was changed.
fn symlinks(changes: &[Difference], entries: &[Entry]) -> Vec<Remark> {
    let changed: BTreeSet<&[u8]> = changes
        .iter()
        .map(|change| change.path.as_slice())
        .collect();
    let links = links(entries);
    let (mut ways, mut alone) = (Ways::new(&links), Ways::new(&BTreeMap::new()));
    let mut remarks = Vec::new();
    for (path, target) in &links {
        if !changed.contains(path) && alone.follow(path, target).is_err() {
            continue;
        }
        if let Err(why) = ways.follow(path, target) {
            let message = format!("is a link to `{}`, which {why}", printable(target));
            remarks.push(Remark::new(ESCAPE, path, message));
        }
    }
    remarks.extend(ways.overrun().or_else(|| alone.overrun()));
    remarks
}

/// Returns the links that lead out of a tree.
pub(super) fn leading_out(entries: &[Entry]) -> BTreeSet<Vec<u8>> {
    let links = links(entries);
    let mut ways = Ways::new(&links);
    let mut out = BTreeSet::new();
    for (path, target) in &links {
        if ways.follow(path, target).is_err() {
            out.insert(path.to_vec());
        }
    }
    out
}

/// Returns whether a path is another one, or below it.
pub(super) fn is_within(path: &[u8], other: &[u8]) -> bool {
    let rest = path.strip_prefix(other);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Returns the links of a worktree and their targets.
fn links<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> BTreeMap<&'a [u8], &'a [u8]> {
    entries.into_iter().filter_map(host::target).collect()
}

#[cfg(test)]
mod tests;
