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

mod admission;
mod attempt;
mod batch;
mod believed;
mod budget;
mod checks;
mod count;
mod driver;
mod failure;
mod foresight;
mod handed;
mod held;
mod install;
mod keeper;
mod land;
mod landings;
mod masked;
mod names;
mod output;
mod recorder;
mod resume;
mod room;
mod spending;
mod stamp;
mod verify;
mod work;

pub use admission::Admission;
pub use believed::Believed;
#[expect(
    clippy::module_name_repetitions,
    reason = "an error is named after what failed"
)]
pub use driver::{Answer, Control, Ending, Rules, RunError, Session, begin, drive};
pub use foresight::Foresight;
pub use held::{Berth, Held, HeldAlready};
pub use install::{Installs, Ready, Registry, Rules as PackageRules};
pub use keeper::{Holder, Keeper, Subject};
pub use landings::{Landing, Landings};
pub use names::Names;
pub use resume::{Came, Cut, CutOff, cut_off, outside};
pub use work::{Work, logs};
