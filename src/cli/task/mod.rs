//! `loki task …`: the tasks of a run, looked at and changed. A run that goes on is asked; one that
//! does not has the change written into its journal, for `loki resume` to act on.

pub(super) mod args;
mod change;
mod inbox;
mod look;
mod rules;
mod told;

pub(super) use inbox::Intake;
pub(super) use rules::rules;
pub(super) use told::line;

use super::{
    env::Environment,
    exit::{Exit, Fault},
};
use args::TaskVerb;

/// Runs the verb.
pub(super) async fn run(env: &Environment, verb: &TaskVerb) -> Result<Exit, Fault> {
    match verb {
        TaskVerb::Add(add) => change::add(env, add).await,
        TaskVerb::List(shown) => look::list(shown),
        TaskVerb::Show(one) => look::show(one),
        TaskVerb::Cancel(cancel) => change::cancel(env, cancel).await,
        TaskVerb::Retry(retry) => change::retry(env, retry).await,
        TaskVerb::Priority(priority) => change::prioritise(env, priority).await,
    }
}
