//! What all sides talk to: an echo, a web server and the same one within TLS, on one thread each.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    crypto::ring::default_provider,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::{Service, load::runtime};

/// Bytes of the answer to `/large`.
pub const LARGE: usize = 128 << 20;
/// The names that the server's certificate holds: through a proxy, and through a gateway.
pub const NAMES: [&str; 3] = ["localhost", "tls.test", "key.test"];

/// Where the server answers, and whom to trust.
pub struct Server {
    echo: SocketAddr,
    http: SocketAddr,
    https: SocketAddr,
    /// PEM.
    pub authority: String,
}

impl Server {
    pub fn start() -> io::Result<Self> {
        let (acceptor, authority) = tls();
        Ok(Self {
            echo: echo()?,
            http: web(None)?,
            https: web(Some(acceptor))?,
            authority,
        })
    }

    pub fn at(&self, service: Service) -> SocketAddr {
        match service {
            Service::Echo => self.echo,
            Service::Http => self.http,
            Service::Https | Service::Keyed => self.https,
        }
    }
}

/// A server that sends back what it hears. Its threads end with the process.
fn echo() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || back(stream));
        }
    });
    Ok(at)
}

fn back(stream: TcpStream) -> io::Result<()> {
    let (mut from, mut to) = (stream.try_clone()?, stream);
    to.set_nodelay(true)?;
    io::copy(&mut from, &mut to)?;
    to.shutdown(std::net::Shutdown::Write)
}

fn tls() -> (TlsAcceptor, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // By its name alone OpenSSL would take the server's certificate for one that signed itself.
    let name = DnType::CommonName;
    params
        .distinguished_name
        .push(name, "authority of the server");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(NAMES.map(str::to_owned))
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
    (TlsAcceptor::from(Arc::new(config)), issuer.pem())
}

fn web(acceptor: Option<TlsAcceptor>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = listener.local_addr()?;
    listener.set_nonblocking(true)?;
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
                    match acceptor {
                        None => serve(stream, large).await,
                        // A client that goes away is nothing to panic about.
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => serve(stream, large).await,
                            Err(_gone) => {}
                        },
                    }
                }));
            }
        });
    });
    Ok(at)
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, large: Bytes) {
    let service = service_fn(move |request: Request<Incoming>| {
        let body = match request.uri().path() {
            "/large" => large.clone(),
            _ => Bytes::from_static(b"ok"),
        };
        async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
    });
    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // How a client ends is its affair.
    drop(serving.await);
}
