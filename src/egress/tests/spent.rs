//! What a role has used up: bytes of the run, connections to one host.

use std::{
    io::{Read, Write},
    sync::Arc,
    time::Duration,
};

use super::lab::{Lab, Table, Upstream, all, echo, pin, rules, upstream};
use crate::{
    egress::{Limits, Past, Threads},
    event::Limit,
    policy::{Protocol, Rates, Target},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A server that answers one request and hangs up.
fn closing() -> Upstream {
    upstream(|stream| {
        let mut heard = Vec::new();
        let mut buffer = [0; 8192];
        while !heard.ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer)? {
                0 => return Ok(heard),
                read => heard.extend_from_slice(&buffer[..read]),
            }
        }
        stream.write_all(OK.as_bytes())?;
        Ok(heard)
    })
}

fn rates(per_run: u64) -> Rates {
    Rates {
        network_bytes_per_run: Some(per_run),
        ..Rates::default()
    }
}

#[test]
fn attack_n37_a_slow_leak_uses_up_the_bytes_of_the_run_and_ends_the_role() {
    let server = closing();
    let egress = pin(
        rules(&[("a.test", 80, Protocol::Http)]),
        "a.test",
        server.at,
    );
    let threads = Arc::new(Threads::start().unwrap());
    let lab = |per_run| {
        let (egress, threads) = (egress.clone(), Arc::clone(&threads));
        let paced = (Limits::default(), rates(per_run));
        Lab::among(threads, (egress, Table::default()), paced)
    };
    let (mut first, second) = (lab(400 * 1024), lab(400 * 1024));
    let leak = format!(
        "GET /?{} HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "x".repeat(4096)
    );
    // Turn by turn out of two sandboxes of the role: neither would trip alone.
    let passed = (0..200)
        .filter(|n| {
            let lab = if n % 2 == 0 { &first } else { &second };
            lab.say("a.test", 80, leak.as_bytes()).ends_with("ok")
        })
        .count();
    assert!(
        (80..100).contains(&passed),
        "{passed} of 200 requests passed"
    );
    let over = first.overrun();
    assert_eq!((over.limit, over.allowed), (Limit::Network, 400 * 1024));
    assert!(over.to_string().starts_with("its role passed "), "{over}");
    let denials = first.denials();
    let spent = |one: &crate::egress::Decision| {
        one.reason
            .as_deref()
            .is_some_and(|why| why.starts_with("bytes: "))
    };
    assert!(denials.iter().any(spent), "{denials:?}");
    // The control: with more bytes all of them pass.
    let control = Lab::paced(
        egress,
        Table::default(),
        (Limits::default(), rates(2 << 20)),
    );
    let passed = (0..200).filter(|_| control.say("a.test", 80, leak.as_bytes()).ends_with("ok"));
    assert_eq!(passed.count(), 200);
}

#[test]
fn connections_of_a_role_to_one_host_are_limited_over_all_its_sandboxes() {
    let server = echo();
    let names = [("a.test", 22, Protocol::Tcp), ("b.test", 22, Protocol::Tcp)];
    let egress = pin(pin(rules(&names), "a.test", server.at), "b.test", server.at);
    let threads = Arc::new(Threads::start().unwrap());
    let limits = Limits {
        per_host: 1,
        turn: Duration::from_millis(100),
        ..Limits::default()
    };
    let lab = || {
        let inside = (egress.clone(), Table::default());
        Lab::among(
            Arc::clone(&threads),
            inside,
            (limits.clone(), Rates::default()),
        )
    };
    let (first, mut second) = (lab(), lab());
    let mut held = first.connect("a.test", 22).unwrap();
    held.write_all(b"x").unwrap();
    held.read_exact(&mut [0]).unwrap();
    assert_eq!(second.say_and_end("a.test", 22, b"one more"), "");
    assert_eq!(second.say_and_end("b.test", 22, b"another"), "another");
    held.shutdown(std::net::Shutdown::Write).unwrap();
    all(&mut held);
    assert_eq!(second.say_and_end("a.test", 22, b"now"), "now");
    let denials = second.denials();
    let reason = denials[0].reason.as_deref().unwrap();
    assert_eq!(reason, "connections: the role has 1 open to `a.test`");
}

#[test]
fn a_restart_gives_a_role_no_second_minute() {
    let server = closing();
    let egress = pin(
        rules(&[("a.test", 80, Protocol::Http)]),
        "a.test",
        server.at,
    );
    let rates = Rates {
        api_calls_per_minute: Some(2),
        ..Rates::default()
    };
    let threads = Threads::start().unwrap();
    let target = Target {
        name: super::lab::host("a.test"),
        port: 80,
    };
    let past = Past {
        ago: Duration::from_secs(1),
        calls: 1,
        bytes: 0,
    };
    let role = "eng-backend".parse().unwrap();
    threads.charge(&role, (&egress, &rates), &[(target, past)]);
    let limits = Limits {
        turn: Duration::from_millis(100),
        ..Limits::default()
    };
    let lab = Lab::among(
        Arc::new(threads),
        (egress, Table::default()),
        (limits, rates),
    );
    let get = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    assert!(lab.say("a.test", 80, get).ends_with("ok"));
    assert!(lab.say("a.test", 80, get).starts_with("HTTP/1.1 429 "));
}

#[test]
fn attack_n10_many_labels_under_a_wildcard_trip_the_budget_of_the_role() {
    let threads = Arc::new(Threads::start().unwrap());
    let lab = || {
        let egress = rules(&[("*.wild.test", 443, Protocol::Tls)]);
        let inside = (egress, Table::default());
        let paced = (Limits::default(), Rates::default());
        Lab::among(Arc::clone(&threads), inside, paced)
    };
    let labs = [lab(), lab()];
    // The control: the first names of both are answered.
    assert!(labs.iter().all(|lab| lab.lookup("first.wild.test").is_ok()));
    let code = |n: usize| {
        let name = format!("x{n}.wild.test.");
        let answer = labs[n % 2].ask(&name, hickory_proto::rr::RecordType::TXT);
        answer.metadata.response_code
    };
    let refused = (0..1000).filter(|n| code(*n) == hickory_proto::op::ResponseCode::Refused);
    assert_eq!(refused.count(), 1000 - 599, "two sandboxes have one budget");
}
