//! `loki clean`: shows what Loki made in this repository, then removes it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    git::{Repository, remove_tree, run_branch},
    journal::{self, Lock},
    sandbox::{self, Leftover},
    secrets,
};

use super::{
    args, audit,
    env::Environment,
    exit::{Exit, Fault, OrExit},
    setup,
    start::{new_run, now},
    ui,
};

/// Runs the verb. Branches with landed work stay unless asked for.
pub(super) async fn clean(env: &Environment, args: &args::Clean) -> Result<Exit, Fault> {
    let repository = setup::repository()?;
    repository.refuse_tracked_state().or_exit(Exit::Usage)?;
    let state = repository.root().join(".loki");
    if let Some(holder) = Lock::holder(&state).or_exit(Exit::Failed)? {
        let message = format!("{holder} is working here");
        return Err(Fault::new(Exit::Failed, message).hint("`loki stop` ends it"));
    }
    let engine = setup::engine(env).await?;
    let label = sandbox::repository_label(repository.root());
    let containers = sandbox::leftovers(engine.as_ref(), Some(&label)).await;
    let containers = containers.or_exit(Exit::NoSandbox)?;
    let (refs, kept) = refs(&repository, args)?;
    let own = own(&state).or_exit(Exit::Failed)?;
    if own.is_empty() && containers.is_empty() && refs.is_empty() {
        ui::note("there is nothing of Loki's in this repository");
        return Ok(Exit::Done);
    }
    show(&containers, &refs, &own);
    if !args.yes && !ui::ask("Remove all of it, journals and logs included?") {
        ui::note("nothing was removed; `loki clean --yes` removes it");
        return Ok(Exit::Done);
    }
    // A run may have begun while the question stood.
    let lock = Lock::acquire(&state, &new_run()?, now()).or_exit(Exit::Failed)?;
    let swept = sandbox::sweep(engine.as_ref(), Some(&label)).await;
    drop(swept.or_exit(Exit::NoSandbox)?);
    repository.sweep(&[]).or_exit(Exit::Failed)?;
    repository.delete_refs(&refs).or_exit(Exit::Failed)?;
    remove_state(&state)?;
    audit::forget(env, repository.root())?;
    drop(lock);
    ui::note("removed");
    kept.iter().for_each(|name| say_kept(name));
    Ok(Exit::Done)
}

/// Removes what is Loki's own, the lock last: whoever starts meanwhile finds it held.
fn remove_state(state: &Path) -> Result<(), Fault> {
    let lock = state.join("lock");
    for path in own(state)
        .or_exit(Exit::Failed)?
        .iter()
        .filter(|path| **path != lock)
    {
        remove_tree(path).or_exit(Exit::Failed)?;
    }
    fs::remove_file(lock).or_exit(Exit::Failed)?;
    match fs::remove_dir(state) {
        // The project's policies and secrets are the user's.
        Err(cause) if cause.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        removed => removed.or_exit(Exit::Failed),
    }
}

/// Parts the refs of all runs into those to remove and those that stay.
fn refs(repository: &Repository, args: &args::Clean) -> Result<(Vec<String>, Vec<String>), Fault> {
    let (mut gone, mut kept) = (Vec::new(), Vec::new());
    for run in journal::runs(&repository.root().join(".loki")).or_exit(Exit::Failed)? {
        let landed = format!("refs/heads/{}", run_branch(&run));
        for name in repository.run_refs(&run).or_exit(Exit::Failed)? {
            let stays = name == landed && !args.branches;
            if stays { &mut kept } else { &mut gone }.push(name);
        }
    }
    Ok((gone, kept))
}

/// What stands in `.loki` and is the user's: the project's policies and settings, and the secrets.
const KEPT: [&str; 5] = [
    "policies",
    "config",
    secrets::STORE,
    secrets::RECIPIENTS,
    secrets::LOCK,
];

/// Returns what in `state` is Loki's own: all but what is the user's.
fn own(state: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(state) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let entries: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let kept = KEPT.map(|name| state.join(name));
    let mut own = entries?;
    own.retain(|path| !kept.contains(path));
    Ok(own)
}

fn show(containers: &[Leftover], refs: &[String], own: &[PathBuf]) {
    for one in containers {
        ui::data(format!(
            "container {} (run {}, task {})",
            one.container, one.run, one.task
        ));
    }
    for name in refs {
        ui::data(format!("ref       {}", ui::visible(name)));
    }
    for path in own {
        let kind = if path.is_dir() { "directory" } else { "file" };
        ui::data(format!("{kind:9} {}", ui::visible(&path.to_string_lossy())));
    }
}

/// Says what stays, for once the journals are gone nothing here knows of it any more.
fn say_kept(name: &str) {
    let branch = ui::visible(name.trim_start_matches("refs/heads/"));
    ui::note(format!(
        "the landed work stays: `git branch -D {branch}` removes it"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projects_policies_and_secrets_are_not_ours_to_remove() {
        let world = tempfile::tempdir().unwrap();
        let state = world.path().join(".loki");
        assert_eq!(own(&state).unwrap(), Vec::<PathBuf>::new());
        fs::create_dir_all(state.join("journal")).unwrap();
        assert_eq!(own(&state).unwrap(), [state.join("journal")]);
        fs::create_dir(state.join("policies")).unwrap();
        fs::create_dir(state.join("config")).unwrap();
        for file in ["secrets.env.age", "secrets.recipients", "secrets.lock"] {
            fs::File::create(state.join(file)).unwrap();
        }
        assert_eq!(own(&state).unwrap(), [state.join("journal")]);
    }
}
