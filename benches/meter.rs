//! What the write meter costs: one program opens files in two sandboxes of one engine, with and
//! without a meter, in turn. Prints one JSON object.
//!
//! `make bench-meter`, or `LOKI_ENGINE=podman make bench-meter`. The program is made here by
//! `rustc`, static, so that it runs in any image.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark starts programs, reads its settings from the environment, prints, and panics where it cannot measure"
)]

use std::{path::Path, process::Command};

#[path = "../tests/suite/harness/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "the tests use more of it than the benchmark does"
)]
mod harness;

use harness::{Engine, Stand, Standing, writing_everywhere};
use serde_json::json;

const ROUNDS: usize = 5;
/// Prints, for each kind of open, its name and the median and 95th percentile in nanoseconds.
const PROBE: &str = r#"
use std::{fs::{File, OpenOptions}, time::Instant};
fn measure(name: &str, mut open: impl FnMut()) {
    const TIMES: usize = 20_000;
    for _ in 0..500 { open() }
    let mut took: Vec<u128> = (0..TIMES).map(|_| { let start = Instant::now(); open(); start.elapsed().as_nanos() }).collect();
    took.sort();
    println!("{name} {} {}", took[TIMES / 2], took[TIMES * 95 / 100]);
}
fn main() {
    let path = std::env::args().nth(1).unwrap();
    File::create(&path).unwrap();
    measure("read-open", || drop(File::open(&path).unwrap()));
    measure("write-open", || drop(OpenOptions::new().write(true).open(&path).unwrap()));
    measure("create", || drop(File::create(&path).unwrap()));
}
"#;

/// Median and 95th percentile of each kind of open, in nanoseconds.
type Times = Vec<(String, u64, u64)>;

fn build(to: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("probe.rs");
    std::fs::write(&source, PROBE).unwrap();
    let built = Command::new("rustc")
        .args(["-O", "-C", "target-feature=+crt-static", "-o"])
        .args([to, &source])
        .status();
    assert!(built.expect("`rustc` runs").success());
}

/// Starts a sandbox whose `write_meter` is `required` or `optional`: then it has none.
async fn start(engine: Engine, meter: &str) -> Standing {
    let policy = writing_everywhere(
        "file_writes_per_minute: none, uncounted: [\"target/**\"]",
        &format!("write_meter: {meter}"),
    );
    let standing = Stand::on(engine).await.launch(meter, &policy).await;
    build(&standing.slot.work().join("probe"));
    standing
}

async fn measure(standing: &Standing, file: &str) -> Times {
    let out = standing.run(&["./probe", file]).await;
    let line = |line: &str| {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap().to_owned();
        (word(), word().parse().unwrap(), word().parse().unwrap())
    };
    out.out.lines().map(line).collect()
}

/// The median over the rounds, of each number by itself.
fn middle(rounds: &[Times]) -> Times {
    let of = |index: usize, number: fn(&(String, u64, u64)) -> u64| {
        let mut all: Vec<u64> = rounds.iter().map(|round| number(&round[index])).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    (0..rounds[0].len())
        .map(|index| {
            let name = rounds[0][index].0.clone();
            (name, of(index, |t| t.1), of(index, |t| t.2))
        })
        .collect()
}

/// Nanoseconds as microseconds, with two digits.
fn us(ns: u64) -> f64 {
    (f64::from(u32::try_from(ns).unwrap()) / 10.0).round() / 100.0
}

#[tokio::main]
async fn main() {
    let engine = match std::env::var("LOKI_ENGINE").as_deref() {
        Ok("podman") => Engine::PodmanRootful,
        _ => Engine::Docker,
    };
    let bare = start(engine, "optional").await;
    let metered = start(engine, "required").await;
    let (mut without, mut with, mut exempt) = (Vec::new(), Vec::new(), Vec::new());
    metered.sh("mkdir -p target").await;
    for _ in 0..ROUNDS {
        without.push(measure(&bare, "/work/file").await);
        with.push(measure(&metered, "/work/file").await);
        exempt.push(measure(&metered, "target/file").await);
    }
    let side = |times: &Times, at: usize| json!({ "p50": us(times[at].1), "p95": us(times[at].2) });
    let (without, with, exempt) = (middle(&without), middle(&with), middle(&exempt));
    let row = |(at, (kind, ..)): (usize, &(String, u64, u64))| {
        json!({
            "kind": kind, "bare": side(&without, at), "metered": side(&with, at),
            "uncounted": side(&exempt, at),
            "added_p50": us(with[at].1.saturating_sub(without[at].1)),
        })
    };
    let rows: Vec<_> = without.iter().enumerate().map(row).collect();
    let told = json!({
        "schema": 1, "bench": "meter", "engine": format!("{engine:?}"), "rounds": ROUNDS,
        "unit": "us for an open and close", "rows": rows,
    });
    println!("{told:#}");
    bare.sandbox.end().await.unwrap();
    metered.sandbox.end().await.unwrap();
}
