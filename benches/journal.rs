//! How many events a second a journal takes from a hundred claimers, sealed and group-committed,
//! and how many records a second are verified. Beside each stands its floor in the same run: the
//! same bytes written, synced and hashed by the same calls, and nothing else. Prints one JSON
//! object; `make bench-journal` runs it. An argument is the number of records.
#![expect(clippy::print_stdout, reason = "the result is what it prints")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::{
    io::Write as _,
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use loki::{
    digest::Digest,
    event::{EgressKind, Event, Outcome, Record},
    journal::{
        self, Key, Sealing, Writer,
        audit::{self, Against},
        ring::Ring,
        views,
    },
    status::Status,
    task::{Priority, Task},
};

#[path = "numbers/first.rs"]
mod first;

use first::{run, started};

/// Who hand in events at once, each waiting until its own is written.
const CLAIMERS: usize = 100;
/// Times everything is measured; the best counts, for the machine is shared.
const ROUNDS: usize = 3;
/// Tasks of the plan whose views are written.
const TASKS: usize = 10_000;

/// What a run's journal is mostly made of: claims, and decisions of the gateway.
fn event(n: usize) -> Event {
    let role = "eng-backend".parse().expect("a role");
    match n % 2 {
        0 => Event::TaskClaimed {
            task: format!("task-{}", n % 1000).parse().expect("a task"),
            version: 1,
            attempt: 1,
        },
        _ => Event::Egress {
            sandbox: format!("task-{}-1", n % 1000),
            task: None,
            role,
            kind: EgressKind::Connect,
            host: "telemetry.example".to_owned(),
            port: Some(443),
            allowed: false,
            rule: None,
            reason: Some("no rule allows it".to_owned()),
            count: 1,
            method: None,
            path: None,
        },
    }
}

fn sealing(dir: &Path) -> Sealing {
    Sealing {
        key: Key::open_or_make(&dir.join("settings")).expect("a key"),
        anchors: dir.join("anchors"),
        clock: Box::new(jiff::Timestamp::now),
        every: Sealing::EVERY,
    }
}

/// Writes a journal from a hundred claimers and returns how long that took.
fn write(dir: &Path, records: usize) -> Duration {
    let writer = Writer::create(&dir.join(".loki"), &run(), jiff::Timestamp::now);
    let writer = writer.and_then(|writer| writer.sealed_by(&run(), sealing(dir)));
    let mut writer = writer.expect("a journal");
    writer.append(&started()).expect("the first record");
    let (give, take) = mpsc::sync_channel::<(Event, mpsc::Sender<u64>)>(CLAIMERS);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for claimer in 0..CLAIMERS {
            let give = give.clone();
            scope.spawn(move || {
                let (told, number) = mpsc::channel();
                for n in (claimer..records).step_by(CLAIMERS) {
                    give.send((event(n), told.clone())).expect("it is taken");
                    number.recv().expect("it is written");
                }
            });
        }
        drop(give);
        for (event, told) in take {
            let record = writer.append(&event).expect("it is written");
            told.send(record.seq).expect("it waits");
        }
    });
    writer.sync().expect("the disk takes it");
    let took = begin.elapsed();
    let ended = Event::RunEnded {
        outcome: Outcome::Done,
        reason: None,
    };
    writer.append(&ended).expect("the last record");
    took
}

/// Writes the same lines as the journal has, one call each, synced every 50 ms.
fn write_floor(dir: &Path, bytes: &[u8]) -> Duration {
    let mut file = std::fs::File::create(dir.join("floor")).expect("a file");
    let begin = Instant::now();
    let mut synced = begin;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        file.write_all(line).expect("it is written");
        if synced.elapsed() > Duration::from_millis(50) {
            file.sync_data().expect("the disk takes it");
            synced = Instant::now();
        }
    }
    file.sync_data().expect("the disk takes it");
    begin.elapsed()
}

fn each(mut measure: impl FnMut() -> Duration) -> [f64; ROUNDS] {
    std::array::from_fn(|_| measure().as_secs_f64())
}

fn least(rounds: [f64; ROUNDS]) -> f64 {
    rounds.into_iter().fold(f64::INFINITY, f64::min)
}

fn best(measure: impl FnMut() -> Duration) -> f64 {
    least(each(measure))
}

/// The processor time of this process so far, in seconds: other work on the machine changes it
/// least. The kernel counts it in hundredths of a second.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("a process knows itself");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / 100.0
}

fn timed<T>(what: impl FnOnce() -> T) -> Duration {
    let begin = Instant::now();
    std::hint::black_box(what());
    begin.elapsed()
}

/// Hashes every line and adds up one byte of each, so that none is left out.
fn hashed(bytes: &[u8]) -> u64 {
    let lines = bytes.split(|byte| *byte == b'\n');
    lines.map(|line| u64::from(Digest::of(line).0[0])).sum()
}

/// What a run of so many tasks begins with, then a claim of every one.
fn plan() -> Vec<Record> {
    let task = |n: usize| Task {
        id: format!("task-{n}").parse().expect("a task"),
        role: "eng-backend".parse().expect("a role"),
        title: format!("do the part with number {n}"),
        description: "what it is about, in a few words of a person. ".repeat(10),
        depends_on: Vec::new(),
        accept: vec!["make test".to_owned()],
        files: vec![format!("src/part-{n}.rs")],
        priority: Priority::default(),
    };
    let tasks = (0..TASKS).map(task).collect();
    let claims = (0..TASKS).map(|n| Event::TaskClaimed {
        task: format!("task-{n}").parse().expect("a task"),
        version: 1,
        attempt: 1,
    });
    let events = [started(), Event::Planned { tasks }];
    let record = |(seq, event): (u64, Event)| Record {
        seq,
        ts: jiff::Timestamp::UNIX_EPOCH,
        prev: Digest::of(b""),
        event,
        hash: Digest::of(b""),
    };
    (1..)
        .zip(events.into_iter().chain(claims))
        .map(record)
        .collect()
}

/// How long the files for other tools take to write after one task of many was claimed, and how long
/// the driver's own fold takes of one claim, in milliseconds.
fn shown(dir: &Path) -> (f64, f64) {
    let records = plan();
    let (begun, claims) = records.split_at(2);
    let mut status = Status::fold(begun);
    let mut claims = claims.iter();
    let writing = best(|| {
        status.apply(claims.next().expect("a claim"));
        timed(|| views::write(dir, &status).expect("the views"))
    });
    let rest: Vec<&Record> = claims.take(1000).collect();
    let folding = timed(|| rest.iter().for_each(|record| status.apply(record)));
    let each = folding.as_secs_f64() / rest.len() as f64;
    (writing * 1000.0, each * 1000.0)
}

fn main() {
    let asked = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    let records: usize = asked.unwrap_or(400_000);
    let place = std::env::temp_dir();
    let mut dir = tempfile::tempdir_in(&place).expect("a directory");
    let written = each(|| {
        dir = tempfile::tempdir_in(&place).expect("a directory");
        write(dir.path(), records)
    });
    let writing = least(written);
    let home = dir.path().join(".loki");
    let path = journal::path(&home, &run());
    let bytes = std::fs::read(&path).expect("the journal");
    let floors = each(|| write_floor(dir.path(), &bytes));
    let floor_of_writing = least(floors);
    let key = Key::open_or_make(&dir.path().join("settings")).expect("a key");
    let keys = Ring::default().around(key.public());
    let anchors = dir.path().join("anchors");
    let against = Against {
        keys: &keys,
        anchors: Some(&anchors),
        anchor: None,
    };
    let found = audit::audit(&home, &run(), against).expect("it is what was written");
    let before = processor();
    let verifying = best(|| timed(|| audit::audit(&home, &run(), against)));
    let spent = (processor() - before) / ROUNDS as f64;
    let chain = best(|| timed(|| journal::verify(&path)));
    let one_by_one = best(|| timed(|| journal::read(&path).map(|all| all.len())));
    let hashing = best(|| timed(|| hashed(&bytes)));
    let (views_ms, fold_ms) = shown(dir.path());
    let per_second = |seconds: f64| (records as f64 / seconds).round();
    let result = serde_json::json!({
        "goals": [
            { "what": "events a second, 100 claimers, sealed", "reach": 20_000, "got": per_second(writing), "held": per_second(writing) >= 20_000.0 },
            { "what": "records a second verified, seals and all", "reach": 200_000, "got": per_second(verifying), "held": per_second(verifying) >= 200_000.0 },
        ],
        "rows": {
            "written": per_second(writing),
            "written, floor: the same bytes in as many calls and a sync every 50 ms": per_second(floor_of_writing),
            "verified with seals": per_second(verifying),
            "verified with seals, for each second of one processor": per_second(spent),
            "verified, chain alone": per_second(chain),
            "read one by one into memory": per_second(one_by_one),
            "verified, floor: SHA-256 of the same lines on one processor": per_second(hashing),
        },
        "rounds": { "written": written.map(per_second), "floor": floors.map(per_second) },
        "views": { "tasks": TASKS, "write_ms": views_ms, "fold_of_a_claim_ms": fold_ms },
        "records": found.records,
        "seals": found.seals,
        "bytes": bytes.len(),
        "load": std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
        "processors": std::thread::available_parallelism().map_or(1, usize::from),
    });
    println!("{result:#}");
    let missed = per_second(writing) < 10_000.0 || per_second(spent) < 100_000.0;
    assert!(
        !missed,
        "a goal is missed by a factor of two, whatever else this machine does"
    );
}
