//! What programs do: connect, send streams, ask small things, one by one and many at once.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Empty};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::{Service, sides::Side};

/// Bytes of one small question and its answer.
const SMALL: usize = 200;

type Client = SendRequest<Empty<Bytes>>;

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Connects and has one byte echoed.
pub fn connect_and_echo(side: &Side, agent: usize) -> Result<Duration, Failed> {
    let start = Instant::now();
    let mut stream = side.connect(agent, Service::Echo)?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])?;
    Ok(start.elapsed())
}

/// Bytes a second of so many streams at once, each there and back.
pub fn streams(side: &Side, (count, bytes): (usize, usize)) -> Result<f64, Failed> {
    let each = bytes / count;
    let mut opened = Vec::new();
    for agent in 0..count {
        opened.push(side.connect(agent, Service::Echo)?);
    }
    let start = Instant::now();
    let mut threads = Vec::new();
    for stream in opened {
        let mut to = stream.try_clone()?;
        threads.push(thread::spawn(move || -> io::Result<u64> {
            let block = vec![7; 1 << 16];
            for _ in 0..each / block.len() {
                to.write_all(&block)?;
            }
            to.shutdown(Shutdown::Write)?;
            Ok(0)
        }));
        let mut from = stream;
        threads.push(thread::spawn(move || {
            let mut block = vec![0; 1 << 16];
            let mut all = 0;
            loop {
                match from.read(&mut block)? {
                    0 => return Ok(all),
                    count => all += count as u64,
                }
            }
        }));
    }
    let mut read = 0;
    for thread in threads {
        read += thread.join().expect("a stream does not panic")?;
    }
    whole(read, (each * count) as u64)?;
    Ok(read as f64 / start.elapsed().as_secs_f64())
}

/// Small questions a second on so many connections at once, each with its answer before the next.
pub fn questions(side: &Side, (count, each): (usize, usize)) -> Result<f64, Failed> {
    let mut opened = Vec::new();
    for agent in 0..count {
        let mut stream = side.connect(agent, Service::Echo)?;
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        stream.set_nonblocking(true)?;
        opened.push(stream);
    }
    runtime().block_on(async move {
        let mut tasks = JoinSet::new();
        let start = Instant::now();
        for stream in opened {
            let mut stream = tokio::net::TcpStream::from_std(stream)?;
            tasks.spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let mut block = [1; SMALL];
                for _ in 0..each {
                    stream.write_all(&block).await?;
                    stream.read_exact(&mut block).await?;
                }
                io::Result::Ok(())
            });
        }
        for done in tasks.join_all().await {
            done?;
        }
        Ok((count * each) as f64 / start.elapsed().as_secs_f64())
    })
}

/// How long requests took.
pub struct Times {
    sorted: Vec<Duration>,
    pub a_second: f64,
}

impl Times {
    fn new(mut took: Vec<Duration>, all: Duration) -> Self {
        let a_second = took.len() as f64 / all.as_secs_f64();
        took.sort_unstable();
        Self {
            sorted: took,
            a_second,
        }
    }

    /// Microseconds.
    pub fn at(&self, percent: usize) -> f64 {
        let at = (self.sorted.len() * percent / 100).min(self.sorted.len() - 1);
        self.sorted[at].as_secs_f64() * 1e6
    }
}

/// Small requests of so many agents at once, each on one connection that stays.
pub fn requests(
    side: &Side,
    service: Service,
    (agents, each): (usize, usize),
) -> Result<Times, Failed> {
    runtime().block_on(async {
        let mut tasks = JoinSet::new();
        let mut clients = Vec::new();
        for agent in 0..agents {
            let mut client = connect(side, service, agent).await?;
            get(&mut client, side, (service, "/")).await?;
            clients.push(client);
        }
        let start = Instant::now();
        for mut client in clients {
            let (host, target) = (side.host(service), side.target(service, "/"));
            tasks.spawn(async move {
                let mut took = Vec::with_capacity(each);
                for _ in 0..each {
                    let start = Instant::now();
                    ask(&mut client, &host, &target).await?;
                    took.push(start.elapsed());
                }
                Ok::<_, Failed>(took)
            });
        }
        let mut sorted = Vec::new();
        for took in tasks.join_all().await {
            sorted.extend(took?);
        }
        Ok(Times::new(sorted, start.elapsed()))
    })
}

/// Small requests, each on a connection of its own.
pub fn single_requests(side: &Side, service: Service, count: usize) -> Result<Times, Failed> {
    runtime().block_on(async {
        let start = Instant::now();
        let mut sorted = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            let mut client = connect(side, service, 0).await?;
            get(&mut client, side, (service, "/")).await?;
            sorted.push(start.elapsed());
        }
        Ok(Times::new(sorted, start.elapsed()))
    })
}

/// Bytes a second of one large answer.
pub fn large(side: &Side, service: Service) -> Result<f64, Failed> {
    runtime().block_on(async {
        let mut client = connect(side, service, 0).await?;
        let start = Instant::now();
        let bytes = get(&mut client, side, (service, "/large")).await?;
        whole(bytes as u64, crate::server::LARGE as u64)?;
        Ok(bytes as f64 / start.elapsed().as_secs_f64())
    })
}

/// Fails when bytes were lost on the way.
fn whole(came: u64, sent: u64) -> Result<(), Failed> {
    match came == sent {
        true => Ok(()),
        false => Err(format!("{came} of {sent} bytes came").into()),
    }
}

/// Any failure.
pub type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn connect(side: &Side, service: Service, agent: usize) -> Result<Client, Failed> {
    let stream = side.connect(agent, service)?;
    stream.set_nonblocking(true)?;
    let stream = tokio::net::TcpStream::from_std(stream)?;
    let handle = tokio::runtime::Handle::current();
    if service == Service::Http {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        drop(handle.spawn(connection));
        return Ok(sender);
    }
    let name = ServerName::try_from(side.host(service))?;
    let stream = trusting(&side.authority).connect(name, stream).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    drop(handle.spawn(connection));
    Ok(sender)
}

fn trusting(pem: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn get(
    client: &mut Client,
    side: &Side,
    (service, path): (Service, &str),
) -> Result<usize, Failed> {
    ask(client, &side.host(service), &side.target(service, path)).await
}

/// Asks and reads the whole answer; returns its length.
async fn ask(client: &mut Client, host: &str, target: &str) -> Result<usize, Failed> {
    client.ready().await?;
    let request = Request::get(target).header("host", host);
    let request = request.body(Empty::new()).unwrap();
    let response = client.send_request(request).await?;
    if !response.status().is_success() {
        return Err(format!("it answered {}", response.status()).into());
    }
    let mut body = response.into_body();
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        count += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(count)
}
