//! Checkpoints: signed copies of what a sandbox wrote, each after the first one a delta.
//!
//! ```text
//!  directories ─ walk ─► intake (read, search, cut, hash, pack) ─► packs ─┐
//!                          ▲ unchanged since the base: not read           ├─► signed head
//!                          └── listing of the base                listing ┘
//!  head ─ signature ─► listing ─ rules, hashes ─► verify ─► restore · export · diff
//! ```
//!
//! Directories are read on the host, below an open directory and through no link: no program of an
//! agent's image takes part. What is kept is content-addressed, so the same bytes are kept once,
//! and one signature over the head covers everything. A file that holds a secret value known to
//! Loki is left out and listed, and so are sockets, pipes and devices.
//!
//! It refuses to unpack what it has not verified, to unpack into what was there before, to sign
//! what changed while it was read, and to remove anything as long as it cannot tell what is needed.
//! It keeps no owners, no extended attributes and no set-id bits: whoever restores owns.

mod admit;
mod archive;
mod create;
mod cut;
mod diff;
mod entry;
mod error;
mod export;
mod hand;
mod import;
mod index;
mod intake;
mod known;
mod manifest;
mod pack;
mod place;
mod prune;
mod read;
mod reading;
mod restore;
mod store;
#[cfg(test)]
mod tests;
mod walk;
mod zeros;

pub use admit::{Caps, Refusal};
pub use create::{Asked, Hold, Quiet, Source, Tools, create};
pub use diff::{Difference, How, diff};
pub use entry::{Entry, EntryPath, Kind, LeftOut, Listing, Moment, Seen, Why};
#[expect(
    clippy::module_name_repetitions,
    reason = "a type called `Error` hides the standard one"
)]
pub use error::{CheckpointError, Flaw};
pub use export::{Export, Packing, export};
pub use import::import;
pub use manifest::{Head, Origin, PURPOSE, Parts, Signer, Stillness, Tree, Trusted};
pub use prune::{Pretend, Pruned, Retention, prune};
pub use read::Reader;
pub use restore::{Links, Unpacked, Unpacking, restore};
pub use store::{Store, Turn};
