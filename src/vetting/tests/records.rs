//! Records that are no records, and the database they become.

use super::*;

const BEGIN: &str = "{\n  \"id\": \"X-1\",\n  \"modified\": \"2024-05-01T00:00:00Z\",\n";

fn faulty(text: &str) -> Diagnostic {
    *Record::read(Path::new("a/x.json"), text).unwrap_err()
}

#[test]
fn a_faulty_record_is_told_with_its_place_and_what_would_be_right() {
    let affected = |inside: &str| format!("{BEGIN}  \"affected\": [{{{inside}}}]}}");
    let range = |inside: &str| affected(&format!("\"ranges\": [{{{inside}}}]"));
    let event = |inside: &str| range(&format!("\"type\": \"SEMVER\", \"events\": [{{{inside}}}]"));
    let id = "{\"id\": \"a\\u001bb\", \"modified\": \"2024-05-01T00:00:00Z\"}";
    for (text, line, said) in [
        (String::new(), 1, "EOF"),
        ("[]".to_owned(), 1, "expected struct"),
        (
            "{\"id\": \"X-1\"}".to_owned(),
            1,
            "missing field `modified`",
        ),
        (id.to_owned(), 1, "an id has up to 128"),
        (format!("{BEGIN}  \"modified\": 1}}"), 4, "duplicate field"),
        (
            affected("\"package\": {\"name\": \"x\"}"),
            4,
            "missing field `ecosystem`",
        ),
        (
            event("\"introduced\": \"0\", \"fixed\": \"1\""),
            4,
            "exactly one of",
        ),
        (event("\"from\": \"0\""), 4, "exactly one of"),
        (
            range("\"type\": \"DATE\", \"events\": []"),
            4,
            "unknown variant",
        ),
        (
            format!("{BEGIN}  \"affected\": {}", "[".repeat(10_000)),
            4,
            "invalid type",
        ),
    ] {
        let fault = faulty(&text);
        let shown = fault.render();
        assert_eq!(fault.line, line, "{text:.80}: {shown}");
        assert!(fault.message.contains(said), "{text:.80}: {shown}");
        let told = shown.starts_with("a/x.json:") && shown.contains("help: one JSON object");
        assert!(told && !shown.contains('\u{1b}'), "{shown}");
    }
}

#[test]
fn a_record_that_nests_without_end_is_refused() {
    for (key, said) in [
        ("\"details\": ", "EOF"),
        ("\"database_specific\": {\"severity\": ", "recursion limit"),
    ] {
        let fault = faulty(&format!("{BEGIN}  {key}{}", "[".repeat(100_000)));
        assert!(fault.message.contains(said), "{}", fault.message);
    }
}

#[test]
fn a_database_holds_what_came_in_and_no_other_byte() {
    let names = ["a", "b-c", "@s/p", "zzz", "left-pad"];
    let records = names.map(|name| osv(&format!("X-{}", name.len()), ("npm", name), RANGE));
    let mut collection = Collection::default();
    records
        .into_iter()
        .for_each(|record| collection.add(record));
    collection.add(osv("X-9", ("Go", "x"), RANGE));
    collection.add(osv("X-8", ("npm", "no name at all"), RANGE));
    let (bytes, summary) = collection.written(Timestamp::UNIX_EPOCH, vec![]);
    assert_eq!(
        (
            summary.packages,
            summary.advisories["npm"],
            summary.elsewhere
        ),
        (5, 5, 2)
    );
    let known = Database::read(bytes.clone()).unwrap();
    for name in names {
        assert_eq!(known.about(Npm, name).unwrap().len(), 1, "{name}");
    }
    for name in ["", "aa", "left-pa", "zzzz"] {
        assert!(known.about(Npm, name).unwrap().is_empty(), "{name}");
    }
    assert_eq!(known.packages().count(), 5);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(
            Database::read(changed).is_err(),
            "byte {at} counts for nothing"
        );
        assert!(Database::read(bytes[..at].to_vec()).is_err(), "cut at {at}");
    }
    let longer = [bytes.as_slice(), b"\n"].concat();
    assert_eq!(Database::read(longer).unwrap_err(), Unusable::Changed);
}
