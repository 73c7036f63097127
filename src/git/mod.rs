//! Git, run in one place, hardened.
