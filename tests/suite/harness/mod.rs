//! What integration tests share: a world of their own to run the binary in.
//!
//! A [`World`] is a fresh folder with a home and a git repository, an environment that holds
//! nothing of this machine but the search path, and, if wanted, one engine. Nothing a test does
//! there can reach another test or the person's own files. Only the cache of images is shared.

pub(crate) mod source;

mod journal;
mod run;
pub(crate) mod sandbox;
mod stand;
mod world;

pub(crate) use run::{Run, Running, Said};
pub(crate) use stand::{Stand, Standing, p95};
pub(crate) use world::{Engine, World};

/// Starts a run of `spec.md` in which the world's `agent.sh` is the agent.
pub(crate) const START: [&str; 6] = [
    "start",
    "spec.md",
    "--provider",
    "command",
    "--command",
    "./agent.sh",
];
