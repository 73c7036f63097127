//! One sandbox opens connections and says nothing on them; what does its neighbour feel?

use std::{
    net::SocketAddr,
    os::fd::OwnedFd,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use serde_json::{Value, json};

use crate::{Service, load, report, server::Server, sides::Side};

/// The sandbox that opens them, and one whose gateway is on the same thread of 16 on any number of processors that
/// is a power of two.
const HOSTILE: usize = 0;
const NEIGHBOUR: usize = 8;
const ASKED: usize = 1000;

/// Opens a connection without waiting until it stands: the kernel's queue may be full.
fn begun(at: SocketAddr) -> OwnedFd {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    connect(&socket, &at).ok();
    socket
}

/// The neighbour's times of connecting and one echo, in microseconds, one every millisecond.
fn neighbour(side: &Side) -> [f64; 3] {
    let mut took = Vec::new();
    for _ in 0..ASKED {
        let one = load::connect_and_echo(side, NEIGHBOUR).expect("the neighbour is served");
        took.push(one);
        thread::sleep(Duration::from_millis(1));
    }
    took.sort_unstable();
    [50, 95, 100].map(|percent| {
        let at = (took.len() * percent / 100).min(took.len() - 1);
        (took[at].as_secs_f64() * 1e7).round() / 10.0
    })
}

fn told([p50, p95, most]: [f64; 3]) -> Value {
    json!({ "p50_us": p50, "p95_us": p95, "max_us": most })
}

pub fn measure(count: usize) -> ExitCode {
    let server = Server::start().unwrap();
    let (_folder, ca) = crate::authority(&server);
    let side = Side::gateways(&server, crate::AGENTS, &ca);
    neighbour(&side);
    let alone = neighbour(&side);
    let resident = side.used().unwrap().resident;
    let mut kinds = Vec::new();
    for (kind, service) in [("half-open", Service::Https), ("idle", Service::Echo)] {
        let at = side.at(HOSTILE, service);
        let start = Instant::now();
        let crowd: Vec<OwnedFd> = (0..count)
            .map(|n| {
                let socket = begun(at);
                // Every other one begins a TLS hello that never goes on.
                if kind == "half-open" && n % 2 == 0 {
                    rustix::io::write(&socket, &[22]).ok();
                }
                socket
            })
            .collect();
        let opened = start.elapsed();
        let with = neighbour(&side);
        let used = side.used().unwrap();
        kinds.push(json!({
            "crowd": kind, "connections": count, "opened_in_ms": opened.as_millis(),
            "neighbour": told(with), "p95_of_alone": (with[1] / alone[1] * 100.0).round() / 100.0,
            "resident_mb": report::mb(used.resident),
        }));
        drop(crowd);
        thread::sleep(Duration::from_secs(6));
    }
    let told = json!({
        "schema": 1, "bench": "crowd", "machine": report::machine(), "alone": told(alone),
        "resident_before_mb": report::mb(resident), "crowds": kinds,
    });
    println!("{told:#}");
    ExitCode::SUCCESS
}
