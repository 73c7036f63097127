//! One container, link, worktree and gateway joined for one attempt.

mod confine;
mod syscalls;

pub use confine::{Grant, confinement, writable_directories};
pub use syscalls::filters;
