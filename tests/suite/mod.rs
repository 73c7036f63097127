//! The list of all integration test modules.

mod harness;

mod dependencies;
mod house;
mod layers;
