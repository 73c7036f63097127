//! K11: one sandbox opens more connections than it has seats, and says nothing on them.
//!
//! `make crowd` does it with 10,000; in every test run there are as many as take a moment.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use tokio::time::Instant;

use super::lab::{Lab, Table, echo, pin, rules};
use crate::{
    egress::{Limits, Threads, hello::tests::hello_for},
    policy::{Protocol, Rates},
};

/// How long a hello may take beside a crowd: far longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens a connection without waiting until it stands: the kernel's queue may be full.
fn begun(at: SocketAddr) -> OwnedFd {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    connect(&socket, &at).ok();
    socket
}

fn crowd() -> usize {
    option_env!("LOKI_CROWD").map_or(1500, |text| text.parse().expect("LOKI_CROWD is a number"))
}

/// Counts the connections that a listener's process has taken from the kernel and still holds:
/// those that wait in its queue have no inode yet. The kernel's table may list one twice while
/// others come and go, so they are told apart by who is on the other side.
fn taken(at: SocketAddr) -> usize {
    let SocketAddr::V4(at) = at else {
        panic!("listeners of sandboxes are IPv4")
    };
    let address = u32::from_ne_bytes(at.ip().octets());
    let local = format!("{address:08X}:{:04X}", at.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let taken = rows.filter_map(|row| {
        let listens = row.get(3) == Some(&"0A");
        let held = row.get(1) == Some(&local.as_str()) && !listens && row.get(9) != Some(&"0");
        held.then(|| row.get(2).map(ToString::to_string)).flatten()
    });
    taken.collect::<BTreeSet<String>>().len()
}

fn round_trip(lab: &Lab) -> Duration {
    let start = Instant::now();
    assert_eq!(lab.say_and_end("b.test", 22, b"unharmed"), "unharmed");
    start.elapsed()
}

fn among(threads: &Arc<Threads>, name: &str, limits: Limits) -> (Lab, super::lab::Upstream) {
    let server = echo();
    let port = if name == "a.test" { 443 } else { 22 };
    let protocol = if port == 443 {
        Protocol::Tls
    } else {
        Protocol::Tcp
    };
    let egress = pin(rules(&[(name, port, protocol)]), name, server.at);
    let inside = (egress, Table::default());
    (
        Lab::among(Arc::clone(threads), inside, (limits, Rates::default())),
        server,
    )
}

#[test]
fn attack_k11_a_crowd_of_half_open_connections_harms_nobody_else() {
    let threads = Arc::new(Threads::start().unwrap());
    let seats = 256;
    let limits = Limits {
        connections: seats,
        per_host: 4096,
        hello: PATIENCE,
        ..Limits::default()
    };
    let (hostile, server) = among(&threads, "a.test", limits);
    let (peaceful, _echo) = among(&threads, "b.test", Limits::default());
    assert!(round_trip(&peaceful) < PATIENCE / 2, "the control");
    let address = hostile.lookup("a.test").unwrap();
    let at = hostile.stands_at(SocketAddr::from((address, 443)));
    let crowd: Vec<OwnedFd> = (0..crowd())
        .map(|n| {
            let socket = begun(at);
            // Every other one begins a hello that never goes on.
            if n % 2 == 0 {
                rustix::io::write(&socket, &[22]).ok();
            }
            socket
        })
        .collect();
    // Whoever had to wait for the crowd would wait until its hellos are given up.
    let slowest = (0..20).map(|_| round_trip(&peaceful)).max();
    assert!(slowest < Some(PATIENCE / 2), "{slowest:?}");
    let own = taken(at);
    assert!(
        (1..=seats).contains(&own),
        "the gateway holds {own} of them"
    );
    assert!(server.heard.try_recv().is_err(), "something of it went on");
    drop(crowd);
    assert!(is_served(&hostile), "the crowd is gone");
}

#[test]
fn attack_k11_nobody_who_says_nothing_keeps_a_seat() {
    let threads = Arc::new(Threads::start().unwrap());
    let limits = Limits {
        connections: 8,
        per_host: 4096,
        hello: Duration::from_millis(500),
        ..Limits::default()
    };
    let (hostile, _server) = among(&threads, "a.test", limits);
    let address = hostile.lookup("a.test").unwrap();
    let at = hostile.stands_at(SocketAddr::from((address, 443)));
    let silent: Vec<OwnedFd> = (0..16).map(|_| begun(at)).collect();
    // On a busy machine an honest hello may come too late as well, so it is said again.
    let end = Instant::now() + PATIENCE;
    while !is_served(&hostile) {
        assert!(Instant::now() < end, "silence keeps its seats");
    }
    drop(silent);
}

/// Returns whether an honest connection to `a.test` reaches its server and hears from it.
fn is_served(lab: &Lab) -> bool {
    let hello = hello_for("a.test", 256);
    let mut honest: TcpStream = lab.connect("a.test", 443).unwrap();
    let said = honest.write_all(&hello);
    honest.shutdown(std::net::Shutdown::Write).ok();
    let mut heard = Vec::new();
    said.is_ok() && honest.read_to_end(&mut heard).is_ok() && heard == hello
}

#[test]
fn attack_k11_idle_connections_fill_their_own_seats_only() {
    let threads = Arc::new(Threads::start().unwrap());
    let limits = Limits {
        connections: 64,
        per_host: 4096,
        ..Limits::default()
    };
    let server = echo();
    let egress = pin(rules(&[("a.test", 22, Protocol::Tcp)]), "a.test", server.at);
    let inside = (egress, Table::default());
    let hostile = Lab::among(Arc::clone(&threads), inside, (limits, Rates::default()));
    let (peaceful, _echo) = among(&threads, "b.test", Limits::default());
    let address = hostile.lookup("a.test").unwrap();
    let at = hostile.stands_at(SocketAddr::from((address, 22)));
    let crowd: Vec<OwnedFd> = (0..crowd()).map(|_| begun(at)).collect();
    let slowest = (0..20).map(|_| round_trip(&peaceful)).max();
    assert!(slowest < Some(PATIENCE / 2), "{slowest:?}");
    assert!(server.peak.load(std::sync::atomic::Ordering::SeqCst) <= 64);
    drop(crowd);
}
