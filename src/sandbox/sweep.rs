//! Removes what dead orchestrators left: containers found by label, each of whose owner is gone.

use std::{path::Path, time::Duration};

use crate::{
    digest::Digest,
    engine::{ContainerId, Engine, EngineError},
    name::RunId,
    process::started,
};

/// How often, and how long apart, containers are looked for until none is left.
const LOOKS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(200);

/// A container of Loki's whose orchestrator is dead.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Leftover {
    /// The container.
    pub container: String,
    /// Its run.
    pub run: String,
    /// Its task.
    pub task: String,
    /// Its role.
    pub role: String,
}

/// Names this process so that no later one can be taken for it: id and start time.
#[must_use]
pub fn owner() -> String {
    let pid = std::process::id();
    format!("{pid}-{}", started(pid).unwrap_or_default())
}

/// Lists containers of a repository (of all, if none is given) whose owner no longer runs.
///
/// # Errors
/// The engine's.
pub async fn leftovers(
    engine: &dyn Engine,
    repository: Option<&str>,
) -> Result<Vec<Leftover>, EngineError> {
    let filter = repository.map_or_else(
        || "loki.run".to_owned(),
        |id| format!("loki.repository={id}"),
    );
    let listed = engine.list(&filter).await?;
    let dead = listed
        .into_iter()
        .filter(|one| !alive(one.labels.get("loki.owner").map_or("", String::as_str)));
    Ok(dead
        .map(|one| {
            let label = |name: &str| one.labels.get(name).cloned().unwrap_or_default();
            Leftover {
                run: label("loki.run"),
                task: label("loki.task"),
                role: label("loki.role"),
                container: one.id.0,
            }
        })
        .collect())
}

/// Removes every leftover and returns what it removed. Running it again does nothing.
///
/// # Errors
/// The engine's; what was removed before stays removed.
pub async fn sweep(
    engine: &dyn Engine,
    repository: Option<&str>,
) -> Result<Vec<Leftover>, EngineError> {
    let found = leftovers(engine, repository).await?;
    for leftover in &found {
        engine
            .remove(&ContainerId(leftover.container.clone()))
            .await?;
    }
    Ok(found)
}

/// Removes every container that this process made for a repository, or for one run of it, and
/// returns once the engine lists none any more. Two looks must agree: a request that was given up may still be on its way.
///
/// # Errors
/// The engine's, or that a container still stands after 20 s.
pub(super) async fn end_own(
    engine: &dyn Engine,
    (repository, run): (&str, Option<&RunId>),
) -> Result<(), EngineError> {
    let (filter, me) = (format!("loki.repository={repository}"), owner());
    let mut empty = 0;
    for _ in 0..LOOKS {
        let listed = engine.list(&filter).await?;
        let own: Vec<_> = listed
            .into_iter()
            .filter(|one| one.labels.get("loki.owner") == Some(&me))
            .filter(|one| {
                let of = one.labels.get("loki.run").map(String::as_str);
                run.is_none_or(|run| of == Some(run.as_str()))
            })
            .collect();
        empty = if own.is_empty() { empty + 1 } else { 0 };
        if empty == 2 {
            return Ok(());
        }
        for one in own {
            // One that is on its way out already is a conflict to some engines: the next look
            // decides.
            engine.remove(&one.id).await.ok();
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(EngineError::TimedOut {
        call: "remove all containers".to_owned(),
        after: PAUSE * LOOKS,
    })
}

/// Returns whether the process an [`owner`] text names still runs.
#[must_use]
pub fn alive(owner: &str) -> bool {
    let Some((pid, start)) = owner.split_once('-') else {
        return false;
    };
    pid.parse()
        .ok()
        .and_then(started)
        .is_some_and(|found| found == start)
}

/// Returns the first digits of the hash of a repository's path, for labels.
#[must_use]
pub fn repository_label(root: &Path) -> String {
    let digest = Digest::of(root.as_os_str().as_encoded_bytes());
    format!("{digest:.16}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_a_reused_id_is_not() {
        assert!(alive(&owner()));
        assert!(!alive(&format!("{}-1", std::process::id())));
        assert!(!alive(""));
        assert!(!alive("x-y"));
    }
}
