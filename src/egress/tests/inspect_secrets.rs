//! Credentials: added here, never held by the agent, and masked when a server sends them back.

use std::io::Write;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    inspect_lab::{
        NAME, OK, SECRET, answering, ask, connect, identity, json, lab, policy, requests, secure,
        status, until, with_credential,
    },
    lab::{Lab, PATIENCE},
};
use crate::{
    egress::placeholder,
    policy::{CredentialForm, RequestRule},
};

fn header() -> RequestRule {
    with_credential(CredentialForm::Header("x-api-key".to_owned()))
}

#[test]
fn the_value_takes_the_place_of_the_placeholder_in_each_form() {
    let basic = BASE64_STANDARD.encode(format!("me:{SECRET}"));
    let forms = [
        (
            CredentialForm::Header("x-api-key".to_owned()),
            format!("x-api-key: {SECRET}\r\n"),
        ),
        (
            CredentialForm::Bearer,
            format!("authorization: bearer {SECRET}\r\n"),
        ),
        (
            CredentialForm::Basic {
                user: "me".to_owned(),
            },
            format!("authorization: basic {basic}\r\n"),
        ),
    ];
    let holder = placeholder("KEY");
    let sent = [
        String::new(),
        format!("\r\nX-Api-Key: {holder}"),
        format!("\r\nAuthorization: Bearer {holder}"),
        format!(
            "\r\nauthorization: Basic {}",
            BASE64_STANDARD.encode(format!("me:{holder}"))
        ),
    ];
    for (form, expected) in forms {
        for sent in &sent {
            let server = answering(OK);
            let lab = lab(&server, with_credential(form.clone()));
            let answer = ask(&lab, &format!("GET / HTTP/1.1{sent}"));
            assert_eq!(status(&answer), "200", "{sent:?}: {answer}");
            drop(lab);
            let heard =
                String::from_utf8(server.server.heard.recv_timeout(PATIENCE).unwrap()).unwrap();
            let heard = heard.to_ascii_lowercase();
            assert_eq!(
                heard.matches(&expected.to_ascii_lowercase()).count(),
                1,
                "{heard}"
            );
            assert!(!heard.contains("placeholder"), "{heard}");
        }
    }
}

#[test]
fn n35_any_other_credential_is_refused_and_never_arrives() {
    let server = answering(OK);
    let mut part = header();
    part.paths = vec!["/v1/messages".parse().unwrap()];
    let mut lab = lab(&server, part);
    let foreign = [
        "x-api-key: sk-attacker",
        "X-API-Key: loki-placeholder-OTHER",
        "Authorization: Bearer sk-attacker",
        "authorization: Basic YTpi",
        "Proxy-Authorization: Basic YTpi",
        "Cookie: session=attacker",
        "x-goog-api-key: attacker",
        "api-key: attacker",
        "x-api-key: loki-placeholder-KEY\r\nx-api-key: sk-attacker",
    ];
    for line in foreign {
        let answer = ask(&lab, &format!("GET /v1/messages HTTP/1.1\r\n{line}"));
        assert_eq!(status(&answer), "403", "{line}: {answer}");
        let reason = json(&answer)["reason"].as_str().unwrap().to_owned();
        assert!(!reason.contains("attacker"), "{reason}");
    }
    assert_eq!(
        status(&ask(&lab, "GET /v1/messages?key=attacker HTTP/1.1")),
        "403"
    );
    assert_eq!(
        status(&ask(
            &lab,
            "GET /v1/files HTTP/1.1\r\nx-api-key: sk-attacker"
        )),
        "403"
    );
    assert_eq!(status(&ask(&lab, "GET /v1/files HTTP/1.1")), "403");
    assert!(
        server.server.heard.try_recv().is_err(),
        "the server was reached"
    );
    let (decided, _) = requests(&mut lab);
    assert!(decided.iter().all(|one| !one.allowed), "{decided:?}");
    let recorded = format!("{decided:?}");
    assert!(
        !recorded.contains("attacker") && !recorded.contains(SECRET),
        "{recorded}"
    );
}

#[test]
fn s3_a_secret_that_is_not_there_or_unsafe_is_said_and_nothing_is_sent() {
    let server = answering(OK);
    let mut part = header();
    part.credential.as_mut().unwrap().secret = "MISSING".to_owned();
    let answer = ask(&lab(&server, part), "GET / HTTP/1.1");
    assert_eq!(status(&answer), "403", "{answer}");
    let reason = json(&answer)["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("loki secrets set MISSING"), "{reason}");
    assert!(
        server.server.heard.try_recv().is_err(),
        "the server was reached"
    );
}

#[test]
fn s4_an_echo_is_masked_in_headers_and_bodies_and_over_borders() {
    let server = secure(|stream| {
        let heard = until(stream, b"\r\n\r\n")?;
        let (first, second) = SECRET.split_at(7);
        let parts = [
            format!("raw {first}"),
            format!("{second} end\n"),
            format!("b64 {}\n", BASE64_STANDARD.encode(format!("x{SECRET}y"))),
            SECRET.to_owned(),
        ];
        let chunks: String = parts
            .iter()
            .map(|part| format!("{:x}\r\n{part}\r\n", part.len()))
            .collect();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nX-Echo: key={SECRET};\r\nTransfer-Encoding: chunked\r\n\r\n"
        )?;
        for byte in chunks.bytes().collect::<Vec<_>>().chunks(3) {
            stream.write_all(byte)?;
            stream.flush()?;
        }
        stream.write_all(b"0\r\n\r\n")?;
        Ok(heard)
    });
    let mut lab = lab(&server, header());
    let answer = ask(&lab, "GET / HTTP/1.1");
    assert_eq!(status(&answer), "200", "{answer}");
    let inner = BASE64_STANDARD.encode(format!("x{SECRET}y"));
    assert!(
        !answer.contains(SECRET) && !answer.contains(&inner),
        "{answer}"
    );
    let stars = "*".repeat(SECRET.len());
    assert!(answer.contains(&format!("key={stars};")), "{answer}");
    assert!(!answer.contains("0123456789"), "{answer}");
    let heard = String::from_utf8(server.server.heard.recv_timeout(PATIENCE).unwrap()).unwrap();
    assert!(
        heard
            .to_ascii_lowercase()
            .contains("accept-encoding: identity"),
        "{heard}"
    );
    let (decided, _) = requests(&mut lab);
    let flagged = decided.iter().filter_map(|one| one.reason.as_deref());
    assert_eq!(
        flagged.filter(|reason| reason.contains("masked")).count(),
        1,
        "{decided:?}"
    );
}

#[test]
fn s4_an_answer_that_is_compressed_all_the_same_is_refused() {
    let server =
        answering("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok");
    let answer = ask(
        &lab(&server, header()),
        "GET / HTTP/1.1\r\nAccept-Encoding: gzip\r\nRange: bytes=3-9",
    );
    assert_eq!(status(&answer), "502", "{answer}");
    let heard = String::from_utf8(server.server.heard.recv_timeout(PATIENCE).unwrap()).unwrap();
    let heard = heard.to_ascii_lowercase();
    assert!(
        !heard.contains("gzip") && !heard.contains("range:"),
        "{heard}"
    );
    let plain = ask(&lab(&server, RequestRule::default()), "GET / HTTP/1.1");
    assert_eq!(
        status(&plain),
        "200",
        "without a credential nothing has to be masked: {plain}"
    );
}

#[test]
fn s4_an_echo_over_a_websocket_is_masked() {
    let server = secure(|stream| {
        let heard = until(stream, b"\r\n\r\n")?;
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
        let (first, second) = SECRET.split_at(5);
        stream.write_all(first.as_bytes())?;
        stream.flush()?;
        stream.write_all(second.as_bytes())?;
        stream.write_all(b" end\n")?;
        Ok(heard)
    });
    let lab = lab(
        &server,
        RequestRule {
            websocket: true,
            ..header()
        },
    );
    let mut client = connect(&lab, NAME, NAME);
    write!(
        client,
        "GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    .unwrap();
    let mut answer = until(&mut client, b"\r\n\r\n").unwrap();
    answer.extend(until(&mut client, b"end\n").unwrap_or_default());
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(!answer.contains(SECRET), "{answer}");
    assert!(
        answer.ends_with(&format!("{} end\n", "*".repeat(SECRET.len()))),
        "{answer}"
    );
}

#[test]
fn s2_a_placeholder_for_another_host_stays_a_placeholder() {
    let server = answering(OK);
    let lab = lab(&server, RequestRule::default());
    let holder = placeholder("KEY");
    let answer = ask(&lab, &format!("GET / HTTP/1.1\r\nx-api-key: {holder}"));
    assert_eq!(status(&answer), "200", "{answer}");
    drop(lab);
    let heard = String::from_utf8(server.server.heard.recv_timeout(PATIENCE).unwrap()).unwrap();
    assert!(
        heard.contains(&holder) && !heard.contains(SECRET),
        "{heard}"
    );
}

#[test]
fn s3_no_credential_leaves_for_a_server_that_is_not_vouched_for() {
    let server = answering(OK);
    let (_, stranger) = identity(NAME, b"http/1.1");
    let mut egress = policy(&server, header());
    egress.hosts[0].ca = Some(stranger.path().to_owned());
    let answer = ask(&Lab::new(egress), "GET / HTTP/1.1");
    assert!(matches!(status(&answer), "502" | "403"), "{answer}");
    let heard = server
        .server
        .heard
        .recv_timeout(PATIENCE)
        .unwrap_or_default();
    assert!(heard.is_empty(), "{}", heard.escape_ascii());
}
