//! The list of all integration test modules.

mod harness;

mod cli_basic;
mod dependencies;
mod house;
mod layers;
mod live_readme;
