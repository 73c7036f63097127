//! Journals that older versions wrote, kept as they wrote them: `formats/1.jsonl` and
//! `formats/2.jsonl` are the example's run by the program of their time.

use super::*;

fn old(format: u64) -> (Home, PathBuf, RunId) {
    let home = home();
    let bytes: &[u8] = match format {
        1 => include_bytes!("formats/1.jsonl"),
        _ => include_bytes!("formats/2.jsonl"),
    };
    let name = match format {
        1 => "20261121-085540-bfd8",
        _ => "20261121-193214-0dc5",
    };
    let run: RunId = name.parse().unwrap();
    let path = path(&home.path, &run);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    (home, path, run)
}

#[test]
fn journals_of_every_older_format_are_read_and_fold_to_what_they_were() {
    for (format, records, usage) in [(1, 94, false), (2, 110, true)] {
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
        assert_eq!((status.egress.denied, status.checks.len()), (3, 26));
        assert_eq!(status.usage.writes > 0, usage, "format {format}");
    }
}

#[test]
fn journals_of_older_formats_have_no_seal_and_are_not_continued() {
    for format in [1, 2] {
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
