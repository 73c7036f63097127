//! Submodules, which are not followed: their files are absent, and what the base points at stays.

use std::collections::BTreeSet;

use super::{
    inspect::Remark,
    spelling::parts,
    tree::{Entry, Kind},
};

/// The rule that work on a submodule breaks.
const RULE: &str = "submodule";
const MESSAGE: &str = "stands where a submodule belongs: Loki neither follows submodules nor \
    changes what they point at; leave that to a person";

/// Finds what an agent put where a submodule belongs. An empty directory is what git itself leaves
/// there.
pub(super) fn entered(entries: &[Entry], modules: &BTreeSet<Vec<u8>>) -> Vec<Remark> {
    if modules.is_empty() {
        return Vec::new();
    }
    let touched: BTreeSet<&[u8]> = entries
        .iter()
        .filter_map(|entry| {
            let is_directory = entry.kind == Kind::Directory;
            let mut ways = parts(&entry.path);
            ways.find(|way| modules.contains(*way) && !(is_directory && *way == entry.path))
        })
        .collect();
    touched
        .into_iter()
        .map(|module| Remark::new(RULE, module, MESSAGE))
        .collect()
}
