//! The list of all integration test modules.

mod harness;

mod attack;
mod attack_caps;
mod attack_engine;
mod attack_files;
mod attack_git;
mod attack_guest;
mod attack_net;
mod attack_secrets;
mod cli_basic;
mod cli_checkpoint;
mod cli_egress;
mod cli_policy;
mod cli_secrets;
mod cli_trust;
mod dependencies;
mod house;
mod layers;
mod live_checkpoint;
mod live_claude;
mod live_confine;
mod live_egress;
mod live_end;
mod live_engine;
mod live_faults;
mod live_inspect;
mod live_link;
mod live_meter;
mod live_readme;
mod live_rootless;
mod live_run;
mod live_sandbox;
mod live_terminal;
mod live_toolchains;
mod shipped_roles;
