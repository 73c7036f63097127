//! What the tests of journals share: a home, events, and journals of a known content.
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

mod beside;
mod chain;
mod changed;
mod destroyed;
mod formats;
mod keys;
mod pruning;
mod sealing;
mod writing;

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
        asked: None,
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
        files: Vec::new(),
        priority: crate::task::Priority::default(),
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

/// Fails a test that would otherwise wait for ever.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what)
        .await
        .expect("it never came")
}

/// A key of its own for a test.
fn key(home: &Home, name: &str) -> Key {
    Key::open_or_make(&home.path.with_file_name(name)).unwrap()
}

/// Where a test keeps seals outside of its repository.
fn outside(home: &Home) -> PathBuf {
    home.path.with_file_name("state").join("anchors")
}

fn sealing(home: &Home) -> Sealing {
    Sealing {
        key: key(home, "settings"),
        anchors: outside(home),
        clock: Box::new(clock()),
        every: Duration::from_secs(3600),
    }
}

fn trusted(home: &Home) -> ring::Trusted {
    ring::Ring::default().around(key(home, "settings").public())
}

fn sealed_writer(home: &Home) -> Writer {
    let writer = Writer::create(&home.path, &run(), clock()).unwrap();
    writer.sealed_by(&run(), sealing(home)).unwrap()
}

/// Audits the run with this home's key, against what is kept outside or not.
fn audited(home: &Home, anchors: Option<&Path>) -> Result<audit::Audit, audit::AuditError> {
    let keys = trusted(home);
    let against = audit::Against {
        keys: &keys,
        anchors,
        anchor: None,
    };
    audit::audit(&home.path, &run(), against)
}
