//! The chain against everything that may happen to a file, and the files beside it.
#![expect(
    clippy::disallowed_methods,
    reason = "tests damage files on purpose, and start and kill a process of their own"
)]

use std::{
    io::{BufReader, Write},
    os::unix::fs::symlink,
    process::{Command, Stdio},
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use super::*;
use crate::{
    event::{Breach, Event, Outcome},
    status::Status,
    task::Task,
};

/// A directory for one test, with its `.loki`.
struct Home {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn home() -> Home {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(".loki");
    Home { _dir: dir, path }
}

fn run() -> RunId {
    "20261121-073300-1f3a".parse().unwrap()
}

/// A clock that ticks a second with every look.
fn clock() -> impl Fn() -> Timestamp + Send + 'static {
    let seconds = AtomicI64::new(1_800_000_000);
    move || Timestamp::from_second(seconds.fetch_add(1, Ordering::Relaxed)).unwrap()
}

fn started() -> Event {
    Event::RunStarted {
        run: run(),
        loki: "0.1.0".to_owned(),
        spec: "todo.md".to_owned(),
        spec_sha256: "00".to_owned(),
        title: "Todo".to_owned(),
        provider: "replay".to_owned(),
        base: "main".to_owned(),
        branch: "loki/x".to_owned(),
        engine: "docker".to_owned(),
        policy_sha256: "00".to_owned(),
    }
}

fn task(name: &str) -> Task {
    Task {
        id: name.parse().unwrap(),
        role: "eng-backend".parse().unwrap(),
        title: format!("make {name}"),
        description: "all of it".to_owned(),
        depends_on: Vec::new(),
        accept: vec!["make test".to_owned()],
    }
}

fn said(text: &str) -> Event {
    Event::TaskFailed {
        task: "store".parse().unwrap(),
        version: 1,
        attempt: 1,
        reason: text.to_owned(),
        retry: true,
    }
}

fn claimed(attempt: u32) -> Event {
    Event::TaskClaimed {
        task: "store".parse().unwrap(),
        version: u64::from(attempt),
        attempt,
    }
}

fn ended() -> Event {
    Event::RunEnded {
        outcome: Outcome::Failed,
        reason: None,
    }
}

fn write_all(home: &Home, events: &[Event]) -> (PathBuf, Vec<Record>) {
    let mut writer = Writer::create(&home.path, &run(), clock()).unwrap();
    let records = events
        .iter()
        .map(|event| writer.append(event).unwrap())
        .collect();
    (writer.path().to_owned(), records)
}

/// A journal of twelve records, as lines with their breaks.
fn twelve() -> (Home, PathBuf, Vec<Vec<u8>>) {
    let home = home();
    let mut events = vec![
        started(),
        Event::Planned {
            tasks: vec![task("store")],
        },
    ];
    events.extend((0..10).map(|i| said(&format!("failure {i}"))));
    let (path, _) = write_all(&home, &events);
    let bytes = std::fs::read(&path).unwrap();
    let lines = bytes
        .split_inclusive(|b| *b == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    (home, path, lines)
}

/// The number of the record that `verify` calls wrong.
fn first_bad(path: &Path, lines: &[Vec<u8>]) -> u64 {
    std::fs::write(path, lines.concat()).unwrap();
    match verify(path) {
        Err(JournalError::Broken { record, .. }) => {
            assert!(read(path).is_err());
            record
        }
        other => panic!("the change went unseen: {other:?}"),
    }
}

/// Hashes a line again, as somebody who knows the format but changes only one record would.
fn rehashed(line: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(line.to_vec()).unwrap();
    let (body, _) = text.rsplit_once(",\"hash\":").unwrap();
    let hash = Digest::of(format!("{body}}}").as_bytes());
    format!("{body},\"hash\":\"{hash}\"}}\n").into_bytes()
}

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
        ("\"seq\":12", "\"format\":2,\"seq\":12"),
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
    lines[0] = rehashed(first.replace("\"format\":2", "\"format\":3").as_bytes());
    std::fs::write(&path, lines.concat()).unwrap();
    let error = verify(&path).unwrap_err();
    assert!(
        matches!(error, JournalError::Newer { found: 3, .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .ends_with("has format 3, this program knows up to 2; use the newer loki")
    );
    let before = std::fs::read(&path).unwrap();
    let reopened = Writer::reopen(&home.path, &run(), clock());
    assert!(matches!(reopened, Err(JournalError::Newer { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), before);
    for format in ["\"format\":0,", ""] {
        lines[0] = rehashed(first.replace("\"format\":2,", format).as_bytes());
        assert_eq!(first_bad(&path, &lines), 1);
    }
}

#[test]
fn an_older_format_is_read_and_not_continued() {
    let home = home();
    let (path, _) = write_all(&home, &[started()]);
    let first = std::fs::read_to_string(&path).unwrap();
    let older = rehashed(first.replace("\"format\":2", "\"format\":1").as_bytes());
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

#[test]
fn runs_are_listed_newest_last() {
    let home = home();
    assert_eq!(runs(&home.path).unwrap(), Vec::<RunId>::new());
    let at = |second| move || Timestamp::from_second(second).unwrap();
    for (name, second) in [("b", 100), ("c", 300), ("a", 200)] {
        let run: RunId = name.parse().unwrap();
        let event = match started() {
            Event::RunStarted {
                loki, spec, title, ..
            } => Event::RunStarted {
                run: run.clone(),
                loki,
                spec,
                title,
                spec_sha256: String::new(),
                provider: String::new(),
                base: String::new(),
                branch: String::new(),
                engine: String::new(),
                policy_sha256: String::new(),
            },
            other => other,
        };
        Writer::create(&home.path, &run, at(second))
            .unwrap()
            .append(&event)
            .unwrap();
    }
    std::fs::write(home.path.join("journal/not a run.jsonl"), "").unwrap();
    std::fs::write(home.path.join("journal/empty.jsonl"), "").unwrap();
    let names: Vec<String> = runs(&home.path)
        .unwrap()
        .into_iter()
        .map(String::from)
        .collect();
    assert_eq!(names, ["empty", "b", "a", "c"]);
}

/// Fails a test that would otherwise wait for ever.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what)
        .await
        .expect("it never came")
}

#[tokio::test]
async fn following_gives_every_record_once_and_ends_with_the_run() {
    let home = home();
    let mut writer = Writer::create(&home.path, &run(), clock()).unwrap();
    writer.append(&started()).unwrap();
    let mut all = Follow::open(writer.path(), From::Start).unwrap();
    let mut new = Follow::open(writer.path(), From::End).unwrap();
    assert_eq!(soon(all.next()).await.unwrap().unwrap().seq, 1);
    assert_eq!(new.ready().unwrap(), None);
    let thread = std::thread::spawn(move || {
        for i in 0..500 {
            writer.append(&said(&i.to_string())).unwrap();
        }
        writer.append(&ended()).unwrap();
    });
    for follow in [&mut all, &mut new] {
        for seq in 2..=502 {
            assert_eq!(soon(follow.next()).await.unwrap().unwrap().seq, seq);
        }
        assert!(soon(follow.next()).await.is_none());
    }
    thread.join().unwrap();
}

#[tokio::test]
async fn half_a_line_is_waited_for() {
    let (_home, path, lines) = twelve();
    std::fs::write(&path, &lines[0]).unwrap();
    let mut follow = Follow::open(&path, From::End).unwrap();
    let mut file = std::fs::File::options().append(true).open(&path).unwrap();
    file.write_all(&lines[1][..50]).unwrap();
    assert_eq!(follow.ready().unwrap(), None);
    file.write_all(&lines[1][50..]).unwrap();
    assert_eq!(soon(follow.next()).await.unwrap().unwrap().seq, 2);
}

#[test]
fn a_repository_has_one_owner_and_a_dead_one_holds_nothing() {
    let home = home();
    assert_eq!(Lock::holder(&home.path).unwrap(), None);
    let now = Timestamp::UNIX_EPOCH;
    let lock = Lock::acquire(&home.path, &run(), now).unwrap();
    assert_eq!(lock.abandoned(), None);
    let error = Lock::acquire(&home.path, &"second".parse().unwrap(), now).unwrap_err();
    let pid = std::process::id();
    assert_eq!(
        error.to_string(),
        format!(
            "run 20261121-073300-1f3a (pid {pid}) is working on this repository; \
         `loki status` shows it, `loki stop` ends it"
        )
    );
    let holder = Holder {
        pid,
        started: now,
        run: run(),
    };
    assert_eq!(Lock::holder(&home.path).unwrap(), Some(holder.clone()));
    drop(lock);
    assert_eq!(Lock::holder(&home.path).unwrap(), None);
    assert_eq!(
        Lock::acquire(&home.path, &run(), now).unwrap().abandoned(),
        None
    );
    std::fs::write(home.path.join("lock"), serde_json::to_vec(&holder).unwrap()).unwrap();
    let lock = Lock::acquire(&home.path, &"second".parse().unwrap(), now).unwrap();
    assert_eq!(lock.abandoned(), Some(&holder));
}

#[tokio::test]
async fn signal_files_are_told_as_they_come_and_go() {
    let home = home();
    Signal::Pause.raise(&home.path).unwrap();
    let mut signals = Signals::watch(&home.path).unwrap();
    assert_eq!(soon(signals.next()).await, Some(Signal::Pause));
    std::fs::write(home.path.join("STATUS.txt"), "unrelated").unwrap();
    Signal::Resume.raise(&home.path).unwrap();
    assert_eq!(soon(signals.next()).await, Some(Signal::Resume));
    std::fs::write(home.path.join("STOP"), "").unwrap();
    assert_eq!(soon(signals.next()).await, Some(Signal::Stop));
    for _ in 0..50 {
        Signal::clear(&home.path).unwrap();
        Signal::Stop.raise(&home.path).unwrap();
        assert_eq!(soon(signals.next()).await, Some(Signal::Stop));
    }
}

#[test]
fn views_hold_each_task_once_under_the_names_other_tools_know() {
    let home = home();
    let tasks = ["store", "api"].map(task).to_vec();
    let mut events = vec![started(), Event::Planned { tasks }];
    for attempt in 1..=5 {
        events.push(claimed(attempt));
        let mut event = said("2 tests failed\u{9b}");
        if let Event::TaskFailed {
            version,
            attempt: number,
            ..
        } = &mut event
        {
            (*version, *number) = (u64::from(attempt), attempt);
        }
        events.push(event);
    }
    let (_, records) = write_all(&home, &events);
    views::write(&home.path, &Status::fold(&records)).unwrap();
    let file = |name: &str| std::fs::read_to_string(home.path.join(name)).unwrap();
    let list = |name: &str| serde_json::from_str::<serde_json::Value>(&file(name)).unwrap();
    for empty in [
        "queue/in-progress.json",
        "queue/completed.json",
        "queue/failed.json",
    ] {
        assert_eq!(list(empty), serde_json::json!([]), "{empty}");
    }
    assert_eq!(list("queue/current-task.json"), serde_json::json!({}));
    assert!(file("STATUS.txt").contains("  Failed:      1\n"));
    assert_eq!(list("session.json")["status"], "running");
    assert_eq!(list("session.json")["pid"], std::process::id());
    assert_eq!(list("state/orchestrator.json")["metrics"]["retries"], 4);
    insta::assert_snapshot!(file("queue/dead-letter.json") + &file("queue/pending.json"));
}

#[test]
fn an_unchanged_view_is_left_alone_and_a_half_written_one_is_replaced() {
    use std::os::unix::fs::MetadataExt;
    let home = home();
    views::write(&home.path, &Status::default()).unwrap();
    let status = home.path.join("STATUS.txt");
    let inode = || status.metadata().unwrap().ino();
    let before = inode();
    std::fs::write(home.path.join(".session.json.new"), "{\"half").unwrap();
    std::fs::write(home.path.join("session.json"), "{\"half").unwrap();
    views::write(&home.path, &Status::default()).unwrap();
    assert_eq!(inode(), before);
    let session = std::fs::read(home.path.join("session.json")).unwrap();
    serde_json::from_slice::<serde_json::Value>(&session).unwrap();
    assert!(!home.path.join(".session.json.new").exists());
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
                "journal::tests::kill_nine_loses_nothing_that_was_reported",
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
