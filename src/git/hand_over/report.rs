//! How much of what was found is told.

use super::super::inspect::Remark;
use crate::event::Breach;

/// Most things that are listed, and bytes of them.
pub(super) const LISTED: usize = 1000;
pub(super) const LISTED_BYTES: usize = 1 << 20;

/// Lists what was found, as far as a line of the journal holds it: a journal that refuses the line
/// ends the whole run, and an agent makes as many breaches as it likes.
pub(super) fn breaches(remarks: &[Remark]) -> Vec<Breach> {
    let mut bytes = 0;
    let mut listed: Vec<Breach> = Vec::new();
    for remark in remarks {
        let breach = remark.breach();
        bytes += breach.path.len() + breach.message.len();
        if listed.len() >= LISTED || (bytes > LISTED_BYTES && !listed.is_empty()) {
            let rest = remarks.len() - listed.len();
            let message = format!("and {rest} further ones, which are not listed");
            listed.push(Remark::new(remark.rule, b".", message).breach());
            break;
        }
        listed.push(breach);
    }
    listed
}
