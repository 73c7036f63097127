//! What a pool holds, as the orchestrator publishes it for `loki pool status`.
//!
//! One file for each run, `.loki/state/pool.RUN.json`, replaced whole, and removed when the pool ends.
//! It names the process that wrote it: that of a process which is gone says nothing.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    journal::{self, JournalError},
    name::{Role, RunId},
};

/// The version of the fields.
pub const SCHEMA: u32 = 1;
/// Larger files are no pool's.
const LARGEST: u64 = 1 << 20;

/// What the pool of one run holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The run.
    pub run: RunId,
    /// The orchestrator process, as [`crate::sandbox::owner`] names it.
    pub owner: String,
    /// When this was so.
    pub at: Timestamp,
    /// How many slots of a kind wait at most.
    pub min_idle: u32,
    /// How many sandboxes there are at most, claimed ones included, before slots are no longer made
    /// ready.
    pub max_total: u32,
    /// Sandboxes that stand for somebody, those included that started cold.
    pub claimed: u32,
    /// How many more slots the memory has room for; none while nobody needed to know.
    pub room: Option<u64>,
    /// Claims so far that found a slot.
    pub warm: u64,
    /// Claims so far that found none.
    pub cold: u64,
    /// Why the last preparation failed, none when it did not.
    pub failure: Option<Failure>,
    /// Each kind of slot.
    pub kinds: Vec<Shelf>,
}

/// Why a slot could not be made ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// How many in a row.
    pub times: u32,
    /// Not before this is it tried again.
    pub again: Timestamp,
}

/// Slots that are alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shelf {
    /// Twelve digits that name the container's blueprint.
    pub key: String,
    /// The image, by digest.
    pub image: String,
    /// What stands in the worktree: `empty`, `task` or `copy`.
    pub files: String,
    /// For whom; empty when nobody is foreseen any more.
    pub roles: Vec<Role>,
    /// How many are to wait.
    pub wanted: u32,
    /// How many wait.
    pub idle: u32,
    /// How many are being made ready.
    pub preparing: u32,
    /// Sandboxes that stand for somebody.
    pub claimed: u32,
    /// Since when the one waits that has waited longest.
    pub since: Option<Timestamp>,
}

impl Standing {
    /// Publishes it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn publish(&self, state: &Path) -> Result<(), JournalError> {
        let text = serde_json::to_vec(self).map_err(JournalError::Unwritable)?;
        journal::publish(state, &file(&self.run), &text)
    }

    /// Reads what each pool of a repository's orchestrator holds, oldest run first. What is not a
    /// pool's, or of a process that is gone, is left out.
    ///
    /// # Errors
    /// When the directory is there and cannot be read, or something else stands in its place.
    pub fn read(state: &Path, alive: impl Fn(&str) -> bool) -> Result<Vec<Self>, JournalError> {
        let of_pools = |name: &str| name.starts_with("pool.") && name.ends_with(".json");
        let files = journal::published(state, (of_pools, LARGEST))?;
        let read = |(name, text): (String, Vec<u8>)| {
            let one: Self = serde_json::from_slice(&text).ok()?;
            let is_own = one.schema == SCHEMA && name == file(&one.run) && alive(&one.owner);
            is_own.then_some(one)
        };
        let mut found: Vec<Self> = files.into_iter().filter_map(read).collect();
        found.sort_by(|one, other| one.run.as_str().cmp(other.run.as_str()));
        Ok(found)
    }
}

/// Removes what a run's pool has published, if anything.
///
/// # Errors
/// When it cannot be removed.
pub(super) fn withdraw(state: &Path, run: &RunId) -> Result<(), JournalError> {
    journal::withdraw(state, &file(run))
}

fn file(run: &RunId) -> String {
    format!("pool.{run}.json")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn standing(run: &str, owner: &str) -> Standing {
        Standing {
            schema: SCHEMA,
            run: run.parse().unwrap(),
            owner: owner.to_owned(),
            at: Timestamp::UNIX_EPOCH,
            min_idle: 3,
            max_total: 20,
            claimed: 0,
            room: None,
            warm: 0,
            cold: 0,
            failure: None,
            kinds: Vec::new(),
        }
    }

    #[test]
    fn what_was_published_is_read_until_it_is_withdrawn_or_its_process_is_gone() {
        let state = tempfile::tempdir().unwrap();
        let read = |alive: &str| Standing::read(state.path(), |owner| owner == alive).unwrap();
        assert_eq!(read("1-1"), []);
        let (one, two) = (standing("r1", "1-1"), standing("r2", "1-1"));
        two.publish(state.path()).unwrap();
        one.publish(state.path()).unwrap();
        assert_eq!(read("1-1"), [one.clone(), two.clone()]);
        assert_eq!(read("2-2"), []);
        withdraw(state.path(), &one.run).unwrap();
        withdraw(state.path(), &one.run).unwrap();
        assert_eq!(read("1-1"), [two]);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a stranger's file, not Loki's")]
    fn what_is_no_pools_is_left_out() {
        let state = tempfile::tempdir().unwrap();
        let directory = state.path().join("state");
        let other = standing("r1", "1-1");
        other.publish(state.path()).unwrap();
        fs::rename(
            directory.join("pool.r1.json"),
            directory.join("pool.r2.json"),
        )
        .unwrap();
        fs::write(directory.join("pool.r3.json"), "{").unwrap();
        fs::write(directory.join("orchestrator.json"), "{}").unwrap();
        fs::create_dir(directory.join("pool.r4.json")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", directory.join("pool.r5.json")).unwrap();
        let file = fs::File::create(directory.join("pool.r6.json")).unwrap();
        file.set_len(LARGEST + 1).unwrap();
        assert_eq!(Standing::read(state.path(), |_| true).unwrap(), []);
    }
}
