//! All numbers that are to be reached, in one report, with the other sides measured in the same run.
//!
//! `make bench` measures and writes `target/bench/`: report.json, report.md and a plot a group. `make
//! bench-gate` holds such a report against `benches/baseline.json`; `make bench-baseline` writes that
//! file anew. `make scale` is the runs that are too long for it. benches/README.md explains each row.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a benchmark starts programs, looks at the clock, reads its settings from the environment, writes its report, says how far it is, and panics where it cannot measure"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

mod claim;
mod cli;
mod first;
mod group;
mod idle;
mod launch;
mod machine;
mod plot;
mod queue;
mod replayed;
mod reused;
mod run;
mod runtime;
mod scale;
mod sheet;
mod tools;
mod words;

#[path = "../../tests/suite/harness/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "the tests use more of it than the benchmark does"
)]
mod harness;

use group::Group;
use harness::Engine;
use sheet::{
    gate::{self, Baseline},
    goals::Goal,
    row::{Measured, Report},
    table,
};

/// Groups that are measured here, each in a process of its own.
const OWN: [&str; 7] = [
    "launch-docker",
    "launch-podman",
    "claim",
    "queue",
    "idle",
    "cli",
    "run",
];
/// Groups that are programs of their own.
const REUSED: [&str; 7] = [
    "gateway",
    "meter",
    "checkpoint",
    "journal",
    "git",
    "decide",
    "redact",
];
/// No group takes longer.
const LONGEST: &str = "900";
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/baseline.json");

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Effort {
    name: &'static str,
    /// Of what takes less than a second.
    rounds: usize,
    /// Sandboxes that are idle at once, and for how long they are looked at.
    idle: usize,
    while_idle: Duration,
    /// Requests over which memory is watched.
    requests: usize,
}

impl Effort {
    fn asked() -> Self {
        let quick = std::env::var("LOKI_BENCH").is_ok_and(|word| word == "quick");
        if quick {
            return Self {
                name: "quick",
                rounds: 5,
                idle: 20,
                while_idle: Duration::from_secs(10),
                requests: 32_000,
            };
        }
        Self {
            name: "full",
            rounds: 20,
            idle: 100,
            while_idle: Duration::from_secs(30),
            requests: 160_000,
        }
    }
}

fn main() -> ExitCode {
    let words = words::words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["report", ref groups @ ..] => report(groups),
        ["group", name] => print(&own(name, Effort::asked())),
        ["gate"] => gate(&place().join("report.json")),
        ["gate", path] => gate(Path::new(path)),
        ["baseline"] => baseline(),
        ["scale", ref parts @ ..] => scale::run(parts),
        _ => panic!("say `report [GROUP…]`, `gate [REPORT]`, `baseline` or `scale [PART…]`"),
    }
}

/// Where reports are written.
fn place() -> PathBuf {
    tools::target().join("bench")
}

fn print(group: &Group) -> ExitCode {
    let text = serde_json::to_string(group).expect("numbers are JSON");
    println!("{text}");
    ExitCode::SUCCESS
}

fn own(name: &str, effort: Effort) -> Group {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    match name {
        "launch-docker" => runtime.block_on(launch::of(Engine::Docker, effort)),
        "launch-podman" => runtime.block_on(launch::of(Engine::PodmanRootful, effort)),
        "claim" => runtime.block_on(claim::measure(effort)),
        "queue" => queue::measure(effort),
        "idle" => idle::measure(effort),
        "cli" => cli::measure(effort),
        "run" => run::measure(effort),
        _ => panic!("there is no group `{name}`"),
    }
}

/// Which rows a group has, by the beginning of their ids: so that one that fails names them.
fn ids(group: &str) -> &[&str] {
    match group {
        "launch-docker" => &["launch/docker", "launch/warm"],
        "launch-podman" => &["launch/podman"],
        "gateway" => &["egress"],
        "journal" => &["queue/events"],
        "queue" => &["queue/claims"],
        "git" | "decide" | "redact" => &["others"],
        "claim" => &["claim"],
        "idle" => &["idle"],
        "cli" => &["cli"],
        "run" => &["run"],
        "meter" => &["meter"],
        _ => &["checkpoint"],
    }
}

/// With these settings `scripts/engines.sh` lets Podman start containers on a machine like this one.
const PODMAN_SETTINGS: &str = "/run/loki-engines/containers.conf";

/// Runs a group in a process of its own.
fn apart(name: &str) -> Result<Group, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("timeout");
    command.arg(LONGEST).arg(this).args(["group", name]);
    if Path::new(PODMAN_SETTINGS).exists() {
        command.env("CONTAINERS_CONF", PODMAN_SETTINGS);
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output();
    let output = output.map_err(|error| format!("timeout: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().next_back().unwrap_or_default();
    serde_json::from_str(last).map_err(|_| {
        let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        eprintln!("{told}");
        // What a run says when it cannot go on; else what the panic says first.
        let mut lines = told.lines().filter(|line| !line.is_empty());
        let stopped = lines.clone().find(|line| line.starts_with("stopped: "));
        let line = stopped.or_else(|| lines.find(|line| !line.contains("panicked at")));
        format!(
            "the group failed, {}: {}",
            output.status,
            line.unwrap_or_default()
        )
    })
}

/// Measures the groups, all if none is named, and writes the report.
fn report(asked: &[&str]) -> ExitCode {
    let (begun, effort) = (Instant::now(), Effort::asked());
    let machine = machine::described();
    let wanted = |group: &&str| asked.is_empty() || asked.contains(group);
    let (mut measured, mut missing) = (Vec::new(), BTreeMap::new());
    let mut take = |name: &str, group: Result<Group, String>| {
        let group = group.unwrap_or_else(|why| {
            let each = ids(name).iter().map(|id| ((*id).to_owned(), why.clone()));
            Group {
                measured: Vec::new(),
                missing: each.collect(),
            }
        });
        measured.extend(group.measured);
        missing.extend(group.missing);
    };
    let reused: Vec<&str> = REUSED.into_iter().filter(wanted).collect();
    let programs = if reused.is_empty() {
        Ok(Default::default())
    } else {
        reused::programs()
    };
    for name in OWN.into_iter().filter(wanted) {
        eprintln!("bench: {name} ({:.0} s)", begun.elapsed().as_secs_f64());
        take(name, apart(name));
    }
    for name in reused {
        eprintln!("bench: {name} ({:.0} s)", begun.elapsed().as_secs_f64());
        let program = programs.as_ref().map_err(String::clone);
        let program =
            program.and_then(|all| all.get(name).ok_or(format!("`{name}` was not built")));
        take(
            name,
            program.map(|program| reused::group(name, program, effort)),
        );
    }
    let seconds = begun.elapsed().as_secs();
    finish(Report {
        schema: 1,
        effort: effort.name.to_owned(),
        seconds,
        machine,
        rows: rows(measured, &missing),
    })
}

fn rows(measured: Vec<Measured>, missing: &BTreeMap<String, String>) -> Vec<sheet::row::Row> {
    let why = |goal: &Goal| {
        let of = missing
            .iter()
            .filter(|(id, _)| goal.id.starts_with(id.as_str()));
        let nearest = of.max_by_key(|(id, _)| id.len());
        nearest.map_or("its group was not asked for".to_owned(), |(_, why)| {
            why.clone()
        })
    };
    Report::rows(measured, &why)
}

fn finish(report: Report) -> ExitCode {
    let place = place();
    fs::create_dir_all(&place).expect("the target takes a folder");
    let text = serde_json::to_string_pretty(&report).expect("numbers are JSON");
    fs::write(place.join("report.json"), text + "\n").expect("the target takes a file");
    let page = table::page(&report);
    fs::write(place.join("report.md"), &page).expect("the target takes a file");
    for group in table::groups(&report) {
        let rows: Vec<_> = report
            .rows
            .iter()
            .filter(|row| row.group() == group)
            .collect();
        let path = place.join(format!("{group}.svg"));
        plot::draw(&path, group, &rows)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    println!("{page}");
    eprintln!(
        "bench: {} s; the report is in {}",
        report.seconds,
        place.display()
    );
    ExitCode::SUCCESS
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Fails, naming each row, when a report is worse than the baseline allows.
fn gate(path: &Path) -> ExitCode {
    let both = read::<Report>(path)
        .and_then(|report| Ok((report, read::<Baseline>(Path::new(BASELINE))?)));
    let (report, baseline) = match both {
        Ok(both) => both,
        Err(why) => {
            eprintln!("bench-gate: {why}; run `make bench` first");
            return ExitCode::from(2);
        }
    };
    let faults = gate::compare(&report, &baseline);
    for fault in &faults {
        eprintln!("bench-gate: {fault}");
    }
    let held = baseline.rows.len();
    eprintln!(
        "bench-gate: {} of {held} rows are worse than {}, or missing",
        faults.len(),
        baseline.of
    );
    if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Takes the ratios of the last report as what is held from now on; widths stay.
fn baseline() -> ExitCode {
    let report: Report = match read(&place().join("report.json")) {
        Ok(report) => report,
        Err(why) => {
            eprintln!("bench-baseline: {why}; run `make bench` first");
            return ExitCode::from(2);
        }
    };
    let before = read(Path::new(BASELINE)).unwrap_or_default();
    let word = |name: &str| {
        report.machine[name]
            .as_str()
            .unwrap_or("unknown")
            .to_owned()
    };
    let of = format!(
        "{} on {}, effort {}",
        word("at"),
        word("cpu"),
        report.effort
    );
    let text = serde_json::to_string_pretty(&Baseline::of(&report, &before, of))
        .expect("numbers are JSON");
    fs::write(BASELINE, text + "\n").expect("the baseline can be written");
    eprintln!("bench-baseline: wrote {BASELINE}; look at what changed before you keep it");
    ExitCode::SUCCESS
}
