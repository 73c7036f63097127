//! Decides the order of things in a run.

pub mod count;
