//! The worktree of probes on files: of a repository full of what no sandbox may see, and given to one
//! as to any agent.

use crate::{
    git::{self, Checkout, Owner},
    policy::{Files, Glob, Globs, Origin, Rights},
    sandbox::Slot,
};

use super::stage::{Scene, StageError};

/// What stands in all that no sandbox may see.
const CANARY: &str = "canary-of-the-decoy";

impl Scene {
    /// Makes the repository of the decoy, and puts of it into a slot what rights let see: as for any
    /// agent.
    pub(super) fn fill(
        &self,
        slot: &Slot,
        rights: &Rights,
        user: (u32, u32),
    ) -> Result<(), StageError> {
        let owner = rustix::process::geteuid().is_root().then_some(Owner {
            uid: user.0,
            gid: user.1,
        });
        let made = git::make_decoy(&self.slots.join("of-decoy"), CANARY);
        let filled = made.and_then(|repository| {
            let checkout = Checkout {
                tree: repository.head(),
                read: Some(&rights.files.visible()),
                owner,
            };
            repository.export(slot.path(), checkout)
        });
        filled.map(drop).map_err(StageError::Decoy)
    }
}

/// What the decoy's sandbox may see and write.
pub(super) fn listed() -> Files {
    let glob = Glob::parse("listed/**", Origin::default()).expect("the glob is one");
    Files {
        read: Globs(vec![glob.clone()]),
        write: Globs(vec![glob]),
    }
}
