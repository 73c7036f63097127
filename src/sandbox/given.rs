//! What a sandbox is given besides its slot: directories of this host that nothing in it writes.

use std::path::Path;

use crate::engine::{ContainerSpec, Mount};

use super::{
    fault::SandboxError,
    slot::{Slot, beneath},
};

/// Where the worktree is mounted.
const WORKTREE: &str = "/work/";

/// Adds mounts to a container, all of them read-only, and makes the mount points of those within
/// the worktree: an engine would make them as root, and follow what a commit put there.
pub(super) fn add(
    mut spec: ContainerSpec,
    given: &[Mount],
    (slot, user): (&Slot, (u32, u32)),
) -> Result<ContainerSpec, SandboxError> {
    for mount in given {
        if let Some(path) = mount.target.strip_prefix(WORKTREE) {
            let made = beneath(&slot.work(), path, user);
            made.and_then(|()| is_directory(&slot.work(), path))
                .map_err(SandboxError::Slot)?;
        }
        spec.mounts.push(Mount {
            read_only: true,
            ..mount.clone()
        });
    }
    Ok(spec)
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
    use crate::{
        policy::Policy,
        sandbox::{Labels, Place, blueprint},
    };

    fn plain(slot: &Slot) -> ContainerSpec {
        let policy = Policy::check(&Policy::builtin_sources()).unwrap();
        let rights = policy.rights(&"eng-backend".parse().unwrap()).unwrap();
        let place = Place {
            image: "sha256:0".to_owned(),
            user: (7, 7),
            keep_id: false,
            guest: "/guest".into(),
            home_runs: false,
        };
        let labels = Labels {
            run: "r".to_owned(),
            task: "t".to_owned(),
            repository: "0".to_owned(),
            owner: "1-2".to_owned(),
        };
        blueprint("n", &rights, slot, &place, &labels)
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
        let spec = add(plain(&slot), &given, (&slot, user)).unwrap();
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
                add(plain(&slot), &[mount(target)], (&slot, (7, 7))).is_err(),
                "{target}"
            );
        }
        assert_eq!(
            fs::read_dir(folder.path().join("outside")).unwrap().count(),
            0
        );
    }
}
