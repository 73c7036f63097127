//! What a sandbox is given besides its slot: directories of this host that nothing in it writes.

use std::path::Path;

use crate::engine::{ContainerSpec, Mount};

use super::{
    fault::SandboxError,
    slot::{Slot, beneath},
};

/// Where the worktree is mounted.
const WORKTREE: &str = "/work/";

/// Adds mounts to a container, all of them read-only.
pub(super) fn add(mut spec: ContainerSpec, given: &[Mount]) -> ContainerSpec {
    let held = given.iter().map(|mount| Mount {
        read_only: true,
        ..mount.clone()
    });
    spec.mounts.extend(held);
    spec
}

/// Makes the mount points of what is given within the worktree, whose files stand there by then: an
/// engine would make them as root, and follow what a commit put there.
pub(super) fn mount_points(
    given: &[Mount],
    slot: &Slot,
    user: (u32, u32),
) -> Result<(), SandboxError> {
    let within = given
        .iter()
        .filter_map(|mount| mount.target.strip_prefix(WORKTREE));
    for path in within {
        let made = beneath(&slot.work(), path, user);
        made.and_then(|()| is_directory(&slot.work(), path))
            .map_err(SandboxError::Slot)?;
    }
    Ok(())
}

/// Refuses a mount point that is something else, at any step.
fn is_directory(work: &Path, path: &str) -> std::io::Result<()> {
    let mut at = work.to_owned();
    for part in path.split('/') {
        at.push(part);
        if !std::fs::symlink_metadata(&at)?.is_dir() {
            let message = format!("`{}` is no directory to mount something on", at.display());
            return Err(std::io::Error::other(message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::sandbox::{
        blueprint,
        sample::{labels, place, shipped},
    };

    fn plain(slot: &Slot) -> ContainerSpec {
        blueprint("n", &shipped("eng-backend"), slot, &place(7), &labels())
    }

    fn mount(target: &str) -> Mount {
        Mount {
            source: "/kept".into(),
            target: target.to_owned(),
            read_only: false,
        }
    }

    #[test]
    fn what_is_given_is_read_only_whatever_is_asked_for_and_its_mount_point_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let slot = Slot::at(folder.path().to_owned());
        fs::create_dir(slot.work()).unwrap();
        let user = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let given = [mount("/work/web/node_modules"), mount("/loki/deps/pip")];
        let before = plain(&slot).mounts.len();
        mount_points(&given, &slot, user).unwrap();
        let spec = add(plain(&slot), &given);
        assert_eq!(spec.mounts.len(), before + 2);
        assert!(spec.mounts[before..].iter().all(|mount| mount.read_only));
        assert!(slot.work().join("web/node_modules").is_dir());
    }

    #[test]
    fn attack_g16_a_mount_point_that_a_commit_made_a_link_or_a_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let slot = Slot::at(folder.path().join("slot"));
        fs::create_dir_all(slot.work()).unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        symlink("../../outside", slot.work().join("web")).unwrap();
        fs::File::create_new(slot.work().join("file")).unwrap();
        symlink(".", slot.work().join("node_modules")).unwrap();
        for target in ["/work/web/node_modules", "/work/file", "/work/node_modules"] {
            assert!(
                mount_points(&[mount(target)], &slot, (7, 7)).is_err(),
                "{target}"
            );
        }
        assert_eq!(
            fs::read_dir(folder.path().join("outside")).unwrap().count(),
            0
        );
    }
}
