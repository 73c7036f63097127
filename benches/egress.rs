//! What the gateway costs beside direct loopback: connecting and one echo, one stream's
//! throughput, and small requests on one connection. Prints one JSON object; `make bench-egress`
//! runs it. Both sides run by turns in one process, against the same server.
#![expect(clippy::print_stdout, reason = "the result is what it prints")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use loki::{
    egress::{Config, DnsSockets, Gateway, Limits, Resolve, Threads},
    name::HostName,
    policy::{Layer, Policy, Rates, Source},
};

const ROUNDS: usize = 400;
const BYTES: usize = 256 << 20;
const ASKED: usize = 20_000;

/// Nothing is resolved: the one name is pinned.
struct Nobody;

impl Resolve for Nobody {
    fn resolve<'a>(
        &'a self,
        name: &'a HostName,
    ) -> BoxFuture<'a, io::Result<Vec<std::net::IpAddr>>> {
        Box::pin(async move { Err(io::Error::other(format!("`{name}` is not pinned"))) })
    }
}

/// A server that sends back what it hears.
fn echo() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = listener.local_addr()?;
    // Ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut from, mut to) = (stream.try_clone()?, stream);
                to.set_nodelay(true)?;
                io::copy(&mut from, &mut to)?;
                to.shutdown(std::net::Shutdown::Write)
            });
        }
    });
    Ok(at)
}

/// The DNS question for the address of `a.test`, as it stands on the wire.
const QUESTION: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";

/// Starts a gateway before `to` and returns it with the address that its listener stands at.
fn gateway(to: SocketAddr, threads: &Threads) -> io::Result<(Gateway, SocketAddr)> {
    let text = format!(
        "version: 1\nagents: {{ a: {{}} }}\nhosts: {{ a.test: \"{to}\" }}\n\
         network_policies: {{ a: {{ egress: [\"a.test:22\"] }} }}\n"
    );
    let source = Source {
        layer: Layer::User,
        file: "bench.yaml".into(),
        text,
    };
    let policy = Policy::check(&[source]).expect("the policy above is valid");
    let role = "a".parse().expect("`a` is a role");
    let standing = Arc::new(Mutex::new(HashMap::new()));
    let opened = Arc::clone(&standing);
    let open = move |at: SocketAddr| -> BoxFuture<'static, io::Result<TcpListener>> {
        let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| {
            let real = listener.local_addr()?;
            opened.lock().expect("nobody panics here").insert(at, real);
            Ok(listener)
        });
        Box::pin(std::future::ready(listener))
    };
    let (udp, tcp) = (
        UdpSocket::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
    );
    let dns = udp.local_addr()?;
    let config = Config {
        egress: policy.rights(&role).expect("the policy names it").egress,
        role,
        dns: DnsSockets { udp, tcp },
        doors: Arc::new(open),
        record: Arc::new(drop),
        resolver: Arc::new(Nobody),
        rates: Rates::default(),
        limits: Limits::default(),
        secrets: Arc::new(|_| None),
    };
    let gateway = Gateway::start(config, threads).map_err(io::Error::other)?;
    let asking = UdpSocket::bind("127.0.0.1:0")?;
    asking.set_read_timeout(Some(Duration::from_secs(10)))?;
    asking.send_to(QUESTION, dns)?;
    let mut answer = [0; 512];
    let length = asking.recv(&mut answer)?;
    let last: [u8; 4] = answer[length - 4..length].try_into().expect("four bytes");
    let name = SocketAddr::from((Ipv4Addr::from(last), 22));
    let at = standing.lock().expect("nobody panics here")[&name];
    Ok((gateway, at))
}

fn connect_and_echo(at: SocketAddr) -> io::Result<Duration> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(at)?;
    stream.set_nodelay(true)?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])?;
    Ok(start.elapsed())
}

/// Bytes a second, there and back at once.
fn throughput(at: SocketAddr) -> io::Result<f64> {
    let stream = TcpStream::connect(at)?;
    let (mut from, mut to) = (stream.try_clone()?, stream);
    let start = Instant::now();
    let writer = std::thread::spawn(move || -> io::Result<()> {
        let block = vec![7; 1 << 16];
        for _ in 0..BYTES / block.len() {
            to.write_all(&block)?;
        }
        to.shutdown(std::net::Shutdown::Write)
    });
    let read = io::copy(&mut from, &mut io::sink())?;
    writer.join().expect("writing does not panic")?;
    assert_eq!(read, BYTES as u64, "bytes were lost");
    Ok(BYTES as f64 / start.elapsed().as_secs_f64())
}

/// Questions of 200 bytes a second, each with its answer, on one connection.
fn small(at: SocketAddr) -> io::Result<f64> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_nodelay(true)?;
    let mut block = [1; 200];
    let start = Instant::now();
    for _ in 0..ASKED {
        stream.write_all(&block)?;
        stream.read_exact(&mut block)?;
    }
    Ok(ASKED as f64 / start.elapsed().as_secs_f64())
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn main() -> io::Result<()> {
    let direct = echo()?;
    let threads = Threads::start().map_err(io::Error::other)?;
    let (_gateway, through) = gateway(direct, &threads)?;
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        here.push(connect_and_echo(direct)?);
        there.push(connect_and_echo(through)?);
    }
    let (here, there) = (median(here), median(there));
    let pair = |measure: fn(SocketAddr) -> io::Result<f64>| -> io::Result<(f64, f64)> {
        Ok((measure(direct)?, measure(through)?))
    };
    let (fast, passed) = pair(throughput)?;
    let (many, asked) = pair(small)?;
    println!(
        "{{\"connect_echo_us\":{{\"direct\":{here:.1},\"gateway\":{there:.1},\"ratio\":{:.2}}},\
         \"throughput_mb_s\":{{\"direct\":{:.0},\"gateway\":{:.0},\"ratio\":{:.2}}},\
         \"small_per_s\":{{\"direct\":{many:.0},\"gateway\":{asked:.0},\"ratio\":{:.2}}}}}",
        there / here,
        fast / 1e6,
        passed / 1e6,
        passed / fast,
        asked / many
    );
    Ok(())
}
