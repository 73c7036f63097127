use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::{
    digest::Digest,
    event::{Breach, Event, Outcome},
};

/// Of each class, what schema version 1.3.0 requires besides what every event has.
const REQUIRED: [(u64, &[&str]); 7] = [
    (1007, &["actor", "device", "process"]),
    (2004, &["finding_info"]),
    (4001, &["dst_endpoint"]),
    (4002, &["dst_endpoint", "http_request", "http_response"]),
    (4003, &["query", "dst_endpoint"]),
    (6002, &["app"]),
    (6003, &["actor", "api", "src_endpoint"]),
];

fn run() -> RunId {
    "20261121-073300-1f3a".parse().unwrap()
}

fn record(event: Event) -> Record {
    Record {
        seq: 7,
        ts: "2026-11-21T07:33:00.25Z".parse().unwrap(),
        prev: Digest::default(),
        event,
        hash: Digest::of(b"x"),
    }
}

fn of_fixture(text: &str) -> Vec<(Record, &str)> {
    let lines = text.lines();
    lines
        .map(|line| {
            let mut value: Value = serde_json::from_str(line).unwrap();
            value.as_object_mut().unwrap().remove("format");
            (serde_json::from_value(value).unwrap(), line)
        })
        .collect()
}

/// Every record of three real runs, and one of each kind they do not have.
fn records() -> Vec<Record> {
    let runs = [
        include_str!("../tests/formats/1.jsonl"),
        include_str!("../tests/formats/2.jsonl"),
        include_str!("../tests/formats/3.jsonl"),
    ];
    let mut records: Vec<Record> = runs
        .into_iter()
        .flat_map(|text| of_fixture(text).into_iter().map(|(record, _)| record))
        .collect();
    records.extend(hostile("\"]\\ \n\u{202e}é\u{1f600}").map(record));
    records
}

fn hostile(text: &str) -> [Event; 6] {
    let word = || text.to_owned();
    let closed = |status: Option<u16>, method: Option<String>| Event::EgressClosed {
        sandbox: word(),
        role: "eng-backend".parse().unwrap(),
        host: word(),
        port: 443,
        sent: u64::MAX,
        received: 2,
        elapsed_ms: 3,
        waited_ms: 0,
        method,
        path: status.map(|_| "/a".to_owned()),
        status,
        cache: None,
    };
    [
        closed(None, None),
        closed(Some(200), Some("GET".to_owned())),
        closed(Some(404), Some("BREW".to_owned())),
        Event::Gated {
            task: "store".parse().unwrap(),
            attempt: 1,
            files: 1,
            breaches: vec![Breach {
                rule: word(),
                path: word(),
                message: word(),
            }],
        },
        Event::StopRequested {
            by: word(),
            drain: true,
        },
        Event::RunEnded {
            outcome: Outcome::Failed,
            reason: Some(word()),
        },
    ]
}

fn text(format: Format, record: &Record) -> String {
    let line = String::from_utf8(line(format, &run(), record, b"the line\n")).unwrap();
    let text = line.strip_suffix('\n').expect("a line ends with its break");
    assert!(!text.chars().any(|c| c.is_control()), "{text}");
    text.to_owned()
}

#[test]
fn records_are_exported_as_they_stand() {
    let record = record(hostile("x")[4].clone());
    assert_eq!(text(Format::Jsonl, &record), "the line");
}

#[test]
fn every_event_has_what_its_class_requires_and_loses_nothing() {
    let mut seen = BTreeMap::new();
    for record in records() {
        let event: Value = serde_json::from_str(&text(Format::Ocsf, &record)).unwrap();
        let number = |name: &str| event[name].as_u64().unwrap_or_else(|| panic!("{name}"));
        let class = number("class_uid");
        *seen.entry(class).or_insert(0) += 1;
        assert_eq!(number("category_uid"), class / 1000);
        assert_eq!(number("type_uid"), class * 100 + number("activity_id"));
        assert_eq!(event["time"], record.ts.as_millisecond());
        assert!((1..=4).contains(&number("severity_id")));
        assert_eq!(event["metadata"]["version"], VERSION);
        assert_eq!(event["metadata"]["product"]["vendor_name"], "Loki");
        assert_eq!(event["metadata"]["uid"], record.hash.to_string());
        let (_, required) = REQUIRED.iter().find(|(uid, _)| *uid == class).unwrap();
        for name in *required {
            assert!(event[name].is_object(), "{class} needs {name}: {event}");
        }
        let methods = [
            "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE",
        ];
        let asked = &event["http_request"]["http_method"];
        assert!(asked.is_null() || methods.iter().any(|method| asked == method));
        let back: Event = serde_json::from_value(event["unmapped"].clone()).unwrap();
        assert_eq!(back, record.event);
    }
    let classes: Vec<u64> = REQUIRED.iter().map(|(uid, _)| *uid).collect();
    assert!(
        classes
            .iter()
            .all(|class| seen.contains_key(class) || *class == 4003)
    );
}

/// Reads a message as RFC 5424 writes it: header, structured data, rest.
fn parsed(message: &str) -> (Vec<&str>, BTreeMap<String, String>, &str) {
    let (header, rest) = message
        .split_once(" [loki@32473 ")
        .expect("structured data");
    let mut parameters = BTreeMap::new();
    let mut rest = rest;
    loop {
        let (name, value) = rest.split_once("=\"").expect("a parameter");
        let (mut text, mut chars) = (String::new(), value.char_indices());
        let end = loop {
            match chars.next().expect("the value ends") {
                (_, '\\') => text.push(chars.next().expect("an escaped character").1),
                (at, '"') => break at,
                (_, ']') => panic!("an unescaped bracket in {message}"),
                (_, c) => text.push(c),
            }
        };
        assert!(parameters.insert(name.trim().to_owned(), text).is_none());
        rest = value.split_at(end + 1).1;
        if let Some(rest) = rest.strip_prefix("] ") {
            return (header.split(' ').collect(), parameters, rest);
        }
    }
}

#[test]
fn every_message_is_one_of_rfc_5424_and_no_text_breaks_out_of_it() {
    for record in records() {
        let message = text(Format::Syslog, &record);
        assert!(message.is_ascii(), "{message}");
        let (header, parameters, rest) = parsed(&message);
        let [priority, time, host, program, process, kind] = header[..] else {
            panic!("{message}");
        };
        let priority = priority
            .strip_prefix('<')
            .and_then(|p| p.strip_suffix(">1"));
        let priority: u8 = priority.unwrap().parse().unwrap();
        assert_eq!((priority / 8, host, program), (13, "-", "loki"));
        assert_eq!(time.parse::<jiff::Timestamp>().unwrap(), record.ts);
        assert_eq!(process, run().as_str());
        assert_eq!(parameters["hash"], record.hash.to_string());
        let event: Value = serde_json::from_str(rest).unwrap();
        assert_eq!(event["type"], kind);
        let back: Event = serde_json::from_value(event).unwrap();
        assert_eq!(back, record.event);
    }
    let shown = text(Format::Syslog, &record(hostile("a\"]\\\n")[1].clone()));
    assert_eq!(parsed(&shown).1["host"], "a\"]\\\\u{a}");
}
