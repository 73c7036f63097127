//! Journals of runs that came to nothing: their writer died before the first record was whole, so
//! nobody was ever told of them, or nothing of the run could be made.

use std::path::Path;

use super::{Chain, JournalError, Step, audit::seals, path, runs};
use crate::name::RunId;

/// Removes every journal without a complete record and returns its run. Only for the holder of the
/// repository's lock, before it begins one.
///
/// # Errors
///
/// Fails when one cannot be removed. One that cannot be read is left as it is.
pub fn forget_unbegun(home: &Path) -> Result<Vec<RunId>, JournalError> {
    let mut gone = Vec::new();
    for run in runs(home)? {
        let path = path(home, &run);
        let first = Chain::open(&path).and_then(|mut chain| chain.step());
        if matches!(first, Ok(Step::End { .. })) {
            forget(home, &run, None)?;
            gone.push(run);
        }
    }
    Ok(gone)
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
