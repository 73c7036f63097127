//! `.loki/inbox`: whoever may write there drops a file, and it is taken up at once.
//!
//! ```text
//! inbox/NAME ── written and closed, or moved there ──▶ inbox/.taken/N-NAME ── read, told ──▶ gone
//!                                                              │ not believed, or refused
//!                                                              ▼
//!                                               inbox/refused/NAME and NAME.why.txt
//! ```
//!
//! The kernel says when a file comes; nothing is polled. A file is taken away before it is read, so
//! that none is read twice and one of the same name can follow. What was taken and not dealt with
//! when its orchestrator died is told again to the next. It is believed only when it is a regular
//! file of this user by one name, that not everybody may write. Names that begin with a dot are left
//! alone: they are somebody's unfinished work. It says nothing of what a file means.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Read as _,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};
use rustix::fs::{AtFlags, OFlags, RenameFlags};
use tokio::sync::mpsc;

use super::{error::JournalError, place::Dir};
use crate::text::shorten;

/// The directory, below `.loki`.
const PLACE: &str = "inbox";
/// Where files are while they are read.
const TAKEN: &str = ".taken";
/// Where files are that were refused.
const REFUSED: &str = "refused";
/// Endings of files that are taken up.
const ENDINGS: [&str; 3] = [".yaml", ".yml", ".json"];
/// The longest name, in bytes: others are made of it.
const LONGEST: usize = 200;
/// Most files of one name that are kept as refused.
const KEPT: u32 = 1000;

/// A file that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// What it is called.
    pub name: String,
    /// What it holds, or why it is not believed.
    pub text: Result<String, String>,
    held: String,
}

struct Place {
    inbox: Dir,
    taken: Dir,
    refused: Dir,
    largest: u64,
    count: AtomicU64,
}

/// A watch on the inbox of a repository. What stands there when it begins is told first.
pub struct Inbox {
    place: Arc<Place>,
    told: mpsc::UnboundedReceiver<Dropped>,
    _watcher: RecommendedWatcher,
}

impl Inbox {
    /// Begins to watch. Files of more than `largest` bytes are not believed.
    ///
    /// # Errors
    ///
    /// Fails when a directory cannot be made or watched.
    pub fn watch(home: &Path, largest: u64) -> Result<Self, JournalError> {
        let inbox = Dir::home(home)?.own(PLACE)?;
        let place = Arc::new(Place {
            taken: inbox.own(TAKEN)?,
            refused: inbox.own(REFUSED)?,
            inbox,
            largest,
            count: AtomicU64::new(0),
        });
        let path = home.join(PLACE);
        let watched = |source| JournalError::Watch {
            path: path.clone(),
            source,
        };
        let (tell, told) = mpsc::unbounded_channel();
        let (of, news) = (Arc::clone(&place), tell.clone());
        let look = move |event: notify::Result<Event>| {
            // Nobody listens any more only while the watch is being dropped.
            of.heed(&event)
                .into_iter()
                .for_each(|one| drop(news.send(one)));
        };
        let mut watcher = notify::recommended_watcher(look).map_err(watched)?;
        watcher
            .watch(&path, RecursiveMode::NonRecursive)
            .map_err(watched)?;
        for one in place.left().into_iter().chain(place.all()) {
            drop(tell.send(one));
        }
        Ok(Self {
            place,
            told,
            _watcher: watcher,
        })
    }

    /// Waits for the next file; none when the watch has ended. May be cancelled.
    pub async fn next(&mut self) -> Option<Dropped> {
        self.told.recv().await
    }

    /// Says that a file was dealt with: it goes.
    pub fn accept(&self, dropped: &Dropped) {
        // What is left is told again by the next watch, and found to be known.
        rustix::fs::unlinkat(self.place.taken.fd(), &dropped.held, AtFlags::empty()).ok();
    }

    /// Says why a file is refused: it stays, with the reason beside it. Returns its new name.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be put there.
    pub fn refuse(&self, dropped: &Dropped, why: &str) -> Result<String, JournalError> {
        self.place.refuse(dropped, why)
    }
}

impl Place {
    /// Takes what an event of the directory is about. Events that were lost only ask for a look at
    /// everything.
    fn heed(&self, event: &notify::Result<Event>) -> Vec<Dropped> {
        let Ok(event) = event else {
            return self.all();
        };
        if event.need_rescan() {
            return self.all();
        }
        let whole = matches!(
            event.kind,
            EventKind::Access(AccessKind::Close(AccessMode::Write))
                | EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both))
        );
        let made = matches!(event.kind, EventKind::Create(_));
        if !whole && !made {
            return Vec::new();
        }
        let names = event.paths.iter().filter_map(|path| path.file_name());
        // One that was only made is still being written, unless it is none that can be.
        names
            .filter(|name| whole || self.is_odd(name))
            .filter_map(|name| self.take(name))
            .collect()
    }

    fn is_odd(&self, name: &OsStr) -> bool {
        let facts = rustix::fs::statat(self.inbox.fd(), name, AtFlags::SYMLINK_NOFOLLOW);
        facts.is_ok_and(|facts| {
            let kind = rustix::fs::FileType::from_raw_mode(facts.st_mode);
            kind != rustix::fs::FileType::RegularFile || facts.st_nlink > 1
        })
    }

    /// Takes everything that stands in the inbox.
    fn all(&self) -> Vec<Dropped> {
        let mut names = names(self.inbox.path());
        names.sort();
        names.iter().filter_map(|name| self.take(name)).collect()
    }

    /// Returns what an orchestrator before this one had taken and not dealt with.
    fn left(&self) -> Vec<Dropped> {
        let mut names = names(self.taken.path());
        names.sort();
        let known = names.into_iter().filter_map(|held| {
            let held = held.into_string().ok()?;
            let name = held.split_once('-').map_or(held.as_str(), |(_, name)| name);
            Some((name.to_owned(), held))
        });
        known.map(|(name, held)| self.read(name, held)).collect()
    }

    /// Takes one file away and reads it; none when it is gone already, or is not meant.
    fn take(&self, name: &OsStr) -> Option<Dropped> {
        if name.as_bytes().starts_with(b".") || name == REFUSED {
            return None;
        }
        let from = name;
        let name = &kept(name);
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let held = format!("{}.{number}-{name}", std::process::id());
        let (inbox, taken) = (self.inbox.fd(), self.taken.fd());
        rustix::fs::renameat_with(inbox, from, taken, &held, RenameFlags::NOREPLACE).ok()?;
        Some(self.read(name.clone(), held))
    }

    fn read(&self, name: String, held: String) -> Dropped {
        // A pipe must not be waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let text = if ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            match self.taken.open(&held, flags, 0) {
                Ok(file) => self.believe(&file),
                Err(_) => Err("is no regular file, or cannot be opened"),
            }
        } else {
            Err("is not called `….yaml`, `….yml` or `….json`, in UTF-8 of at most 200 bytes")
        };
        Dropped {
            name,
            held,
            text: text.map_err(|why| format!("the file {why}")),
        }
    }

    fn believe(&self, file: &File) -> Result<String, &'static str> {
        let facts = file.metadata().map_err(|_| "cannot be looked at")?;
        if !facts.is_file() {
            return Err("is no regular file");
        }
        if facts.uid() != rustix::process::geteuid().as_raw() {
            return Err("is another user's");
        }
        if facts.mode() & 0o002 != 0 {
            return Err("can be written by everybody");
        }
        if facts.nlink() > 1 {
            return Err("has another name");
        }
        let mut text = String::new();
        match file.take(self.largest + 1).read_to_string(&mut text) {
            Ok(length) if length as u64 <= self.largest => Ok(text),
            Ok(_) => Err("is too long"),
            Err(_) => Err("is no text"),
        }
    }

    fn refuse(&self, dropped: &Dropped, why: &str) -> Result<String, JournalError> {
        let (from, to) = (self.taken.fd(), self.refused.fd());
        let mut name = dropped.name.clone();
        for again in 1..=KEPT {
            let moved =
                rustix::fs::renameat_with(from, &dropped.held, to, &name, RenameFlags::NOREPLACE);
            match moved {
                Ok(()) => {
                    self.refused
                        .replace(&format!("{name}.why.txt"), why.as_bytes())?;
                    return Ok(name);
                }
                Err(rustix::io::Errno::EXIST) => name = format!("{again}-{}", dropped.name),
                Err(errno) => {
                    return Err(JournalError::io(
                        "move",
                        &self.taken.path().join(&dropped.held),
                        errno,
                    ));
                }
            }
        }
        rustix::fs::unlinkat(from, &dropped.held, AtFlags::empty()).ok();
        Ok(name)
    }
}

fn names(place: &Path) -> Vec<OsString> {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name());
    names
        .filter(|name| !name.as_bytes().starts_with(b".") && name != REFUSED)
        .collect()
}

/// Returns the name by which a file is kept: its own, or, where no file beside it could be called
/// after that, what there is of it and an ending that is never taken up.
fn kept(name: &OsStr) -> String {
    match name.to_str() {
        Some(name) if name.len() <= LONGEST => name.to_owned(),
        _ => {
            let mut shown = name.to_string_lossy().into_owned();
            shorten(&mut shown, LONGEST);
            shown.push('~');
            shown
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        io::Write as _,
        os::unix::fs::{PermissionsExt as _, symlink},
        path::PathBuf,
        time::Duration,
    };

    use tokio::time::timeout;

    use super::*;

    async fn soon(inbox: &mut Inbox) -> Dropped {
        let waited = timeout(Duration::from_secs(30), inbox.next()).await;
        waited.expect("nothing was told").expect("the watch ended")
    }

    fn inbox() -> (tempfile::TempDir, Inbox, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let inbox = Inbox::watch(home.path(), 100).unwrap();
        let place = home.path().join(PLACE);
        (home, inbox, place)
    }

    fn write(path: &Path, text: &str) {
        File::create(path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_written_or_moved_there_is_told_once_and_goes_when_it_is_accepted() {
        let (home, mut inbox, place) = inbox();
        write(&place.join("a.yaml"), "title: A\n");
        let dropped = soon(&mut inbox).await;
        assert_eq!(
            (dropped.name.as_str(), dropped.text.as_deref()),
            ("a.yaml", Ok("title: A\n"))
        );
        assert!(!place.join("a.yaml").exists());
        inbox.accept(&dropped);
        assert_eq!(fs::read_dir(place.join(TAKEN)).unwrap().count(), 0);
        write(&home.path().join("b"), "{}");
        fs::rename(home.path().join("b"), place.join("b.json")).unwrap();
        assert_eq!(soon(&mut inbox).await.name, "b.json");
        write(&place.join(".c.yaml"), "unfinished");
        fs::rename(place.join(".c.yaml"), place.join("c.yml")).unwrap();
        assert_eq!(soon(&mut inbox).await.name, "c.yml");
    }

    #[tokio::test]
    async fn what_is_being_written_is_left_alone_until_it_is_closed() {
        let (_home, mut inbox, place) = inbox();
        let mut half = File::create(place.join("half.yaml")).unwrap();
        half.write_all(b"title: ").unwrap();
        write(&place.join("other.yaml"), "title: B\n");
        assert_eq!(soon(&mut inbox).await.name, "other.yaml");
        half.write_all(b"A\n").unwrap();
        drop(half);
        assert_eq!(soon(&mut inbox).await.text.as_deref(), Ok("title: A\n"));
    }

    #[tokio::test]
    async fn what_stood_there_and_what_was_left_by_one_that_died_is_told_first() {
        let (home, mut inbox, place) = inbox();
        write(&place.join("first.yaml"), "1");
        let first = soon(&mut inbox).await;
        drop(inbox);
        write(&place.join("second.yaml"), "2");
        let mut inbox = Inbox::watch(home.path(), 100).unwrap();
        let again = soon(&mut inbox).await;
        assert_eq!((again.name, again.text), (first.name, first.text));
        assert_eq!(soon(&mut inbox).await.name, "second.yaml");
    }

    /// Puts something there that is no plain file; none for what is written as usual.
    fn plant(at: &Path, secret: &Path, kind: &str) {
        match kind {
            "link" => symlink(secret, at).unwrap(),
            "gone" => symlink("/nowhere", at).unwrap(),
            "hard" => fs::hard_link(secret, at).unwrap(),
            "dir" => fs::create_dir(at).unwrap(),
            "pipe" => {
                let (mode, kind) = (
                    rustix::fs::Mode::from_raw_mode(0o600),
                    rustix::fs::FileType::Fifo,
                );
                rustix::fs::mknodat(rustix::fs::CWD, at, kind, mode, 0).unwrap();
            }
            _ => write(at, &"x".repeat(101)),
        }
    }

    #[tokio::test]
    async fn attack_b2_what_is_no_plain_file_of_this_user_is_not_believed_and_never_followed() {
        let (home, mut inbox, place) = inbox();
        let secret = home.path().join("secret");
        write(&secret, "title: S\n");
        for (name, why) in [
            ("link.yaml", "is no regular file"),
            ("gone.yaml", "is no regular file"),
            ("hard.yaml", "has another name"),
            ("dir.yaml", "is no regular file"),
            ("pipe.yaml", "is no regular file"),
            ("long.yaml", "is too long"),
            ("what.sh", "is not called"),
        ] {
            let kind = name.split('.').next().unwrap();
            plant(&place.join(name), &secret, kind);
            let dropped = soon(&mut inbox).await;
            assert_eq!(dropped.name, name);
            let told = dropped.text.clone().unwrap_err();
            assert!(told.contains(why), "{name}: {told}");
            assert_eq!(inbox.refuse(&dropped, &told).unwrap(), name);
            let refused = place.join(REFUSED);
            assert!(refused.join(name).symlink_metadata().is_ok());
            let said = fs::read_to_string(refused.join(format!("{name}.why.txt")));
            assert_eq!(said.unwrap(), told);
        }
        assert_eq!(fs::read_to_string(&secret).unwrap(), "title: S\n");
    }

    #[tokio::test]
    async fn attack_b2_what_everybody_may_write_is_not_believed() {
        let (home, mut inbox, place) = inbox();
        let open = home.path().join("open");
        write(&open, "x");
        fs::set_permissions(&open, Permissions::from_mode(0o666)).unwrap();
        fs::rename(open, place.join("open.yaml")).unwrap();
        assert!(
            soon(&mut inbox)
                .await
                .text
                .unwrap_err()
                .contains("by everybody")
        );
    }

    #[tokio::test]
    async fn attack_b2_a_name_that_is_too_long_or_no_text_is_refused_aloud_each_time() {
        let (home, mut inbox, place) = inbox();
        let long = OsString::from(format!("{}.yaml", "ä".repeat(120)));
        for name in [&long, OsStr::from_bytes(b"a\xff.yaml")] {
            File::create(place.join(name)).unwrap();
            let dropped = soon(&mut inbox).await;
            assert!(dropped.text.clone().unwrap_err().contains("is not called"));
            // The one that took it dies, and the next one is told the same.
            drop(inbox);
            inbox = Inbox::watch(home.path(), 100).unwrap();
            assert_eq!(soon(&mut inbox).await, dropped);
            let kept = inbox.refuse(&dropped, "no").unwrap();
            let why = place.join(REFUSED).join(format!("{kept}.why.txt"));
            assert_eq!(fs::read_to_string(why).unwrap(), "no");
        }
    }

    #[test]
    fn attack_b2_an_inbox_that_others_may_write_to_is_closed_to_them() {
        let home = tempfile::tempdir().unwrap();
        for name in [PLACE, "inbox/.taken", "inbox/refused"] {
            let place = home.path().join(name);
            fs::create_dir(&place).unwrap();
            fs::set_permissions(&place, Permissions::from_mode(0o777)).unwrap();
        }
        let _inbox = Inbox::watch(home.path(), 100).unwrap();
        for name in [PLACE, "inbox/.taken", "inbox/refused"] {
            let facts = fs::metadata(home.path().join(name)).unwrap();
            assert_eq!(facts.mode() & 0o777, 0o700, "{name}");
        }
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(home.path().join(PLACE), Some(1), None).unwrap();
            let refused = Inbox::watch(home.path(), 100).err().expect("it is refused");
            assert!(refused.to_string().contains("another user's"), "{refused}");
        }
    }

    #[tokio::test]
    async fn refused_files_of_one_name_stand_beside_each_other() {
        let (_home, mut inbox, place) = inbox();
        for name in ["a.yaml", "1-a.yaml", "2-a.yaml"] {
            write(&place.join("a.yaml"), "x");
            let dropped = soon(&mut inbox).await;
            assert_eq!(inbox.refuse(&dropped, "no").unwrap(), name);
        }
    }
}
