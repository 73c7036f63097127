//! Journals that older versions wrote, kept as they wrote them: each file of `formats/` is the
//! example's run by the program of its time.

use super::*;

fn old(format: u64) -> (Home, PathBuf, RunId) {
    let home = home();
    let (name, bytes): (_, &[u8]) = match format {
        1 => ("20261121-085540-bfd8", include_bytes!("formats/1.jsonl")),
        2 => ("20261121-193214-0dc5", include_bytes!("formats/2.jsonl")),
        3 => ("20261121-224144-3349", include_bytes!("formats/3.jsonl")),
        _ => panic!("add a journal of format {format} to the files"),
    };
    let run: RunId = name.parse().unwrap();
    let path = path(&home.path, &run);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    (home, path, run)
}

#[test]
fn journals_of_every_older_format_are_read_and_fold_to_what_they_were() {
    let held = [(94, 26), (110, 26), (134, 32)];
    assert_eq!(
        held.len(),
        (1..FORMAT).count(),
        "one journal of each format"
    );
    for (format, (records, checks)) in (1..FORMAT).zip(held) {
        let (_home, path, run) = old(format);
        assert_eq!(verify(&path).unwrap().records, records);
        let read = read(&path).unwrap();
        let status = Status::fold(&read);
        assert_eq!(status.run, Some(run));
        assert_eq!(status.outcome, Some(Outcome::Done));
        assert_eq!(status.title, "A small todo list for one person");
        assert_eq!(status.faults, Vec::<String>::new(), "format {format}");
        let counts = &status.counts;
        assert_eq!((counts.total, counts.completed, counts.retries), (6, 6, 1));
        assert_eq!((status.egress.denied, status.checks.len()), (3, checks));
        assert_eq!(status.usage.writes > 0, format > 1, "format {format}");
    }
}

#[test]
fn journals_of_older_formats_have_no_seal_and_are_not_continued() {
    for format in 1..FORMAT {
        let (home, path, run) = old(format);
        let (keys, outside) = (trusted(&home), outside(&home));
        let against = audit::Against {
            keys: &keys,
            anchors: Some(&outside),
            anchor: None,
        };
        let found = audit::audit(&home.path, &run, against).unwrap();
        assert_eq!((found.format, found.sealed, found.seals), (format, 0, 0));
        assert_eq!(found.unsealed, found.records);
        let before = std::fs::read(&path).unwrap();
        let refused = Writer::reopen(&home.path, &run, clock()).unwrap_err();
        assert!(
            matches!(refused, JournalError::Older { found, .. } if found == format),
            "{refused}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
