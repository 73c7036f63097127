//! What tests of this module begin from: rights that are shipped, in a place of no machine.

use std::path::PathBuf;

use crate::policy::{Policy, Rights};

use super::{Labels, Place};

/// The policies that are shipped.
pub(super) fn policy() -> Policy {
    Policy::check(&Policy::builtin_sources()).unwrap()
}

/// What a shipped role may do.
pub(super) fn shipped(role: &str) -> Rights {
    policy().rights(&role.parse().unwrap()).unwrap()
}

/// The labels of some container.
pub(super) fn labels() -> Labels {
    Labels {
        run: "r".to_owned(),
        task: "t".to_owned(),
        repository: "0".to_owned(),
        owner: "1-2".to_owned(),
    }
}

/// A place whose sandboxes have this user.
pub(super) fn place(user: u32) -> Place {
    Place {
        image: "sha256:0".to_owned(),
        user: (user, user),
        keep_id: false,
        guest: PathBuf::from("/cache/guest-0"),
        home_runs: false,
    }
}
