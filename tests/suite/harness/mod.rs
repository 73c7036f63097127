//! What integration tests share: a world of their own to run the binary in.
//!
//! A [`World`] is a fresh folder with a home and a git repository, an environment that holds
//! nothing of this machine but the search path, and, if wanted, one engine. Nothing a test does
//! there can reach another test or the person's own files. Only the cache of images is shared.

pub(crate) mod crash;
pub(crate) mod source;

pub(crate) mod forge;
mod https;
mod journal;
pub(crate) mod model;
mod opened;
mod recorded;
mod run;
pub(crate) mod sshd;
mod stand;
pub(crate) mod web;
mod world;

pub(crate) use https::https;
pub(crate) use opened::{opened, opened_with};
pub(crate) use recorded::recorded_run;
pub(crate) use run::{Run, Running, Said};
pub(crate) use stand::{Stand, Standing, UNHELD, launcher, p95, writing_everywhere};
pub(crate) use world::{Engine, World, on_each};

/// Returns the words that run a program as `eng-backend` in a sandbox.
pub(crate) fn as_backend<'a>(argv: &[&'a str]) -> Vec<&'a str> {
    [&["sandbox", "run", "--role", "eng-backend", "--"], argv].concat()
}

/// Returns the words that do so under the policy beside the world's repository.
pub(crate) fn as_backend_by_policy<'a>(argv: &[&'a str]) -> Vec<&'a str> {
    let words = as_backend(argv);
    let (verb, rest) = words.split_at(2);
    [verb, &["--policy", "../policy.yaml"], rest].concat()
}

/// Starts a run of `spec.md` in which the world's `agent.sh` is the agent.
pub(crate) const START: [&str; 6] = [
    "start",
    "spec.md",
    "--provider",
    "command",
    "--command",
    "./agent.sh",
];
