//! Attacks on kept answers: from another role, from a server, and by files that were planted.

use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use super::{
    cache_lab::{Counted, Keeping, body, counted, field, hour, speaking},
    inspect_lab::{NAME, SECRET, ask, connect, policy, status, until, with_credential},
    lab::Lab,
};
use crate::{
    egress::{Answers, CacheError, Room},
    policy::{CredentialForm, Rates, RequestRule},
    redact::Redactor,
};

const FOR_LONG: &str = "Cache-Control: max-age=86400\r\n";

fn get(lab: &Lab, path: &str) -> String {
    ask(lab, &format!("GET {path} HTTP/1.1"))
}

/// G16.
#[test]
fn a_role_never_sees_what_another_role_was_answered() {
    let (keeping, server) = (Keeping::new(), counted(FOR_LONG));
    let egress = policy(&server.secure, hour());
    let first = keeping.lab("eng-backend", egress.clone());
    let other = keeping.lab("eng-frontend", egress.clone());
    assert_eq!(body(&get(&first, "/")), "answer 0");
    let bad = keeping.kept(1).remove(0);
    assert_eq!(body(&get(&other, "/")), "answer 1");
    let good = keeping.kept(2);
    let good = good.iter().find(|file| **file != bad).unwrap();
    // Even with a hand in the files no answer moves to another role.
    fs::copy(&bad, good).unwrap();
    assert_eq!(body(&get(&other, "/")), "answer 2");
    assert_eq!(body(&get(&first, "/")), "answer 0");
}

/// What one program of a role sends beside the usual changes nothing for the others.
#[test]
fn headers_that_a_server_may_look_at_unsaid_make_another_question() {
    let server = speaking(|n, head, stream| {
        let evil = head.contains("x-forwarded-host: evil");
        let text = if evil { "evil" } else { "good" };
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 5\r\n\r\n{text}{n}"
        )?;
        Ok(true)
    });
    let keeping = Keeping::new();
    let lab = keeping.to(&server, hour());
    let evil = ask(&lab, "GET / HTTP/1.1\r\nX-Forwarded-Host: evil");
    assert_eq!(body(&evil), "evil0");
    keeping.kept(1);
    assert_eq!(body(&get(&lab, "/")), "good1");
    keeping.kept(2);
    assert_eq!(body(&get(&lab, "/")), "good1");
    let evil = ask(&lab, "GET / HTTP/1.1\r\nX-Forwarded-Host: evil");
    assert_eq!(body(&evil), "evil0");
}

#[test]
fn an_answer_that_breaks_off_is_never_kept() {
    let broken: [&[u8]; 5] = [
        b"Content-Length: 10\r\n\r\nhalf",
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"Transfer-Encoding: chunked\r\n\r\na\r\nhalf",
        b"\r\nhalf",
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nX-Trailer: x\r\n\r\n",
    ];
    for rest in broken {
        let server = speaking(move |_, _, stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n")?;
            stream.write_all(rest)?;
            Ok(false)
        });
        let keeping = Keeping::new();
        let lab = keeping.to(&server, hour());
        for _ in 0..2 {
            let answer = get(&lab, "/");
            assert!(answer.contains("half"), "{answer}");
            assert_eq!(field(&answer, "cache-status"), None, "{answer}");
        }
        assert_eq!(keeping.settled().len(), 0, "{}", rest.escape_ascii());
        assert_eq!(server.asked(), 2, "{}", rest.escape_ascii());
    }
}

#[test]
fn a_part_of_an_answer_is_never_kept_even_unasked() {
    let server = speaking(|_, _, stream| {
        stream.write_all(b"HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=600\r\nContent-Length: 4\r\n\r\npart")?;
        Ok(true)
    });
    let keeping = Keeping::new();
    let lab = keeping.to(&server, hour());
    get(&lab, "/");
    get(&lab, "/");
    assert_eq!((keeping.settled().len(), server.asked()), (0, 2));
}

#[test]
fn a_client_that_goes_away_leaves_nothing_kept() {
    let server = speaking(|_, _, stream| {
        stream.write_all(
            b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 400000\r\n\r\nbegin",
        )?;
        stream.flush()?;
        until(stream, b"never")?;
        Ok(false)
    });
    let keeping = Keeping::new();
    let lab = keeping.to(&server, hour());
    let mut client = connect(&lab, NAME, NAME);
    write!(client, "GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").unwrap();
    until(&mut client, b"begin").unwrap();
    drop(client);
    assert_eq!(keeping.settled().len(), 0);
}

/// A way to spoil a file.
type Spoil = fn(&Path);

fn edit(file: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    change(&mut bytes);
    // In place: the file stays the one that was kept.
    let file = fs::OpenOptions::new().write(true).truncate(true).open(file);
    file.unwrap().write_all(&bytes).unwrap();
}

const SPOILED: [(&str, Spoil); 12] = [
    ("a changed body", |file| {
        edit(file, |bytes| *bytes.last_mut().unwrap() = b'!');
    }),
    ("a cut body", |file| {
        edit(file, |bytes| bytes.truncate(bytes.len() - 1));
    }),
    ("a longer body", |file| edit(file, |bytes| bytes.push(b'!'))),
    ("another head", |file| {
        edit(file, |bytes| {
            let text = String::from_utf8(bytes.clone()).unwrap();
            *bytes = text.replace("max-age=86400", "max-age=99999").into_bytes();
        });
    }),
    ("another magic", |file| edit(file, |bytes| bytes[0] = b'L')),
    ("nobody vouching", |file| {
        edit(file, |bytes| bytes[14..78].fill(b'0'));
    }),
    ("nothing", |file| edit(file, Vec::clear)),
    ("noise", |file| edit(file, |bytes| bytes.fill(0xff))),
    ("a deep head", |file| {
        edit(file, |bytes| {
            bytes.truncate(79);
            bytes.extend([b'['; 20_000]);
        });
    }),
    ("readable by all", |file| {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    }),
    ("a link", |file| {
        let away = file.with_extension("away");
        let away = file
            .ancestors()
            .nth(6)
            .unwrap()
            .join(away.file_name().unwrap());
        fs::rename(file, &away).unwrap();
        symlink(&away, file).unwrap();
    }),
    ("a second name", |file| {
        let away = file.ancestors().nth(6).unwrap().join("second");
        fs::hard_link(file, away).unwrap();
    }),
];

#[test]
fn a_file_that_was_spoiled_is_not_believed_and_goes() {
    for (what, spoil) in SPOILED {
        let (keeping, server) = (Keeping::new(), counted(FOR_LONG));
        let lab = keeping.to(&server, hour());
        get(&lab, "/");
        let file = keeping.kept(1).remove(0);
        assert_eq!(body(&get(&lab, "/")), "answer 0");
        spoil(&file);
        assert_eq!(body(&get(&lab, "/")), "answer 1", "{what}");
        keeping.kept(1);
        assert_eq!(body(&get(&lab, "/")), "answer 1", "{what}");
    }
}

#[test]
fn answers_that_came_along_with_a_repository_are_not_believed() {
    let (theirs, server) = (Keeping::new(), counted(FOR_LONG));
    let before = theirs.to(&server, hour());
    get(&before, "/");
    let planted = theirs.kept(1).remove(0);
    let ours = Keeping::new();
    let below = planted.strip_prefix(theirs.state.path()).unwrap();
    let place = ours.state.path().join(below);
    drop(ours.open(Room::default(), &[]));
    for directory in place
        .ancestors()
        .skip(1)
        .take(2)
        .collect::<Vec<_>>()
        .iter()
        .rev()
    {
        fs::create_dir(directory).unwrap();
    }
    fs::copy(&planted, &place).unwrap();
    assert_eq!(body(&get(&ours.to(&server, hour()), "/")), "answer 1");
}

#[test]
fn a_directory_that_is_a_link_is_never_followed() {
    let elsewhere = tempfile::tempdir().unwrap();
    for name in [
        ".loki/cache",
        ".loki/cache/research",
        ".loki/cache/research/.unfinished",
    ] {
        let keeping = Keeping::new();
        let link = keeping.state.path().join(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(elsewhere.path(), &link).unwrap();
        let opened = Answers::open(
            (&keeping.state.path().join(".loki"), Room::default()),
            &keeping.key(),
            Redactor::default(),
            std::sync::Arc::new(|| std::time::SystemTime::UNIX_EPOCH),
        );
        assert!(matches!(opened, Err(CacheError::Io { .. })), "{name}");
    }
    for name in ["eng-backend", "place"] {
        let (keeping, server) = (Keeping::new(), counted(FOR_LONG));
        let lab = keeping.to(&server, hour());
        get(&lab, "/");
        let file = keeping.kept(1).remove(0);
        let place = file.parent().unwrap();
        let at = if name == "place" {
            place
        } else {
            place.parent().unwrap()
        };
        let away = elsewhere.path().join(name);
        fs::rename(at, &away).unwrap();
        let held = fs::read_dir(&away).unwrap().count();
        let is_link = || at.symlink_metadata().is_ok_and(|facts| facts.is_symlink());
        let (mut seen, mut last) = (0, "answer 0".to_owned());
        // What is there is counted once, in the background, and a link is removed by that: then it
        // is planted anew.
        for _ in 0..20 {
            if !is_link() {
                // An answer may be put there meanwhile.
                fs::remove_dir_all(at).ok();
                symlink(&away, at).ok();
            }
            let now = body(&get(&lab, "/")).to_owned();
            if is_link() {
                assert_ne!(now, last, "{name}");
                (seen, last) = (seen + 1, now);
            }
            if seen > 1 {
                break;
            }
        }
        assert!(seen > 1, "{name}: the link is always gone");
        assert_eq!(fs::read_dir(&away).unwrap().count(), held, "{name}");
    }
}

#[test]
fn a_key_that_others_can_read_or_that_is_a_link_is_refused() {
    let open = |keeping: &Keeping| {
        Answers::open(
            (&keeping.state.path().join(".loki"), Room::default()),
            &keeping.key(),
            Redactor::default(),
            std::sync::Arc::new(|| std::time::SystemTime::UNIX_EPOCH),
        )
    };
    let spoils: [Spoil; 3] = [
        |key| fs::set_permissions(key, fs::Permissions::from_mode(0o640)).unwrap(),
        |key| edit(key, |bytes| bytes.truncate(bytes.len() - 1)),
        |key| {
            fs::rename(key, key.with_extension("away")).unwrap();
            symlink(key.with_extension("away"), key).unwrap();
        },
    ];
    for spoil in spoils {
        let keeping = Keeping::new();
        open(&keeping).unwrap();
        open(&keeping).unwrap();
        spoil(&keeping.key());
        assert!(matches!(open(&keeping), Err(CacheError::Key { .. })));
    }
}

fn credentialed(cache: &'static str) -> (Keeping, Counted, RequestRule) {
    let server = speaking(move |n, head, stream| {
        let held = head
            .lines()
            .find_map(|line| line.strip_prefix("x-own: "))
            .unwrap_or("nothing")
            .to_owned();
        let text = format!("answer {n} to {held}");
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nCache-Control: {cache}\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        )?;
        Ok(true)
    });
    let part = RequestRule {
        cache: hour().cache,
        ..with_credential(CredentialForm::Header("x-own".to_owned()))
    };
    (Keeping::new(), server, part)
}

#[test]
fn what_a_credential_was_given_for_is_kept_only_where_it_is_everybodys() {
    for cache in [
        "max-age=600",
        "private, max-age=600",
        "max-age=600, immutable",
    ] {
        let (keeping, server, part) = credentialed(cache);
        let lab = keeping.to(&server, part);
        for n in 0..2 {
            let expected = format!("answer {n} to {}", "*".repeat(SECRET.len()));
            assert_eq!(body(&get(&lab, "/")), expected, "{cache}");
        }
        assert_eq!(keeping.settled().len(), 0, "{cache}");
    }
}

#[test]
fn a_credential_stands_in_no_kept_answer_and_parts_its_questions() {
    let (keeping, server, part) = credentialed("public, max-age=600");
    let lab = keeping.to(&server, part);
    let masked = format!("answer 0 to {}", "*".repeat(SECRET.len()));
    assert_eq!(body(&get(&lab, "/")), masked);
    let file = keeping.kept(1).remove(0);
    let bytes = fs::read(&file).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains(SECRET));
    assert_eq!(body(&get(&lab, "/")), masked);
    assert_eq!(server.asked(), 1);
    let plain = keeping.to(&server, hour());
    assert_eq!(body(&get(&plain, "/")), "answer 1 to nothing");
}

#[test]
fn an_answer_that_holds_a_secret_of_any_kind_is_not_kept() {
    for secret in ["sk-other-0123456789", "c2stb3RoZXItMDEyMzQ1Njc4OQ=="] {
        let server = speaking(move |_, _, stream| {
            let text = format!("page {} {secret} end", "x".repeat(200_000));
            write!(
                stream,
                "HTTP/1.1 200 OK\r\n{FOR_LONG}Content-Length: {}\r\n\r\n{text}",
                text.len()
            )?;
            Ok(true)
        });
        let keeping = Keeping::new();
        let lab = keeping.to(&server, hour());
        assert!(
            get(&lab, "/").contains(secret),
            "it is no credential of a rule"
        );
        assert_eq!(keeping.settled().len(), 0, "{secret}");
        get(&lab, "/");
        assert_eq!(
            (keeping.settled().len(), server.asked()),
            (0, 2),
            "{secret}"
        );
    }
}

#[test]
fn hostile_heads_neither_stop_the_gateway_nor_are_kept_too_long() {
    let heads = [
        "Age: 18446744073709551615\r\nCache-Control: max-age=18446744073709551615\r\n",
        "Age: 18446744073709551615\r\nCache-Control: max-age=18446744073709551615\r\nETag: \"x\"\r\n",
        "Age: -1\r\nCache-Control: max-age=600\r\n",
        "Age: x, 5\r\nCache-Control: max-age=600\r\n",
        "Date: Mon, 01 Jan 0000 00:00:00 GMT\r\nExpires: Fri, 31 Dec 9999 23:59:59 GMT\r\n",
        "Last-Modified: Fri, 31 Dec 9999 23:59:59 GMT\r\nDate: Mon, 01 Jan 1900 00:00:00 GMT\r\n",
        "Cache-Control: max-age=\"\u{e9}\"\r\nETag: \"\u{ff}\"\r\n",
        "Cache-Control: ,,,=,max-age=,no-cache=\"a,b\r\nETag: \"a, b\r\n",
        "Vary: \r\nVary: ,,\r\nVary: a b\r\nCache-Control: max-age=60\r\n",
        "ETag: W/\r\nCache-Control: max-age=1\r\nWarning: 1\r\nWarning: \u{ff}\r\n",
        "Pragma: \u{ff}\r\nExpires: 0\r\nExpires: Fri, 31 Dec 9999 23:59:59 GMT\r\nETag: x\r\n",
    ];
    for head in heads {
        let (keeping, server) = (Keeping::new(), counted(head));
        let lab = keeping.to(&server, hour());
        for _ in 0..3 {
            let answer = get(&lab, "/");
            assert!(matches!(status(&answer), "200" | "502"), "{head}: {answer}");
            keeping.settled();
            keeping.pass(2);
        }
        keeping.pass(3600);
        let before = server.asked();
        get(&lab, "/");
        assert_eq!(server.asked(), before + 1, "{head}");
    }
}

#[test]
fn a_server_that_confirms_what_was_not_asked_is_not_believed() {
    let server = speaking(|n, _, stream| {
        let answer = match n {
            0 => {
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=1\r\nETag: \"one\"\r\nContent-Length: 3\r\n\r\none"
            }
            1 => "HTTP/1.1 304 Not Modified\r\nETag: \"two\"\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\n\r\ntwo",
        };
        stream.write_all(answer.as_bytes())?;
        Ok(true)
    });
    let keeping = Keeping::new();
    let lab = keeping.to(&server, hour());
    get(&lab, "/");
    keeping.kept(1);
    keeping.pass(2);
    assert_eq!(status(&get(&lab, "/")), "502");
    assert_eq!(keeping.settled().len(), 0);
    assert_eq!(body(&get(&lab, "/")), "two");
}

#[test]
fn the_role_that_uses_most_makes_room_and_others_keep_theirs() {
    let (keeping, server) = (Keeping::new(), counted(FOR_LONG));
    let room = Room {
        all: 160 << 10,
        ..Room::default()
    };
    let egress = policy(&server.secure, hour());
    let of = |role| keeping.within((role, room), egress.clone(), Rates::default());
    let quiet = of("eng-frontend");
    get(&quiet, "/mine");
    keeping.kept(1);
    let greedy = of("eng-backend");
    for n in 0..40 {
        get(&greedy, &format!("/{n}"));
        let kept = keeping.settled().len();
        assert!(kept <= 11, "{kept}");
    }
    let before = server.asked();
    assert_eq!(body(&get(&quiet, "/mine")), "answer 0");
    assert_eq!(server.asked(), before);
}
