//! The writer: one for each journal, whatever it is given, whatever the disk does, however it ends.

use super::*;

#[test]
fn a_journal_has_one_writer_and_one_beginning() {
    let home = home();
    let mut writer = Writer::create(&home.path, &run(), clock()).unwrap();
    let early = writer.append(&ended());
    assert!(matches!(early, Err(JournalError::Order { record: 1, .. })));
    writer.append(&started()).unwrap();
    let twice = writer.append(&started());
    assert!(matches!(twice, Err(JournalError::Order { record: 2, .. })));
    let second = Writer::reopen(&home.path, &run(), clock());
    assert!(matches!(second, Err(JournalError::Held { .. })));
    drop(writer);
    let again = Writer::create(&home.path, &run(), clock());
    assert!(
        matches!(again, Err(JournalError::Io { .. })),
        "a journal is never overwritten"
    );
    Writer::reopen(&home.path, &run(), clock()).unwrap();
}

#[test]
fn the_journal_of_another_run_is_not_continued() {
    let (home, from, _) = twelve();
    let other: RunId = "other".parse().unwrap();
    std::fs::copy(from, path(&home.path, &other)).unwrap();
    let reopened = Writer::reopen(&home.path, &other, clock());
    assert!(matches!(reopened, Err(JournalError::OtherRun { found, .. }) if found == run()));
}

/// S10: whatever an agent prints, a record is one line of JSON for every reader.
#[test]
fn no_text_breaks_a_line_or_forges_a_record() {
    let home = home();
    let mut hostile: Vec<String> = (0..=0x2fff_u32)
        .filter_map(char::from_u32)
        .map(|c| format!("a{c}b"))
        .collect();
    hostile.push(String::from_utf8_lossy(b"\xed\xa0\x80\xff\xc0\xaf\0").into_owned());
    hostile.push("\"},\"hash\":\"00\"}\n{\"seq\":2,\"event\":{}}\n".to_owned());
    hostile.push("\u{e0041}\u{feff}\u{202e}\r\n\\u000a\\".to_owned());
    hostile.push("x".repeat(1 << 20));
    let mut events = vec![started()];
    events.extend(hostile.iter().map(|text| said(text)));
    events.push(Event::Gated {
        task: "store".parse().unwrap(),
        attempt: 1,
        files: 1,
        breaches: hostile
            .iter()
            .map(|text| Breach {
                rule: text.clone(),
                path: text.clone(),
                message: text.clone(),
            })
            .collect(),
    });
    let (path, records) = write_all(&home, &events);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text.chars()
            .all(|c| c == '\n' || !crate::text::is_hidden(c))
    );
    assert_eq!(text.lines().count(), events.len());
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    assert_eq!(read(&path).unwrap(), records);
    let read_back: Vec<Event> = records.into_iter().map(|record| record.event).collect();
    assert_eq!(read_back, events);
}

#[test]
fn an_event_too_long_for_a_record_is_refused_and_leaves_the_journal_open() {
    let home = home();
    let mut writer = Writer::create(&home.path, &run(), clock()).unwrap();
    writer.append(&started()).unwrap();
    let refused = writer.append(&said(&"x".repeat(line::LONGEST)));
    assert!(matches!(refused, Err(JournalError::TooLong { .. })));
    writer.append(&said("short")).unwrap();
    assert_eq!(verify(writer.path()).unwrap().records, 2);
}

#[test]
fn an_endless_line_is_refused_in_bounded_memory() {
    let (_home, path, lines) = twelve();
    let mut bytes = lines.concat();
    bytes.resize(bytes.len() + line::LONGEST + 1, b'x');
    std::fs::write(&path, bytes).unwrap();
    let error = verify(&path).unwrap_err();
    assert!(matches!(
        error,
        JournalError::Broken {
            record: 13,
            fault: Fault::TooLong,
            ..
        }
    ));
}

#[test]
fn a_full_disk_is_an_error_and_the_end_of_the_journal() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut writer = Writer::over("/dev/full".into(), full, Box::new(clock())).unwrap();
    let error = writer.append(&started()).unwrap_err();
    let JournalError::Io {
        doing: "append to",
        source,
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
    assert!(matches!(
        writer.append(&started()),
        Err(JournalError::Closed { .. })
    ));
}

/// A pipe takes bytes but cannot be synced.
#[test]
fn a_failed_sync_is_an_error_at_once_or_with_the_next_event() {
    let over_pipe = || {
        let (reader, writer) = std::io::pipe().unwrap();
        let file = std::fs::File::from(std::os::fd::OwnedFd::from(writer));
        (
            reader,
            Writer::over("pipe".into(), file, Box::new(clock())).unwrap(),
        )
    };
    let (_reader, mut writer) = over_pipe();
    writer.append(&started()).unwrap();
    assert!(matches!(
        writer.append(&ended()),
        Err(JournalError::Io { doing: "sync", .. })
    ));
    assert!(matches!(
        writer.append(&said("")),
        Err(JournalError::Closed { .. })
    ));
    let (_reader, mut writer) = over_pipe();
    writer.append(&started()).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while writer.append(&said("")).is_ok() {
        assert!(Instant::now() < until, "the failed group sync never showed");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(matches!(
        writer.append(&said("")),
        Err(JournalError::Closed { .. })
    ));
}

#[test]
fn a_planted_symlink_is_not_followed() {
    let home = home();
    let elsewhere = home.path.parent().unwrap().join("elsewhere");
    std::fs::create_dir_all(&elsewhere).unwrap();
    std::fs::create_dir_all(&home.path).unwrap();
    for name in ["journal", "queue", "lock"] {
        symlink(&elsewhere, home.path.join(name)).unwrap();
    }
    symlink(elsewhere.join("precious"), home.path.join("STATUS.txt")).unwrap();
    assert!(Writer::create(&home.path, &run(), clock()).is_err());
    assert!(views::write(&home.path, &Status::default()).is_err());
    assert!(Lock::acquire(&home.path, &run(), Timestamp::UNIX_EPOCH).is_err());
    assert!(Lock::holder(&home.path).is_err());
    std::fs::remove_file(home.path.join("queue")).unwrap();
    views::write(&home.path, &Status::default()).unwrap();
    assert!(
        home.path
            .join("STATUS.txt")
            .symlink_metadata()
            .unwrap()
            .is_file()
    );
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
}

/// Tells the copy of this program that the next test starts to be the writer, and where.
const WRITER: &str = "LOKI_TEST_JOURNAL_HOME";

/// Writes until it is killed, and reports what was written.
fn write_until_killed(home: &Path) -> ! {
    let mut writer = Writer::create(home, &run(), Timestamp::now).unwrap();
    let mut out = std::io::stdout();
    writer.append(&started()).unwrap();
    loop {
        let record = writer.append(&said("x".repeat(300).as_str())).unwrap();
        let report = format!("\nwrote {} {}\n", record.seq, record.hash);
        out.write_all(report.as_bytes()).unwrap();
    }
}

#[test]
fn kill_nine_loses_nothing_that_was_reported() {
    if let Some(home) = std::env::var_os(WRITER) {
        write_until_killed(Path::new(&home));
    }
    for reports in [1, 50, 2000] {
        let home = home();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "journal::tests::writing::kill_nine_loses_nothing_that_was_reported",
            ])
            .args(["--nocapture", "--test-threads=1"])
            .env(WRITER, &home.path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let mut reported = Vec::new();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            // The last line may be torn as well: it was not reported.
            if let ["wrote", seq, hash] = words[..]
                && hash.len() == 64
            {
                reported.push((seq.parse::<u64>().unwrap(), hash.to_owned()));
            }
            if reported.len() == reports {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(reported.len() >= reports, "the child died early");
        let Reopened {
            mut writer,
            records,
            ..
        } = Writer::reopen(&home.path, &run(), clock()).unwrap();
        for (seq, hash) in &reported {
            let record = &records[usize::try_from(*seq).unwrap() - 1];
            assert_eq!((record.seq, record.hash.to_string()), (*seq, hash.clone()));
        }
        writer.append(&ended()).unwrap();
        assert_eq!(
            verify(writer.path()).unwrap().records,
            records.len() as u64 + 1
        );
    }
}
