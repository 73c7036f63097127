//! Ends that rules and roles set to requests: denied ones on open hosts, servers that say nothing,
//! calls of a run, and servers that ask for long waits.

use std::{io::Write, time::Duration};

use super::{
    inspect_lab::{
        NAME, OK, answering, ask, json, lab, paced, policy, requests, secure, status, until,
    },
    lab::{Lab, PATIENCE, pin, rules},
};
use crate::{
    egress::{Opening, Times},
    policy::{
        DeniedHost, DeniedNames, DeniedRequests, Egress, Origin, Protocol, Rates, RequestRule,
    },
};

fn denying(egress: Egress, methods: &[&str], paths: &[&str]) -> Egress {
    Egress {
        denied: vec![DeniedHost {
            names: DeniedNames::All,
            port: None,
            request: Some(DeniedRequests {
                methods: methods.iter().map(|&one| one.to_owned()).collect(),
                paths: paths.iter().map(|one| one.parse().unwrap()).collect(),
            }),
            origin: Origin::default(),
        }],
        ..egress
    }
}

#[test]
fn a_denied_request_is_refused_on_a_host_that_is_open_altogether() {
    let server = answering(OK);
    let mut open = policy(&server, RequestRule::default());
    open.rules[0].request = None;
    let lab = Lab::new(denying(open, &["DELETE"], &["/admin/**"]));
    for (request, expected) in [
        ("GET /admin/x HTTP/1.1", "200"),
        ("DELETE /other HTTP/1.1", "200"),
        ("DELETE /admin/x HTTP/1.1", "403"),
        ("delete /admin/x HTTP/1.1", "403"),
        ("DELETE /%61dmin/x HTTP/1.1", "403"),
        ("DELETE /other/../admin/x HTTP/1.1", "403"),
        ("DELETE /other%2f..%2fadmin HTTP/1.1", "403"),
        ("DELETE //admin/x HTTP/1.1", "403"),
    ] {
        let answer = ask(&lab, request);
        assert_eq!(status(&answer), expected, "{request}: {answer}");
        if expected == "403" {
            let rule = json(&answer)["rule"].as_str().unwrap().to_owned();
            assert!(rule.starts_with("deny DELETE /admin/** on *"), "{rule}");
        }
    }
}

#[test]
fn a_denied_request_stays_denied_where_a_person_opened_the_host() {
    let server = answering(OK);
    let mut closed = policy(&server, RequestRule::default());
    closed.rules.clear();
    let lab = Lab::new(denying(closed, &["DELETE"], &[]));
    lab.threads.open(Opening {
        role: "eng-backend".parse().unwrap(),
        host: NAME.parse().unwrap(),
        port: 443,
        protocol: Protocol::Tls,
        times: Times::Run,
    });
    assert_eq!(status(&ask(&lab, "GET / HTTP/1.1")), "200");
    assert_eq!(status(&ask(&lab, "DELETE / HTTP/1.1")), "403");
}

#[test]
fn where_no_request_is_seen_a_denial_of_some_closes_all() {
    let server = super::lab::echo();
    let open = pin(rules(&[(NAME, 22, Protocol::Tcp)]), NAME, server.at);
    let lab = Lab::new(open.clone());
    assert_eq!(lab.say_and_end(NAME, 22, b"hello"), "hello");
    let lab = Lab::new(denying(open, &["DELETE"], &[]));
    assert!(lab.connect(NAME, 22).is_err());
}

#[test]
fn a_server_that_says_nothing_is_waited_for_no_longer_than_the_rule_says() {
    let server = secure(|stream| {
        let heard = until(stream, b"\r\n\r\n")?;
        // It goes on listening, and says nothing.
        until(stream, b"never")?;
        Ok(heard)
    });
    let part = RequestRule {
        first_byte_timeout: Some(Duration::from_secs(1)),
        ..RequestRule::default()
    };
    let mut lab = lab(&server, part);
    let answer = ask(&lab, "GET / HTTP/1.1");
    assert_eq!(status(&answer), "504", "{answer}");
    let reason = json(&answer)["reason"].as_str().unwrap().to_owned();
    assert!(
        reason.contains("within 1 s (`first_byte_timeout`)"),
        "{reason}"
    );
    let (decided, closed) = requests(&mut lab);
    assert!(decided.iter().all(|one| one.allowed), "{decided:?}");
    assert_eq!(closed[0].status, None, "{closed:?}");
}

#[test]
fn an_answer_that_has_begun_may_take_its_time() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let server = secure(move |stream| {
        let heard = until(stream, b"\r\n\r\n")?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")?;
        stream.flush()?;
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        stream.write_all(b"cd")?;
        Ok(heard)
    });
    let part = RequestRule {
        first_byte_timeout: Some(Duration::from_secs(2)),
        ..RequestRule::default()
    };
    let lab = lab(&server, part);
    let mut client = super::inspect_lab::connect(&lab, NAME, NAME);
    write!(client, "GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").unwrap();
    until(&mut client, b"ab").unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    go.send(()).unwrap();
    until(&mut client, b"cd").unwrap();
}

#[test]
fn the_calls_of_a_run_are_an_end_that_no_waiting_helps() {
    let server = answering(OK);
    let rates = Rates {
        api_calls_per_run: Some(3),
        ..Rates::default()
    };
    let lab = paced(&server, RequestRule::default(), rates);
    for _ in 0..3 {
        assert_eq!(status(&ask(&lab, "GET / HTTP/1.1")), "200");
    }
    let answer = ask(&lab, "GET / HTTP/1.1");
    assert_eq!(status(&answer), "403", "{answer}");
    assert!(
        !answer.to_ascii_lowercase().contains("retry-after"),
        "{answer}"
    );
    let reason = json(&answer)["reason"].as_str().unwrap().to_owned();
    assert_eq!(reason, "calls: the role has used up its 3 calls of the run");
    assert_eq!(lab.usage().calls, 3);
}

#[test]
fn a_long_wait_that_a_server_asks_for_is_written_down() {
    for (after, told) in [("65", false), ("66", true), ("7200", true), ("soon", false)] {
        let text = format!(
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: {after}\r\nContent-Length: 0\r\n\r\n"
        );
        let server = answering(text.leak());
        let mut lab = lab(&server, RequestRule::default());
        let answer = ask(&lab, "GET / HTTP/1.1");
        assert_eq!(status(&answer), "429", "{answer}");
        let (decided, _) = requests(&mut lab);
        let said = format!("its server answers 429 and asks to wait {after} s");
        let found = decided.iter().any(|one| one.reason.as_ref() == Some(&said));
        assert_eq!(found, told, "{after}: {decided:?}");
    }
}
