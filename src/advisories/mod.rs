//! Advisories on this machine's disk: read from a directory of OSV records, kept as one file of the
//! user's own, read again at a start.
//!
//! An import is all or nothing: one faulty record and what was there before stays. No link is
//! followed, and what is read is bounded in size, number and depth. What is kept carries a hash; a
//! file that does not match it is refused, never used in part.

mod export;
mod fault;
mod store;

pub use export::{Export, Import, Progress};
pub use fault::StoreError;
pub use store::Store;

#[cfg(test)]
mod tests;
