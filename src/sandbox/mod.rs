//! One container, link, worktree and gateway joined for one attempt at one task.
//!
//! ```text
//!  Request ── blueprint ──▶ ContainerSpec ──▶ engine: create, start
//!                                                  │
//!  link::Listener ◀── guest connects ──────────────┘
//!      │ read back what is enforced (isolation), refuse below the minimum
//!      ├── dns + listeners ──▶ egress::Gateway
//!      └── exec(confinement) ──▶ the agent
//! ```
//!
//! While a program runs, `watch` compares what the sandbox used with its caps (docs/limits.md).
//!
//! A [`Sandbox`] is destroyed after its attempt and never used again. It does not decide what
//! runs in it, reads nothing of what the agent wrote, and knows no task order.

mod blueprint;
mod cgroup;
mod companions;
mod confine;
mod delivery;
mod disk;
mod fault;
mod given;
mod held;
mod hierarchy;
mod idle;
mod isolation;
mod joined;
mod key;
mod launch;
pub mod memory;
mod meter;
mod own_code;
pub mod pool;
mod prepare;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod sample;
mod slot;
mod standing;
mod sweep;
mod syscalls;
mod trust;
mod watch;

pub use blueprint::{Labels, Place, blueprint};
pub use confine::{Grant, confinement, writable_directories};
#[expect(
    clippy::module_name_repetitions,
    reason = "an error is named after what failed"
)]
pub use fault::SandboxError;
pub use isolation::{Shortfall, minimum};
pub use key::Key;
pub use launch::{Launcher, Occupant};
pub use prepare::Prepared;
pub use slot::{Home, Slot};
pub use standing::{Sandbox, is_reserved};
pub use sweep::{Leftover, alive, leftovers, owner, repository_label, sweep};
pub use watch::Spoken;
