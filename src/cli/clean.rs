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
    let mut refs = Vec::new();
    for run in &runs {
        let landed = format!("refs/heads/{}", run_branch(run));
        let all = repository.run_refs(run).or_exit(Exit::Failed)?;
        refs.extend(
            all.into_iter()
                .filter(|name| args.branches || *name != landed),
        );
    }
    for container in &containers {
        ui::data(format!(
            "container {} (run {}, task {})",
            container.container, container.run, container.task
        ));
    }
    for name in &refs {
        ui::data(format!("ref       {}", ui::plain(name)));
    }
    if state.exists() {
        ui::data(format!("directory {}", ui::plain(&state.to_string_lossy())));
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
    Ok(Exit::Done)
}
