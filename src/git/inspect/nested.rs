//! Finds repositories inside a worktree: `.git` below its top, and directories that git takes for a
//! repository although nothing in them is called so. Git looks for one wherever a prompt or an
//! editor asks it for the status, and obeys what it finds.
//!
//! Git takes a directory for one by a `HEAD` that names something, and by `objects` and `refs` in it
//! or where its `commondir` points. What points elsewhere is not followed: there it may change.

use std::collections::{BTreeSet, HashMap};

use super::{Beginning, Remark};
use crate::git::tree::{Entry, Kind};

const RULE: &str = "nested-repository";
/// What is said of a directory that is a repository by itself.
pub(super) const BARE: &str = "is a bare repository";
/// What is said of one that is a repository together with another.
const APART: &str = "is a repository whose parts lie elsewhere";

/// What of a repository a directory holds.
#[derive(Default)]
struct Parts<'a> {
    /// The path of its `HEAD`.
    head: Option<&'a [u8]>,
    is_link: bool,
    commondir: bool,
    config: bool,
    objects: bool,
    refs: bool,
}

impl<'a> Parts<'a> {
    fn add(&mut self, part: &str, path: &'a [u8], form: Form) {
        match (part, form) {
            ("head", Form::File | Form::Link) => {
                self.head = Some(path);
                self.is_link = form == Form::Link;
            }
            ("commondir", Form::File | Form::Link) => self.commondir = true,
            ("config", Form::File | Form::Link) => self.config = true,
            ("objects", Form::Directory | Form::Link) => self.objects = true,
            ("refs", Form::Directory | Form::Link) => self.refs = true,
            _ => {}
        }
    }

    fn remark(&self, beginning: Beginning<'_>) -> Option<Remark> {
        let head = self.head?;
        let whole = self.objects && self.refs;
        if !(whole || self.commondir || self.config) {
            return None;
        }
        let named = self.is_link || beginning(head).is_none_or(|text| names_something(&text));
        let above = head.rsplitn(2, |byte| *byte == b'/').nth(1)?;
        let message = match self.commondir {
            true => APART,
            false => BARE,
        };
        named.then(|| Remark::new(RULE, above, message))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    File,
    Directory,
    Link,
}

/// Finds them, also where the role may not read a part of one.
pub(super) fn repositories(
    entries: &[Entry],
    absent: &BTreeSet<Vec<u8>>,
    beginning: Beginning<'_>,
) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut found: HashMap<String, Parts<'_>> = HashMap::new();
    for entry in entries {
        if let Some(inside) = entry.path.strip_suffix(b"/.git") {
            remarks.push(Remark::new(RULE, inside, "is a repository of its own"));
        }
        let form = match entry.kind {
            Kind::Directory => Form::Directory,
            Kind::Link(_) => Form::Link,
            Kind::File | Kind::Special(_) => Form::File,
        };
        note(&mut found, &entry.path, form);
    }
    for path in absent {
        for way in crate::git::spelling::parts(path) {
            let form = match way.len() == path.len() {
                true => Form::File,
                false => Form::Directory,
            };
            note(&mut found, way, form);
        }
    }
    let bare = found.values().filter_map(|parts| parts.remark(beginning));
    let mut bare: Vec<Remark> = bare.collect();
    bare.sort_by(|one, other| one.path.cmp(&other.path));
    remarks.extend(bare);
    remarks
}

/// Notes a path whose name is one of a repository's, in any spelling that some file system takes
/// for it.
fn note<'a>(found: &mut HashMap<String, Parts<'a>>, path: &'a [u8], form: Form) {
    let Some(slash) = path.iter().rposition(|byte| *byte == b'/') else {
        return;
    };
    let (above, name) = (&path[..slash], &path[slash + 1..]);
    if !matches!(
        name.first(),
        Some(b'h' | b'H' | b'c' | b'C' | b'o' | b'O' | b'r' | b'R')
    ) {
        return;
    }
    let folded = String::from_utf8_lossy(name).to_ascii_lowercase();
    let part = folded.split(':').next().unwrap_or_default();
    let part = part.trim_end_matches(['.', ' ']);
    if matches!(part, "head" | "commondir" | "config" | "objects" | "refs") {
        let above = String::from_utf8_lossy(above).to_lowercase();
        found.entry(above).or_default().add(part, path, form);
    }
}

/// Returns whether git takes this for a `HEAD`: a ref, or an id.
fn names_something(text: &[u8]) -> bool {
    let id = text.get(..40);
    text.starts_with(b"ref:") || id.is_some_and(|id| id.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(paths: &[&str], head: Option<&str>, absent: &[&str]) -> Vec<String> {
        let entry = |path: &&str| match path.strip_suffix('/') {
            Some(path) => Entry::listed(path.as_bytes(), Kind::Directory),
            None => Entry::listed(path.as_bytes(), Kind::File),
        };
        let entries: Vec<Entry> = paths.iter().map(entry).collect();
        let absent = absent.iter().map(|path| path.as_bytes().to_vec()).collect();
        let beginning = |_: &[u8]| head.map(|text| text.as_bytes().to_vec());
        let remarks = repositories(&entries, &absent, &beginning).into_iter();
        remarks
            .map(|one| String::from_utf8(one.path).unwrap())
            .collect()
    }

    const REF: Option<&str> = Some("ref: refs/heads/x\n");

    #[test]
    fn attack_g01_a_repository_in_any_form_is_seen() {
        for paths in [
            &["b/HEAD", "b/objects/", "b/refs/"][..],
            &["b/HEAD", "b/commondir"],
            &["b/HEAD", "b/config"],
            &["b/head", "b/OBJECTS/", "b/Refs/"],
            &["b/HEAD.", "b/commondir "],
        ] {
            assert_eq!(seen(paths, REF, &[]), ["b"], "{paths:?}");
            assert_eq!(seen(paths, None, &[]), ["b"], "{paths:?}");
        }
        let id = "0123456789abcdef0123456789abcdef01234567\n";
        assert_eq!(seen(&["a/b/HEAD", "a/b/config"], Some(id), &[]), ["a/b"]);
        // The role may not read a part of it.
        assert_eq!(seen(&["b/config"], None, &["b/HEAD"]), ["b"]);
        assert_eq!(seen(&["b/HEAD", "b/refs/"], REF, &["b/objects/x"]), ["b"]);
        assert_eq!(seen(&["b/.git/"], REF, &[]), ["b"]);
    }

    #[test]
    fn ordinary_directories_are_none() {
        for (paths, head) in [
            (&["b/HEAD"][..], REF),
            (&["b/HEAD", "b/objects/"], REF),
            (&["b/head/", "b/config", "b/objects/", "b/refs/"], REF),
            (&["b/head", "b/config/"], REF),
            (&["bin/head", "bin/config"], Some("#!/bin/sh\n")),
            (&["bin/head", "bin/config"], Some("")),
            (&["b/HEAD", "c/config"], REF),
        ] {
            assert_eq!(seen(paths, head, &[]), Vec::<String>::new(), "{paths:?}");
        }
    }
}
