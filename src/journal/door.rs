//! The door of an orchestrator: a socket in `.loki/orchestrator`, through which other programs of
//! the same user talk to it, a line of text at a time.
//!
//! `.loki` may have come with the repository, and a socket may be anybody's: whoever opens the door
//! makes it anew in a directory that is this user's alone, and lets in only this user; whoever
//! knocks speaks only to the process that holds the repository's lock. It does not know what is
//! said.

use std::{
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, FileType};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};

use super::{Holder, error::JournalError, place::Dir};

/// The directory, below `.loki`.
const PLACE: &str = "orchestrator";
/// The socket in it.
const NAME: &str = "socket";

/// Why nobody can be talked to.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Somebody else answers there.
    #[error("`{}` is not the socket of process {pid}, which works on this repository, but of {whose}; nothing was said to it", path.display())]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// Whose it should be.
        pid: u32,
        /// Whose it is.
        whose: String,
    },
    /// The system refused.
    #[error(transparent)]
    Io(#[from] JournalError),
}

/// An open door. Dropping it closes it and takes the socket away.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    place: Place,
}

#[derive(Debug)]
struct Place(Dir);

impl Drop for Place {
    fn drop(&mut self) {
        // One that stays leads nowhere; the next orchestrator makes its own in its place.
        rustix::fs::unlinkat(self.0.fd(), NAME, AtFlags::empty()).ok();
    }
}

impl Door {
    /// Opens the door of a repository, whose lock the caller must hold. Must run inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// When the directory or the socket cannot be made, or the directory is another user's.
    pub fn open(home: &Path) -> Result<Self, DoorError> {
        let place = Dir::home(home)?.own(PLACE)?;
        let fail = |errno| JournalError::io("make the socket", &place.path().join(NAME), errno);
        match rustix::fs::unlinkat(place.fd(), NAME, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(fail(errno).into()),
        }
        let fail = |source| JournalError::io("make the socket", &place.path().join(NAME), source);
        let listener = UnixListener::bind(reached(&place)).map_err(fail)?;
        Ok(Self {
            listener,
            place: Place(place),
        })
    }

    /// Waits for the next program of this user. Others are sent away unheard. May be cancelled.
    ///
    /// # Errors
    /// When the system has no more room for a connection; the next may be let in all the same.
    pub async fn next(&self) -> io::Result<Talk> {
        loop {
            let (stream, _unnamed) = self.listener.accept().await?;
            let own = rustix::process::geteuid().as_raw();
            if stream.peer_cred().is_ok_and(|peer| peer.uid() == own) {
                return Ok(Talk::new(stream));
            }
        }
    }

    /// Returns where the socket is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.place.0.path().join(NAME)
    }
}

/// A socket's path has room for 107 bytes; by descriptor any directory will do.
fn reached(place: &Dir) -> PathBuf {
    let fd = place.fd().as_raw_fd();
    PathBuf::from(format!("/proc/self/fd/{fd}/{NAME}"))
}

/// Knocks at the door of the process that holds the lock; none when it has none, or none yet.
///
/// # Errors
/// When somebody else answers, or the system refuses.
pub async fn knock(home: &Path, holder: &Holder) -> Result<Option<Talk>, DoorError> {
    let path = home.join(PLACE).join(NAME);
    let Some(place) = Dir::there(home, PLACE)? else {
        return Ok(None);
    };
    let stranger = |whose: String| DoorError::Stranger {
        path: path.clone(),
        pid: holder.pid,
        whose,
    };
    match rustix::fs::statat(place.fd(), NAME, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(facts) if FileType::from_raw_mode(facts.st_mode) == FileType::Socket => {}
        Ok(_) => return Err(stranger("nobody: it is no socket".to_owned())),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(JournalError::io("look at", &path, errno).into()),
    }
    let stream = match UnixStream::connect(reached(&place)).await {
        Ok(stream) => stream,
        Err(cause) if is_for_later(&cause) => return Ok(None),
        Err(source) => return Err(JournalError::io("knock at", &path, source).into()),
    };
    let fail = |source| JournalError::io("ask who is at", &path, source);
    let peer = stream.peer_cred().map_err(fail)?;
    let (own, pid) = (rustix::process::geteuid().as_raw(), peer.pid());
    if peer.uid() != own {
        return Err(stranger(format!("user {}", peer.uid())));
    }
    match pid.and_then(|pid| u32::try_from(pid).ok()) {
        Some(pid) if pid == holder.pid => Ok(Some(Talk::new(stream))),
        Some(pid) => Err(stranger(format!("process {pid}"))),
        None => Err(stranger("a process that cannot be named".to_owned())),
    }
}

/// Whether nobody opens now and somebody may in a moment.
fn is_for_later(cause: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound, WouldBlock};
    matches!(
        cause.kind(),
        ConnectionRefused | NotFound | WouldBlock | io::ErrorKind::ConnectionReset
    )
}

/// Why the other side cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    /// It says too much at once.
    #[error("a line of more than {most} bytes was said")]
    TooLong {
        /// The most that it may have.
        most: usize,
    },
    /// It says what is no text.
    #[error("what was said is no text")]
    NoText,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
}

/// One side of a conversation: lines of text, heard and said in order.
#[derive(Debug)]
pub struct Talk {
    stream: UnixStream,
    heard: Vec<u8>,
    /// How much of `heard` is known to hold no line break.
    looked: usize,
}

impl Talk {
    /// Takes a stream that both sides have already.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            heard: Vec::new(),
            looked: 0,
        }
    }

    /// Waits for the next line, of at most so many bytes; none when the other side is gone. May be
    /// cancelled.
    ///
    /// # Errors
    /// When the line is longer or no text, or the connection breaks; nothing more can be heard then.
    pub async fn hear(&mut self, most: usize) -> Result<Option<String>, TalkError> {
        loop {
            let fresh = self.heard[self.looked..].iter().position(|b| *b == b'\n');
            let end = fresh.map(|at| self.looked + at);
            if end.unwrap_or(self.heard.len()) > most {
                return Err(TalkError::TooLong { most });
            }
            if let Some(end) = end {
                let rest = self.heard.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.heard, rest);
                line.truncate(end);
                self.looked = 0;
                return String::from_utf8(line)
                    .map(Some)
                    .map_err(|_| TalkError::NoText);
            }
            self.looked = self.heard.len();
            if self.stream.read_buf(&mut self.heard).await? == 0 {
                // A line that was not ended was not said.
                return Ok(None);
            }
        }
    }

    /// Says a line, which holds no line break of its own.
    ///
    /// # Errors
    /// When the other side is gone.
    pub async fn say(&mut self, line: &str) -> io::Result<()> {
        self.stream.write_all(line.as_bytes()).await?;
        self.stream.write_all(b"\n").await
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};

    use super::*;
    use crate::journal::Lock;

    const MOST: usize = 1 << 10;

    fn home() -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        // Longer than any path of a socket may be.
        let long = home.path().join("long".repeat(40)).join(".loki");
        std::fs::create_dir_all(long.parent().unwrap()).unwrap();
        (home, long)
    }

    fn held(home: &Path) -> (Lock, Holder) {
        let run = "20270115-080000-ab12".parse().unwrap();
        let lock = Lock::acquire(home, &run, jiff::Timestamp::UNIX_EPOCH).unwrap();
        let holder = Lock::holder(home).unwrap().unwrap();
        (lock, holder)
    }

    #[tokio::test]
    async fn who_knocks_is_heard_and_answered() {
        let (_keep, home) = home();
        let (_lock, holder) = held(&home);
        assert!(knock(&home, &holder).await.unwrap().is_none());
        assert!(!home.join(PLACE).exists(), "who knocks makes nothing");
        let door = Door::open(&home).unwrap();
        let mut out = knock(&home, &holder).await.unwrap().unwrap();
        let mut inside = door.next().await.unwrap();
        out.say("one").await.unwrap();
        out.say("two").await.unwrap();
        assert_eq!(inside.hear(MOST).await.unwrap().unwrap(), "one");
        assert_eq!(inside.hear(MOST).await.unwrap().unwrap(), "two");
        inside.say("three").await.unwrap();
        assert_eq!(out.hear(MOST).await.unwrap().unwrap(), "three");
        drop(inside);
        assert!(out.hear(MOST).await.unwrap().is_none());
        let socket = door.path();
        drop(door);
        assert!(!socket.exists());
        assert!(knock(&home, &holder).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_too_long_or_no_text_ends_the_talk() {
        let (one, two) = UnixStream::pair().unwrap();
        let (mut one, mut two) = (Talk::new(one), Talk::new(two));
        one.say(&"x".repeat(MOST)).await.unwrap();
        assert_eq!(two.hear(MOST).await.unwrap().unwrap().len(), MOST);
        one.say(&"x".repeat(MOST + 1)).await.unwrap();
        let fault = two.hear(MOST).await.unwrap_err();
        assert!(matches!(fault, TalkError::TooLong { most: MOST }));
        let (mut one, two) = UnixStream::pair().unwrap();
        one.write_all(b"\xff\xfe\nhalf").await.unwrap();
        drop(one);
        let mut two = Talk::new(two);
        let fault = two.hear(MOST).await.unwrap_err();
        assert!(matches!(fault, TalkError::NoText));
        assert!(two.hear(MOST).await.unwrap().is_none(), "half a line");
    }

    #[tokio::test]
    async fn attack_g07_what_a_repository_planted_is_neither_opened_nor_spoken_to() {
        let (keep, home) = home();
        let (_lock, holder) = held(&home);
        let place = home.join(PLACE);
        // A directory that others could reach becomes this user's alone.
        std::fs::create_dir(&place).unwrap();
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o777)).unwrap();
        drop(Door::open(&home).unwrap());
        assert_eq!(place.metadata().unwrap().mode() & 0o777, 0o700);
        // A link where the socket should be leads nobody astray.
        let elsewhere = keep.path().join("elsewhere");
        let other = std::os::unix::net::UnixListener::bind(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, place.join(NAME)).unwrap();
        let fault = knock(&home, &holder).await.unwrap_err();
        assert!(fault.to_string().contains("it is no socket"), "{fault}");
        let door = Door::open(&home).unwrap();
        assert!(
            place
                .join(NAME)
                .symlink_metadata()
                .unwrap()
                .file_type()
                .is_socket()
        );
        assert!(knock(&home, &holder).await.unwrap().is_some());
        // A socket of another process than the one that holds the lock.
        let stranger = Holder {
            pid: holder.pid + 1,
            ..holder.clone()
        };
        let fault = knock(&home, &stranger).await.unwrap_err();
        assert!(matches!(fault, DoorError::Stranger { .. }), "{fault}");
        drop((door, other));
        // A link in place of the directory.
        std::fs::remove_dir(&place).unwrap();
        std::os::unix::fs::symlink(keep.path(), &place).unwrap();
        assert!(Door::open(&home).is_err());
        assert!(knock(&home, &holder).await.is_err());
    }
}
