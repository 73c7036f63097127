//! What all attempts of a run share.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex as Shared, MutexGuard, PoisonError},
};

use tokio::sync::Mutex;

use crate::{
    git::{GitError, ObjectId, Repository, run_branch},
    name::{Role, RunId},
    policy::{Policy, Rights},
    provider::Provider,
    sandbox::{Launcher, pool::Pool},
    spec::Spec,
};

use super::{
    failure::Failure, foresight::Foresight, install::Installs, keeper::Keeper, landings::Landings,
    names::Names,
};

/// A run's fixed facts and the tools its attempts use.
pub struct Work {
    /// The run.
    pub run: RunId,
    /// The user's repository.
    pub repository: Arc<Repository>,
    /// What is to be built.
    pub spec: Spec,
    /// Who may do what.
    pub policy: Policy,
    /// The adapter of the agent program.
    pub provider: Arc<dyn Provider>,
    /// Starts sandboxes.
    pub launcher: Launcher,
    /// Digest of each image that a role of this run needs, by image name.
    pub images: BTreeMap<String, String>,
    /// Keeps what agents write; none keeps nothing.
    pub keeper: Option<Arc<Keeper>>,
    /// Installs what lock files name; none installs nothing.
    pub installs: Option<Arc<Installs>>,
    /// Held by whoever is landing: merges go one at a time.
    pub landing: Mutex<()>,
    /// What landed so far. A run that is taken up again begins with [`Landings::fold`].
    pub landings: Shared<Landings>,
    /// Sandboxes that stand ready.
    pub pool: Pool,
    /// What they are made ready for.
    pub foresight: Shared<Foresight>,
    /// Names of rooms in use.
    pub names: Names,
}

impl Work {
    /// Returns a role's rights.
    pub(super) fn rights(&self, role: &Role) -> Result<Arc<Rights>, Failure> {
        self.policy
            .shared(role)
            .ok_or_else(|| Failure::fatal(format!("no policy knows role `{role}`")))
    }

    /// What landed so far.
    pub(super) fn landings(&self) -> MutexGuard<'_, Landings> {
        self.landings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What may still be claimed.
    pub(super) fn foresight(&self) -> MutexGuard<'_, Foresight> {
        self.foresight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Where Loki keeps its state in the repository.
    pub(super) fn state(&self) -> PathBuf {
        self.repository.root().join(".loki")
    }

    /// Returns where the run's branch is.
    pub(super) async fn head(&self) -> Result<ObjectId, Failure> {
        let head = self.git(|repository, run| repository.run_head(run)).await?;
        head.ok_or_else(|| {
            Failure::fatal(format!("branch `{}` was removed", run_branch(&self.run)))
        })
    }

    /// Runs git away from the async threads.
    pub(super) async fn git<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Repository, &RunId) -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, Failure> {
        let (repository, run) = (Arc::clone(&self.repository), self.run.clone());
        match tokio::task::spawn_blocking(move || call(&repository, &run)).await {
            Ok(answer) => Ok(answer?),
            Err(panicked) => Err(Failure::fatal(format!("a bug of ours in git: {panicked}"))),
        }
    }
}

/// Where the logs of a run stand: `TASK-ATTEMPT.log`, `TASK-checks.log` and `checks.log`.
#[must_use]
pub fn logs(state: &Path, run: &RunId) -> PathBuf {
    state.join("logs").join(run.as_str())
}
