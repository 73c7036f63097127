//! `loki checkpoint …`: keeps what sandboxes wrote, and gives it back. It knows where sandboxes and
//! keys are, and how an engine pauses; what a checkpoint is, it leaves to `checkpoint`.

pub(super) mod args;
mod create;
mod looks;
mod unpack;

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    checkpoint::{self, CheckpointError, Links, Store, Unpacking},
    diagnostic::explained,
    journal::{Key, ring::Ring},
    name::CheckpointId,
    policy::Globs,
    run::Believed,
};

use super::{
    adhoc::Filler,
    env::Environment,
    exit::{Exit, Fault, OrExit},
    setup, ui,
};
use args::{Trust, Verb};

/// Runs the verb.
pub(super) async fn run(env: &Environment, verb: Verb) -> Result<Exit, Fault> {
    if let Verb::Create(asked) = &verb {
        return create::create(env, asked).await;
    }
    let env = env.clone();
    // Reading and unpacking take their time, and nothing else is to be done.
    let done = tokio::task::spawn_blocking(move || match verb {
        Verb::Create(_) => Ok(Exit::Bug),
        Verb::List(asked) => looks::list(&env, &asked),
        Verb::Show(asked) => looks::show(&env, &asked),
        Verb::Diff(asked) => looks::diff(&env, &asked),
        Verb::Verify(asked) => looks::verify(&env, &asked),
        Verb::Restore(asked) => unpack::restore(&env, &asked),
        Verb::Export(asked) => unpack::export(&env, &asked),
        Verb::Prune(asked) => unpack::prune(&env, &asked),
    });
    done.await.or_exit(Exit::Bug)?
}

/// Returns where the repository around the current directory keeps its state.
fn state() -> Result<PathBuf, Fault> {
    Ok(setup::repository()?.root().join(".loki"))
}

/// Returns the directory of keys.
pub(super) fn settings(env: &Environment) -> Result<&Path, Fault> {
    env.config.as_deref().ok_or_else(|| {
        Fault::new(Exit::Usage, "neither `HOME` nor `XDG_CONFIG_HOME` is set")
            .hint("set `HOME`: Loki keeps the key that signs there")
    })
}

/// Trusts the key that was named, else this user's own, and those before and after it.
fn believed(env: &Environment, trust: &Trust) -> Result<Believed, Fault> {
    let settings = env.config.as_deref();
    let key = match &trust.key {
        Some(text) => text.parse().or_exit(Exit::Usage)?,
        None => {
            let own = Key::open(self::settings(env)?).or_exit(Exit::Failed)?;
            let none = || {
                Fault::new(Exit::Usage, "there is no key of this user to check with")
                    .hint("`loki checkpoint create` makes one; `--key PUB` trusts another")
            };
            own.ok_or_else(none)?.public()
        }
    };
    let ring = settings.map(Ring::open).transpose();
    let ring = ring.or_exit(Exit::Failed)?.unwrap_or_default();
    Ok(Believed::new(key, &ring))
}

/// Returns what fills a slot with a checkpoint: its home directory, and of its worktree what may be
/// read. The checkpoint is verified first.
pub(super) fn filler(
    env: &Environment,
    id: CheckpointId,
    readable: Globs,
) -> Result<Filler, Fault> {
    let state = state()?;
    let believed = believed(env, &Trust { key: None })?;
    Ok(Box::new(move |slot, user| {
        let root = rustix::process::geteuid().is_root();
        let fill = |to: &Path, tree, readable| {
            let unpacking = Unpacking {
                id: &id,
                to,
                tree: Some(tree),
                links: Links::All,
                readable,
                owner: root.then_some(user),
            };
            let store = Store::open(&state)?;
            believed.with(|trusted| checkpoint::restore(&store, &unpacking, trusted, &|_, _| {}))
        };
        std::fs::create_dir_all(slot.path())?;
        let filled = fill(&slot.work(), "work", Some(&readable))
            .and_then(|_| fill(&slot.home(), "home", None));
        filled
            .map(drop)
            .map_err(|cause| io::Error::other(told(&cause).message))
    }))
}

/// Turns what went wrong into what a person is told.
fn told(cause: &CheckpointError) -> Fault {
    let exit = match cause {
        CheckpointError::Unknown(_) | CheckpointError::Taken(_) => Exit::Usage,
        _ => Exit::Failed,
    };
    Fault::new(exit, ui::visible(&explained(cause)))
}

/// Says how many bytes there are, in a unit that a person reads.
fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}
