//! `loki clean`: shows what Loki made in this repository, then removes it.

use std::{fs, path::Path};

use crate::{
    git::{Repository, remove_tree, run_branch},
    journal::{self, Lock},
    sandbox::{self, Leftover},
};

use super::{
    args,
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
        let message = format!(
            "run {} (process {}) is working here",
            holder.run, holder.pid
        );
        return Err(Fault::new(Exit::Failed, message).hint("`loki stop` ends it"));
    }
    let engine = setup::engine(env).await?;
    let label = sandbox::repository_label(repository.root());
    let containers = sandbox::leftovers(engine.as_ref(), Some(&label)).await;
    let containers = containers.or_exit(Exit::NoSandbox)?;
    let (refs, kept) = refs(&repository, args)?;
    if !state.exists() && containers.is_empty() && refs.is_empty() {
        ui::note("there is nothing of Loki's in this repository");
        return Ok(Exit::Done);
    }
    show(&containers, &refs, &state);
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
    drop(lock);
    ui::note("removed");
    kept.iter().for_each(|name| say_kept(name));
    Ok(Exit::Done)
}

/// Removes the directory, the lock last: whoever starts meanwhile finds it held.
fn remove_state(state: &Path) -> Result<(), Fault> {
    let entries = fs::read_dir(state).or_exit(Exit::Failed)?;
    let entries: Vec<_> = entries.collect::<Result<_, _>>().or_exit(Exit::Failed)?;
    for entry in entries.iter().filter(|entry| entry.file_name() != "lock") {
        remove_tree(&entry.path()).or_exit(Exit::Failed)?;
    }
    fs::remove_file(state.join("lock")).or_exit(Exit::Failed)?;
    fs::remove_dir(state).or_exit(Exit::Failed)
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

fn show(containers: &[Leftover], refs: &[String], state: &Path) {
    for one in containers {
        ui::data(format!(
            "container {} (run {}, task {})",
            one.container, one.run, one.task
        ));
    }
    for name in refs {
        ui::data(format!("ref       {}", ui::visible(name)));
    }
    if state.exists() {
        ui::data(format!(
            "directory {}",
            ui::visible(&state.to_string_lossy())
        ));
    }
}

/// Says what stays, for once the journals are gone nothing here knows of it any more.
fn say_kept(name: &str) {
    let branch = ui::visible(name.trim_start_matches("refs/heads/"));
    ui::note(format!(
        "the landed work stays: `git branch -D {branch}` removes it"
    ));
}
