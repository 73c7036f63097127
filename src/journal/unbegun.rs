//! Journals of runs that came to nothing: their writer died before the first record was whole, so
//! nobody was ever told of them, or nothing of the run could be made.

use std::path::Path;

use super::{Chain, JournalError, Step, audit::seals, path, runs};
use crate::name::RunId;

/// The runs whose journal has no complete record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unbegun {
    /// Those of which nothing was ever sealed: their journals are gone.
    pub gone: Vec<RunId>,
    /// Those of which something was: their journals were emptied or destroyed, and stay as they
    /// are with their seals, for they are evidence.
    pub destroyed: Vec<RunId>,
}

/// Removes every journal without a complete record of which no seal is known, neither beside it nor
/// in `anchors`, outside of the repository. Only for the holder of the repository's lock, before it
/// begins one.
///
/// # Errors
///
/// Fails when one cannot be removed. One that cannot be read is left as it is.
pub fn forget_unbegun(home: &Path, anchors: Option<&Path>) -> Result<Unbegun, JournalError> {
    let mut found = Unbegun::default();
    for run in runs(home)? {
        let path = path(home, &run);
        let first = Chain::open(&path).and_then(|mut chain| chain.step());
        if !matches!(first, Ok(Step::End { .. })) {
            continue;
        }
        if was_sealed(home, &run, anchors) {
            found.destroyed.push(run);
        } else {
            forget(home, &run, None)?;
            found.gone.push(run);
        }
    }
    Ok(found)
}

/// Returns whether anything says that the journal of a run was once more than nothing. What is in
/// the place of a seal and cannot be looked at counts.
fn was_sealed(home: &Path, run: &RunId, anchors: Option<&Path>) -> bool {
    let beside = std::fs::symlink_metadata(seals::path(home, run));
    let outside = anchors.map(|anchors| anchors.join(seals::anchor_name(run)));
    let outside = outside.map(std::fs::symlink_metadata);
    let says = |found: std::io::Result<std::fs::Metadata>| match found {
        Ok(found) => !found.is_file() || found.len() > 0,
        Err(cause) => cause.kind() != std::io::ErrorKind::NotFound,
    };
    says(beside) || outside.is_some_and(says)
}

/// Removes the journal of a run that came to nothing, and its seals: those beside it and the one in
/// `anchors`, outside of the repository. Only for the holder of the repository's lock.
///
/// # Errors
///
/// Fails when one of them cannot be removed.
pub fn forget(home: &Path, run: &RunId, anchors: Option<&Path>) -> Result<(), JournalError> {
    let anchor = anchors.map(|anchors| anchors.join(seals::anchor_name(run)));
    let seals = seals::path(home, run);
    for path in [Some(path(home, run)), Some(seals), anchor]
        .into_iter()
        .flatten()
    {
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(JournalError::io("remove", &path, source));
            }
            _ => {}
        }
    }
    Ok(())
}
