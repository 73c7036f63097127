//! What a kept tree is held against: what its names were, and what is in it.

use std::os::fd::OwnedFd;

use rustix::{fs::FileType, process::geteuid};

use super::{
    DepsError, place,
    take::Bounds,
    walk::{Node, Step, Sum, pieces, walk},
};
use crate::digest::Digest;

/// Refuses what never comes out of [`super::take::take`].
fn ours(node: &Node<'_>) -> Result<(), DepsError> {
    let mode = node.stat.st_mode & 0o7777;
    let fits = match place::kind(&node.stat) {
        FileType::RegularFile => (mode == 0o644 || mode == 0o755) && node.stat.st_nlink == 1,
        FileType::Directory => mode == 0o755,
        FileType::Symlink => true,
        _ => false,
    };
    if fits && node.stat.st_uid == geteuid().as_raw() {
        Ok(())
    } else {
        Err(node.refused("which was changed"))
    }
}

/// Returns a digest of what the kernel says of every name: any change of a file changes it.
pub(super) fn of_names(tree: &OwnedFd, bounds: Bounds) -> Result<Digest, DepsError> {
    let mut sum = Sum::default();
    walk(tree, bounds, |step| {
        let Step::Into(node) = step else {
            sum.out();
            return Ok(());
        };
        ours(node)?;
        let stat = &node.stat;
        let facts = [
            u64::from(stat.st_mode),
            stat.st_dev,
            stat.st_ino,
            stat.st_size.cast_unsigned(),
            stat.st_ctime.cast_unsigned(),
            stat.st_ctime_nsec,
        ];
        sum.add(b'n', node.name, facts.map(u64::to_le_bytes).as_flattened());
        Ok(())
    })?;
    Ok(sum.finish())
}

/// Returns the digest of a tree as [`super::take::take`] makes it.
pub(super) fn of_contents(tree: &OwnedFd, bounds: Bounds) -> Result<Digest, DepsError> {
    let mut sum = Sum::default();
    walk(tree, bounds, |step| {
        let Step::Into(node) = step else {
            sum.out();
            return Ok(());
        };
        ours(node)?;
        match place::kind(&node.stat) {
            FileType::RegularFile => {
                let read = pieces(&mut node.open()?, |_| Ok(()));
                let read = read.map_err(|cause| DepsError::io("read", "a file", cause))?;
                sum.file((node.name, node.stat.st_mode & 0o100 != 0), read);
            }
            FileType::Symlink => sum.add(b'l', node.name, &node.target()?),
            _ => sum.add(b'd', node.name, b""),
        }
        if sum.bytes > bounds.bytes {
            return Err(node.refused("which was changed"));
        }
        Ok(())
    })?;
    Ok(sum.finish())
}
