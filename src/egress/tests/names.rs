//! What the sandbox hears when it asks for names.

use std::net::Ipv4Addr;

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RecordType},
};

use super::lab::{Lab, Table, address, question, question_for, rules};
use crate::{
    egress::{Limits, names::EXPLAINING},
    event::EgressKind,
    policy::{Egress, Protocol},
};

const TYPES: [RecordType; 9] = [
    RecordType::AAAA,
    RecordType::TXT,
    RecordType::HTTPS,
    RecordType::SVCB,
    RecordType::MX,
    RecordType::NULL,
    RecordType::NS,
    RecordType::CNAME,
    RecordType::ANY,
];

fn lab() -> Lab {
    Lab::new(rules(&[
        ("a.test", 443, Protocol::Tls),
        ("a.test", 8080, Protocol::Http),
        ("b.test", 22, Protocol::Tcp),
        ("*.wild.test", 443, Protocol::Tls),
    ]))
}

#[test]
fn each_allowed_name_has_an_address_of_its_own_where_its_ports_listen() {
    let lab = lab();
    let first = lab.lookup("a.test").unwrap();
    assert_eq!(first, Ipv4Addr::new(127, 64, 0, 1));
    assert_eq!(lab.lookup("b.test"), Ok(Ipv4Addr::new(127, 64, 0, 2)));
    assert_eq!(lab.lookup("x.wild.test"), Ok(Ipv4Addr::new(127, 64, 0, 3)));
    assert_eq!(lab.lookup("A.TEST"), Ok(first));
    let mut listeners = lab.listeners();
    listeners.sort();
    let expected = [
        "127.64.0.1:443",
        "127.64.0.1:8080",
        "127.64.0.2:22",
        "127.64.0.3:443",
    ];
    assert_eq!(listeners, expected.map(|at| at.parse().unwrap()));
    assert_eq!(lab.asked(), 0, "a question was forwarded");
}

#[test]
fn other_types_are_answered_empty_at_once_for_allowed_and_denied_names() {
    let lab = lab();
    for name in ["a.test.", "denied.test."] {
        for record_type in TYPES {
            let answer = lab.ask(name, record_type);
            let found = (answer.metadata.response_code, answer.answers.len());
            assert_eq!(found, (ResponseCode::NoError, 0), "{name} {record_type}");
        }
    }
    assert_eq!(lab.listeners(), []);
}

#[test]
fn connections_are_answered_like_packets() {
    let lab = lab();
    let asked = question(9, "a.test.", RecordType::A);
    let answer = lab.stream(&asked).unwrap();
    assert_eq!(address(&answer), lab.lookup("a.test"));
    assert_eq!(
        lab.stream(&question(9, "a.test.", RecordType::TXT))
            .unwrap()
            .answers
            .len(),
        0
    );
    assert_eq!(lab.stream(&[]).map(|m| m.metadata.id), None);
    assert_eq!(address(&lab.stream(&asked).unwrap()), lab.lookup("a.test"));
}

#[test]
fn denied_names_stand_at_the_explaining_address_and_nothing_is_forwarded() {
    let mut lab = lab();
    for name in [
        "denied.test",
        "a.test.evil.test",
        "sub.a.test",
        "wild.test",
        "x.y.wild.test",
        "evila.test",
    ] {
        assert_eq!(lab.lookup(name), Ok(EXPLAINING), "{name}");
    }
    let secret = "mfrggzdfmztwq2lknnwg23tpobyxe43u.leak.test";
    for record_type in TYPES {
        assert_eq!(lab.ask(&format!("{secret}."), record_type).answers.len(), 0);
    }
    assert_eq!(lab.asked(), 0, "a question was forwarded");
    let mut listeners = lab.listeners();
    listeners.sort();
    let explaining = [80, 443].map(|port| (EXPLAINING, port).into());
    assert_eq!(listeners, explaining);
    let denials = lab.denials();
    let leak = denials
        .iter()
        .find(|d| d.host == secret)
        .expect("the leak is recorded");
    assert_eq!(
        (leak.kind, leak.port, &leak.rule),
        (EgressKind::Name, None, &None)
    );
}

#[test]
fn an_empty_policy_denies_every_name() {
    let lab = Lab::new(Egress::default());
    for name in ["a.test", "example.test", "localhost.test", "x"] {
        assert_eq!(lab.lookup(name), Ok(EXPLAINING), "{name}");
    }
}

#[test]
fn localhost_and_reverse_names_never_leave() {
    let mut lab = lab();
    assert_eq!(lab.lookup("localhost"), Ok(Ipv4Addr::LOCALHOST));
    assert_eq!(lab.lookup("x.localhost"), Ok(Ipv4Addr::LOCALHOST));
    assert_eq!(lab.ask("localhost.", RecordType::AAAA).answers.len(), 0);
    for name in ["1.0.64.127.in-addr.arpa.", "b.a.9.8.ip6.arpa."] {
        let code = lab.ask(name, RecordType::PTR).metadata.response_code;
        assert_eq!(code, ResponseCode::NXDomain);
    }
    assert_eq!(lab.close(), []);
}

#[test]
fn hostile_names_are_refused_before_anything_is_decided() {
    let labels: [&[&[u8]]; 16] = [
        &[b"evil.test\0", b"a", b"test"],
        &[b"evil.test\0.a", b"test"],
        &[b"a.test"],
        &[b"a.test", b""],
        &[b"user@a", b"test"],
        &[b"a%00", b"test"],
        &[b"a%2etest"],
        &[b"a\ttest"],
        &[b"a ", b"test"],
        &[b"a/", b"test"],
        &[b"a\\", b"test"],
        &[b"a:443", b"test"],
        &[b"-a", b"test"],
        &[b"a\xc3\xa4", b"test"],
        &[b"\xef\xbd\x81", b"test"],
        &[b"*", b"wild", b"test"],
    ];
    let mut lab = lab();
    let mut sent = 0;
    for name in labels {
        let name = name.iter().copied().filter(|label| !label.is_empty());
        let name = Name::from_labels(name).unwrap();
        let answer = lab
            .packet(&question_for(7, name.clone(), RecordType::A))
            .unwrap();
        assert_eq!(
            answer.metadata.response_code,
            ResponseCode::NXDomain,
            "{name}"
        );
        assert_eq!(answer.answers.len(), 0, "{name}");
        sent += 1;
    }
    assert_eq!((lab.asked(), lab.listeners()), (0, vec![]));
    let denials = lab.denials();
    assert!(denials.len() >= sent - 1, "all are recorded: {denials:?}");
    let plain =
        |d: &crate::egress::Decision| d.host.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    assert!(
        denials.iter().all(plain),
        "a control character reached the record: {denials:?}"
    );
}

#[test]
fn addresses_asked_for_as_names_never_become_allowed() {
    let lab = lab();
    for name in [
        "127.0.0.1",
        "169.254.169.254",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
    ] {
        let found = lab.lookup(name);
        assert!(
            matches!(found, Ok(EXPLAINING) | Err(ResponseCode::NXDomain)),
            "{name}: {found:?}"
        );
    }
    assert_eq!(lab.asked(), 0);
}

#[test]
fn garbage_is_refused_or_ignored_and_the_next_question_is_answered() {
    let lab = lab();
    let mut two = Message::from_vec(&question(7, "a.test.", RecordType::A)).unwrap();
    two.queries.push(two.queries[0].clone());
    let mut update = question(7, "a.test.", RecordType::A);
    update[2] |= 5 << 3;
    let mut chaos = question(7, "a.test.", RecordType::A);
    *chaos.last_mut().unwrap() = 3;
    let looped = [
        &[0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..],
        &[0xc0, 12, 0, 1, 0, 1],
    ]
    .concat();
    let forward = [
        &[0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..],
        &[0xc0, 14, 0xc0, 12, 0, 1, 0, 1],
    ]
    .concat();
    let cut = question(7, "a.test.", RecordType::A)[..20].to_vec();
    let oversized = [question(7, "a.test.", RecordType::A), vec![0; 8000]].concat();
    let cases = [
        (two.to_vec().unwrap(), Some(ResponseCode::FormErr)),
        (update, Some(ResponseCode::NotImp)),
        (chaos, Some(ResponseCode::Refused)),
        (looped, Some(ResponseCode::FormErr)),
        (forward, Some(ResponseCode::FormErr)),
        (cut, Some(ResponseCode::FormErr)),
        (vec![], None),
        (vec![0; 11], None),
        (vec![0xff; 500], None),
    ];
    for (bytes, code) in cases {
        let answer = lab.packet(&bytes);
        assert_eq!(answer.map(|m| m.metadata.response_code), code, "{bytes:?}");
    }
    // Whatever it is read as, it must not end the service.
    drop(lab.packet(&oversized));
    assert!(lab.lookup("a.test").is_ok());
}

#[test]
fn a_thousand_labels_under_a_wildcard_trip_the_budget() {
    let limits = Limits {
        names_per_minute: 100,
        ..Limits::default()
    };
    let mut lab = Lab::with(
        rules(&[("*.wild.test", 443, Protocol::Tls)]),
        Table::default(),
        limits,
    );
    let code = |n: usize| {
        lab.ask(&format!("x{n}.wild.test."), RecordType::TXT)
            .metadata
            .response_code
    };
    let refused = (0..1000)
        .filter(|n| code(*n) == ResponseCode::Refused)
        .count();
    assert_eq!(refused, 900);
    let denials = lab.denials();
    assert!(denials.iter().any(|d| {
        d.reason
            .as_ref()
            .is_some_and(|r| r.contains("100 different"))
    }));
    assert!(
        denials.len() < 300,
        "{} records of 900 denials",
        denials.len()
    );
}

#[test]
fn a_full_table_refuses_further_names_and_keeps_the_known_ones() {
    let limits = Limits {
        names: 2,
        ..Limits::default()
    };
    let lab = Lab::with(
        rules(&[("*.wild.test", 443, Protocol::Tls)]),
        Table::default(),
        limits,
    );
    let first = lab.lookup("a.wild.test").unwrap();
    assert!(lab.lookup("b.wild.test").is_ok());
    assert_eq!(lab.lookup("c.wild.test"), Err(ResponseCode::Refused));
    assert_eq!(lab.lookup("a.wild.test"), Ok(first));
    assert_eq!(lab.listeners().len(), 2);
}
