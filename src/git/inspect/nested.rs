//! Finds repositories inside a worktree: `.git` below its top, and directories that git takes for a
//! repository although nothing in them is called so. Git looks for one wherever a prompt or an
//! editor asks it for the status, and obeys what it finds.
//!
//! Git takes a directory for one by a `HEAD` that names something, and by `objects` and `refs` in it
//! or where its `commondir` points. What points elsewhere is not followed: there it may change.

use std::collections::{BTreeSet, HashMap};

use super::{Beginning, Remark};
use crate::{
    git::tree::{Entry, Kind},
    text::folded,
};

const RULE: &str = "nested-repository";
/// What is said of a directory that is a repository by itself.
pub(super) const BARE: &str = "is a bare repository";
/// What is said of one that is a repository together with another.
const APART: &str = "is a repository whose parts lie elsewhere";
/// Most spellings of `HEAD` that are read in one directory.
const HEADS: usize = 64;

/// What of a repository the directories hold that some file system takes for one.
#[derive(Default)]
struct Parts<'a> {
    /// Everything that may be its `HEAD`: which of them is depends on the file system.
    heads: Vec<(&'a [u8], Form)>,
    /// These directories, as each is spelled.
    places: BTreeSet<&'a [u8]>,
    commondir: bool,
    config: bool,
    objects: bool,
    refs: bool,
}

impl<'a> Parts<'a> {
    fn add(&mut self, part: &str, (place, path): (&'a [u8], &'a [u8]), form: Form) {
        match (part, form) {
            ("head", Form::File | Form::Link) => self.heads.push((path, form)),
            ("commondir", Form::File | Form::Link) => self.commondir = true,
            ("config", Form::File | Form::Link) => self.config = true,
            ("objects", Form::Directory | Form::Link) => self.objects = true,
            ("refs", Form::Directory | Form::Link) => self.refs = true,
            _ => return,
        }
        self.places.insert(place);
    }

    /// Says it of each of the directories: one of them may be ignored.
    fn remarks(&self, beginning: Beginning<'_>) -> Vec<Remark> {
        let whole = self.objects && self.refs;
        let names = |(path, form): &(&[u8], Form)| {
            *form == Form::Link || beginning(path).is_none_or(|text| names_something(&text))
        };
        if !(whole || self.commondir || self.config)
            || self.heads.len() <= HEADS && !self.heads.iter().any(names)
        {
            return Vec::new();
        }
        let message = match self.commondir {
            true => APART,
            false => BARE,
        };
        let places = self.places.iter();
        places
            .map(|place| Remark::new(RULE, place, message))
            .collect()
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
    let bare = found.values().flat_map(|parts| parts.remarks(beginning));
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
    let (place, name) = (&path[..slash], &path[slash + 1..]);
    // The usual case.
    let first = name.first().map(u8::to_ascii_lowercase);
    let is_other = !matches!(first, Some(b'h' | b'c' | b'o' | b'r'));
    if is_other && name.is_ascii() && !name.contains(&b'\\') {
        return;
    }
    let same = folded(name);
    let part = same.rsplit('/').next().unwrap_or_default();
    if matches!(part, "head" | "commondir" | "config" | "objects" | "refs") {
        let all = folded(path);
        let above = all.rsplit_once('/').map_or("", |(above, _)| above);
        let parts = found.entry(above.to_owned()).or_default();
        parts.add(part, (place, path), form);
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
        let texts: Vec<(&str, Option<&str>)> = paths.iter().map(|path| (*path, head)).collect();
        found(&texts, absent)
    }

    /// What is found where each path has a text of its own; none cannot be read.
    fn found(paths: &[(&str, Option<&str>)], absent: &[&str]) -> Vec<String> {
        let entry = |(path, _): &(&str, _)| match path.strip_suffix('/') {
            Some(path) => Entry::listed(path.as_bytes(), Kind::Directory),
            None => Entry::listed(path.as_bytes(), Kind::File),
        };
        let entries: Vec<Entry> = paths.iter().map(entry).collect();
        let absent = absent.iter().map(|path| path.as_bytes().to_vec()).collect();
        let beginning = |wanted: &[u8]| {
            let text = paths.iter().find(|(path, _)| path.as_bytes() == wanted)?.1;
            text.map(|text| text.as_bytes().to_vec())
        };
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
    fn attack_g01_no_other_spelling_of_head_acquits_a_repository() {
        let rest = [("b/objects/", None), ("b/refs/", None)];
        let notes = Some("notes");
        for decoy in [
            "b/HEAD.",
            "b/HEAD ",
            "b/HEAD:x",
            "b/head",
            "b/HEAD::$DATA",
            "B/HEAD",
        ] {
            for heads in [
                [("b/HEAD", REF), (decoy, notes)],
                [(decoy, notes), ("b/HEAD", REF)],
            ] {
                let paths = [&heads[..], &rest[..]].concat();
                assert!(found(&paths, &[]).contains(&"b".to_owned()), "{decoy}");
            }
        }
        let many: Vec<String> = (0..=HEADS)
            .map(|at| format!("b/HEAD{}", ".".repeat(at)))
            .collect();
        let many = many.iter().map(|path| (path.as_str(), notes));
        let paths: Vec<_> = many.chain(rest).collect();
        assert_eq!(found(&paths, &[]), ["b"], "more than are read");
    }

    #[test]
    fn attack_g01_each_spelling_of_the_directory_is_told() {
        for paths in [
            ["b/HEAD", "b/objects/", "b/refs/", "B/HEAD"],
            ["b/HEAD", "B/HEAD", "B/objects/", "b/refs/"],
        ] {
            assert_eq!(seen(&paths, REF, &[]), ["B", "b"], "{paths:?}");
        }
        let paths = ["caf\u{e9}/HEAD", "cafe\u{301}/objects/", "caf\u{e9}/refs/"];
        assert_eq!(seen(&paths, REF, &[]).len(), 2);
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
