//! What a process tells of itself for others to look at: files in `.loki/state`, taken back at its
//! end.
//!
//! Who reads one must find out whether that process is still there: one that was killed takes
//! nothing back. No link that a repository brought along is followed, in place of the directory or
//! of a file.

use std::{io::Read, path::Path};

use rustix::{
    fs::{AtFlags, OFlags},
    io::Errno,
};

use super::{error::JournalError, place::Dir};

/// Where they are.
const PLACE: &str = "state";

/// Puts a file there, whole, in place of what has its name.
///
/// # Errors
///
/// Fails when it cannot be written, or something else stands in place of the directory.
pub fn publish(home: &Path, name: &str, bytes: &[u8]) -> Result<(), JournalError> {
    let place = Dir::home(home)?.within(PLACE, 0o755)?;
    place.replace(name, bytes)
}

/// Takes a file back, if it is there.
///
/// # Errors
///
/// Fails when it cannot be removed, or something else stands in place of the directory.
pub fn withdraw(home: &Path, name: &str) -> Result<(), JournalError> {
    let Some(place) = Dir::there(home, PLACE)? else {
        return Ok(());
    };
    match rustix::fs::unlinkat(place.fd(), name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(JournalError::io("remove", &place.path().join(name), errno)),
    }
}

/// Returns the files there that have such a name and at most so many bytes. What is no plain file,
/// or was taken back meanwhile, is left out.
///
/// # Errors
///
/// Fails when the directory cannot be read, or something else stands in its place.
pub fn published(
    home: &Path,
    (named, largest): (impl Fn(&str) -> bool, u64),
) -> Result<Vec<(String, Vec<u8>)>, JournalError> {
    let Some(place) = Dir::there(home, PLACE)? else {
        return Ok(Vec::new());
    };
    let fail = |errno: Errno| JournalError::io("list", place.path(), errno);
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::read_from(place.fd()).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if let Ok(name) = entry.file_name().to_str()
            && named(name)
            && let Some(bytes) = plain(&place, name, largest)
        {
            found.push((name.to_owned(), bytes));
        }
    }
    Ok(found)
}

fn plain(place: &Dir, name: &str, largest: u64) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let file = place.open(name, flags, 0).ok()?;
    let facts = file.metadata().ok()?;
    let mut bytes = Vec::new();
    let read = facts.is_file() && file.take(largest + 1).read_to_end(&mut bytes).is_ok();
    (read && bytes.len() as u64 <= largest).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn what_is_published_is_there_until_it_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join(".loki");
        let all = || published(&home, (|name: &str| name != "other", 9)).unwrap();
        assert_eq!(all(), []);
        withdraw(&home, "one").unwrap();
        assert!(!home.exists(), "a look makes nothing");
        publish(&home, "one", b"1").unwrap();
        publish(&home, "one", b"11").unwrap();
        publish(&home, "other", b"2").unwrap();
        publish(&home, "large", b"0123456789").unwrap();
        symlink("one", home.join("state/link")).unwrap();
        fs::create_dir(home.join("state/directory")).unwrap();
        assert_eq!(all(), [("one".to_owned(), b"11".to_vec())]);
        withdraw(&home, "one").unwrap();
        assert_eq!(all(), []);
    }

    #[test]
    fn attack_g1_a_link_in_place_of_the_directory_is_neither_read_nor_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (home, elsewhere) = (folder.path().join(".loki"), folder.path().join("elsewhere"));
        publish(&elsewhere, "one", b"1").unwrap();
        fs::create_dir(&home).unwrap();
        let refused = || {
            published(&home, (|_: &str| true, 9)).unwrap_err();
            publish(&home, "two", b"2").unwrap_err();
            withdraw(&home, "one").unwrap_err();
        };
        symlink("../elsewhere/state", home.join("state")).unwrap();
        refused();
        fs::remove_file(home.join("state")).unwrap();
        fs::remove_dir(&home).unwrap();
        symlink("elsewhere", &home).unwrap();
        refused();
        let names = fs::read_dir(elsewhere.join("state")).unwrap().count();
        assert_eq!(names, 1);
    }
}
