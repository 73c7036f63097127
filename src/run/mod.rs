//! Decides the order of things in a run.
//!
//! ```text
//!            claim                        gate            checks on the merged tree
//!  Queue ──────────▶ attempt: worktree, sandbox, agent ──▶ commit ──▶ merge ──▶ advance
//!    ▲                   │ failed, conflicted                                     │
//!    └───── events ◀── driver (owns journal and queue; one task) ◀────────────────┘
//! ```
//!
//! One task, the driver, owns the journal and the queue; attempts run beside it and send it
//! events, which it writes before it answers. So nothing happens that is not in the journal.

mod attempt;
mod budget;
mod checks;
mod count;
mod driver;
mod failure;
mod handed;
mod keeper;
mod land;
mod landings;
mod masked;
mod output;
mod recorder;
mod resume;
mod room;
mod spending;
mod verify;
mod work;

#[expect(
    clippy::module_name_repetitions,
    reason = "an error is named after what failed"
)]
pub use driver::{Control, Ending, RunError, Session, begin, drive};
pub use keeper::{Holder, Keeper, Subject};
pub use landings::{Landing, Landings};
pub use resume::{Came, Cut, CutOff, cut_off, outside};
pub use work::{Work, logs};
