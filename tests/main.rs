//! Every integration test of Loki, in one binary.
#![expect(
    clippy::disallowed_methods,
    reason = "tests start programs, write fixtures and measure time from outside"
)]

#[cfg(test)]
mod suite;
