//! Plain HTTP: explained denials, and one request per connection.

use std::{io::Write, sync::atomic::Ordering};

use super::lab::{Lab, PATIENCE, Table, Upstream, all, answering, pin, rules};
use crate::{
    egress::Limits,
    policy::{Egress, Protocol},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn lab(upstream: &Upstream) -> Lab {
    Lab::new(pin(
        rules(&[("a.test", 80, Protocol::Http)]),
        "a.test",
        upstream.at,
    ))
}

fn json(answer: &str) -> serde_json::Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").expect("an HTTP answer").1).unwrap()
}

#[test]
fn a_denied_request_is_told_why_and_what_to_do() {
    let mut lab = Lab::new(Egress::default());
    let answer = lab.say(
        "denied.test",
        80,
        b"GET /x HTTP/1.1\r\nHost: denied.test\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    let body = json(&answer);
    assert_eq!(body["denied"], "denied.test:80");
    assert_eq!(body["role"], "eng-backend");
    assert_eq!(body["rule"], serde_json::Value::Null);
    assert!(body["reason"].as_str().is_some_and(|r| !r.is_empty()));
    assert!(body["next"].as_str().unwrap().contains("network_policies"));
    let ports: Vec<_> = lab.denials().iter().map(|d| d.port).collect();
    assert_eq!(ports, [None, Some(80)]);
}

#[test]
fn other_ports_of_denied_names_refuse_at_once() {
    let lab = Lab::new(Egress::default());
    for port in [22, 8080] {
        let error = lab.connect("denied.test", port).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}

#[test]
fn a_request_to_the_explaining_address_for_an_allowed_name_goes_nowhere() {
    let server = answering(b"\r\n\r\n", OK);
    let lab = lab(&server);
    let answer = lab.say("denied.test", 80, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert_eq!(
        server.peak.load(Ordering::SeqCst),
        0,
        "the server was reached"
    );
}

#[test]
fn an_allowed_request_passes_with_its_body() {
    let server = answering(b"hello", OK);
    let lab = lab(&server);
    let request = b"POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello";
    assert!(lab.say("a.test", 80, request).ends_with("\r\n\r\nok"));
    let heard = String::from_utf8(server.heard.recv_timeout(PATIENCE).unwrap()).unwrap();
    let expected =
        "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    assert_eq!(heard, expected);
}

#[test]
fn a_chunked_body_passes_whole() {
    let server = answering(b"0\r\n\r\n", OK);
    let lab = lab(&server);
    let mut client = lab.connect("a.test", 80).unwrap();
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    for part in [&b"5\r\nhe"[..], b"llo\r", b"\n0\r\n", b"\r\n"] {
        client.write_all(part).unwrap();
    }
    assert!(all(&mut client).ends_with(b"ok"));
    let heard = server.heard.recv_timeout(PATIENCE).unwrap();
    assert!(heard.ends_with(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
}

#[test]
fn a_second_request_on_one_connection_never_reaches_the_server() {
    let seconds = [
        "GET /2 HTTP/1.1\r\nHost: evil.test\r\n\r\n",
        "GET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "X",
    ];
    for second in seconds {
        let server = answering(b"\r\n\r\n", OK);
        let mut lab = lab(&server);
        let both = format!("GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\n{second}");
        let answer = lab.say("a.test", 80, both.as_bytes());
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        let heard = String::from_utf8(server.heard.recv_timeout(PATIENCE).unwrap()).unwrap();
        assert!(
            heard.starts_with("GET /1 ") && heard.ends_with("\r\n\r\n"),
            "{heard}"
        );
        assert!(!heard.contains("/2") && !heard.contains("X"), "{heard}");
        assert_eq!(lab.denials().len(), 1, "{second:?} is recorded");
    }
}

#[test]
fn requests_to_another_host_and_upgrades_are_refused() {
    let vectors = [
        ("421", "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n"),
        ("421", "GET / HTTP/1.1\r\nHost: a.test:81\r\n\r\n"),
        (
            "421",
            "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n",
        ),
        (
            "400",
            "GET http://evil.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
        ),
        (
            "400",
            "CONNECT evil.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n",
        ),
        (
            "403",
            "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        ),
        (
            "400",
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("400", "GET / HTTP/1.1\r\nHost: a.test\nX: y\r\n\r\n"),
        ("400", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ];
    let server = answering(b"\r\n\r\n", OK);
    let mut lab = lab(&server);
    for (status, request) in vectors {
        let answer = lab.say("a.test", 80, request.as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:?}: {answer}"
        );
        assert_eq!(json(&answer)["denied"], "a.test:80");
    }
    assert_eq!(
        server.peak.load(Ordering::SeqCst),
        0,
        "the server was reached"
    );
    assert!(lab.denials().len() >= 5);
}

#[test]
fn malformed_chunks_end_the_connection_before_what_is_smuggled_in_them() {
    for body in [
        "5;x=\n\r\nhello",
        "0\r\nGET /2 HTTP/1.1\r\n\r\n",
        "5\r\nhelloGET /2",
        "zz\r\n",
    ] {
        let server = answering(b"never", OK);
        let lab = lab(&server);
        let head = "POST /1 HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        lab.say("a.test", 80, format!("{head}{body}").as_bytes());
        let heard = String::from_utf8(server.heard.recv_timeout(PATIENCE).unwrap()).unwrap();
        assert!(!heard.contains("/2"), "{heard}");
    }
}

#[test]
fn a_private_address_behind_an_allowed_name_is_explained() {
    let answers = [("a.test".to_owned(), vec!["10.0.0.1".parse().unwrap()])].into();
    let table = Table {
        answers,
        ..Table::default()
    };
    let lab = Lab::with(
        rules(&[("a.test", 80, Protocol::Http)]),
        table,
        Limits::default(),
    );
    let answer = lab.say("a.test", 80, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(
        json(&answer)["reason"]
            .as_str()
            .unwrap()
            .contains("10.0.0.1")
    );
}

#[test]
fn a_server_that_is_not_there_is_a_bad_gateway() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let lab = Lab::new(pin(
        rules(&[("a.test", 80, Protocol::Http)]),
        "a.test",
        nobody,
    ));
    let answer = lab.say("a.test", 80, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}
