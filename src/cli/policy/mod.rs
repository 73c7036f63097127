//! `loki policy …`: verbs that ask a policy, of which only `trust` changes anything. None decides: each
//! asks the functions that the gateway, the gate and the sandboxes ask.

pub(super) mod args;
mod check;
mod diff;
mod explain;
mod past;
mod replay;
mod show;
mod suggest;
mod told;
mod trust;
mod vetted;

pub(super) use check::check;
pub(super) use diff::diff;
pub(super) use explain::explain;
pub(super) use replay::replay;
pub(super) use show::show;
pub(super) use suggest::suggest;
pub(super) use trust::{pins, say_changes, trust};

use std::path::PathBuf;

use crate::{
    name::Role,
    policy::{self, Origin, Policy},
    text::visible,
};

use super::{
    env::Environment,
    exit::{Exit, Fault},
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
    setup::policy(env, files, setup::root()?.as_deref())
}

/// Returns the policy that a run with the provider would have.
fn in_force(env: &Environment, files: &[PathBuf], provider: Option<&str>) -> Result<Policy, Fault> {
    let needs = provider.map(needs).transpose()?;
    let root = setup::root()?;
    let given: Result<_, Fault> = files
        .iter()
        .map(|file| setup::given_source(file, file))
        .collect();
    setup::policy_with(env, given?, (root.as_deref(), needs))
}

/// Returns the entry of a provider's needs.
fn needs(provider: &str) -> Result<Role, Fault> {
    policy::entry_of(provider).ok_or_else(|| {
        let message = format!(
            "no policy says what a provider `{}` needs",
            visible(provider)
        );
        Fault::new(Exit::Usage, message).hint("`claude` needs something, all others nothing")
    })
}

/// Returns what `load` builds the policy of.
fn gather(env: &Environment, files: &[PathBuf]) -> Result<setup::Gathered, Fault> {
    setup::gather(env, files, setup::root()?.as_deref())
}

/// Returns a place as `file:line`.
fn place(origin: &Origin) -> String {
    visible(&format!("{}:{}", origin.file, origin.line))
}

fn placed(origin: Option<&Origin>) -> String {
    origin.map_or_else(String::new, place)
}
