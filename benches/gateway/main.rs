//! What the gateway costs, beside none and beside other proxies, all in one run and by turns.
//!
//! `make bench-egress` measures connections that are not inspected, `make bench-inspect` those that
//! are, `make bench-memory` memory over a million requests. Each prints one JSON object. Server and
//! clients run in this process, each proxy and all gateways in one of their own, whose processor time is
//! measured too: a busy machine changes that least.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark starts programs, looks at the clock, reads its settings from the environment, prints, and panics where it cannot measure"
)]
#![expect(unreachable_pub, missing_docs, reason = "a program, not a library")]

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::json;

mod child;
mod crowd;
mod load;
mod others;
mod report;
mod server;
mod sides;
#[path = "../numbers/words.rs"]
mod words;

use report::{Better, Report};
use server::Server;
use sides::Side;

/// What the server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Service {
    Echo,
    Http,
    Https,
    /// The same, where the gateway adds a credential and looks for it in the answers.
    Keyed,
}

const AGENTS: usize = 16;
/// Bytes of the streams that are not inspected.
const BYTES: usize = 256 << 20;
const MB: f64 = 1e6;

fn main() -> ExitCode {
    let words = words::words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["gateways", order] => child::serve(order),
        ["open"] => return open(),
        ["inspected"] => return inspected(),
        ["crowd", count] => return crowd::measure(count.parse().expect("a number of connections")),
        ["memory", requests] => return memory(requests.parse().expect("a number of requests")),
        _ => panic!("say `open`, `inspected`, `memory N` or `crowd N`"),
    }
    ExitCode::SUCCESS
}

/// Writes the server's authority into a folder of our own, and returns both.
fn authority(server: &Server) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    fs::write(&path, &server.authority).unwrap();
    (folder, path)
}

/// Starts the server and all sides; others' inspect when ours does.
fn stand(others: others::Kind) -> (Server, Vec<Side>, Vec<String>, tempfile::TempDir) {
    let server = Server::start().unwrap();
    let (folder, ca) = authority(&server);
    let mut sides = vec![Side::direct(&server), Side::gateways(&server, AGENTS, &ca)];
    let mut missing = Vec::new();
    for other in others::all(&server, (folder.path(), &ca), others) {
        match other {
            Ok(side) => sides.push(side),
            Err(why) => missing.push(why),
        }
    }
    (server, sides, missing, folder)
}

fn open() -> ExitCode {
    let (_server, sides, missing, _folder) = stand(others::Kind::Tunnels);
    let mut report = Report::new("open", &sides, missing);
    let micros = |took: Duration| took.as_secs_f64() * 1e6;
    report.measure(("connect and echo", "us", Better::Less), 400, 1, |side| {
        Ok(micros(load::connect_and_echo(side, 0)?))
    });
    for (name, count) in [("one stream", 1), ("eight streams", 8)] {
        report.measure((name, "MB/s", Better::More), 5, BYTES, |side| {
            Ok(load::streams(side, (count, BYTES))? / MB)
        });
    }
    for (name, count, each) in [
        ("small questions, one connection", 1, 10_000),
        ("small questions, 16 connections", AGENTS, 2_000),
    ] {
        report.measure((name, "a second", Better::More), 5, count * each, |side| {
            load::questions(side, (count, each))
        });
    }
    report.measure(
        ("plain HTTP, a connection each", "a second", Better::More),
        3,
        500,
        |side| Ok(load::single_requests(side, Service::Http, 500)?.a_second),
    );
    report.goal("connect and echo", 2.5);
    report.goal("one stream", 0.5);
    report.goal("eight streams", 0.5);
    report.goal("small questions, one connection", 0.5);
    report.goal("small questions, 16 connections", 0.5);
    report.print()
}

fn inspected() -> ExitCode {
    let (_server, sides, missing, _folder) = stand(others::Kind::Inspect);
    let mut report = Report::new("inspected", &sides, missing);
    for (agents, each) in [(1, 1000), (AGENTS, 500)] {
        let all = agents * each;
        let plural = if agents == 1 { "" } else { "s" };
        let name = |what: &str| format!("{agents} agent{plural}, {what}");
        report.many(
            &[
                (&name("p50"), "us", Better::Less),
                (&name("p99"), "us", Better::Less),
                (&name("requests"), "a second", Better::More),
            ],
            (5, all),
            |side| {
                let times = load::requests(side, Service::Https, (agents, each))?;
                Ok(vec![times.at(50), times.at(99), times.a_second])
            },
        );
    }
    report.measure(
        ("one stream", "MB/s", Better::More),
        5,
        server::LARGE,
        |side| Ok(load::large(side, Service::Https)? / MB),
    );
    report.measure(
        ("1 agent, credential added, p50", "us", Better::Less),
        3,
        1000,
        |side| Ok(load::requests(side, Service::Keyed, (1, 1000))?.at(50)),
    );
    report.measure(
        ("handshake and request", "us", Better::Less),
        3,
        100,
        |side| Ok(load::single_requests(side, Service::Https, 100)?.at(50)),
    );
    report.added("1 agent, p50", 1000.0);
    report.added("1 agent, credential added, p50", 1000.0);
    report.added("16 agents, p50", 1000.0);
    report.added("16 agents, p99", 5000.0);
    report.least("16 agents, requests", 20_000.0);
    report.least("one stream", 300.0);
    report.print()
}

/// Memory of 16 gateways, at rest, at work, and over so many requests.
fn memory(requests: usize) -> ExitCode {
    let server = Server::start().unwrap();
    let (_folder, ca) = authority(&server);
    let resident = |agents: usize| {
        let side = Side::gateways(&server, agents, &ca);
        let now = side.used().unwrap().resident;
        (side, now)
    };
    let (none, bare) = resident(0);
    drop(none);
    let (side, standing) = resident(AGENTS);
    let mut steps = Vec::new();
    for step in 0..10 {
        let each = requests / 10 / AGENTS;
        let asked = load::requests(&side, Service::Https, (AGENTS, each));
        let times = asked.expect("the gateways answer");
        let now = side.used().unwrap().resident;
        steps.push(json!({
            "requests": (step + 1) * each * AGENTS,
            "resident_mb": report::mb(now),
            "per_second": times.a_second.round(),
        }));
    }
    let end = side.used().unwrap();
    println!(
        "{}",
        json!({
            "schema": 1, "bench": "memory", "agents": AGENTS, "machine": report::machine(),
            "without_gateways_mb": report::mb(bare), "gateways_mb": report::mb(standing), "steps": steps,
            "end_mb": report::mb(end.resident), "peak_mb": report::mb(end.peak),
        })
    );
    ExitCode::SUCCESS
}
