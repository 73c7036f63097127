//! Every integration test of Loki, in one binary: one link step, one shared harness.
//!
//! Modules stand in `tests/suite/`; `house` proves that none is forgotten. `cli_*` run the binary
//! without an engine, `live_*` against real engines, `attack_*` are THREATS, each as a test.
#![expect(
    clippy::disallowed_methods,
    reason = "tests start programs, write fixtures and measure time from outside"
)]

#[cfg(test)]
mod suite;
