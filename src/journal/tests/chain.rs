//! The format and its chain, against everything that may happen to a file.

use super::*;

#[test]
fn what_is_written_is_read_back() {
    let home = home();
    let (path, records) = write_all(&home, &[started(), said("ü\"\\"), ended()]);
    assert_eq!(read(&path).unwrap(), records);
    assert_eq!(records[0].prev, Digest::default());
    assert_eq!(records[2].prev, records[1].hash);
    let verified = verify(&path).unwrap();
    assert_eq!(
        verified,
        Verified {
            records: 3,
            last_hash: records[2].hash,
            torn: None
        }
    );
}

#[test]
fn the_format_on_disk_is_the_documented_one() {
    let home = home();
    let (path, _) = write_all(&home, &[started(), ended()]);
    insta::assert_snapshot!(std::fs::read_to_string(path).unwrap());
}

#[test]
fn every_edited_byte_is_found_in_its_record() {
    let (_home, path, lines) = twelve();
    for at in 0..lines[4].len() {
        let mut edited = lines.clone();
        edited[4][at] ^= 1;
        assert_eq!(first_bad(&path, &edited), 5, "byte {at}");
    }
}

#[test]
fn cut_moved_and_inserted_records_are_found() {
    let (_home, path, lines) = twelve();
    let mut cut = lines.clone();
    cut.remove(6);
    assert_eq!(first_bad(&path, &cut), 7);
    let mut beheaded = lines.clone();
    beheaded.remove(0);
    std::fs::write(&path, beheaded.concat()).unwrap();
    assert!(matches!(
        verify(&path),
        Err(JournalError::Broken { record: 1, .. })
    ));
    let mut swapped = lines.clone();
    swapped.swap(3, 4);
    assert_eq!(first_bad(&path, &swapped), 4);
    let mut doubled = lines.clone();
    doubled.insert(8, lines[7].clone());
    assert_eq!(first_bad(&path, &doubled), 9);
    let mut blank = lines.clone();
    blank.insert(2, b"\n".to_vec());
    assert_eq!(first_bad(&path, &blank), 3);
}

#[test]
fn an_edited_record_with_a_new_hash_breaks_the_next() {
    let (_home, path, mut lines) = twelve();
    let forged = String::from_utf8(lines[4].clone())
        .unwrap()
        .replace("failure", "success");
    lines[4] = rehashed(forged.as_bytes());
    assert_eq!(first_bad(&path, &lines), 6);
}

#[test]
fn a_record_with_fields_or_events_of_no_format_is_refused() {
    let (_home, path, lines) = twelve();
    let last = String::from_utf8(lines[11].clone()).unwrap();
    for (from, to) in [
        ("\"seq\":12", "\"seq\":12,\"extra\":1"),
        ("\"seq\":12", "\"format\":4,\"seq\":12"),
        ("task_failed", "task_improved"),
        ("\"retry\":true", "\"retry\":true,\"more\":1"),
    ] {
        let mut changed = lines.clone();
        changed[11] = rehashed(last.replace(from, to).as_bytes());
        assert_ne!(changed[11], lines[11]);
        assert_eq!(first_bad(&path, &changed), 12, "{to}");
    }
}

#[test]
fn a_newer_format_is_refused_by_name_and_none_at_all_too() {
    let (home, path, mut lines) = twelve();
    let first = String::from_utf8(lines[0].clone()).unwrap();
    lines[0] = rehashed(first.replace("\"format\":4", "\"format\":5").as_bytes());
    std::fs::write(&path, lines.concat()).unwrap();
    let error = verify(&path).unwrap_err();
    assert!(
        matches!(error, JournalError::Newer { found: 5, .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .ends_with("has format 5, this program knows up to 4; use the newer loki")
    );
    let before = std::fs::read(&path).unwrap();
    let reopened = Writer::reopen(&home.path, &run(), clock());
    assert!(matches!(reopened, Err(JournalError::Newer { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), before);
    for format in ["\"format\":0,", ""] {
        lines[0] = rehashed(first.replace("\"format\":4,", format).as_bytes());
        assert_eq!(first_bad(&path, &lines), 1);
    }
}

#[test]
fn an_older_format_is_read_and_not_continued() {
    let home = home();
    let (path, _) = write_all(&home, &[started()]);
    let first = std::fs::read_to_string(&path).unwrap();
    let older = rehashed(first.replace("\"format\":4", "\"format\":1").as_bytes());
    std::fs::write(&path, &older).unwrap();
    assert_eq!(verify(&path).unwrap().records, 1);
    let error = Writer::reopen(&home.path, &run(), clock()).unwrap_err();
    assert!(
        matches!(error, JournalError::Older { found: 1, .. }),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), older);
    let event = r#"{"type":"sandbox_started","sandbox":"s","task":null,"role":"eng-backend",
        "container":"c","image":"i","isolation":{"uid":1,"no_capabilities":true,
        "no_new_privs":true,"seccomp":true,"landlock_abi":3,"cgroup_limits":true,
        "no_network":true,"runtime":"runc"}}"#;
    serde_json::from_str::<Event>(event).expect("format 1 had no more fields than these");
}

#[test]
fn a_torn_tail_is_reported_cut_off_and_written_over() {
    let (home, path, lines) = twelve();
    for kept in [1, lines[11].len() / 2, lines[11].len() - 1] {
        std::fs::write(
            &path,
            [lines[..11].concat(), lines[11][..kept].to_vec()].concat(),
        )
        .unwrap();
        assert_eq!(verify(&path).unwrap().torn, Some(kept as u64));
        let Reopened {
            mut writer,
            records,
            torn,
        } = Writer::reopen(&home.path, &run(), clock()).unwrap();
        assert_eq!((records.len(), torn), (11, Some(kept as u64)));
        assert_eq!(std::fs::read(&path).unwrap(), lines[..11].concat());
        assert_eq!(writer.append(&said("again")).unwrap().seq, 12);
        let verified = verify(&path).unwrap();
        assert_eq!((verified.records, verified.torn), (12, None));
    }
}

#[test]
fn a_journal_torn_in_its_first_record_begins_again() {
    let (home, path, lines) = twelve();
    std::fs::write(&path, &lines[0][..20]).unwrap();
    let Reopened {
        mut writer,
        records,
        torn,
    } = Writer::reopen(&home.path, &run(), clock()).unwrap();
    assert_eq!((records, torn), (Vec::new(), Some(20)));
    assert_eq!(writer.append(&started()).unwrap().seq, 1);
}

#[test]
fn a_broken_middle_is_an_error_and_nothing_is_changed() {
    let (home, path, mut lines) = twelve();
    lines[5][30] ^= 1;
    lines[11].truncate(10);
    std::fs::write(&path, lines.concat()).unwrap();
    let error = Writer::reopen(&home.path, &run(), clock()).unwrap_err();
    assert!(
        matches!(error, JournalError::Broken { record: 6, .. }),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), lines.concat());
}
