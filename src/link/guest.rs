//! The guest binary: embedded at build time, put on disk where the engine can mount it.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::LinkError;
use crate::{digest::Digest, whole};

static GUEST: &[u8] = include_bytes!(env!("LOKI_GUEST"));
static DIGEST: LazyLock<Digest> = LazyLock::new(|| Digest::of(GUEST));

/// Returns where the guest binary stands under this directory once [`guest_binary`] put it there.
#[must_use]
pub fn guest_path(cache: &Path) -> PathBuf {
    cache.join(format!("guest-{}", *DIGEST))
}

/// Returns the path of the guest binary under this directory, unpacking it when it is not there.
///
/// The name holds the content's hash, and the content is checked against it on every call: a file
/// that differs is replaced, never used.
///
/// # Errors
/// When it can neither be found whole nor written.
pub fn guest_binary(cache: &Path) -> Result<PathBuf, LinkError> {
    let path = guest_path(cache);
    if is_whole(&path) {
        return Ok(path);
    }
    match unpack(cache, &path) {
        Ok(()) => Ok(path),
        Err(source) => Err(LinkError::Unpack { path, source }),
    }
}

/// Whether the path is a regular file with exactly the guest's bytes that anyone may execute and
/// nobody write.
fn is_whole(path: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = openat(CWD, path, flags, Mode::empty()) else {
        return false;
    };
    let mut file = File::from(file);
    let Ok(metadata) = file.metadata() else {
        return false;
    };
    let expected = metadata.is_file()
        && metadata.len() == GUEST.len() as u64
        && metadata.permissions().mode() & 0o7777 == 0o555;
    let mut bytes = Vec::new();
    expected && file.read_to_end(&mut bytes).is_ok() && Digest::of(&bytes) == *DIGEST
}

fn unpack(cache: &Path, path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(cache)?;
    whole::replace(path, 0o555, GUEST)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_guest_is_unpacked_once_and_stays() {
        let cache = tempfile::tempdir().unwrap();
        let nested = cache.path().join("a/b");
        let path = guest_binary(&nested).unwrap();
        let first = std::fs::metadata(&path).unwrap();
        assert_eq!(guest_binary(&nested).unwrap(), path);
        let second = std::fs::metadata(&path).unwrap();
        assert_eq!(first.modified().unwrap(), second.modified().unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), GUEST);
        assert_eq!(std::fs::read_dir(&nested).unwrap().count(), 1);
    }

    #[test]
    fn a_guest_that_was_changed_is_replaced() {
        let cache = tempfile::tempdir().unwrap();
        let path = guest_binary(cache.path()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut changed = GUEST.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        File::create(&path).unwrap().write_all(&changed).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o555)).unwrap();
        assert_eq!(
            std::fs::read(guest_binary(cache.path()).unwrap()).unwrap(),
            GUEST
        );
    }

    #[test]
    fn a_symbolic_link_in_its_place_is_replaced() {
        let cache = tempfile::tempdir().unwrap();
        let path = guest_binary(cache.path()).unwrap();
        let elsewhere = cache.path().join("elsewhere");
        std::fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        guest_binary(cache.path()).unwrap();
        assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
    }

    /// Reads a little-endian number of the ELF header.
    fn number(at: usize, bytes: usize) -> usize {
        GUEST[at..at + bytes]
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    }

    #[test]
    fn the_guest_needs_no_loader() {
        const PT_INTERP: usize = 3;
        assert!(GUEST.starts_with(b"\x7fELF"));
        let (headers, size, count) = (number(0x20, 8), number(0x36, 2), number(0x38, 2));
        let mut kinds = (0..count).map(|index| number(headers + index * size, 4));
        assert!(count > 0 && kinds.all(|kind| kind != PT_INTERP));
    }

    #[test]
    fn the_guest_does_nothing_outside_a_sandbox() {
        let cache = tempfile::tempdir().unwrap();
        let path = guest_binary(cache.path()).unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "this test is about running this program"
        )]
        let mut command = std::process::Command::new(path);
        let output = command.output().unwrap();
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("is not PID 1"));
    }
}
