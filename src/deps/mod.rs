//! What installs made, kept on this machine and given again: one entry for each key.
//!
//! ```text
//! .loki/cache/deps/<key>/tree        what was installed, as plain files
//!                 /<key>/manifest    its facts and digest, and a signature over them
//!                 /.unfinished/      entries that are not whole yet, or are about to go
//!                 /.locks/           one file a key: who makes it, who uses it
//! ```
//!
//! An entry comes in only through [`Store::take_in`], which copies what an install left behind,
//! byte by byte, into files of Loki's own: nothing of the sandbox's inodes is kept. It goes out only
//! through [`Store::find`], which holds the whole tree against a digest that this user's own key has
//! signed. So an entry that was changed, half written, or brought along by a repository is never
//! used.
//!
//! It refuses links that lead out, files that are no files, names that hide something, and more
//! than fits. It starts nothing, and does not know what a tool or a role is.

mod error;
mod hold;
mod listing;
mod manifest;
mod place;
mod store;
mod take;
#[cfg(test)]
mod tests;
mod walk;

#[expect(
    clippy::module_name_repetitions,
    reason = "an error is named after what failed"
)]
pub use error::DepsError;
pub use listing::{Listed, Room};
pub use manifest::{Facts, Kept, PURPOSE, Vouch};
pub use store::{Found, Lease, Making, Store};
pub use take::{Bounds, From};
