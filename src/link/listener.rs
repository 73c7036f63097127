//! Where a guest connects: a socket that is there for one connection only.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use loki_guest::{Reply, VERSION, WireError, decode_reply};
use rustix::{
    fd::AsRawFd,
    fs::{AtFlags, CWD, Mode, OFlags, chmodat, openat, unlinkat},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::mpsc,
    task::JoinSet,
};

use super::{
    Hello, Link, LinkError, Shared,
    driver::{Driver, receive_from},
    while_trying,
};

/// The socket's name in its directory.
const NAME: &str = "socket";
/// Orders in flight between callers and the driver.
const ORDERS: usize = 64;

/// A socket waiting for the guest of one sandbox. It is unlinked as soon as the guest has connected,
/// and when this is dropped, so that an agent finds nothing to connect to.
#[derive(Debug)]
pub struct Listener {
    directory: OwnedFd,
    /// Of packets, whatever the type's name says: it only accepts.
    socket: UnixListener,
}

impl Listener {
    /// Creates the socket in this directory, which is to be mounted where the guest looks for it.
    /// Any user may connect: [`Hello::guest_pid`] tells who did. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// When the directory cannot be used or holds a socket already.
    pub fn bind(directory: &Path) -> Result<Self, LinkError> {
        let failed = while_trying::<Errno>("create the socket of a link");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, directory, flags, Mode::empty()).map_err(&failed)?;
        let kind = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(kind.0, kind.1, flags, None).map_err(&failed)?;
        // A socket's path has room for 107 bytes; by descriptor any directory will do.
        let path = format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd());
        bind(&socket, &SocketAddrUnix::new(path).map_err(&failed)?).map_err(&failed)?;
        listen(&socket, 1).map_err(&failed)?;
        let socket = UnixListener::from_std(socket.into())
            .map_err(while_trying("watch the socket of a link"))?;
        let listener = Self { directory, socket };
        let everyone = Mode::from_raw_mode(0o666);
        chmodat(&listener.directory, NAME, everyone, AtFlags::empty()).map_err(&failed)?;
        Ok(listener)
    }

    /// Waits for the guest and its first message. The runtime this is called in owns the link's
    /// driver.
    ///
    /// # Errors
    /// [`LinkError::Timeout`] when none comes in time, [`LinkError::Version`] for another build's.
    pub async fn accept(self, within: Duration) -> Result<Link, LinkError> {
        tokio::time::timeout(within, self.first())
            .await
            .map_err(|_| LinkError::Timeout(within))?
    }

    async fn first(self) -> Result<Link, LinkError> {
        let failed = while_trying::<io::Error>("accept the guest's connection");
        let (socket, _unnamed) = self.socket.accept().await.map_err(&failed)?;
        drop(self);
        let peer = socket.peer_cred().map_err(&failed)?;
        let (landlock_abi, write_meter) = greeting(&socket).await?;
        let hello = Hello {
            guest_pid: peer.pid(),
            landlock_abi,
            write_meter,
        };
        link(socket, hello).map_err(&failed)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The directory goes with its sandbox; a socket that stays behind leads nowhere.
        unlinkat(&self.directory, NAME, AtFlags::empty()).ok();
    }
}

async fn greeting(socket: &UnixStream) -> Result<(u32, bool), LinkError> {
    let packet = receive_from(socket).await.map_err(|_| LinkError::Lost)?;
    match decode_reply(&packet)? {
        Reply::Hello {
            version: VERSION,
            landlock_abi,
            write_meter,
        } => Ok((landlock_abi, write_meter)),
        Reply::Hello { version: guest, .. } => Err(LinkError::Version { guest }),
        _ => Err(WireError::Malformed("no hello").into()),
    }
}

fn link(socket: UnixStream, hello: Hello) -> io::Result<Link> {
    let again = socket.as_fd().try_clone_to_owned()?;
    let (orders, ordered) = mpsc::channel(ORDERS);
    let mut driver = JoinSet::new();
    driver.spawn(Driver::new(socket, ordered).run());
    let shared = Shared {
        hello,
        socket: again,
        orders,
        last_id: AtomicU32::new(1),
        _driver: driver,
    };
    Ok(Link {
        shared: Arc::new(shared),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use loki_guest::{Request, decode_request, encode_reply, receive, send};
    use rustix::net::connect;

    use super::*;

    /// A guest played by the test: strict, so that the host's end must keep to the protocol.
    fn connected(directory: &Path) -> OwnedFd {
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        );
        let socket = socket.unwrap();
        connect(&socket, &SocketAddrUnix::new(directory.join(NAME)).unwrap()).unwrap();
        socket
    }

    fn say(guest: &OwnedFd, reply: &Reply) {
        send(guest.as_fd(), &encode_reply(reply, Vec::new()).unwrap()).unwrap();
    }

    fn hello(version: u32) -> Reply {
        Reply::Hello {
            version,
            landlock_abi: 6,
            write_meter: true,
        }
    }

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn the_socket_is_gone_once_the_guest_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let listener = Listener::bind(directory.path()).unwrap();
        let mode = std::fs::metadata(directory.path().join(NAME))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o666);
        let guest = connected(directory.path());
        say(&guest, &hello(VERSION));
        let link = listener.accept(SOON).await.unwrap();
        assert!(!directory.path().join(NAME).exists());
        let own = i32::try_from(std::process::id()).ok();
        assert_eq!(
            link.hello(),
            Hello {
                guest_pid: own,
                landlock_abi: 6,
                write_meter: true
            }
        );
    }

    #[tokio::test]
    async fn directories_may_have_long_paths() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let listener = Listener::bind(&deep).unwrap();
        assert!(deep.join(NAME).exists());
        drop(listener);
        assert!(!deep.join(NAME).exists());
    }

    #[tokio::test]
    async fn a_guest_that_never_comes_is_a_timeout_and_leaves_no_socket() {
        let directory = tempfile::tempdir().unwrap();
        let listener = Listener::bind(directory.path()).unwrap();
        let said = listener.accept(Duration::from_millis(20)).await;
        assert!(matches!(said, Err(LinkError::Timeout(_))));
        assert!(!directory.path().join(NAME).exists());
    }

    #[tokio::test]
    async fn a_guest_of_another_build_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let listener = Listener::bind(directory.path()).unwrap();
        let guest = connected(directory.path());
        say(&guest, &hello(VERSION + 1));
        let said = listener.accept(SOON).await;
        let newer = VERSION + 1;
        assert!(matches!(said, Err(LinkError::Version { guest }) if guest == newer));
    }

    async fn linked(directory: &Path) -> (Link, OwnedFd) {
        let listener = Listener::bind(directory).unwrap();
        let guest = connected(directory);
        say(&guest, &hello(VERSION));
        (listener.accept(SOON).await.unwrap(), guest)
    }

    #[tokio::test]
    async fn pending_calls_learn_that_the_link_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let (link, guest) = linked(directory.path()).await;
        let at = "127.0.0.1:80".parse().unwrap();
        let (said, ()) = tokio::join!(link.listen(at), async {
            tokio::task::spawn_blocking(move || drop(receive(guest.as_fd()).unwrap()))
                .await
                .unwrap();
        });
        assert!(matches!(said, Err(LinkError::Lost)));
        link.lost().await;
        assert!(matches!(link.signal(1, 9).await, Err(LinkError::Lost)));
    }

    #[tokio::test]
    async fn replies_that_nobody_asked_for_end_the_link() {
        for reply in [
            Reply::Bound { id: 9 },
            Reply::Started { id: 9 },
            Reply::Exited {
                id: 9,
                code: 0,
                signal: 0,
            },
            hello(VERSION),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let (link, guest) = linked(directory.path()).await;
            say(&guest, &reply);
            link.lost().await;
            assert!(
                matches!(receive(guest.as_fd()), Err(WireError::Closed)),
                "{reply:?}"
            );
        }
    }

    #[tokio::test]
    async fn dropping_the_last_handle_closes_the_connection() {
        let directory = tempfile::tempdir().unwrap();
        let (link, guest) = linked(directory.path()).await;
        let other = link.clone();
        drop(link);
        other.signal(4, 15).await.unwrap();
        let packet = tokio::task::spawn_blocking(move || (receive(guest.as_fd()), guest));
        let (packet, guest) = packet.await.unwrap();
        let request = decode_request(&packet.unwrap()).unwrap();
        assert_eq!(request, Request::Signal { id: 4, signal: 15 });
        drop(other);
        let end = tokio::task::spawn_blocking(move || receive(guest.as_fd()))
            .await
            .unwrap();
        assert!(matches!(end, Err(WireError::Closed)));
    }
}
