//! Journals of runs that never began: their writer died before the first record was whole, so
//! nobody was ever told of them.

use std::path::Path;

use super::{Chain, JournalError, Step, path, runs};
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
            std::fs::remove_file(&path)
                .map_err(|source| JournalError::io("remove", &path, source))?;
            gone.push(run);
        }
    }
    Ok(gone)
}
