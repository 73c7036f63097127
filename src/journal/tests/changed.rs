//! Any events, any text, and any one change: what is written is read back, a change is found, and
//! checking in blocks calls the same record wrong as reading one by one.

use proptest::prelude::*;

use super::{super::check::check_by, *};

/// Text as agents make it: any character, often those that end lines and strings.
fn text() -> impl Strategy<Value = String> {
    let hostile = prop::sample::select(vec![
        "\n", "\r\n", "\"", "\\", "\"}\n", "\0", "\u{2028}", "\u{202e}", "\u{feff}", "{", ",",
    ]);
    let part = prop_oneof![hostile.prop_map(str::to_owned), any::<String>()];
    prop::collection::vec(part, 0..4).prop_map(|parts| parts.concat())
}

fn event() -> impl Strategy<Value = Event> {
    let breach = (text(), text(), text()).prop_map(|(rule, path, message)| Breach {
        rule,
        path,
        message,
    });
    prop_oneof![
        text().prop_map(|text| said(&text)),
        (1..6_u32).prop_map(claimed),
        prop::collection::vec(breach, 0..3).prop_map(|breaches| Event::Gated {
            task: "store".parse().unwrap(),
            attempt: 1,
            files: 3,
            breaches,
        }),
        (text(), any::<bool>(), any::<u64>()).prop_map(|(tail, passed, elapsed_ms)| {
            Event::Checked {
                task: None,
                command: tail.clone(),
                passed,
                tests: passed.then_some(elapsed_ms),
                tail,
                elapsed_ms,
            }
        }),
        (text(), any::<bool>()).prop_map(|(by, drain)| Event::StopRequested { by, drain }),
    ]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(event(), 1..12).prop_map(|mut events| {
        events.insert(0, started());
        events
    })
}

/// The number of the record that reading calls wrong, and how it does.
fn wrong<T>(result: Result<T, JournalError>) -> Option<(u64, std::mem::Discriminant<Fault>)> {
    match result.err()? {
        JournalError::Broken { record, fault, .. } => {
            Some((record, std::mem::discriminant(&fault)))
        }
        // A digit of the format was changed.
        JournalError::Newer { .. } => Some((1, std::mem::discriminant(&Fault::Format))),
        other => panic!("not a fault of a record: {other}"),
    }
}

#[derive(Debug, Clone)]
enum Change {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Double(prop::sample::Index),
    Swap(prop::sample::Index),
    Drop(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        4 => (at(), 1..=255_u8).prop_map(|(at, with)| Change::Flip(at, with)),
        1 => at().prop_map(Change::Cut),
        1 => at().prop_map(Change::Double),
        1 => at().prop_map(Change::Swap),
        1 => at().prop_map(Change::Drop),
    ]
}

/// Changes a journal and returns the first record that differs, unless it only lost its end.
fn changed(bytes: &[u8], change: &Change) -> (Vec<u8>, Option<u64>) {
    let mut lines: Vec<Vec<u8>> = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let count = lines.len();
    let number = |at: usize| Some(at as u64 + 1);
    let first = match change {
        Change::Flip(at, with) => {
            let at = at.index(bytes.len());
            let mut flipped = bytes.to_vec();
            flipped[at] ^= with;
            let record = bytes[..at].iter().filter(|byte| **byte == b'\n').count();
            // The last line break is what makes the last record one.
            let is_torn = at + 1 == bytes.len();
            return (flipped, if is_torn { None } else { number(record) });
        }
        Change::Cut(at) => return (bytes[..at.index(bytes.len())].to_vec(), None),
        Change::Double(at) => {
            let at = at.index(count);
            lines.insert(at, lines[at].clone());
            number(at + 1)
        }
        Change::Swap(at) => {
            let at = at.index(count - 1);
            lines.swap(at, at + 1);
            number(at)
        }
        Change::Drop(at) => {
            let at = at.index(count - 1);
            lines.remove(at);
            number(at)
        }
    };
    (lines.concat(), first)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_events_are_read_back_and_any_change_is_found_and_named(
        events in events(),
        change in change(),
        size in 1..4000_usize,
    ) {
        let home = home();
        let (path, records) = write_all(&home, &events);
        let bytes = std::fs::read(&path).unwrap();
        prop_assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), events.len());
        prop_assert_eq!(&read(&path).unwrap(), &records);
        let wanted: Vec<u64> = (0..20).collect();
        let checked = check_by(&path, &wanted, size).unwrap();
        prop_assert_eq!(checked.records, records.len() as u64);
        prop_assert_eq!(checked.last.as_ref(), records.last());
        let hashes: Vec<Digest> = records.iter().map(|record| record.hash).collect();
        prop_assert_eq!(checked.hashes.into_values().collect::<Vec<_>>(), hashes);

        let (hurt, expected) = changed(&bytes, &change);
        std::fs::write(&path, &hurt).unwrap();
        let one_by_one = wrong(read(&path));
        prop_assert_eq!(wrong(check_by(&path, &[], size)), one_by_one);
        match expected {
            Some(record) => prop_assert_eq!(one_by_one.map(|(found, _)| found), Some(record)),
            None => prop_assert!(verify(&path).is_ok_and(|found| found.records < events.len() as u64)),
        }
    }
}

#[test]
fn a_long_journal_is_checked_in_many_blocks_and_its_faults_are_named() {
    let home = home();
    let mut writer = Writer::create(&home.path, &run(), clock()).unwrap();
    writer.append(&started()).unwrap();
    for n in 0..3000 {
        writer.append(&said(&"x".repeat(n % 1700))).unwrap();
    }
    let path = writer.path().to_owned();
    assert_eq!(verify(&path).unwrap().records, 3001);
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.len() > 3 << 20);
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    lines.swap(2499, 2500);
    std::fs::write(&path, lines.concat()).unwrap();
    let two = wrong(verify(&path)).unwrap();
    assert_eq!(two.0, 2500);
    assert_eq!(wrong(read(&path)), Some(two));
    lines.remove(900);
    std::fs::write(&path, lines.concat()).unwrap();
    assert_eq!(wrong(verify(&path)).unwrap().0, 901, "the first of two");
}
