//! THREATS, each as a test: a hostile program runs inside a real sandbox, on Docker and on
//! Podman. What can be tried in a sandbox alone is a probe of `loki sandbox attest`, with its positive
//! control, and `probes.rs` asserts each row of it; the rest concerns this host and stands here.
//!
//! Traffic stays on loopback. Addresses elsewhere are only used inside containers without network,
//! where the control gives them to `lo`.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    time::Duration,
};

use super::harness::{Engine, Run, START, World, as_backend, on_each};

mod attest;
mod container;
mod git;
mod missing;
mod network;
mod probes;
mod titles;

const LIMIT: Duration = Duration::from_secs(300);

/// Opens a server on this host's loopback that answers every connection, and returns its port.
fn sink() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends with the test process: nothing else can tell a blocked accept to stop.
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let patience = Some(Duration::from_secs(2));
            connection.set_read_timeout(patience).unwrap();
            // What the probe sends does not matter, nor whether it stays for the answer.
            if matches!(connection.read(&mut [0; 4096]), Ok(1..)) {
                connection
                    .write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nsink")
                    .ok();
            }
        }
    });
    port
}

/// Runs a shell script where nothing confines it: in the world's repository, on this host.
#[track_caller]
fn on_the_host(world: &World, script: &str) {
    drop(world.start("sh", &["-c", script]).wait(LIMIT).exits(0));
}

/// A world with a committed repository on an engine.
fn world(engine: Engine) -> World {
    let world = World::on(engine);
    world.write("src/app.py", "print('app')\n");
    world.write("README.md", "# App\n");
    world.commit();
    world
}
