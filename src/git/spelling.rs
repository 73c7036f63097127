//! Names that differ in upper and lower case only: one file to some file systems, where a checkout
//! would silently hold one of them.

use std::collections::{BTreeSet, HashMap};

use super::{
    inspect::{Difference, Remark},
    repository::printable,
    tree::Entry,
};

/// Finds new names that stand beside another spelling of theirs. Pairs that the base brings are let
/// be.
pub(super) fn twins(
    changes: &[Difference],
    entries: &[Entry],
    absent: &BTreeSet<Vec<u8>>,
) -> Vec<Remark> {
    let created = changes.iter().filter(|change| change.old_mode == b"000000");
    let created: Vec<&[u8]> = created.flat_map(|change| parts(&change.path)).collect();
    if created.is_empty() {
        return Vec::new();
    }
    let there = entries.iter().map(|entry| entry.path.as_slice());
    let hidden = absent.iter().flat_map(|path| parts(path));
    let mut spelled: HashMap<String, BTreeSet<&[u8]>> = HashMap::new();
    for path in there.chain(hidden) {
        spelled.entry(folded(path)).or_default().insert(path);
    }
    let created: BTreeSet<&[u8]> = created.into_iter().collect();
    let twin = |path: &&[u8]| -> Option<Remark> {
        let others = spelled.get(&folded(path))?;
        let other = others.iter().find(|other| *other != path)?;
        let message = format!(
            "differs from `{}` in upper and lower case only, and some file systems take the two for one",
            printable(other)
        );
        Some(Remark::new("file-name", path, message))
    };
    created.iter().filter_map(twin).collect()
}

/// Returns a path and the directories above it.
pub(super) fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let ends = slashes.map(|(at, _)| at).chain([path.len()]);
    ends.filter_map(|end| path.get(..end))
}

fn folded(path: &[u8]) -> String {
    String::from_utf8_lossy(path).to_lowercase()
}
