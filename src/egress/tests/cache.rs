//! Answers that are given again.

use std::{io::Write, os::unix::fs::PermissionsExt, time::Duration};

use super::{
    cache_lab::{Keeping, body, counted, field, hour, speaking},
    inspect_lab::{ask, json, policy, requests, status},
    lab::Lab,
};
use crate::{
    egress::Room,
    event::CacheUse,
    policy::{Rates, RequestRule},
};

const FOR_LONG: &str = "Cache-Control: max-age=86400\r\nETag: \"one\"\r\n";

fn get(lab: &Lab, path: &str) -> String {
    ask(lab, &format!("GET {path} HTTP/1.1"))
}

#[test]
fn what_was_answered_once_is_given_again_and_recorded_as_such() {
    let (keeping, server) = (Keeping::new(), counted(FOR_LONG));
    let mut lab = keeping.to(&server, hour());
    let first = get(&lab, "/a?q=1");
    assert_eq!((status(&first), body(&first)), ("200", "answer 0"));
    assert_eq!(field(&first, "cache-status"), None, "{first}");
    keeping.kept(1);
    keeping.pass(7);
    let again = get(&lab, "/a?q=1");
    assert_eq!((status(&again), body(&again)), ("200", "answer 0"));
    assert_eq!(field(&again, "age").as_deref(), Some("7"), "{again}");
    assert_eq!(field(&again, "etag").as_deref(), Some("\"one\""), "{again}");
    assert_eq!(field(&again, "cache-status").as_deref(), Some("loki; hit"));
    assert_eq!(server.asked(), 1);
    assert_eq!(body(&get(&lab, "/a?q=2")), "answer 1", "another query");
    assert_eq!(lab.usage().calls, 3, "each is a call of the role");
    let (decided, closed) = requests(&mut lab);
    assert!(decided.iter().all(|one| one.allowed), "{decided:?}");
    let from: Vec<_> = closed.iter().filter_map(|one| one.cache).collect();
    assert_eq!(from, [CacheUse::Hit], "{closed:?}");
    assert!(closed.iter().all(|one| one.received > 0), "{closed:?}");
}

#[test]
fn a_head_is_answered_from_what_a_get_got_and_is_not_kept_itself() {
    let (keeping, server) = (Keeping::new(), counted(FOR_LONG));
    let lab = keeping.to(&server, hour());
    let head = || ask(&lab, "HEAD /a HTTP/1.1");
    assert_eq!(body(&head()), "");
    assert_eq!(keeping.settled().len(), 0);
    assert_eq!(body(&get(&lab, "/a")), "answer 1");
    keeping.kept(1);
    let kept = head();
    assert_eq!((status(&kept), body(&kept)), ("200", ""));
    assert_eq!(field(&kept, "content-length").as_deref(), Some("8"));
    assert_eq!(server.asked(), 2);
}

#[test]
fn a_stale_answer_is_given_again_once_its_server_confirmed_it() {
    let (keeping, server) = (
        Keeping::new(),
        speaking(|n, head, stream| {
            if head.contains("if-none-match: \"one\"\r\n") {
                stream.write_all(
                    b"HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nX-New: yes\r\n\r\n",
                )?;
                return Ok(true);
            }
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=10\r\nETag: \"one\"\r\nContent-Length: 8\r\n\r\nanswer {n}"
            )?;
            Ok(true)
        }),
    );
    let mut lab = keeping.to(&server, hour());
    get(&lab, "/");
    keeping.kept(1);
    keeping.pass(11);
    let confirmed = get(&lab, "/");
    assert_eq!((status(&confirmed), body(&confirmed)), ("200", "answer 0"));
    assert_eq!(field(&confirmed, "x-new").as_deref(), Some("yes"));
    assert_eq!(field(&confirmed, "age").as_deref(), Some("0"));
    keeping.pass(50);
    let fresh = get(&lab, "/");
    assert_eq!(body(&fresh), "answer 0");
    assert_eq!(server.asked(), 2, "it is fresh again, for a minute");
    let (_, closed) = requests(&mut lab);
    let from: Vec<_> = closed.iter().filter_map(|one| one.cache).collect();
    assert!(
        from.contains(&CacheUse::Validated) && from.contains(&CacheUse::Hit),
        "{closed:?}"
    );
}

#[test]
fn a_changed_answer_takes_the_place_of_the_kept_one() {
    let (keeping, server) = (
        Keeping::new(),
        counted("Cache-Control: max-age=10\r\nETag: \"x\"\r\n"),
    );
    let lab = keeping.to(&server, hour());
    get(&lab, "/");
    keeping.kept(1);
    keeping.pass(11);
    assert_eq!(body(&get(&lab, "/")), "answer 1");
    keeping.kept(1);
    assert_eq!(body(&get(&lab, "/")), "answer 1");
    assert_eq!(server.asked(), 2);
}

#[test]
fn nothing_is_given_again_for_longer_than_the_rule_says() {
    let (keeping, server) = (
        Keeping::new(),
        counted("Cache-Control: max-age=31536000, immutable\r\n"),
    );
    let lab = keeping.to(&server, hour());
    get(&lab, "/");
    keeping.kept(1);
    keeping.pass(3599);
    assert_eq!(body(&get(&lab, "/")), "answer 0");
    keeping.pass(1);
    assert_eq!(body(&get(&lab, "/")), "answer 1");
}

#[test]
fn a_client_gets_no_stale_answer_by_asking_for_one() {
    let (keeping, server) = (
        Keeping::new(),
        counted("Cache-Control: No-Cache, Max-Age=600\r\nETag: \"x\"\r\n"),
    );
    let lab = keeping.to(&server, hour());
    get(&lab, "/");
    keeping.kept(1);
    let stale = ask(&lab, "GET / HTTP/1.1\r\nCache-Control: max-stale=9999");
    assert_eq!(body(&stale), "answer 1");
}

#[test]
fn what_http_or_care_forbids_to_keep_is_asked_again() {
    let never = [
        "Cache-Control: no-store\r\n",
        "Cache-Control: NO-STORE, max-age=60\r\n",
        "Cache-Control: max-age=60\r\nCache-Control: no-store\r\n",
        "Cache-Control: max-age=60\r\nSet-Cookie: a=b\r\n",
        "Cache-Control: max-age=60\r\nVary: *\r\n",
        "Cache-Control: max-age=60\r\nVary: Accept, *\r\n",
        "Cache-Control: max-age=60\r\nVary: Cookie\r\n",
        "Cache-Control: max-age=60\r\nContent-Type: text/event-stream\r\n",
        "Cache-Control: max-age=60\r\nContent-Range: bytes 0-7/8\r\n",
        "Cache-Control: max-age=60\r\nX-Echo: sk-other-0123456789\r\n",
        "Expires: 0\r\n",
        "",
    ];
    for headers in never {
        let (keeping, server) = (Keeping::new(), counted(headers));
        let lab = keeping.to(&server, hour());
        for n in 0..2 {
            assert_eq!(body(&get(&lab, "/")), format!("answer {n}"), "{headers}");
        }
        assert_eq!(keeping.settled().len(), 0, "{headers}");
    }
}

#[test]
fn requests_that_ask_for_a_part_or_carry_an_account_pass_by_the_cache() {
    let (keeping, server) = (Keeping::new(), counted(FOR_LONG));
    let lab = keeping.to(&server, hour());
    get(&lab, "/");
    keeping.kept(1);
    let by = [
        "Authorization: Bearer own",
        "Cookie: session=own",
        "X-Api-Key: own",
        "Range: bytes=0-3",
        "If-Match: \"one\"",
        "Cache-Control: no-cache",
        "Pragma: no-cache",
        "Cache-Control: max-age=0",
    ];
    for (n, header) in by.iter().enumerate() {
        keeping.pass(1);
        let answer = ask(&lab, &format!("GET / HTTP/1.1\r\n{header}"));
        assert_eq!(body(&answer), format!("answer {}", n + 1), "{header}");
    }
    for request in [
        "GET /?access_token=own HTTP/1.1",
        "GET / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        let (first, second) = (ask(&lab, request), ask(&lab, request));
        assert_ne!(body(&first), body(&second), "{request}");
    }
}

#[test]
fn answers_that_differ_by_what_a_program_wishes_are_kept_apart() {
    let (keeping, server) = (
        Keeping::new(),
        counted("Cache-Control: max-age=600\r\nVary: Accept-Language\r\n"),
    );
    let lab = keeping.to(&server, hour());
    let of = |language: &str| {
        let answer = ask(
            &lab,
            &format!("GET / HTTP/1.1\r\nAccept-Language: {language}\r\nUser-Agent: {language}"),
        );
        body(&answer).to_owned()
    };
    assert_eq!(
        (of("de"), keeping.kept(1).len()),
        ("answer 0".to_owned(), 1)
    );
    assert_eq!(
        (of("fr"), keeping.kept(2).len()),
        ("answer 1".to_owned(), 2)
    );
    assert_eq!((of("de"), of("fr")), ("answer 0".into(), "answer 1".into()));
    assert_eq!(server.asked(), 2);
}

#[test]
fn a_client_that_has_the_answer_is_told_so_from_the_cache() {
    let (keeping, server) = (Keeping::new(), counted(FOR_LONG));
    let lab = keeping.to(&server, hour());
    get(&lab, "/");
    keeping.kept(1);
    for (tag, expected) in [
        ("W/\"one\"", "304"),
        ("\"two\", \"one\"", "304"),
        ("\"two\"", "200"),
    ] {
        let answer = ask(&lab, &format!("GET / HTTP/1.1\r\nIf-None-Match: {tag}"));
        assert_eq!(status(&answer), expected, "{tag}: {answer}");
        assert_eq!(
            body(&answer).is_empty(),
            expected == "304",
            "{tag}: {answer}"
        );
    }
    assert_eq!(server.asked(), 1);
}

#[test]
fn a_change_at_an_address_takes_its_answers_away() {
    let (keeping, server) = (Keeping::new(), counted(FOR_LONG));
    let lab = keeping.to(&server, hour());
    get(&lab, "/a");
    get(&lab, "/b");
    keeping.kept(2);
    let changed = ask(&lab, "POST /a HTTP/1.1\r\nContent-Length: 0");
    assert_eq!(status(&changed), "200");
    keeping.kept(1);
    assert_eq!(body(&get(&lab, "/b")), "answer 1");
    assert_eq!(body(&get(&lab, "/a")), "answer 3");
}

#[test]
fn an_answer_larger_than_is_kept_still_passes_whole() {
    let (keeping, server) = (
        Keeping::new(),
        speaking(|_, _, stream| {
            let size = 3 << 20;
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n"
            )?;
            stream.write_all(&vec![b'x'; size])?;
            stream.write_all(b"\r\n0\r\n\r\n")?;
            Ok(true)
        }),
    );
    let small = Room {
        one: 1 << 20,
        ..Room::default()
    };
    let egress = policy(&server.secure, hour());
    let lab = keeping.within(("eng-backend", small), egress.clone(), Rates::default());
    let answer = get(&lab, "/");
    assert!(answer.matches('x').count() >= 3 << 20, "{}", answer.len());
    assert_eq!(keeping.settled().len(), 0);
    drop(lab);
    let lab = keeping.lab("eng-backend", egress);
    let first = get(&lab, "/").matches('x').count();
    keeping.kept(1);
    let kept = get(&lab, "/");
    assert_eq!(field(&kept, "cache-status").as_deref(), Some("loki; hit"));
    assert_eq!(field(&kept, "content-length").as_deref(), Some("3145728"));
    assert_eq!(body(&kept).matches('x').count(), 3 << 20);
    assert!(first >= 3 << 20);
    assert_eq!(server.asked(), 2);
}

#[test]
fn kept_answers_are_for_this_user_alone() {
    let (keeping, server) = (Keeping::new(), counted(FOR_LONG));
    let lab = keeping.to(&server, hour());
    get(&lab, "/");
    let file = keeping.kept(1).remove(0);
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(&keeping.key()), 0o600);
    for directory in file.ancestors().skip(1).take(4) {
        assert_eq!(mode(directory), 0o700, "{}", directory.display());
    }
}

#[test]
fn a_rule_without_the_key_keeps_nothing_and_gives_nothing_again() {
    let (keeping, server) = (Keeping::new(), counted(FOR_LONG));
    let before = keeping.to(&server, hour());
    get(&before, "/");
    keeping.kept(1);
    let lab = keeping.to(&server, RequestRule::default());
    assert_eq!(body(&get(&lab, "/")), "answer 1");
    assert_eq!(keeping.settled().len(), 1);
}

#[test]
fn a_kept_answer_obeys_the_rules_and_the_pace_like_any_other() {
    let (keeping, server) = (Keeping::new(), counted(FOR_LONG));
    let before = keeping.to(&server, hour());
    get(&before, "/a");
    keeping.kept(1);
    let narrow = RequestRule {
        paths: vec!["/b".parse().unwrap()],
        ..hour()
    };
    let denied = get(&keeping.to(&server, narrow), "/a");
    assert_eq!(status(&denied), "403", "{denied}");
    let rates = Rates {
        api_calls_per_minute: Some(2),
        ..Rates::default()
    };
    let egress = policy(&server.secure, hour());
    let lab = keeping.within(("eng-backend", Room::default()), egress.clone(), rates);
    assert_eq!(body(&get(&lab, "/a")), "answer 0");
    assert_eq!(body(&get(&lab, "/a")), "answer 0");
    assert_eq!(status(&get(&lab, "/a")), "429");
    let rates = Rates {
        network_bytes_per_run: Some(100),
        ..Rates::default()
    };
    let lab = keeping.within(("eng-backend", Room::default()), egress, rates);
    let spent = get(&lab, "/a");
    assert_eq!(status(&spent), "403", "{spent}");
    assert!(
        json(&spent)["reason"]
            .as_str()
            .unwrap()
            .starts_with("bytes:")
    );
    assert_eq!(server.asked(), 1);
}

#[test]
fn an_event_reaches_the_client_while_the_answer_is_being_kept() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let server = speaking(move |_, _, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfast\r\n")?;
        stream.flush()?;
        wait.lock()
            .unwrap()
            .recv_timeout(Duration::from_secs(10))
            .unwrap();
        stream.write_all(b"4\r\nslow\r\n0\r\n\r\n")?;
        Ok(true)
    });
    let keeping = Keeping::new();
    let lab = keeping.to(&server, hour());
    let mut client = super::inspect_lab::connect(&lab, "a.test", "a.test");
    write!(client, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    super::inspect_lab::until(&mut client, b"fast").unwrap();
    assert_eq!(keeping.files().len(), 0);
    go.send(()).unwrap();
    super::inspect_lab::until(&mut client, b"slow").unwrap();
    keeping.kept(1);
    assert_eq!(body(&get(&lab, "/")), "fastslow");
}
