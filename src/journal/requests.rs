//! What a person asks of the orchestrator that runs here: one file each in `.loki/requests`, which
//! the orchestrator takes away as it reads it.
//!
//! A request is believed only when it is a regular file of this user, which nobody else may read
//! or write, by its own name alone. It says nothing of what a request means.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use rustix::fs::{AtFlags, OFlags};
use tokio::sync::mpsc;

use super::{error::JournalError, place::Dir};

/// The directory, below `.loki`.
const PLACE: &str = "requests";
/// Largest request that is read.
const LARGEST: u64 = 1 << 20;

/// Leaves a request and returns where it stands until it is taken. `name` is its own: an earlier
/// one of the same name that was not taken is replaced.
///
/// # Errors
///
/// Fails when the file cannot be written.
pub fn leave(home: &Path, name: &str, text: &str) -> Result<PathBuf, JournalError> {
    let place = Dir::home(home)?.own(PLACE)?;
    let path = home.join(PLACE).join(format!("{name}.json"));
    let fail = |source| JournalError::io("write", &path, source);
    let unfinished = format!(".{name}.new");
    place.remove(&unfinished)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mut file = place.open(&unfinished, flags, 0o600)?;
    file.write_all(text.as_bytes()).map_err(fail)?;
    place.rename(&unfinished, &format!("{name}.json"))?;
    Ok(path)
}

/// A file that is no request, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` in `.loki/requests` is not believed: it {why}", name.escape_debug())]
pub struct Unbelieved {
    name: String,
    why: &'static str,
}

/// A watch on the requests of a repository. Those that stand there when it begins are taken away
/// unread: they were for an orchestrator before this one.
pub struct Requests {
    told: mpsc::UnboundedReceiver<Result<String, Unbelieved>>,
    _watcher: RecommendedWatcher,
}

impl Requests {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// Fails when the directory cannot be made or watched.
    pub fn watch(home: &Path) -> Result<Self, JournalError> {
        let place = Dir::home(home)?.own(PLACE)?;
        for name in names(home) {
            place.remove(&name)?;
        }
        let path = home.join(PLACE);
        let watched = |source| JournalError::Watch {
            path: path.clone(),
            source,
        };
        let (tell, told) = mpsc::unbounded_channel();
        let of = home.to_owned();
        let look = move |event: notify::Result<notify::Event>| {
            if !event.is_ok_and(|event| event.kind.is_access()) {
                for name in names(&of) {
                    // Nobody listens any more only while the watch is being dropped.
                    take(&place, &name)
                        .into_iter()
                        .for_each(|one| drop(tell.send(one)));
                }
            }
        };
        let mut watcher = notify::recommended_watcher(look).map_err(watched)?;
        watcher
            .watch(&path, RecursiveMode::NonRecursive)
            .map_err(watched)?;
        Ok(Self {
            told,
            _watcher: watcher,
        })
    }

    /// Waits for the next request; none when the watch has ended. May be cancelled.
    pub async fn next(&mut self) -> Option<Result<String, Unbelieved>> {
        self.told.recv().await
    }
}

/// Returns the names of all finished requests.
fn names(home: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(home.join(PLACE)).into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.ends_with(".json") && !name.starts_with('.'))
        .collect()
}

/// Takes one away and returns what it says; none when it is gone already.
fn take(place: &Dir, name: &str) -> Option<Result<String, Unbelieved>> {
    let unbelieved = |why| Unbelieved {
        name: name.to_owned(),
        why,
    };
    // A pipe must not be waited for.
    let opened = place.open(name, OFlags::RDONLY | OFlags::NONBLOCK, 0);
    place.remove(name).ok()?;
    Some(match opened {
        Ok(file) => believe(&file).map_err(unbelieved),
        Err(_) => Err(unbelieved("cannot be opened")),
    })
}

fn believe(file: &File) -> Result<String, &'static str> {
    let facts = file.metadata().map_err(|_| "cannot be looked at")?;
    if !facts.is_file() {
        return Err("is no regular file");
    }
    if facts.uid() != rustix::process::geteuid().as_raw() {
        return Err("is another user's");
    }
    if facts.mode() & 0o077 != 0 {
        return Err("can be read or written by others");
    }
    // None: it was taken away just now.
    if facts.nlink() > 0 {
        return Err("has another name");
    }
    let mut text = String::new();
    let read = file.take(LARGEST + 1).read_to_string(&mut text);
    match read {
        Ok(length) if length as u64 <= LARGEST => Ok(text),
        Ok(_) => Err("is too long"),
        Err(_) => Err("is no text"),
    }
}

impl Dir {
    /// Removes a file of this directory, if it is there.
    fn remove(&self, name: &str) -> Result<(), JournalError> {
        match rustix::fs::unlinkat(self.fd(), name, AtFlags::empty()) {
            Err(errno) if errno != rustix::io::Errno::NOENT => {
                Err(JournalError::io("remove", &self.path().join(name), errno))
            }
            _ => Ok(()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), JournalError> {
        rustix::fs::renameat(self.fd(), from, self.fd(), to)
            .map_err(|errno| JournalError::io("write", &self.path().join(to), errno))
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, time::Duration};

    use tokio::time::timeout;

    use super::*;

    async fn soon(requests: &mut Requests) -> Result<String, Unbelieved> {
        let waited = timeout(Duration::from_secs(10), requests.next()).await;
        waited.expect("nothing was told").expect("the watch ended")
    }

    /// Puts a file of its own making where requests stand, all at once.
    fn plant(home: &Path, name: &str, make: impl Fn(&Path)) {
        let made = home.join("made");
        make(&made);
        std::fs::rename(made, home.join(PLACE).join(name)).unwrap();
    }

    #[tokio::test]
    async fn a_request_is_told_once_and_is_gone() {
        let home = tempfile::tempdir().unwrap();
        let old = leave(home.path(), "old", "of another orchestrator").unwrap();
        let mut requests = Requests::watch(home.path()).unwrap();
        assert!(!old.exists());
        let left = leave(home.path(), "new", "open it").unwrap();
        assert_eq!(soon(&mut requests).await, Ok("open it".to_owned()));
        assert!(!left.exists());
        leave(home.path(), "next", "again").unwrap();
        assert_eq!(soon(&mut requests).await, Ok("again".to_owned()));
    }

    #[tokio::test]
    async fn what_others_could_have_written_is_not_believed() {
        let home = tempfile::tempdir().unwrap();
        let mut requests = Requests::watch(home.path()).unwrap();
        let file = |mode: u32, text: Vec<u8>| {
            move |at: &Path| {
                File::create(at).unwrap().write_all(&text).unwrap();
                std::fs::set_permissions(at, std::fs::Permissions::from_mode(mode)).unwrap();
            }
        };
        let other = home.path().join("other");
        file(0o600, b"x".to_vec())(&other);
        plant(home.path(), "a.json", file(0o644, b"x".to_vec()));
        assert_eq!(
            soon(&mut requests).await.unwrap_err().why,
            "can be read or written by others"
        );
        plant(home.path(), "b.json", |at| {
            std::fs::hard_link(&other, at).unwrap();
        });
        assert_eq!(
            soon(&mut requests).await.unwrap_err().why,
            "has another name"
        );
        plant(home.path(), "c.json", |at| {
            std::os::unix::fs::symlink(&other, at).unwrap();
        });
        assert_eq!(
            soon(&mut requests).await.unwrap_err().why,
            "cannot be opened"
        );
        plant(
            home.path(),
            "d.json",
            file(0o600, vec![b' '; 1 + (1 << 20)]),
        );
        assert_eq!(soon(&mut requests).await.unwrap_err().why, "is too long");
        plant(home.path(), "e.json", file(0o600, vec![0xff]));
        assert_eq!(soon(&mut requests).await.unwrap_err().why, "is no text");
        plant(home.path(), "f.json", file(0o600, b"good".to_vec()));
        assert_eq!(soon(&mut requests).await, Ok("good".to_owned()));
    }
}
