//! Inspected requests that are allowed, and how they flow.

use std::{
    io::{Read, Write},
    sync::mpsc,
    time::Duration,
};

use super::{
    inspect_lab::{
        NAME, OK, answering, ask, call, connect, json, lab, paced, policy, requests, rest, say,
        secure, status, until,
    },
    lab::{Lab, PATIENCE, Table},
};
use crate::{
    egress::Limits,
    event::EgressKind,
    policy::{Egress, Rates, RequestRule},
};

fn only(paths: &[&str], methods: &[&str]) -> RequestRule {
    RequestRule {
        methods: methods.iter().map(|&one| one.to_owned()).collect(),
        paths: paths.iter().map(|one| one.parse().unwrap()).collect(),
        ..RequestRule::default()
    }
}

#[test]
fn an_allowed_request_passes_and_is_recorded_with_its_bytes() {
    let server = answering(OK);
    let mut lab = lab(&server, only(&["/v1/**"], &["POST"]));
    let request = "POST /v1/x?secret=1 HTTP/1.1\r\nContent-Length: 5\r\nX-Own: y\r\n\r\nhello";
    assert!(ask(&lab, request).ends_with("\r\n\r\nok"));
    let heard = server.server.heard.recv_timeout(PATIENCE).unwrap();
    let heard = String::from_utf8(heard).unwrap().to_ascii_lowercase();
    assert!(
        heard.starts_with("post /v1/x?secret=1 http/1.1\r\n"),
        "{heard}"
    );
    for line in ["host: a.test\r\n", "content-length: 5\r\n", "x-own: y\r\n"] {
        assert!(heard.contains(line), "{heard}");
    }
    assert!(!heard.contains("connection: close"), "{heard}");
    let usage = lab.usage();
    assert_eq!((usage.calls, usage.calls_refused), (1, 0));
    assert!(usage.sent > 20 && usage.received > 2, "{usage:?}");
    let (decided, closed) = requests(&mut lab);
    assert_eq!(decided.len(), 1, "{decided:?}");
    assert!(decided[0].allowed && decided[0].kind == EgressKind::Request);
    assert_eq!(decided[0].call, call("POST", "/v1/x"));
    assert_eq!(closed[0].call, call("POST", "/v1/x"));
    assert_eq!(closed[0].status, Some(200));
    assert!(closed[0].sent > 5 && closed[0].received > 2, "{closed:?}");
}

#[test]
fn what_no_rule_names_is_refused_at_once_with_the_reason() {
    let server = answering(OK);
    let mut lab = lab(&server, only(&["/v1/**"], &["POST"]));
    let refused = [
        ("GET /v1/x HTTP/1.1", "403"),
        ("POST /v2/x HTTP/1.1", "403"),
        ("POST /v1 HTTP/1.1", "403"),
        ("OPTIONS * HTTP/1.1", "403"),
    ];
    for (request, expected) in refused {
        let answer = ask(&lab, request);
        assert_eq!(status(&answer), expected, "{request}: {answer}");
        assert_eq!(json(&answer)["denied"], "a.test:443");
        assert!(
            json(&answer)["rule"].is_string() || request.contains('*'),
            "{answer}"
        );
    }
    assert!(
        server.server.heard.try_recv().is_err(),
        "the server was reached"
    );
    let (decided, closed) = requests(&mut lab);
    assert_eq!(decided.len(), refused.len());
    assert!(decided.iter().all(|one| !one.allowed) && closed.is_empty());
}

#[test]
fn one_connection_carries_many_requests_each_judged_and_counted() {
    let server = answering(OK);
    let mut lab = lab(&server, only(&["/v1/**"], &[]));
    let mut client = connect(&lab, NAME, NAME);
    for (path, expected) in [("/v1/a", "200"), ("/v2/b", "403"), ("/v1/c", "200")] {
        write!(client, "GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n").unwrap();
        let end: &[u8] = if expected == "200" {
            b"\r\n\r\nok"
        } else {
            b"}\n"
        };
        let answer = String::from_utf8(until(&mut client, end).unwrap()).unwrap();
        assert_eq!(status(&answer), expected, "{path}: {answer}");
    }
    assert_eq!(lab.usage().calls, 2);
    let (decided, _) = requests(&mut lab);
    let allowed: Vec<bool> = decided.iter().map(|one| one.allowed).collect();
    assert_eq!(allowed, [true, false, true]);
}

#[test]
fn an_event_reaches_the_client_before_the_next_is_sent() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let server = secure(move |stream| {
        let heard = until(stream, b"\r\n\r\n")?;
        stream.write_all(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n",
        )?;
        stream.flush()?;
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        stream.write_all(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")?;
        Ok(heard)
    });
    let lab = lab(&server, RequestRule::default());
    let mut client = connect(&lab, NAME, NAME);
    write!(client, "GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").unwrap();
    until(&mut client, b"data: 1\n\n").unwrap();
    go.send(()).unwrap();
    until(&mut client, b"data: 2\n\n\r\n0\r\n\r\n").unwrap();
}

#[test]
fn a_body_is_asked_for_only_once_it_may_come() {
    // It answers behind the body, so that the word to go on comes by itself.
    let server = secure(|stream| {
        let heard = until(stream, b"hello")?;
        stream.write_all(OK.as_bytes())?;
        Ok(heard)
    });
    let lab = lab(&server, only(&["/v1/**"], &[]));
    let head = |path| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {NAME}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
    };
    let mut client = connect(&lab, NAME, NAME);
    client.write_all(head("/v1/x").as_bytes()).unwrap();
    let first = until(&mut client, b"\r\n\r\n").unwrap();
    assert!(
        first.starts_with(b"HTTP/1.1 100 "),
        "{}",
        first.escape_ascii()
    );
    client.write_all(b"hello").unwrap();
    until(&mut client, b"\r\n\r\nok").unwrap();
    let mut client = connect(&lab, NAME, NAME);
    client.write_all(head("/v2/x").as_bytes()).unwrap();
    let first = until(&mut client, b"\r\n\r\n").unwrap();
    assert!(
        first.starts_with(b"HTTP/1.1 403 "),
        "{}",
        first.escape_ascii()
    );
}

#[test]
fn a_body_over_the_rules_limit_never_arrives_whole() {
    let server = answering(OK);
    let part = RequestRule {
        max_request_bytes: Some(8),
        ..RequestRule::default()
    };
    let lab = lab(&server, part);
    let announced = ask(
        &lab,
        "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n123456789",
    );
    assert_eq!(status(&announced), "413", "{announced}");
    let mut client = connect(&lab, NAME, NAME);
    write!(
        client,
        "POST / HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .unwrap();
    write!(client, "5\r\n12345\r\n5\r\n67890\r\n0\r\n\r\n").unwrap();
    assert_eq!(status(&rest(&mut client)), "413");
    let whole = ask(&lab, "POST / HTTP/1.1\r\nContent-Length: 8\r\n\r\n12345678");
    assert_eq!(status(&whole), "200", "{whole}");
    while let Ok(heard) = server.server.heard.recv_timeout(Duration::from_millis(500)) {
        let heard = String::from_utf8_lossy(&heard).into_owned();
        assert!(
            !heard.contains("67890") && !heard.contains("123456789"),
            "{heard}"
        );
    }
}

#[test]
fn calls_over_the_rate_are_told_when_to_come_again() {
    let server = answering(OK);
    let rates = Rates {
        api_calls_per_minute: Some(2),
        ..Rates::default()
    };
    let lab = paced(&server, RequestRule::default(), rates);
    for _ in 0..2 {
        assert_eq!(status(&ask(&lab, "GET / HTTP/1.1")), "200");
    }
    let answer = ask(&lab, "GET / HTTP/1.1");
    assert_eq!(status(&answer), "429", "{answer}");
    assert!(
        answer.to_ascii_lowercase().contains("\r\nretry-after: "),
        "{answer}"
    );
    assert!(
        json(&answer)["reason"]
            .as_str()
            .unwrap()
            .starts_with("rate:")
    );
    assert_eq!(lab.usage().calls_refused, 1);
}

#[test]
fn large_bodies_pass_whole_both_ways() {
    const SIZE: usize = 20 << 20;
    let server = secure(|stream| {
        let mut heard = until(stream, b"\r\n\r\n")?;
        let head = heard.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let mut body = heard.split_off(head);
        let had = body.len();
        body.resize(SIZE, 0);
        stream.read_exact(&mut body[had..])?;
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n")?;
        stream.write_all(&body)?;
        Ok(heard)
    });
    let lab = lab(&server, RequestRule::default());
    let sent: Vec<u8> = (0..SIZE).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let mut client = connect(&lab, NAME, NAME);
    write!(
        client,
        "POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {SIZE}\r\n\r\n"
    )
    .unwrap();
    client.write_all(&sent).unwrap();
    client.flush().unwrap();
    let mut answer = until(&mut client, b"\r\n\r\n").unwrap();
    let head = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let mut body = answer.split_off(head);
    let had = body.len();
    body.resize(SIZE, 0);
    client.read_exact(&mut body[had..]).unwrap();
    assert!(body == sent, "what came back is not what was sent");
}

#[test]
fn a_server_whose_certificate_is_not_vouched_for_is_not_asked() {
    let server = answering(OK);
    let stranger = answering(OK);
    let mut egress = policy(&server, RequestRule::default());
    egress.hosts[0].ca = Some(stranger.ca.path().to_owned());
    let lab = Lab::new(egress.clone());
    let answer = ask(&lab, "GET / HTTP/1.1");
    assert_eq!(status(&answer), "502", "{answer}");
    let reason = json(&answer)["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("certificate"), "{reason}");
    egress.hosts[0].ca = Some("/nowhere/ca.pem".into());
    let answer = ask(&Lab::new(egress), "GET / HTTP/1.1");
    assert_eq!(status(&answer), "502", "{answer}");
    assert!(
        json(&answer)["reason"]
            .as_str()
            .unwrap()
            .contains("/nowhere/ca.pem")
    );
    let heard = server
        .server
        .heard
        .recv_timeout(PATIENCE)
        .unwrap_or_default();
    assert!(heard.is_empty(), "{}", heard.escape_ascii());
}

#[test]
fn a_denied_name_is_explained_over_tls() {
    let mut lab = Lab::with(Egress::default(), Table::default(), Limits::default());
    let mut client = connect(&lab, "denied.test", "denied.test");
    write!(
        client,
        "GET /x HTTP/1.1\r\nHost: denied.test\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let answer = rest(&mut client);
    assert_eq!(status(&answer), "403", "{answer}");
    assert_eq!(json(&answer)["denied"], "denied.test:443");
    assert!(
        json(&answer)["next"]
            .as_str()
            .unwrap()
            .contains("network_policies")
    );
    let (decided, _) = requests(&mut lab);
    assert_eq!(decided[0].call, call("GET", "/x"));
    assert!(!decided[0].allowed);
}

#[test]
fn a_client_that_goes_away_takes_its_request_with_it() {
    let (tell, hears) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let server = secure(move |stream| {
        let tell = |what| tell.lock().unwrap().send(what).unwrap();
        let heard = until(stream, b"\r\n\r\n")?;
        tell("asked");
        if !matches!(stream.read(&mut [0]), Ok(1..)) {
            tell("left");
        }
        Ok(heard)
    });
    let lab = lab(&server, RequestRule::default());
    let mut client = connect(&lab, NAME, NAME);
    write!(client, "GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").unwrap();
    assert_eq!(hears.recv_timeout(PATIENCE), Ok("asked"));
    drop(client);
    assert_eq!(hears.recv_timeout(PATIENCE), Ok("left"));
}

#[test]
fn an_old_client_is_answered_in_its_own_version() {
    let server = answering(OK);
    let lab = lab(&server, RequestRule::default());
    let answer = say(
        &lab,
        format!("GET / HTTP/1.0\r\nHost: {NAME}\r\n\r\n").as_bytes(),
    );
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    assert!(answer.ends_with("ok"), "{answer}");
}

#[test]
fn plain_http_is_held_to_the_same_rules_and_gets_no_credential() {
    let server = super::lab::answering(b"\r\n\r\n", OK);
    let mut egress = super::lab::rules(&[(NAME, 80, crate::policy::Protocol::Http)]);
    egress.rules[0].request = Some(Box::new(RequestRule {
        max_request_bytes: Some(3),
        ..only(&["/v1/**"], &["GET", "POST"])
    }));
    let mut egress = super::lab::pin(egress, NAME, server.at);
    let lab = Lab::new(egress.clone());
    let ask = |lab: &Lab, request: &str| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap_or((request, ""));
        lab.say(
            NAME,
            80,
            format!("{head}\r\nHost: {NAME}\r\n\r\n{body}").as_bytes(),
        )
    };
    let vectors = [
        ("GET /v1/x HTTP/1.1", "200"),
        ("GET http://a.test/v1/x?y HTTP/1.1", "200"),
        ("GET /v2/x HTTP/1.1", "403"),
        ("GET http://a.test/v2/x HTTP/1.1", "403"),
        ("GET http://a.test HTTP/1.1", "403"),
        ("DELETE /v1/x HTTP/1.1", "403"),
        ("GET /v1/../v2 HTTP/1.1", "403"),
        (
            "POST /v1/x HTTP/1.1\r\nContent-Length: 4\r\n\r\n1234",
            "413",
        ),
        (
            "POST /v1/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n",
            "411",
        ),
    ];
    for (request, expected) in vectors {
        let answer = ask(&lab, request);
        assert_eq!(status(&answer), expected, "{request}: {answer}");
    }
    let part = egress.rules[0].request.as_mut().unwrap();
    part.credential =
        super::inspect_lab::with_credential(crate::policy::CredentialForm::Bearer).credential;
    let answer = ask(&Lab::new(egress), "GET /v1/x HTTP/1.1");
    assert_eq!(status(&answer), "403", "{answer}");
    assert!(answer.contains("never sent without TLS"), "{answer}");
}
