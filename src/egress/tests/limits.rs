//! Calls and bytes over the role's rates.

use std::{io::Write, net::Shutdown, time::Duration};

use tokio::time::Instant;

use super::lab::{Lab, Table, all, answering, echo, pin, rules};
use crate::{
    egress::{Decision, Fact, Limits, hello::tests::hello_for},
    policy::{Protocol, Rates},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

fn one_call() -> Rates {
    Rates {
        api_calls_per_minute: Some(1),
        ..Rates::default()
    }
}

fn lab(port: u16, protocol: Protocol, to: std::net::SocketAddr, rates: Rates) -> Lab {
    let egress = pin(rules(&[("a.test", port, protocol)]), "a.test", to);
    Lab::paced(egress, Table::default(), (Limits::default(), rates))
}

fn refused_for_the_rate(denials: &[Decision]) -> bool {
    matches!(denials, [one] if one.reason.as_ref().is_some_and(|why| why.starts_with("rate: ")) && one.rule.is_some())
}

#[test]
fn a_request_that_would_wait_too_long_is_told_when_to_come_again() {
    let server = answering(b"\r\n\r\n", OK);
    let mut lab = lab(80, Protocol::Http, server.at, one_call());
    assert!(lab.say("a.test", 80, GET).ends_with("ok"));
    let answer = lab.say("a.test", 80, GET);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 429 Too Many Requests\r\n"),
        "{head}"
    );
    let after = head
        .lines()
        .find_map(|line| line.strip_prefix("Retry-After: "));
    let after: u64 = after.unwrap().parse().unwrap();
    assert!((31..=61).contains(&after), "{after}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["next"], format!("try again in {after} s"));
    let used = lab.usage();
    assert_eq!((used.calls, used.calls_refused), (1, 1));
    assert_eq!(used.sent, 51, "the one request as it was sent on");
    assert!(refused_for_the_rate(&lab.denials()));
}

#[test]
fn a_connection_that_would_wait_too_long_is_closed() {
    let server = echo();
    for (port, protocol, first) in [
        (443, Protocol::Tls, hello_for("a.test", 4096)),
        (22, Protocol::Tcp, b"SSH-2.0-x\r\n".to_vec()),
    ] {
        let mut lab = lab(port, protocol, server.at, one_call());
        let mut passes = lab.connect("a.test", port).unwrap();
        passes.write_all(&first).unwrap();
        passes.shutdown(Shutdown::Write).unwrap();
        assert_eq!(all(&mut passes), first);
        let mut closed = lab.connect("a.test", port).unwrap();
        // It may be closed before this is written.
        closed.write_all(&first).ok();
        assert_eq!(all(&mut closed), b"");
        assert!(refused_for_the_rate(&lab.denials()), "{protocol:?}");
    }
}

#[test]
fn what_is_denied_anyway_uses_no_call() {
    let server = answering(b"\r\n\r\n", OK);
    let lab = lab(80, Protocol::Http, server.at, one_call());
    let wrong = b"GET / HTTP/1.1\r\nHost: b.test\r\n\r\n";
    for _ in 0..3 {
        assert!(lab.say("a.test", 80, wrong).starts_with("HTTP/1.1 421 "));
    }
    assert!(lab.say("a.test", 80, GET).ends_with("ok"));
}

#[test]
fn bytes_over_the_rate_come_late_and_all_of_them_come() {
    let server = echo();
    let rates = Rates {
        network_bytes_per_minute: Some(600 * 1024),
        ..Rates::default()
    };
    let mut lab = lab(22, Protocol::Tcp, server.at, rates);
    // A minute's worth, both ways together, and 10 KiB more: at 10 KiB a second.
    let sent = vec![7; 305 * 1024];
    let mut stream = lab.connect("a.test", 22).unwrap();
    let start = Instant::now();
    let mut writing = stream.try_clone().unwrap();
    let bytes = sent.clone();
    let writer = std::thread::spawn(move || {
        writing.write_all(&bytes).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    assert!(all(&mut stream) == sent);
    writer.join().unwrap();
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(800) && took < Duration::from_secs(9),
        "{took:?}"
    );
    let closed = lab
        .close()
        .into_iter()
        .find_map(|record| match record.fact {
            Fact::Closed(closed) => Some(closed),
            Fact::Decision(_) => None,
        });
    let closed = closed.unwrap();
    assert_eq!((closed.sent, closed.received), (305 * 1024, 305 * 1024));
    assert!(closed.waited >= Duration::from_millis(800), "{closed:?}");
}
