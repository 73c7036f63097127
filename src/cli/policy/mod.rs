//! `loki policy …`: verbs that ask a policy. None of them changes anything, and none decides: each
//! asks the functions that the gateway, the gate and the sandboxes ask.

pub(super) mod args;
mod diff;
mod explain;
mod past;
mod replay;
mod show;
mod suggest;
mod told;

pub(super) use diff::diff;
pub(super) use explain::explain;
pub(super) use replay::replay;
pub(super) use show::show;
pub(super) use suggest::suggest;

use std::path::PathBuf;

use crate::{
    git::Repository,
    policy::{self, Origin, Policy},
    text::visible,
};

use super::{
    env::Environment,
    exit::{Exit, Fault, OrExit},
    setup::{self, rights},
    ui,
};

/// Prints the schema of the policy language.
pub(super) fn schema() -> Result<Exit, Fault> {
    ui::json(&policy::schema::schema())?;
    Ok(Exit::Done)
}

/// Returns the policy in force here, with further files on top.
fn load(env: &Environment, files: &[PathBuf]) -> Result<Policy, Fault> {
    setup::policy(env, files, root()?.as_deref())
}

/// Returns what `load` builds the policy of.
fn gather(env: &Environment, files: &[PathBuf]) -> Result<setup::Gathered, Fault> {
    setup::gather(env, files, root()?.as_deref())
}

/// Returns the root of the repository around the current directory, if there is one.
fn root() -> Result<Option<PathBuf>, Fault> {
    let here = std::env::current_dir().or_exit(Exit::Usage)?;
    let repository = Repository::open(&here).ok();
    Ok(repository.map(|repository| repository.root().to_owned()))
}

/// Returns a place as `file:line`.
fn place(origin: &Origin) -> String {
    visible(&format!("{}:{}", origin.file, origin.line))
}

fn placed(origin: Option<&Origin>) -> String {
    origin.map_or_else(String::new, place)
}
