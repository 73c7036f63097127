//! Files whose contents Git LFS keeps elsewhere: the repository holds a pointer, and so does a
//! worktree. Loki runs no filter, so contents can neither be fetched nor stored, and a pointer of an
//! agent's would name contents that nobody stored. Pointers may be moved, copied and removed.

use std::collections::BTreeSet;

use super::{
    GitError, Repository, Slot,
    inspect::{Difference, Remark},
};

/// The rule that new contents break.
const RULE: &str = "lfs-pointer";
const MESSAGE: &str = "is kept by Git LFS, which Loki does not run: only a person can store its \
    contents; leave the pointer as it was";

/// Finds changed files that the base gives to Git LFS and whose new contents are no pointer of the
/// base's.
pub(super) fn replaced(
    repository: &Repository,
    slot: &Slot,
    changes: &[Difference],
) -> Result<Vec<Remark>, GitError> {
    let written: Vec<&Difference> = changes
        .iter()
        .filter(|change| change.new_mode.starts_with(b"100") && change.old_id != change.new_id)
        .collect();
    let kept = given_to_lfs(repository, slot, &written)?;
    if kept.is_empty() {
        return Ok(Vec::new());
    }
    let listed = repository.place.reading("ls-tree");
    let listed = listed.args(["-r", "-z", slot.base.as_str()]).run()?;
    let known: BTreeSet<&[u8]> = listed.records().filter_map(id_of).collect();
    let fresh = |change: &&&Difference| !known.contains(change.new_id.as_slice());
    let remarks = kept.iter().filter(fresh);
    Ok(remarks
        .map(|change| Remark::new(RULE, &change.path, MESSAGE))
        .collect())
}

/// Returns those that the base's own attributes give to the filter, whatever the agent wrote into
/// them.
fn given_to_lfs<'d>(
    repository: &Repository,
    slot: &Slot,
    written: &[&'d Difference],
) -> Result<Vec<&'d Difference>, GitError> {
    if written.is_empty() {
        return Ok(Vec::new());
    }
    let place = repository.place.over(slot.work(), slot.base.clone());
    let paths = written.iter().flat_map(|change| [&change.path[..], b"\0"]);
    let call = place
        .reading("check-attr")
        .args(["-z", "--stdin", "filter"]);
    let answer = call
        .input(paths.flatten().copied().collect::<Vec<_>>())
        .run()?;
    let records: Vec<&[u8]> = answer.stdout.split(|byte| *byte == 0).collect();
    let values = records.chunks_exact(3).filter_map(|record| match record {
        [path, _, b"lfs"] => Some(*path),
        _ => None,
    });
    let kept: BTreeSet<&[u8]> = values.collect();
    let of_lfs = |change: &&&Difference| kept.contains(change.path.as_slice());
    Ok(written.iter().filter(of_lfs).copied().collect())
}

/// Reads the id of `<mode> <type> <id>\t<path>`.
fn id_of(record: &[u8]) -> Option<&[u8]> {
    let facts = record.split(|byte| *byte == b'\t').next()?;
    facts.split(|byte| *byte == b' ').nth(2)
}
