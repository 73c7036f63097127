//! The list of all integration test modules.

mod harness;

mod attack;
mod attack_engine;
mod attack_git;
mod cli_basic;
mod cli_trust;
mod dependencies;
mod house;
mod layers;
mod live_end;
mod live_engine;
mod live_faults;
mod live_link;
mod live_readme;
mod live_rootless;
mod live_run;
mod live_sandbox;
