//! Sockets that the guest opens in the sandbox's network namespace for the host to serve.

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
};

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, listen as start_listening, socket_with, sockopt,
};

use crate::exec::Refusal;

/// Connections the kernel holds until the host accepts them: overload is the host's to bound.
const BACKLOG: i32 = 4096;
const DNS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

/// Opens a TCP listener.
pub(crate) fn listen(at: SocketAddr) -> Result<Vec<OwnedFd>, Refusal> {
    Ok(vec![tcp(at)?])
}

/// Opens the sockets of the sandbox's only name server: UDP, then TCP.
pub(crate) fn dns() -> Result<Vec<OwnedFd>, Refusal> {
    let udp = bound(DNS, SocketType::DGRAM)?;
    Ok(vec![udp, tcp(DNS)?])
}

fn tcp(at: SocketAddr) -> Result<OwnedFd, Refusal> {
    let socket = bound(at, SocketType::STREAM)?;
    start_listening(&socket, BACKLOG).map_err(Refusal::at("listen"))?;
    Ok(socket)
}

fn bound(at: SocketAddr, kind: SocketType) -> Result<OwnedFd, Refusal> {
    let family = if at.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket =
        socket_with(family, kind, SocketFlags::CLOEXEC, None).map_err(Refusal::at("socket"))?;
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&socket, true).map_err(Refusal::at("socket"))?;
    }
    bind(&socket, &at).map_err(Refusal::at("bind"))?;
    Ok(socket)
}
