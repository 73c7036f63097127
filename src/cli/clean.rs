//! `loki clean`: shows what Loki made in this repository, then removes it.

use crate::{
    git::{remove_tree, run_branch},
    journal::{self, Lock},
    sandbox,
};

use super::{
    args,
    env::Environment,
    exit::{Exit, Fault, OrExit},
    setup, ui,
};

/// Runs the verb. Branches with landed work stay unless asked for.
pub(super) async fn clean(env: &Environment, args: &args::Clean) -> Result<Exit, Fault> {
    let repository = setup::repository()?;
    let state = repository.root().join(".loki");
    if let Some(holder) = Lock::holder(&state).or_exit(Exit::Failed)? {
        return Err(Fault::new(
            Exit::Failed,
            format!(
                "run {} (process {}) is working here",
                holder.run, holder.pid
            ),
        )
        .hint("`loki stop` ends it"));
    }
    let engine = setup::engine(env).await?;
    let label = sandbox::repository_label(repository.root());
    let containers = sandbox::leftovers(engine.as_ref(), Some(&label))
        .await
        .or_exit(Exit::NoSandbox)?;
    let runs = journal::runs(&state).or_exit(Exit::Failed)?;
    let (mut refs, mut kept) = (Vec::new(), Vec::new());
    for run in &runs {
        let landed = format!("refs/heads/{}", run_branch(run));
        let all = repository.run_refs(run).or_exit(Exit::Failed)?;
        let doomed = |name: &String| args.branches || *name != landed;
        let (gone, stays): (Vec<_>, Vec<_>) = all.into_iter().partition(doomed);
        refs.extend(gone);
        kept.extend(stays);
    }
    for container in &containers {
        ui::data(format!(
            "container {} (run {}, task {})",
            container.container, container.run, container.task
        ));
    }
    for name in &refs {
        ui::data(format!("ref       {}", ui::visible(name)));
    }
    if state.exists() {
        ui::data(format!(
            "directory {}",
            ui::visible(&state.to_string_lossy())
        ));
    } else if containers.is_empty() && refs.is_empty() {
        ui::note("there is nothing of Loki's in this repository");
        return Ok(Exit::Done);
    }
    if !args.yes && !ui::ask("Remove all of it, journals and logs included?") {
        ui::note("nothing was removed; `loki clean --yes` removes it");
        return Ok(Exit::Done);
    }
    sandbox::sweep(engine.as_ref(), Some(&label))
        .await
        .or_exit(Exit::NoSandbox)?;
    repository.sweep(&[]).or_exit(Exit::Failed)?;
    repository.delete_refs(&refs).or_exit(Exit::Failed)?;
    remove_tree(&state).or_exit(Exit::Failed)?;
    ui::note("removed");
    kept.iter().for_each(|name| say_kept(name));
    Ok(Exit::Done)
}

/// Says what stays, for once the journals are gone nothing here knows of it any more.
fn say_kept(name: &str) {
    let branch = ui::visible(name.trim_start_matches("refs/heads/"));
    ui::note(format!(
        "the landed work stays: `git branch -D {branch}` removes it"
    ));
}
