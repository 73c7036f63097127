//! Where a process without a terminal says what it has to say: `.loki/logs/orchestrator.log`.

use std::{
    fs::File,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::{error::JournalError, place::Dir};

const NAME: &str = "orchestrator.log";
/// A longer one is begun anew.
const LONG: u64 = 4 << 20;

/// Returns where the log is.
#[must_use]
pub fn log_path(home: &Path) -> PathBuf {
    home.join("logs").join(NAME)
}

/// Opens the log to be written on, for this user alone.
///
/// # Errors
/// When it cannot be opened, or what stands there is a link or not a file of this user's alone: the
/// repository may have brought it along.
pub fn open_log(home: &Path) -> Result<File, JournalError> {
    let place = Dir::home(home)?.within("logs", 0o755)?;
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK;
    let file = place.open(NAME, flags, 0o600)?;
    let path = log_path(home);
    let facts = file.metadata();
    let facts = facts.map_err(|source| JournalError::io("look at", &path, source))?;
    let own = facts.uid() == rustix::process::geteuid().as_raw();
    if !facts.is_file() || !own || facts.nlink() != 1 {
        let refused = std::io::Error::other("not a file of this user's alone: remove it");
        return Err(JournalError::io("write", &path, refused));
    }
    if facts.len() > LONG {
        let emptied = file.set_len(0);
        emptied.map_err(|source| JournalError::io("write", &path, source))?;
    }
    Ok(file)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests plant files")]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_log_is_written_on_and_a_long_one_is_begun_anew() {
        let home = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            open_log(home.path()).unwrap().write_all(b"said\n").unwrap();
        }
        let path = log_path(home.path());
        assert_eq!(std::fs::read(&path).unwrap(), b"said\nsaid\n");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(LONG + 1)
            .unwrap();
        drop(open_log(home.path()).unwrap());
        assert_eq!(path.metadata().unwrap().len(), 0);
    }

    #[test]
    fn attack_g07_a_log_that_a_repository_planted_is_not_written_on() {
        let home = tempfile::tempdir().unwrap();
        let victim = home.path().join("victim");
        std::fs::write(&victim, "untouched").unwrap();
        let path = log_path(home.path());
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(open_log(home.path()).is_err());
        std::fs::remove_file(&path).unwrap();
        std::fs::hard_link(&victim, &path).unwrap();
        assert!(open_log(home.path()).is_err());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(open_log(home.path()).is_err());
        std::fs::remove_dir(&path).unwrap();
        std::fs::remove_dir(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(home.path(), path.parent().unwrap()).unwrap();
        assert!(open_log(home.path()).is_err());
        assert_eq!(std::fs::read(&victim).unwrap(), b"untouched");
    }
}
