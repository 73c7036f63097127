//! What may not leave a sandbox, or not without a person: one small function for each kind.
//!
//! Inspectors of *names* look at everything in a worktree before git does, those of *contents* at
//! what git would read, those of *changes* at what git would commit.

pub(super) mod contents;
pub(super) mod host;
pub(super) mod letters;
pub(super) mod patterns;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    hand_over::Caps,
    repository::printable,
    tree::{Entry, Kind, Walk},
};
use crate::{event::Breach, policy::Globs};

/// How many links one path may lead through, as in the kernel.
const HOPS: usize = 40;
/// The rule that a link which leads out of the tree breaks.
pub(super) const ESCAPE: &str = "symlink-escape";

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

/// Runs every inspector of names.
pub(super) fn names(walk: &Walk, absent: &BTreeSet<Vec<u8>>) -> Vec<Remark> {
    let entries = &walk.entries;
    let mut remarks = Vec::new();
    remarks.extend(special_files(entries));
    remarks.extend(nested_repositories(entries));
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

/// Finds `.git` below the top, and directories that git would take for a bare repository.
fn nested_repositories(entries: &[Entry]) -> impl Iterator<Item = Remark> {
    let paths: BTreeSet<&[u8]> = entries.iter().map(|entry| entry.path.as_slice()).collect();
    entries.iter().filter_map(move |entry| {
        if let Some(inside) = entry.path.strip_suffix(b"/.git") {
            return Some(Remark::new(
                "nested-repository",
                inside,
                "is a repository of its own",
            ));
        }
        let has = |name: &[u8]| paths.contains([&entry.path, name].concat().as_slice());
        let bare =
            entry.kind == Kind::Directory && has(b"/HEAD") && has(b"/objects") && has(b"/refs");
        bare.then(|| Remark::new("nested-repository", &entry.path, "is a bare repository"))
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
            .then(|| Remark::new("git-name", &entry.path, "must be a file, not a link"))
    })
}

/// Returns whether some file system reads a name as `.git`: by case, by NTFS short names, streams,
/// trailing dots and backslashes, or by characters that HFS+ ignores.
pub(super) fn folds_to_git(name: &[u8]) -> bool {
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
    let none = BTreeMap::new();
    links
        .iter()
        .filter(|(path, target)| {
            changed.contains(*path) || leads_out(path, target, &none).is_none()
        })
        .filter_map(|(path, target)| {
            let why = leads_out(path, target, &links)?;
            let message = format!("is a link to `{}`, which {why}", printable(target));
            Some(Remark::new(ESCAPE, path, message))
        })
        .collect()
}

/// Returns the links that lead out of a tree.
pub(super) fn leading_out(entries: &[Entry]) -> BTreeSet<Vec<u8>> {
    let links = links(entries);
    let out = links
        .iter()
        .filter(|(path, target)| leads_out(path, target, &links).is_some());
    out.map(|(path, _)| path.to_vec()).collect()
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

/// Says why a link leads out, none when it does not.
fn leads_out(path: &[u8], target: &[u8], links: &BTreeMap<&[u8], &[u8]>) -> Option<&'static str> {
    follow(path, target, links).err()
}

/// Follows a link by its text through the other links of the tree to a path in it, or says why it
/// leads out.
fn follow(
    path: &[u8],
    target: &[u8],
    links: &BTreeMap<&[u8], &[u8]>,
) -> Result<Vec<u8>, &'static str> {
    if target.starts_with(b"/") {
        return Err("is absolute");
    }
    let parts = |text: &[u8]| -> Vec<Vec<u8>> {
        text.split(|byte| *byte == b'/')
            .rev()
            .map(<[u8]>::to_vec)
            .collect()
    };
    let mut at: Vec<Vec<u8>> = parts(path).into_iter().skip(1).rev().collect();
    let mut ahead = parts(target);
    let mut hops = 0;
    while let Some(part) = ahead.pop() {
        match part.as_slice() {
            b"" | b"." => {}
            b".." if at.pop().is_none() => return Err("leaves the worktree"),
            b".." => {}
            name if folds_to_git(name) => return Err("leads into `.git`"),
            _ => {
                at.push(part);
                let Some(next) = links.get(at.join(&b'/').as_slice()) else {
                    continue;
                };
                hops += 1;
                if hops > HOPS {
                    return Err("leads through too many links");
                }
                if next.starts_with(b"/") {
                    return Err("leads through an absolute link");
                }
                at.pop();
                ahead.extend(parts(next));
            }
        }
    }
    Ok(at.join(&b'/'))
}

#[cfg(test)]
mod tests;
