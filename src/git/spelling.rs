//! Names that differ only in how they are written: one file to some file systems, where a checkout
//! would silently hold one of them.

use std::collections::{BTreeSet, HashMap};

use super::{
    inspect::{Deadline, Difference, Remark},
    repository::printable,
    tree::Entry,
};
use crate::text::folded;

/// Finds new names that stand beside another spelling of theirs. Pairs that the base brings are let
/// be.
pub(super) fn twins(
    changes: &[Difference],
    entries: &[Entry],
    absent: &BTreeSet<Vec<u8>>,
    deadline: &Deadline,
) -> Vec<Remark> {
    find(changes, entries, absent, deadline).unwrap_or_else(|late| vec![late])
}

fn find(
    changes: &[Difference],
    entries: &[Entry],
    absent: &BTreeSet<Vec<u8>>,
    deadline: &Deadline,
) -> Result<Vec<Remark>, Remark> {
    let created = changes.iter().filter(|change| change.old_mode == b"000000");
    let created: BTreeSet<&[u8]> = created.flat_map(|change| parts(&change.path)).collect();
    if created.is_empty() {
        return Ok(Vec::new());
    }
    let there = entries.iter().map(|entry| entry.path.as_slice());
    let hidden = absent.iter().flat_map(|path| parts(path));
    let mut spelled: HashMap<String, BTreeSet<&[u8]>> = HashMap::new();
    for path in there.chain(hidden) {
        deadline.check(path)?;
        spelled.entry(folded(path)).or_default().insert(path);
    }
    let mut remarks = Vec::new();
    for path in created {
        deadline.check(path)?;
        let others = spelled.get(&folded(path)).into_iter().flatten();
        let Some(other) = others.into_iter().find(|other| **other != path) else {
            continue;
        };
        let message = format!(
            "differs from `{}` only in how it is written, and some file systems take the two for one",
            printable(other)
        );
        remarks.push(Remark::new("file-name", path, message));
    }
    Ok(remarks)
}

/// Returns a path and the directories above it.
pub(super) fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let ends = slashes.map(|(at, _)| at).chain([path.len()]);
    ends.filter_map(|end| path.get(..end))
}
