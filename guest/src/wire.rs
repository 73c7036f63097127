//! Framing of the link: how one message becomes one packet, and back.
//!
//! A packet is a tag byte and then either the message itself or, for a request that is too large,
//! the length of the message, which then travels in a memfd as the packet's only descriptor.
//! Every length is checked against a cap before memory is taken for it.

use std::{
    fmt,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use serde::{Deserialize, Serialize};

use crate::{DESCRIPTORS_MAX, INLINE_MAX, MESSAGE_MAX, Reply, Request};

const INLINE: u8 = 0;
const IN_MEMFD: u8 = 1;
const PACKET_MAX: usize = INLINE_MAX + 1;

/// One packet: bytes and the descriptors that travel with them.
#[derive(Debug, Default)]
pub struct Packet {
    /// The tag and the message, or the message's length.
    pub bytes: Vec<u8>,
    /// Descriptors, closed on exec.
    pub descriptors: Vec<OwnedFd>,
}

/// Why a packet or message is not one.
#[derive(Debug)]
pub enum WireError {
    /// The other side closed the link.
    Closed,
    /// The operating system refused.
    Os(Errno),
    /// A message of this many bytes is over its cap.
    TooLarge(usize),
    /// The bytes are no message, or not with these descriptors.
    Malformed(&'static str),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the link is closed"),
            Self::Os(errno) => write!(f, "the link failed: {errno}"),
            Self::TooLarge(bytes) => write!(f, "a message of {bytes} bytes is over the cap"),
            Self::Malformed(what) => write!(f, "malformed message: {what}"),
        }
    }
}

impl std::error::Error for WireError {}

impl From<Errno> for WireError {
    fn from(errno: Errno) -> Self {
        Self::Os(errno)
    }
}

/// Returns the packet for a request, with a memfd when it is larger than [`INLINE_MAX`].
///
/// # Errors
/// When the request is over [`MESSAGE_MAX`] bytes or no memfd can be made.
pub fn encode_request(request: &Request) -> Result<Packet, WireError> {
    let message = serialize(request)?;
    if message.len() <= INLINE_MAX {
        return Ok(inline(&message, Vec::new()));
    }
    if message.len() > MESSAGE_MAX {
        return Err(WireError::TooLarge(message.len()));
    }
    let length = u32::try_from(message.len()).expect("MESSAGE_MAX fits in 32 bits");
    let mut bytes = vec![IN_MEMFD];
    bytes.extend_from_slice(&length.to_le_bytes());
    Ok(Packet {
        bytes,
        descriptors: vec![memfd_of(&message)?],
    })
}

/// Returns the request in a packet.
///
/// # Errors
/// When the packet holds anything else, or is over a cap.
pub fn decode_request(packet: &Packet) -> Result<Request, WireError> {
    match (packet.bytes.split_first(), packet.descriptors.as_slice()) {
        (Some((&INLINE, message)), []) => deserialize(message),
        (Some((&IN_MEMFD, length)), [memfd]) => {
            let length: [u8; 4] = length
                .try_into()
                .map_err(|_| WireError::Malformed("length of a memfd"))?;
            deserialize(&read_memfd(
                memfd.as_fd(),
                u32::from_le_bytes(length) as usize,
            )?)
        }
        _ => Err(WireError::Malformed("a request of unknown form")),
    }
}

/// Returns the packet for a reply, which owns the descriptors it carries.
///
/// # Errors
/// When the reply is over [`INLINE_MAX`] bytes or carries over [`DESCRIPTORS_MAX`] descriptors.
pub fn encode_reply(reply: &Reply, descriptors: Vec<OwnedFd>) -> Result<Packet, WireError> {
    let message = serialize(reply)?;
    if message.len() > INLINE_MAX {
        return Err(WireError::TooLarge(message.len()));
    }
    if descriptors.len() > DESCRIPTORS_MAX {
        return Err(WireError::Malformed("too many descriptors"));
    }
    Ok(inline(&message, descriptors))
}

/// Returns the reply in a packet; the descriptors stay in the packet.
///
/// # Errors
/// When the packet holds anything else.
pub fn decode_reply(packet: &Packet) -> Result<Reply, WireError> {
    match packet.bytes.split_first() {
        Some((&INLINE, message)) => deserialize(message),
        _ => Err(WireError::Malformed("a reply of unknown form")),
    }
}

/// Sends one packet; the descriptors are duplicated into the receiver.
///
/// # Errors
/// What the operating system says; `EAGAIN` on a non-blocking socket that is full.
pub fn send(link: BorrowedFd<'_>, packet: &Packet) -> Result<(), WireError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let borrowed: Vec<_> = packet.descriptors.iter().map(AsFd::as_fd).collect();
    if !borrowed.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(WireError::Malformed("too many descriptors"));
    }
    loop {
        match sendmsg(
            link,
            &[IoSlice::new(&packet.bytes)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        ) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Receives one packet, every descriptor in it closed on exec.
///
/// # Errors
/// [`WireError::Closed`] at the end of the link, and for whatever was cut short in transit.
pub fn receive(link: BorrowedFd<'_>) -> Result<Packet, WireError> {
    let mut bytes = vec![0; PACKET_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        let into = &mut [IoSliceMut::new(&mut bytes)];
        match recvmsg(link, into, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Err(WireError::Closed),
            other => break other?,
        }
    };
    let descriptors: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    if got.bytes == 0 {
        return Err(WireError::Closed);
    }
    if got
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(WireError::Malformed("cut short in transit"));
    }
    bytes.truncate(got.bytes);
    Ok(Packet { bytes, descriptors })
}

fn inline(message: &[u8], descriptors: Vec<OwnedFd>) -> Packet {
    let mut bytes = Vec::with_capacity(message.len() + 1);
    bytes.push(INLINE);
    bytes.extend_from_slice(message);
    Packet { bytes, descriptors }
}

fn serialize<T: Serialize>(message: &T) -> Result<Vec<u8>, WireError> {
    postcard::to_stdvec(message).map_err(|_| WireError::Malformed("cannot be written"))
}

fn deserialize<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(WireError::Malformed("bytes after the message")),
        Err(_) => Err(WireError::Malformed("not of this protocol version")),
    }
}

fn memfd_of(message: &[u8]) -> Result<OwnedFd, WireError> {
    let memfd = memfd_create("loki-request", MemfdFlags::CLOEXEC)?;
    let mut written = 0;
    while let Some(rest) = message.get(written..).filter(|rest| !rest.is_empty()) {
        written += rustix::io::write(&memfd, rest)?;
    }
    Ok(memfd)
}

fn read_memfd(memfd: BorrowedFd<'_>, length: usize) -> Result<Vec<u8>, WireError> {
    if length > MESSAGE_MAX {
        return Err(WireError::TooLarge(length));
    }
    let mut message = vec![0; length];
    let mut done = 0;
    while let Some(rest) = message.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(memfd, rest, done as u64)? {
            0 => return Err(WireError::Malformed("memfd shorter than it says")),
            read => done += read,
        }
    }
    Ok(message)
}

impl From<WireError> for io::Error {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Os(errno) => errno.into(),
            other => Self::other(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, proptest};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;
    use crate::{Confinement, Exec, PathRule};

    fn pair() -> (OwnedFd, OwnedFd) {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap()
    }

    fn rule() -> impl Strategy<Value = PathRule> {
        (any::<String>(), any::<[bool; 3]>()).prop_map(|(path, [read, write, execute])| PathRule {
            path,
            read,
            write,
            execute,
        })
    }

    fn exec() -> impl Strategy<Value = Exec> {
        let confinement = (
            prop::collection::vec(rule(), 0..8),
            prop::collection::vec(prop::collection::vec(any::<u64>(), 0..9), 0..3),
            prop::option::of(prop::collection::vec(any::<u64>(), 0..9)),
            prop::collection::vec(any::<(u32, u64)>(), 0..4),
            any::<u32>(),
        )
            .prop_map(|(paths, filters, meter, limits, landlock)| Confinement {
                paths,
                filters,
                meter,
                limits,
                landlock,
            });
        let words = prop::collection::vec(any::<String>(), 0..5);
        let env = prop::collection::vec(any::<(String, String)>(), 0..5);
        (any::<u32>(), words, env, any::<String>(), confinement).prop_map(
            |(id, argv, env, cwd, confinement)| Exec {
                id,
                argv,
                env,
                cwd,
                confinement,
            },
        )
    }

    proptest! {
        #[test]
        fn every_exec_survives_the_link(exec in exec()) {
            let (host, guest) = pair();
            let request = Request::Exec(exec);
            send(host.as_fd(), &encode_request(&request).unwrap()).unwrap();
            let packet = receive(guest.as_fd()).unwrap();
            assert_eq!(decode_request(&packet).unwrap(), request);
        }

        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let packet = Packet { bytes, descriptors: Vec::new() };
            let _either = (decode_request(&packet), decode_reply(&packet));
        }
    }

    fn exec_with_environment(bytes: usize) -> Request {
        Request::Exec(Exec {
            id: 1,
            argv: vec!["true".to_owned()],
            env: vec![("A".to_owned(), "x".repeat(bytes))],
            cwd: "/".to_owned(),
            confinement: Confinement::default(),
        })
    }

    #[test]
    fn large_requests_travel_in_a_memfd() {
        let (host, guest) = pair();
        let request = exec_with_environment(3_000_000);
        let packet = encode_request(&request).unwrap();
        assert_eq!((packet.bytes.len(), packet.descriptors.len()), (5, 1));
        send(host.as_fd(), &packet).unwrap();
        assert_eq!(
            decode_request(&receive(guest.as_fd()).unwrap()).unwrap(),
            request
        );
    }

    #[test]
    fn what_is_over_the_cap_is_refused_on_both_sides() {
        let request = exec_with_environment(MESSAGE_MAX);
        assert!(matches!(
            encode_request(&request),
            Err(WireError::TooLarge(_))
        ));
        let mut bytes = vec![IN_MEMFD];
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        let packet = Packet {
            bytes,
            descriptors: vec![memfd_of(b"x").unwrap()],
        };
        assert!(matches!(
            decode_request(&packet),
            Err(WireError::TooLarge(_))
        ));
    }

    #[test]
    fn a_memfd_shorter_than_it_says_is_refused() {
        let mut bytes = vec![IN_MEMFD];
        bytes.extend_from_slice(&9_u32.to_le_bytes());
        let packet = Packet {
            bytes,
            descriptors: vec![memfd_of(b"x").unwrap()],
        };
        assert!(matches!(
            decode_request(&packet),
            Err(WireError::Malformed(_))
        ));
    }

    #[test]
    fn replies_carry_descriptors_and_never_a_memfd() {
        let (host, guest) = pair();
        let (read, write) = pair();
        let reply = Reply::Started { id: 7 };
        send(
            guest.as_fd(),
            &encode_reply(&reply, vec![read, write]).unwrap(),
        )
        .unwrap();
        let packet = receive(host.as_fd()).unwrap();
        assert_eq!(
            (decode_reply(&packet).unwrap(), packet.descriptors.len()),
            (reply, 2)
        );
        let claimed = Packet {
            bytes: vec![IN_MEMFD, 1, 0, 0, 0],
            ..packet
        };
        assert!(matches!(
            decode_reply(&claimed),
            Err(WireError::Malformed(_))
        ));
    }

    #[test]
    fn the_end_of_the_link_is_told_apart() {
        let (host, guest) = pair();
        drop(host);
        assert!(matches!(receive(guest.as_fd()), Err(WireError::Closed)));
    }
}
