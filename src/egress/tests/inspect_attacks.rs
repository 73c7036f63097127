//! Attacks on inspection: a request that is read two ways, another host on an allowed connection,
//! paths that escape their rule, channels within channels.

use std::{io::Write, time::Duration};

use super::{
    inspect_lab::{
        NAME, OK, Secure, answering, ask, connect, json, lab, paced, raw, requests, rest, say,
        secure, status, until,
    },
    lab::{PATIENCE, eventually},
};
use crate::policy::{Rates, RequestRule};

/// Everything that a server heard on all its connections, once they are over.
fn heard(server: &Secure, connections: usize) -> String {
    let mut all = Vec::new();
    for _ in 0..connections {
        all.extend(server.server.heard.recv_timeout(PATIENCE).unwrap());
    }
    String::from_utf8(all).unwrap()
}

fn untouched(server: &Secure) {
    let peak = server.server.peak.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(peak, 0, "the server was reached");
}

#[test]
fn n12_a_request_for_another_host_than_the_connections_is_refused() {
    let server = answering(OK);
    let mut lab = lab(&server, RequestRule::default());
    let vectors = [
        "GET / HTTP/1.1\r\nHost: denied.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test.denied.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test:80\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test.\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nHost: denied.test\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET http://denied.test/ HTTP/1.1\r\nHost: denied.test\r\n\r\n",
        "GET http://denied.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET https://denied.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "CONNECT denied.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ];
    for request in vectors {
        let answer = say(&lab, request.as_bytes());
        assert!(
            matches!(status(&answer), "400" | "403" | "421"),
            "{request:?}: {answer}"
        );
        assert_eq!(json(&answer)["denied"], "a.test:443");
    }
    untouched(&server);
    let (decided, _) = requests(&mut lab);
    let denied: Vec<_> = decided.iter().filter(|one| !one.allowed).collect();
    assert!(denied.len() >= 3, "{denied:?}");
}

#[test]
fn n15_a_second_request_to_another_host_ends_the_connection() {
    let server = answering(OK);
    let lab = lab(&server, RequestRule::default());
    let mut client = connect(&lab, NAME, NAME);
    let both = format!(
        "GET /1 HTTP/1.1\r\nHost: {NAME}\r\n\r\nGET /2 HTTP/1.1\r\nHost: denied.test\r\n\r\nGET /3 HTTP/1.1\r\nHost: {NAME}\r\n\r\n"
    );
    client.write_all(both.as_bytes()).unwrap();
    let answer = rest(&mut client);
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 1, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 421 ").count(), 1, "{answer}");
    let heard = heard(&server, 1);
    assert!(
        heard.contains("/1") && !heard.contains("/2") && !heard.contains("/3"),
        "{heard}"
    );
}

/// Heads and bodies that two readers can read as different requests. `/smuggled` is the second.
const SMUGGLED: [&str; 34] = [
    "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0, 44\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +44\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: -1\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0x2c\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4 4\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length:\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length : 44\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 99999999999999999999\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: identity\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nX: y\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    "POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.test\nX: y\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET / HTTP/1.1\nHost: a.test\n\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.test\r\nX: y\rGET /smuggled HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.test\r\nX: \0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.test\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.test\r\n: x\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET / HTTP/1.1 \r\nHost: a.test\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET  / HTTP/1.1\r\nHost: a.test\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET /\tHTTP/1.1\r\nHost: a.test\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET / HTTP/2.0\r\nHost: a.test\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET /\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
];

#[test]
fn n16_what_reads_two_ways_is_refused_and_nothing_of_it_is_passed_on() {
    let server = answering(OK);
    let lab = lab(&server, RequestRule::default());
    for request in SMUGGLED {
        let answer = say(&lab, request.as_bytes());
        assert_eq!(status(&answer), "400", "{request:?}: {answer}");
        assert_eq!(
            answer.matches("\r\n\r\n").count(),
            1,
            "{request:?}: {answer}"
        );
    }
    untouched(&server);
}

#[test]
fn n16_malformed_chunks_end_the_request_before_what_is_smuggled_in_them() {
    let bodies = [
        "5;x=\n\r\nhello\r\n0\r\n\r\nGET /smuggled",
        "5;ext=1\r\nhello\r\n0\r\n\r\nGET /smuggled",
        "5\nhello\r\n0\r\n\r\nGET /smuggled",
        "5\r\nhelloGET /smuggled HTTP/1.1\r\n\r\n",
        "0\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        "0\r\nTrailer: x\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        "-5\r\nGET /smuggled",
        "0x5\r\nGET /smuggled",
        "ffffffffffffffff1\r\nGET /smuggled",
        " 5\r\nGET /smuggled",
        "5\r\nhello\r\n0\r\n\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ];
    for body in bodies {
        let server = secure(|stream| {
            let mut heard = until(stream, b"never")?;
            drop(stream.flush());
            heard.extend(b"|end");
            Ok(heard)
        });
        let lab = lab(&server, RequestRule::default());
        let head = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = say(&lab, format!("{head}{body}").as_bytes());
        assert!(
            matches!(status(&answer), "400" | "none"),
            "{body:?}: {answer}"
        );
        drop(lab);
        let mut all = Vec::new();
        while let Ok(heard) = server.server.heard.recv_timeout(Duration::from_millis(200)) {
            all.extend(heard);
        }
        let all = String::from_utf8_lossy(&all).into_owned();
        assert!(!all.contains("smuggled"), "{body:?}: {all}");
    }
}

#[test]
fn n16_requests_behind_each_other_are_each_passed_on_as_one() {
    let server = answering(OK);
    let lab = lab(&server, RequestRule::default());
    let three = "GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 32\r\n\r\nGET /inner HTTP/1.1\r\nHost: x\r\n\r\nGET /3 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let answer = say(&lab, three.as_bytes());
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 3, "{answer}");
    assert_eq!(lab.usage().calls, 3);
}

#[test]
fn n17_no_spelling_of_a_path_leaves_its_rule() {
    let server = answering(OK);
    let rule = RequestRule {
        paths: vec!["/repos/x/**".parse().unwrap()],
        ..RequestRule::default()
    };
    let lab = lab(&server, rule);
    let paths = [
        "/repos/x/../y",
        "/repos/x/..",
        "/repos/x/%2e%2e/y",
        "/repos/x/%2E%2E/y",
        "/repos/x/.%2e/y",
        "/repos/x/..%2fy",
        "/repos/x/..%5cy",
        "/repos/x/..;/y",
        "/repos/x/;/../y",
        "/repos/x/%252e%252e/y",
        "/repos/x//y",
        "//repos/x/y",
        "/repos/x/./y",
        "/repos/x/%00y",
        "/repos/x/y%0d%0aHost:%20evil",
        "/repos/xy",
        "/repos/X/y",
        "/Repos/x/y",
        "/repos/x%2fy",
        "/repos/x/%c0%ae%c0%ae/y",
        "/repos/x/\u{ff0e}\u{ff0e}/y",
        "/repos/x/%zz",
        "/repos/x/..\\y",
    ];
    for path in paths {
        let answer = ask(&lab, &format!("GET {path} HTTP/1.1"));
        assert!(matches!(status(&answer), "403" | "400"), "{path}: {answer}");
        json(&answer);
    }
    untouched(&server);
    for path in ["/repos/x/y", "/repos/x/y?../../z", "/repos/x/%79"] {
        assert_eq!(
            status(&ask(&lab, &format!("GET {path} HTTP/1.1"))),
            "200",
            "{path}"
        );
    }
}

#[test]
fn n29_a_redirect_is_passed_back_and_never_followed() {
    let server = answering(
        "HTTP/1.1 302 Found\r\nLocation: https://denied.test/\r\nContent-Length: 0\r\n\r\n",
    );
    let lab = lab(&server, RequestRule::default());
    let answer = ask(&lab, "GET / HTTP/1.1");
    assert_eq!(status(&answer), "302", "{answer}");
    assert!(answer.contains("https://denied.test/"), "{answer}");
    assert_eq!(lab.asked(), 0, "a name was resolved");
    let mut follow = connect(&lab, "denied.test", "denied.test");
    write!(
        follow,
        "GET / HTTP/1.1\r\nHost: denied.test\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    assert_eq!(status(&rest(&mut follow)), "403");
}

#[test]
fn n13_n14_another_name_in_the_hello_ends_the_connection() {
    let server = answering(OK);
    let lab = lab(&server, RequestRule::default());
    let mut client = connect(&lab, NAME, "denied.test");
    assert!(write!(client, "GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").is_err());
    untouched(&server);
}

#[test]
fn n31_what_is_not_tls_or_not_http_goes_nowhere() {
    let server = answering(OK);
    let lab = lab(&server, RequestRule::default());
    for first in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"\0\0\0\0",
    ] {
        let answer = raw(&lab, first);
        assert_eq!(answer, [21, 3, 3, 0, 2, 2, 49], "{}", first.escape_ascii());
    }
    // Within TLS too: only HTTP is passed on.
    for first in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "\0\0\0\x01binary\r\n\r\n",
        "EHLO x\r\n\r\n",
    ] {
        let answer = say(&lab, first.as_bytes());
        assert_eq!(status(&answer), "400", "{first:?}: {answer}");
    }
    untouched(&server);
}

#[test]
fn a_head_that_does_not_end_is_given_up_with_an_answer() {
    let server = answering(OK);
    let lab = lab(&server, RequestRule::default());
    let answer = say(&lab, b"GET / HTTP/1.1\r\nHost: a.test\r\nX: ");
    assert_eq!(status(&answer), "400", "{answer}");
    assert!(
        json(&answer)["reason"]
            .as_str()
            .unwrap()
            .contains("in time")
    );
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a.test\r\nX: {}",
        "x".repeat(70_000)
    );
    let answer = say(&lab, long.as_bytes());
    assert_eq!(status(&answer), "400", "{answer}");
    untouched(&server);
}

const UPGRADE: &str = "GET /socket HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

#[test]
fn n32_an_upgrade_that_no_rule_allows_is_refused_at_once() {
    let server = answering(OK);
    let lab = lab(&server, RequestRule::default());
    let others = [
        UPGRADE.replace("websocket\r\nSec", "h2c\r\nSec"),
        UPGRADE.replace("Upgrade: websocket\r\n", ""),
    ];
    for request in [UPGRADE.to_owned()].iter().chain(&others) {
        let mut client = connect(&lab, NAME, NAME);
        client.write_all(request.as_bytes()).unwrap();
        let answer = String::from_utf8(until(&mut client, b"}\n").unwrap()).unwrap();
        assert_eq!(status(&answer), "426", "{answer}");
    }
    untouched(&server);
}

/// A server that agrees to a WebSocket and sends back what it hears.
fn socket_server() -> Secure {
    secure(|stream| {
        let heard = until(stream, b"\r\n\r\n")?;
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")?;
        let said = until(stream, b"\n")?;
        stream.write_all(&said)?;
        Ok([heard, said].concat())
    })
}

fn socket_rule() -> RequestRule {
    RequestRule {
        websocket: true,
        ..RequestRule::default()
    }
}

#[test]
fn n32_a_websocket_that_a_rule_allows_passes_and_is_counted() {
    let server = socket_server();
    let mut lab = lab(&server, socket_rule());
    let mut client = connect(&lab, NAME, NAME);
    client.write_all(UPGRADE.as_bytes()).unwrap();
    let answer = String::from_utf8(until(&mut client, b"\r\n\r\n").unwrap()).unwrap();
    assert_eq!(status(&answer), "101", "{answer}");
    assert!(
        answer
            .to_ascii_lowercase()
            .contains("sec-websocket-accept: "),
        "{answer}"
    );
    let before = lab.usage();
    let message = [&[b'x'; 5000][..], b"\n"].concat();
    client.write_all(&message).unwrap();
    assert_eq!(until(&mut client, b"\n").unwrap(), message);
    drop(client);
    eventually("the bytes of the socket are counted", || {
        let now = lab.usage();
        now.sent >= before.sent + 5001 && now.received >= before.received + 5001
    });
    let heard = heard(&server, 1).to_ascii_lowercase();
    assert!(
        heard.contains("upgrade: websocket") && !heard.contains("permessage"),
        "{heard}"
    );
    let (decided, closed) = requests(&mut lab);
    assert!(decided.iter().all(|one| one.allowed), "{decided:?}");
    assert_eq!(closed[0].status, Some(101));
}

#[test]
fn n32_n37_a_websocket_takes_its_bytes_from_the_roles_budget() {
    let server = socket_server();
    let rates = Rates {
        network_bytes_per_minute: Some(64 * 1024),
        ..Rates::default()
    };
    let lab = paced(&server, socket_rule(), rates);
    let mut client = connect(&lab, NAME, NAME);
    client.write_all(UPGRADE.as_bytes()).unwrap();
    until(&mut client, b"\r\n\r\n").unwrap();
    client
        .sock
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    client.write_all(&[b'x'; 80 * 1024]).unwrap();
    client.write_all(b"\n").unwrap();
    let answered = until(&mut client, b"\n");
    assert!(
        answered.is_err(),
        "80 KiB passed at once with 64 KiB a minute"
    );
    assert!(lab.usage().sent <= 66 * 1024, "{:?}", lab.usage());
}
