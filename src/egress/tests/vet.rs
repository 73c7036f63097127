//! Packages vetted at the gateway: a registry of the test's own, asked by a client that asks
//! straight for a file, as one with a lock file does.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;

use super::{
    inspect_lab::{NAME, OK, Secure, ask, call, json, lab, requests, secure, status, until},
    lab::{Lab, pin, rules, upstream},
};
use crate::{
    policy::{Protocol, RegistryHost, RegistryKind, RegistryRule, RequestRule},
    vetting::{Collection, Database, Record},
};

const DAY: Duration = Duration::from_secs(86_400);

/// A rule for the registry at [`NAME`].
fn registry(kind: RegistryKind, min_age: Option<Duration>) -> RequestRule {
    let host = RegistryHost {
        host: NAME.parse().unwrap(),
        port: 443,
        protocol: Protocol::Tls,
        prefix: String::new(),
    };
    let rule = RegistryRule {
        kind,
        min_age,
        allow: Vec::new(),
        deny: vec!["evil".to_owned()],
        advisories: None,
        accept: Vec::new(),
        hosts: vec![host],
    };
    RequestRule {
        methods: vec!["GET".to_owned(), "HEAD".to_owned()],
        paths: ["/**", "/@*%2F*"].map(|one| one.parse().unwrap()).to_vec(),
        registry: Some(rule),
        ..RequestRule::default()
    }
}

/// A registry of npm: `x` came out in two versions, `broken` breaks, all else is a file or absent.
fn serving(asked: &Arc<AtomicUsize>) -> Secure {
    let asked = Arc::clone(asked);
    let now = Timestamp::now();
    let packument = format!(
        r#"{{"name": "x", "time": {{"created": "2020-01-01T00:00:00Z", "1.0.0": "2020-01-01T00:00:00Z", "2.0.0": "{now}"}}}}"#
    );
    secure(move |stream| {
        let mut heard = Vec::new();
        loop {
            let next = until(stream, b"\r\n\r\n").unwrap_or_default();
            if next.is_empty() {
                return Ok(heard);
            }
            let head = String::from_utf8_lossy(&next).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default();
            asked.fetch_add(usize::from(path == "/x"), Ordering::SeqCst);
            let (status, body) = match path {
                "/x" => ("200 OK", packument.as_str()),
                "/broken" => ("500 Oh", "no"),
                "/strange" => ("200 OK", "<html>"),
                path if path.ends_with(".tgz") => ("200 OK", "the file"),
                _ => ("404 Not Found", "none"),
            };
            heard.extend(next);
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
        }
    })
}

fn known() -> Arc<Database> {
    let text = r#"{"id": "GHSA-a", "modified": "2024-05-01T00:00:00Z", "aliases": ["CVE-2024-1"],
        "affected": [{"package": {"ecosystem": "npm", "name": "x"},
            "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "1.0.1"}]}]}]}"#;
    let mut collection = Collection::default();
    collection.add(Record::read("x.json".as_ref(), text).unwrap());
    let (bytes, _) = collection.written(Timestamp::UNIX_EPOCH, Vec::new());
    Arc::new(Database::read(bytes).unwrap())
}

#[test]
fn a_client_that_asks_straight_for_a_file_is_vetted_by_age_too() {
    let asked = Arc::default();
    let server = serving(&asked);
    let mut lab = lab(&server, registry(RegistryKind::Npm, Some(3 * DAY)));
    for _ in 0..3 {
        let fine = ask(&lab, "GET /x/-/x-1.0.0.tgz HTTP/1.1");
        assert!(fine.ends_with("\r\n\r\nthe file"), "{fine}");
    }
    let young = ask(&lab, "GET /x/-/x-2.0.0.tgz HTTP/1.1");
    assert_eq!(status(&young), "403", "{young}");
    assert!(
        young.starts_with(
            "HTTP/1.1 403 Forbidden: x 2.0.0 is younger than 3 days; the newest that is: 1.0.0\r\n"
        ),
        "{young}"
    );
    let said = json(&young);
    assert_eq!(said["reason"], said["error"]);
    assert_eq!(said["next"], "use version 1.0.0, or an older one");
    assert_eq!(
        asked.load(Ordering::SeqCst),
        1,
        "the registry is asked once"
    );
    let (decided, _) = requests(&mut lab);
    let denied: Vec<_> = decided.iter().filter(|one| !one.allowed).collect();
    assert_eq!(denied.len(), 1, "{decided:?}");
    assert_eq!(denied[0].call, call("GET", "/x/-/x-2.0.0.tgz"));
    assert!(denied[0].reason.as_ref().unwrap().contains("came out"));
    let own = decided.iter().find(|one| one.call == call("GET", "/x"));
    let own = own.and_then(|own| own.reason.clone()).unwrap();
    assert_eq!(own, "asked by the gateway: when did `x 1.0.0` come out");
}

#[test]
fn what_is_not_known_of_a_version_refuses_it() {
    let asked = Arc::default();
    let server = serving(&asked);
    let lab = lab(&server, registry(RegistryKind::Npm, Some(3 * DAY)));
    for (request, expected, said) in [
        ("GET /x/-/x-3.0.0.tgz HTTP/1.1", "403", "does not say when"),
        ("GET /y/-/y-1.0.0.tgz HTTP/1.1", "403", "does not say when"),
        ("HEAD /x/-/x-2.0.0.tgz HTTP/1.1", "403", ""),
        (
            "GET /broken/-/broken-1.0.0.tgz HTTP/1.1",
            "502",
            "answered 500",
        ),
        (
            "GET /strange/-/strange-1.0.0.tgz HTTP/1.1",
            "502",
            "no metadata",
        ),
        ("GET /x/-/y-1.0.0.tgz HTTP/1.1", "403", "no known form"),
        (
            "GET /x/-/x-1.0.0.tgz/.. HTTP/1.1",
            "403",
            "no rule for paths covers",
        ),
        ("GET /x/-/x-latest.tgz HTTP/1.1", "403", "no version"),
        (
            "GET /evil HTTP/1.1",
            "403",
            "`deny` of its rule names `evil`",
        ),
    ] {
        let answer = ask(&lab, request);
        assert_eq!(status(&answer), expected, "{request}: {answer}");
        assert!(answer.contains(said), "{request}: {answer}");
        assert!(!answer.contains("the file"), "{request}: {answer}");
    }
    let heard: Vec<u8> = server.server.heard.try_iter().flatten().collect();
    let heard = String::from_utf8_lossy(&heard).into_owned();
    assert!(!heard.contains(".tgz"), "{heard}");
}

#[test]
fn an_advisory_refuses_a_file_once_some_were_imported() {
    let asked = Arc::default();
    let server = serving(&asked);
    let mut rule = registry(RegistryKind::Npm, None);
    rule.registry.as_mut().unwrap().deny.clear();
    let mut lab = lab(&server, rule);
    let request = "GET /x/-/x-1.0.0.tgz HTTP/1.1";
    let before = ask(&lab, request);
    assert!(
        before.ends_with("\r\n\r\nthe file"),
        "nothing is vetted yet: {before}"
    );
    lab.threads.vet_with(known());
    let refused = ask(&lab, request);
    assert!(
        refused.starts_with("HTTP/1.1 403 Forbidden: x 1.0.0: GHSA-a; fixed in 1.0.1\r\n"),
        "{refused}"
    );
    let reason = "`x 1.0.0` has a known advisory: GHSA-a (CVE-2024-1); fixed in 1.0.1";
    assert_eq!(json(&refused)["reason"], reason);
    assert_eq!(json(&refused)["next"], "use version 1.0.1 or a later one");
    for fine in [
        "GET /x/-/x-1.0.1.tgz HTTP/1.1",
        "GET /y/-/y-1.0.0.tgz HTTP/1.1",
    ] {
        assert!(ask(&lab, fine).ends_with("the file"), "{fine}");
    }
    assert_eq!(status(&ask(&lab, "GET /x HTTP/1.1")), "200");
    let (decided, _) = requests(&mut lab);
    let denied = decided.iter().find(|one| !one.allowed).unwrap();
    assert_eq!(denied.reason.as_deref(), Some(reason));
}

#[test]
fn over_plain_http_packages_are_vetted_alike() {
    let server = upstream(|stream| {
        let heard = until(stream, b"\r\n\r\n")?;
        stream.write_all(OK.as_bytes())?;
        Ok(heard)
    });
    let mut part = registry(RegistryKind::Debian, None);
    let rule = part.registry.as_mut().unwrap();
    rule.hosts[0].port = 80;
    rule.hosts[0].protocol = Protocol::Http;
    let mut egress = rules(&[(NAME, 80, Protocol::Http)]);
    egress.rules[0].request = Some(Box::new(part));
    let mut lab = Lab::new(pin(egress, NAME, server.at));
    for (path, status) in [
        ("/dists/x/InRelease", "200"),
        ("/pool/main/f/fine/fine_1.0-1_all.deb", "200"),
        ("/pool/main/e/evil/libevil_1.0-1_all.deb", "403"),
        ("/pool/main/f/fine/evil_1.0-1_all.deb", "403"),
        ("/pool/fine_1.0-1_all.deb", "403"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
        let answer = lab.say(NAME, 80, request.as_bytes());
        assert_eq!(self::status(&answer), status, "{path}: {answer}");
    }
    assert_eq!(lab.denials().len(), 3);
}

#[test]
fn of_many_clients_that_ask_at_once_one_asks_the_registry() {
    let asked: Arc<AtomicUsize> = Arc::default();
    let server = serving(&asked);
    let lab = lab(&server, registry(RegistryKind::Npm, Some(3 * DAY)));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let fine = ask(&lab, "GET /x/-/x-1.0.0.tgz HTTP/1.1");
                assert!(fine.ends_with("the file"), "{fine}");
            });
        }
    });
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
