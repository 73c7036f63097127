//! The way to a local engine: its unix socket.

use std::{io, os::unix::net::UnixStream, path::Path};

use bollard::{API_DEFAULT_VERSION, Docker};

use super::{
    EngineError,
    call::{SILENCE, refusal},
    discovery::Candidate,
    kept::Server,
};

/// Who serves a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// Root.
    Root,
    /// An ordinary user.
    User,
}

/// Connects once by hand: the library hides why a socket refuses. Returns who serves it, and the
/// process where it is known.
pub(super) fn peer(
    socket: &Path,
    candidate: &Candidate,
) -> Result<(Peer, Option<Server>), EngineError> {
    let stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(fault) if fault.kind() == io::ErrorKind::PermissionDenied => {
            return Err(EngineError::NoPermission {
                socket: socket.to_owned(),
            });
        }
        Err(fault) => {
            return Err(EngineError::NotFound {
                tried: vec![format!("{candidate}: {fault}")],
            });
        }
    };
    let Ok(owner) = rustix::net::sockopt::socket_peercred(&stream) else {
        return Ok((Peer::User, None));
    };
    let peer = if owner.uid.is_root() {
        Peer::Root
    } else {
        Peer::User
    };
    let pid = u32::try_from(owner.pid.as_raw_nonzero().get()).ok();
    Ok((peer, pid.and_then(Server::of)))
}

/// Makes the library's handle.
pub(super) fn open(socket: &Path) -> Result<Docker, EngineError> {
    let path = socket.to_string_lossy();
    // The library's limit is for the whole call; ours, per call, are shorter.
    Docker::connect_with_unix(&path, SILENCE.as_secs(), API_DEFAULT_VERSION)
        .map_err(|fault| refusal("connect", fault))
}
