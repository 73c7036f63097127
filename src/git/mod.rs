//! Git, run in one place, hardened.
//!
//! The user's repository gives commits to sandboxes and takes work back. What comes back is
//! hostile until the gate has looked at it:
//!
//! ```text
//! Repository::open ─ create_run_branch
//!      │
//!      ├─ Slot::prepare ──► dir/work ──► (sandbox) ──► hand_over ─ breach ─► quarantine
//!      │                                                  │
//!      │                                                commit ──► loki-tasks/<run>/<task>
//!      │                                                  │
//!      └─ advance ◄─ (checks, reviews on export) ◄─ join ◄┘     ──► loki/<run>
//! ```
//!
//! It refuses to run a hook, filter, driver, pager or signing program, to read an index or a
//! `.git` that an agent could write, to follow a link out of a worktree, and to touch the user's
//! branch, index or files. `docs/git.md` tells the rest.

mod ahead;
mod checkout;
mod command;
mod decoy;
mod durable;
mod error;
mod files;
mod hand_over;
mod history;
mod home;
mod index;
mod inspect;
mod land;
mod look;
mod modules;
mod object;
mod patch;
mod pick;
mod pointers;
mod protected;
mod push;
mod refs;
mod remote;
mod repository;
mod slot;
mod spelling;
mod tree;
mod turn;
mod waiting;
#[cfg(test)]
mod world;

pub use ahead::Ahead;
pub use checkout::{Checkout, Export};
pub use decoy::make_decoy;
#[expect(
    clippy::module_name_repetitions,
    reason = "an error is named after what failed"
)]
pub use error::GitError;
pub use hand_over::{Caps, Change, HandOver, Sides, Terms, is_approvable};
pub use history::{Blamed, Commit};
pub use home::Brought;
pub use inspect::patterns::ids as secret_patterns;
pub use land::{Conflict, Conflicted, Holds, Join, Moved, Signature, Undone, moved};
pub use look::refusals;
pub use object::ObjectId;
pub use pick::{Below, Kind, Named};
pub use protected::Protected;
pub use push::Way;
pub use refs::{run_branch, task_branch};
pub use remote::{BadRemote, Remote, Scheme};
pub use repository::{Repository, version};
pub use slot::{Slot, SlotSpec, private_repository_anew, private_repository_script};
pub use tree::{Owner, remove as remove_tree};
pub use turn::Turn;
