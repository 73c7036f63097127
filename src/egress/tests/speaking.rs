//! Connections: what is let through, and what is not.

use std::{
    io::{Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    sync::atomic::Ordering,
    time::Duration,
};

use tokio::time::Instant;

use super::lab::{Lab, PATIENCE, Table, Upstream, all, echo, eventually, pin, rules};
use crate::{
    egress::{
        Fact, Limits,
        hello::tests::{hello_encrypted, hello_for, hello_for_nobody},
    },
    event::EgressKind,
    policy::Protocol,
};

const TLS: u16 = 443;
const TCP: u16 = 2222;

fn lab(protocol: Protocol, port: u16, upstream: &Upstream) -> Lab {
    Lab::new(pin(
        rules(&[("a.test", port, protocol)]),
        "a.test",
        upstream.at,
    ))
}

fn echoed(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    let mut back = vec![0; bytes.len()];
    stream.write_all(bytes).is_ok() && stream.read_exact(&mut back).is_ok() && back == bytes
}

#[test]
fn allowed_bytes_pass_both_ways_and_are_counted() {
    let server = echo();
    let mut lab = lab(Protocol::Tcp, TCP, &server);
    let mut client = lab.connect("a.test", TCP).unwrap();
    let bytes = vec![7; 300_000];
    let mut sender = client.try_clone().unwrap();
    let sent = bytes.clone();
    let sending = std::thread::spawn(move || {
        sender.write_all(&sent).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    assert_eq!(all(&mut client), bytes);
    sending.join().unwrap();
    drop(client);
    assert_eq!(
        server.heard.recv_timeout(PATIENCE).unwrap().len(),
        bytes.len()
    );
    eventually("all seats are free", || lab.recorded().len() >= 2);
    let records = lab.close();
    let allowed = |fact: &Fact| {
        matches!(fact, Fact::Decision(d) if d.allowed
        && d.kind == EgressKind::Connect && d.rule.is_some() && d.port == Some(TCP))
    };
    assert!(records.iter().any(|r| allowed(&r.fact)), "{records:?}");
    let closed = records.iter().find_map(|r| match &r.fact {
        Fact::Closed(closed) => Some((closed.sent, closed.received)),
        Fact::Decision(_) => None,
    });
    assert_eq!(closed, Some((300_000, 300_000)));
}

#[test]
fn each_side_may_end_by_itself() {
    // The client ends first, and still hears the answer that comes after.
    let server = super::lab::upstream(|stream| {
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard)?;
        stream.write_all(b"heard all")?;
        Ok(heard)
    });
    let lab = lab(Protocol::Tcp, TCP, &server);
    let mut client = lab.connect("a.test", TCP).unwrap();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(all(&mut client), b"heard all");
    assert_eq!(server.heard.recv_timeout(PATIENCE).unwrap(), b"hello");
}

#[test]
fn a_server_may_end_first_and_still_be_spoken_to() {
    let server = super::lab::upstream(|stream| {
        stream.write_all(b"goodbye")?;
        stream.shutdown(Shutdown::Write)?;
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard)?;
        Ok(heard)
    });
    let lab = lab(Protocol::Tcp, TCP, &server);
    let mut client = lab.connect("a.test", TCP).unwrap();
    assert_eq!(all(&mut client), b"goodbye");
    client.write_all(b"one more thing").unwrap();
    drop(client);
    assert_eq!(
        server.heard.recv_timeout(PATIENCE).unwrap(),
        b"one more thing"
    );
}

#[test]
fn a_hello_for_the_allowed_name_passes_however_it_is_cut() {
    for split in [1, 7, 16384] {
        let server = echo();
        let lab = lab(Protocol::Tls, TLS, &server);
        let mut client = lab.connect("a.test", TLS).unwrap();
        client.set_nodelay(true).unwrap();
        let hello = hello_for("a.test", split);
        for byte in hello.chunks(3) {
            client.write_all(byte).unwrap();
        }
        let mut back = vec![0; hello.len()];
        client.read_exact(&mut back).unwrap();
        assert_eq!(back, hello, "split {split}");
        assert!(echoed(&mut client, b"more"));
    }
}

#[test]
fn hellos_without_the_allowed_name_never_reach_the_server() {
    let vectors = [
        ("another name", hello_for("evil.test", 16384)),
        ("another name in pieces", hello_for("evil.test", 1)),
        ("a name with a dot at its end", hello_for("a.test.", 16384)),
        ("a name with a NUL", hello_for("a.test\0evil.test", 16384)),
        ("an address", hello_for("127.0.0.1", 16384)),
        ("no name", hello_for_nobody()),
        ("an encrypted hello", hello_encrypted("a.test")),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec()),
        ("SSH", b"SSH-2.0-x\r\n".to_vec()),
        ("nonsense", vec![22, 3, 1, 0, 0]),
    ];
    let server = echo();
    let mut lab = lab(Protocol::Tls, TLS, &server);
    for (what, bytes) in &vectors {
        let mut client = lab.connect("a.test", TLS).unwrap();
        client.write_all(bytes).unwrap();
        assert_eq!(all(&mut client), [21, 3, 3, 0, 2, 2, 49], "{what}");
    }
    assert_eq!(
        server.peak.load(Ordering::SeqCst),
        0,
        "the server was reached"
    );
    let denied = lab.denials();
    assert!(denied.len() >= 8, "{denied:?}");
    assert!(
        denied
            .iter()
            .all(|d| d.rule.is_some() && d.reason.is_some()),
        "{denied:?}"
    );
}

#[test]
fn slow_and_endless_hellos_are_refused() {
    let server = echo();
    let egress = pin(
        rules(&[("a.test", TLS, Protocol::Tls)]),
        "a.test",
        server.at,
    );
    let limits = Limits {
        hello: Duration::from_millis(100),
        ..Limits::default()
    };
    let mut lab = Lab::with(egress, Table::default(), limits);
    let mut slow = lab.connect("a.test", TLS).unwrap();
    slow.write_all(&hello_for("a.test", 16384)[..50]).unwrap();
    assert_eq!(all(&mut slow)[..1], [21]);
    let mut endless = lab.connect("a.test", TLS).unwrap();
    // A hello of 65,535 bytes in records of one byte each never becomes whole within the cap.
    let mut bytes = [
        [22, 3, 1, 0, 1, 1],
        [22, 3, 1, 0, 1, 0],
        [22, 3, 1, 0, 1, 255],
        [22, 3, 1, 0, 1, 255],
    ]
    .concat();
    bytes.extend([22, 3, 1, 0, 1, 9].repeat(15_000));
    // It is refused while this still goes on.
    endless.write_all(&bytes).ok();
    assert_eq!(all(&mut endless)[..1], [21]);
    assert_eq!(
        server.peak.load(Ordering::SeqCst),
        0,
        "the server was reached"
    );
    assert_eq!(lab.denials().len(), 2);
}

#[test]
fn names_that_resolve_to_private_addresses_are_not_dialled() {
    let server = echo();
    let private: [IpAddr; 9] = [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.1.1",
        "169.254.169.254",
        "100.100.100.200",
        "0.0.0.0",
        "::1",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
    ]
    .map(|ip| ip.parse().unwrap());
    for ip in private {
        let answers = [("rebound.test".to_owned(), vec![ip])].into();
        let table = Table {
            answers,
            ..Table::default()
        };
        // The port of a server that does listen on loopback: a dial would succeed.
        let port = server.at.port();
        let egress = rules(&[("rebound.test", port, Protocol::Tcp)]);
        let mut lab = Lab::with(egress, table, Limits::default());
        assert_eq!(lab.say("rebound.test", port, b""), "", "{ip}");
        assert_eq!(lab.asked(), 1);
        let denials = lab.denials();
        assert!(
            denials
                .iter()
                .any(|d| d.port == Some(port) && d.reason.is_some()),
            "{ip}: {denials:?}"
        );
    }
    assert_eq!(
        server.peak.load(Ordering::SeqCst),
        0,
        "the server was reached"
    );
}

#[test]
fn names_that_do_not_resolve_close_the_connection_and_say_so_in_the_record() {
    let mut lab = Lab::new(rules(&[("a.test", TCP, Protocol::Tcp)]));
    assert_eq!(lab.say("a.test", TCP, b""), "");
    let records = lab.close();
    let said = |fact: &Fact| {
        matches!(fact, Fact::Decision(d)
        if d.allowed && d.reason.as_ref().is_some_and(|r| r.contains("does not resolve")))
    };
    assert!(records.iter().any(|r| said(&r.fact)), "{records:?}");
}

#[test]
fn a_thousand_connections_are_served_never_more_than_there_are_seats() {
    let server = echo();
    let egress = pin(
        rules(&[("a.test", TCP, Protocol::Tcp)]),
        "a.test",
        server.at,
    );
    let limits = Limits {
        connections: 32,
        ..Limits::default()
    };
    let lab = Lab::with(egress, Table::default(), limits);
    let clients: Vec<TcpStream> = (0..1000)
        .map(|_| lab.connect("a.test", TCP).unwrap())
        .collect();
    let clients = clients.into_iter().enumerate();
    let open = || server.peak.load(Ordering::SeqCst);
    eventually("all seats are taken", || open() >= 32);
    for (n, mut client) in clients {
        assert!(echoed(&mut client, &[7]), "connection {n}");
        // Until the first one ends, no seat was ever free again.
        if n == 0 {
            assert_eq!(open(), 32);
        }
    }
}

#[test]
fn closing_ends_connections_listeners_and_answers_at_once() {
    let server = echo();
    let mut lab = lab(Protocol::Tcp, TCP, &server);
    let mut client = lab.connect("a.test", TCP).unwrap();
    assert!(echoed(&mut client, b"alive"));
    let (before, dns) = (Instant::now(), lab.dns());
    let records = lab.close();
    assert_eq!(all(&mut client), b"");
    assert_eq!(server.heard.recv_timeout(PATIENCE).unwrap(), b"alive");
    assert!(
        before.elapsed() < Duration::from_secs(1),
        "took {:?}",
        before.elapsed()
    );
    assert!(refused(dns), "DNS still listens");
    assert!(
        records
            .iter()
            .any(|r| matches!(&r.fact, Fact::Closed(c) if c.sent == 5)),
        "{records:?}"
    );
}

#[test]
fn dropping_the_gateway_ends_everything_too() {
    let server = echo();
    let mut lab = lab(Protocol::Tcp, TCP, &server);
    let mut client = lab.connect("a.test", TCP).unwrap();
    assert!(echoed(&mut client, b"alive"));
    lab.forget();
    assert_eq!(all(&mut client), b"");
    let dns = lab.dns();
    eventually("nothing listens", || refused(dns));
}

fn refused(at: SocketAddr) -> bool {
    TcpStream::connect_timeout(&at, Duration::from_secs(1)).is_err()
}
