//! What inspection adds: a program asks an HTTPS server of its own, directly and through a gateway
//! that ends TLS, in turn.
//!
//! `make bench-inspect`. Server, gateway and clients share this machine's processors, each on a
//! thread of its own.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark starts tasks, looks at the clock, prints, and panics where it cannot measure"
)]

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use loki::{
    egress::{Config, DnsSockets, Gateway, Limits, Resolve, SystemResolver, Threads},
    policy::{Layer, Policy, Source},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const NAME: &str = "a.test";
const AGENTS: usize = 16;
const EACH: usize = 500;
const ROUNDS: usize = 3;
/// Bytes of the one large answer.
const LARGE: usize = 256 << 20;

type Client = SendRequest<Full<Bytes>>;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Starts the server and returns where it is and the PEM of its authority.
fn server() -> (SocketAddr, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new([NAME.to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = runtime();
        let handle = runtime.handle().clone();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let large = Bytes::from(vec![b'x'; LARGE]);
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (acceptor, large) = (acceptor.clone(), large.clone());
                drop(handle.spawn(async move {
                    let stream = acceptor.accept(stream).await.unwrap();
                    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                        let body = match request.uri().path() {
                            "/large" => large.clone(),
                            _ => Bytes::from_static(b"ok"),
                        };
                        async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
                    });
                    let serving = hyper::server::conn::http1::Builder::new();
                    drop(
                        serving
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                }));
            }
        });
    });
    (at, issuer.pem())
}

/// A standing gateway and where it answers for [`NAME`].
struct Stand {
    _gateway: Gateway,
    threads: Threads,
    at: SocketAddr,
}

fn gateway(server: SocketAddr, ca: &Path) -> Stand {
    let text = format!(
        "version: 1\nnetwork_policies: {{ eng-backend: {{ egress: [{{ host: {NAME}, port: 443, paths: [\"/**\"] }}] }} }}\n\
         rate_limits: {{ eng-backend: {{ api_calls_per_minute: none, network_bytes_per_minute: none }} }}\n\
         hosts: {{ {NAME}: {{ to: \"{server}\", ca: \"{}\" }} }}\n",
        ca.display()
    );
    let mut sources = Policy::builtin_sources();
    sources.push(Source {
        file: "bench.yaml".into(),
        text,
        layer: Layer::Given,
    });
    let policy = Policy::check(&sources).unwrap_or_else(|faults| panic!("{faults:?}"));
    let rights = policy.rights(&"eng-backend".parse().unwrap()).unwrap();
    let (opened, listening) = mpsc::channel();
    let doors = move |asked: SocketAddr| -> BoxFuture<'static, io::Result<TcpListener>> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        opened
            .send((asked.port(), listener.local_addr().unwrap()))
            .unwrap();
        Box::pin(std::future::ready(Ok(listener)))
    };
    let dns = DnsSockets {
        udp: UdpSocket::bind("127.0.0.1:0").unwrap(),
        tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
    };
    let asked = dns.udp.local_addr().unwrap();
    let threads = Threads::start().unwrap();
    let config = Config {
        egress: rights.egress,
        role: rights.role,
        dns,
        doors: Arc::new(doors),
        record: Arc::new(|_| {}),
        resolver: Arc::new(SystemResolver::new().unwrap()) as Arc<dyn Resolve>,
        rates: rights.rates,
        limits: Limits::default(),
        secrets: Arc::new(|_| None),
    };
    let gateway = Gateway::start(config, &threads).unwrap();
    let mut question = Message::new(7, MessageType::Query, OpCode::Query);
    question.add_query(Query::query(
        Name::from_ascii("a.test.").unwrap(),
        RecordType::A,
    ));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(&question.to_vec().unwrap(), asked).unwrap();
    let (_, at) = listening.recv_timeout(Duration::from_secs(10)).unwrap();
    Stand {
        _gateway: gateway,
        threads,
        at,
    }
}

fn trusting(pem: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn connect(at: SocketAddr, tls: &TlsConnector) -> Client {
    let stream = tokio::net::TcpStream::connect(at).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let stream = tls
        .connect(ServerName::try_from(NAME).unwrap(), stream)
        .await
        .unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    drop(tokio::runtime::Handle::current().spawn(connection));
    sender
}

async fn get(client: &mut Client, path: &str) -> usize {
    client.ready().await.unwrap();
    let request = Request::get(path)
        .header("host", NAME)
        .body(Full::default())
        .unwrap();
    let mut body = client.send_request(request).await.unwrap().into_body();
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        count += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }
    count
}

/// Returns the times of all requests of so many agents at once, and how long all took.
async fn requests(at: SocketAddr, tls: &TlsConnector, agents: usize) -> (Vec<Duration>, Duration) {
    let mut tasks = tokio::task::JoinSet::new();
    let mut clients = Vec::new();
    for _ in 0..agents {
        let mut client = connect(at, tls).await;
        get(&mut client, "/").await;
        clients.push(client);
    }
    let start = Instant::now();
    for mut client in clients {
        tasks.spawn(async move {
            let mut took = Vec::new();
            for _ in 0..EACH {
                let start = Instant::now();
                get(&mut client, "/").await;
                took.push(start.elapsed());
            }
            took
        });
    }
    let mut all = tasks.join_all().await.concat();
    let elapsed = start.elapsed();
    all.sort_unstable();
    (all, elapsed)
}

fn main() {
    let (server, authority) = server();
    let mut ca = tempfile::NamedTempFile::new().unwrap();
    io::Write::write_all(&mut ca, authority.as_bytes()).unwrap();
    let stand = gateway(server, ca.path());
    let direct = trusting(&authority);
    let inspected = trusting(&stand.threads.trust().authority);
    let sides = [
        ("direct", server, &direct),
        ("inspected", stand.at, &inspected),
    ];
    runtime().block_on(async {
        for round in 0..ROUNDS {
            for agents in [1, AGENTS] {
                for (side, at, tls) in sides {
                    let (took, elapsed) = requests(at, tls, agents).await;
                    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
                    let rate = took.len() as f64 / elapsed.as_secs_f64();
                    println!(
                        "{round} {side:9} {agents:2} agents: p50 {:?}, p99 {:?}, {rate:.0} requests/s",
                        at(50),
                        at(99)
                    );
                }
            }
            for (side, at, tls) in sides {
                let mut client = connect(at, tls).await;
                let start = Instant::now();
                assert_eq!(get(&mut client, "/large").await, LARGE);
                let rate = LARGE as f64 / 1e6 / start.elapsed().as_secs_f64();
                println!("{round} {side:9} one stream: {rate:.0} MB/s");
            }
        }
    });
}
