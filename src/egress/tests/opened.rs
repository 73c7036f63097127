//! A person opens a host while the gateway runs, or is asked to.

use std::{io::Write, time::Duration};

use tokio::time::Instant;

use super::lab::{Lab, Table, all, echo, eventually, host, pin, rules};
use crate::{
    egress::{Limits, Opening, Times, names::EXPLAINING},
    event::EgressKind,
    policy::{DeniedHost, DeniedNames, Egress, Origin, Protocol, Rates},
};

fn opening(name: &str, times: Times) -> Opening {
    Opening {
        role: "eng-backend".parse().unwrap(),
        host: host(name),
        port: 22,
        protocol: Protocol::Tcp,
        times,
    }
}

#[test]
fn an_opened_host_is_reached_by_its_next_look_up() {
    let server = echo();
    let lab = Lab::new(pin(Egress::default(), "a.test", server.at));
    assert_eq!(lab.lookup("a.test"), Ok(EXPLAINING));
    lab.threads.open(opening("a.test", Times::Run));
    for _ in 0..2 {
        assert_eq!(lab.say_and_end("a.test", 22, b"open"), "open");
    }
    assert_eq!(lab.lookup("b.test"), Ok(EXPLAINING));
}

#[test]
fn a_host_opened_once_takes_one_connection() {
    let server = echo();
    let mut lab = Lab::new(pin(Egress::default(), "a.test", server.at));
    lab.threads.open(opening("a.test", Times::Once));
    assert_eq!(lab.say_and_end("a.test", 22, b"open"), "open");
    lab.threads.open(opening("b.test", Times::Run));
    assert!(
        lab.connect("a.test", 22).is_err(),
        "the name is denied again"
    );
    let denials = lab.denials();
    assert!(
        denials.iter().any(|one| one.host == "a.test"),
        "{denials:?}"
    );
}

#[test]
fn a_port_opened_later_listens_on_the_address_that_the_name_has() {
    let server = echo();
    let egress = pin(
        rules(&[("a.test", 80, Protocol::Http)]),
        "a.test",
        server.at,
    );
    let lab = Lab::new(egress);
    let address = lab.lookup("a.test").unwrap();
    lab.threads.open(opening("a.test", Times::Run));
    assert_eq!(lab.say_and_end("a.test", 22, b"open"), "open");
    assert_eq!(lab.lookup("a.test"), Ok(address));
}

/// A role that asks, with nothing allowed; `a.test` would lead to an echo.
fn asking(to: std::net::SocketAddr, ask: Duration) -> Lab {
    let egress = Egress {
        ask: true,
        ..pin(Egress::default(), "a.test", to)
    };
    let limits = Limits {
        ask,
        asks: 1,
        ..Limits::default()
    };
    Lab::paced(egress, Table::default(), (limits, Rates::default()))
}

fn asks(lab: &Lab) -> usize {
    let is_ask = |fact: &crate::egress::Fact| matches!(fact, crate::egress::Fact::Decision(one) if one.kind == EgressKind::Ask);
    lab.recorded()
        .iter()
        .filter(|record| is_ask(&record.fact))
        .count()
}

#[test]
fn a_connection_waits_for_the_person_who_is_asked_and_goes_on() {
    let server = echo();
    let lab = asking(server.at, Duration::from_secs(60));
    // 443 and 80 are what a name that is asked about listens on.
    let hello = crate::egress::hello::tests::hello_for("a.test", 256);
    let mut waiting = lab.connect("a.test", 443).unwrap();
    waiting.write_all(&hello).unwrap();
    let mut beside = lab.connect("a.test", 443).unwrap();
    beside.write_all(&hello).unwrap();
    eventually("a person is asked", || asks(&lab) > 0);
    lab.threads.open(Opening {
        port: 443,
        protocol: Protocol::Tls,
        ..opening("a.test", Times::Run)
    });
    for mut stream in [waiting, beside] {
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(all(&mut stream), hello);
    }
    assert_eq!(asks(&lab), 1, "one target is asked about once");
}

#[test]
fn silence_is_a_no_and_so_are_too_many_questions() {
    let server = echo();
    let mut lab = asking(server.at, Duration::from_millis(300));
    let start = Instant::now();
    let mut first = lab.connect("a.test", 443).unwrap();
    eventually("a person is asked", || asks(&lab) > 0);
    let mut second = lab.connect("b.test", 443).unwrap();
    second.write_all(b"x").unwrap();
    all(&mut second);
    all(&mut first);
    assert!(start.elapsed() >= Duration::from_millis(300));
    let denials = lab.denials();
    let reason = |host: &str| {
        let found = denials
            .iter()
            .find(|one| one.host == host && one.kind == EgressKind::Connect);
        found.and_then(|one| one.reason.clone()).unwrap_or_default()
    };
    assert!(
        reason("a.test").ends_with("without an answer within 0 s"),
        "{denials:?}"
    );
    assert!(
        reason("b.test").contains("asked for 1 others"),
        "{denials:?}"
    );
    assert!(server.heard.try_recv().is_err());
}

#[test]
fn nobody_is_asked_for_what_a_denial_closes() {
    let server = echo();
    let egress = Egress {
        ask: true,
        denied: vec![DeniedHost {
            names: DeniedNames::Exact(host("a.test")),
            port: None,
            request: None,
            origin: Origin::default(),
        }],
        ..pin(Egress::default(), "a.test", server.at)
    };
    let lab = Lab::new(egress);
    assert_eq!(lab.lookup("a.test"), Ok(EXPLAINING));
    // There it is explained over TLS, and nobody is asked.
    lab.say("a.test", 443, b"no TLS");
    assert_eq!(asks(&lab), 0);
    assert_eq!(server.peak.load(std::sync::atomic::Ordering::SeqCst), 0);
}
