//! `loki audit …`: whether journals are what was written, who says so, and what becomes of them.
//! It knows where keys and seals are kept; what a seal proves, it leaves to `journal`.

pub(super) mod args;
mod keys;
mod prune;
mod verify;

use std::{
    io::{BufWriter, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use crate::{
    diagnostic::explained,
    git::remove_tree,
    journal::{self, Key, Reopened, Sealing, Writer, audit, export},
    name::RunId,
    sandbox::repository_label,
    whole,
};

use super::{
    checkpoint::settings,
    env::Environment,
    exit::{Exit, Fault, OrExit},
    start::now,
    ui,
    views::{Chosen, choose},
};
use args::{Anchor, Export, Verb};

/// Runs the verb.
pub(super) async fn run(env: &Environment, verb: Verb) -> Result<Exit, Fault> {
    let env = env.clone();
    // A journal of many millions of records takes its time, and nothing else is to be done.
    let done = tokio::task::spawn_blocking(move || match verb {
        Verb::Init(json) => keys::init(&env, &json),
        Verb::Rotate(json) => keys::rotate(&env, &json),
        Verb::Key(asked) => keys::show(&env, &asked),
        Verb::Verify(asked) => verify::verify(&env, &asked),
        Verb::Anchor(asked) => anchor(&asked),
        Verb::Export(asked) => export(&asked),
        Verb::Prune(asked) => prune::prune(&env, &asked),
    });
    done.await.or_exit(Exit::Bug)?
}

/// Where the newest seals of a repository are kept, outside of it.
pub(super) fn anchors(env: &Environment, root: &Path) -> Result<PathBuf, Fault> {
    Ok(env.state()?.join("anchors").join(repository_label(root)))
}

/// Opens this user's key. Where there is none, one is made, and said so.
pub(super) fn key(env: &Environment) -> Result<Key, Fault> {
    let settings = settings(env)?;
    let is_new = Key::open(settings).or_exit(Exit::Failed)?.is_none();
    let key = Key::open_or_make(settings).or_exit(Exit::Failed)?;
    if is_new {
        ui::note(format!(
            "made the key that seals journals; its public half, to keep elsewhere: {}",
            key.public()
        ));
    }
    Ok(key)
}

/// Has everything that a writer writes signed by this user's key.
pub(super) fn sealed(
    env: &Environment,
    (root, run): (&Path, &RunId),
    writer: Writer,
) -> Result<Writer, Fault> {
    let sealing = Sealing {
        key: key(env)?,
        anchors: anchors(env, root)?,
        clock: Box::new(now),
        every: Sealing::EVERY,
    };
    writer.sealed_by(run, sealing).or_exit(Exit::Failed)
}

/// Opens the journal of a run to be written on, sealed like everything before.
pub(super) fn reopen(env: &Environment, state: &Path, run: &RunId) -> Result<Reopened, Fault> {
    let reopened = Writer::reopen(state, run, now).or_exit(Exit::Failed)?;
    let writer = sealed(env, (root(state), run), reopened.writer)?;
    Ok(Reopened { writer, ..reopened })
}

/// Forgets the seals that are kept outside of a repository whose journals were removed.
pub(super) fn forget(env: &Environment, root: &Path) -> Result<(), Fault> {
    match anchors(env, root) {
        Ok(place) if place.symlink_metadata().is_ok() => remove_tree(&place).or_exit(Exit::Failed),
        // Without a home there was no place to keep any.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Forgets a run of which nothing could be made.
pub(super) fn forget_run(env: &Environment, root: &Path, run: &RunId) -> Result<(), Fault> {
    let anchors = anchors(env, root)?;
    journal::forget(&root.join(".loki"), run, Some(&anchors)).or_exit(Exit::Failed)
}

/// The root of the repository whose state this is.
fn root(state: &Path) -> &Path {
    state.parent().unwrap_or(state)
}

/// `loki audit anchor`.
fn anchor(asked: &Anchor) -> Result<Exit, Fault> {
    let Some(Chosen { state, run }) = choose(asked.run.as_ref())? else {
        return Ok(Exit::Failed);
    };
    let seal = audit::newest(&state, &run).or_exit(Exit::Failed)?;
    let seal = seal.ok_or_else(|| {
        Fault::new(Exit::Failed, format!("run {run} has no seal"))
            .hint("`loki audit verify` says what there is")
    })?;
    let Some(file) = &asked.to else {
        ui::data(seal.to_string());
        return Ok(Exit::Done);
    };
    let written = whole::replace(file, 0o600, format!("{seal}\n").as_bytes());
    written.map_err(|cause| {
        let shown = ui::visible(&file.to_string_lossy());
        Fault::new(
            Exit::Failed,
            format!("`{shown}` cannot be written: {cause}"),
        )
    })?;
    ui::note(format!(
        "kept the seal of record {} of run {run}; `loki audit verify --run {run} --anchor {}` holds \
         the journal against it",
        seal.facts.seq,
        ui::visible(&file.to_string_lossy())
    ));
    Ok(Exit::Done)
}

/// `loki audit export`.
fn export(asked: &Export) -> Result<Exit, Fault> {
    let Some(chosen) = choose(asked.run.as_ref())? else {
        return Ok(Exit::Failed);
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let format = export::Format::from(asked.format);
    let read = journal::each(&chosen.journal(), |record, line| {
        let line = export::line(format, &chosen.run, record, line);
        match out.write_all(&line) {
            Ok(()) => ControlFlow::Continue(()),
            // Nobody reads any more.
            Err(_) => ControlFlow::Break(()),
        }
    });
    // The same: the exit code still counts.
    out.flush().ok();
    read.map_err(|cause| {
        let message = ui::visible(&explained(&cause));
        Fault::new(Exit::Failed, message).hint("what was printed ends before that record")
    })?;
    Ok(Exit::Done)
}
