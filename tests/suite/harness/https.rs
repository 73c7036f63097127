//! A server of a test's own that speaks HTTP/1.1 within TLS, under an authority nobody else knows.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, Stream,
    crypto::ring::default_provider,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// Serves these names until the test process ends, and returns where and the authority's
/// certificate. `answer` gets the head of each request and writes the whole response to it.
pub(crate) fn https<A>(names: &[&str], answer: A) -> (SocketAddr, String)
where
    A: Fn(&str, &mut dyn Write) -> io::Result<()> + Send + Sync + 'static,
{
    let (config, authority) = certified(names);
    let (config, answer) = (Arc::new(config), Arc::new(answer));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, answer) = (Arc::clone(&config), Arc::clone(&answer));
            // A client that breaks off is the test's affair.
            thread::spawn(move || drop(converse(stream, config, answer.as_ref())));
        }
    });
    (at, authority)
}

pub(super) fn certified(names: &[&str]) -> (ServerConfig, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let leaf = CertificateParams::new(names).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (config, issuer.pem())
}

fn converse(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    answer: &dyn Fn(&str, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut tls = ServerConnection::new(config).expect("the configuration is whole");
    let mut stream = Stream::new(&mut tls, &mut stream);
    let mut heard = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => heard.extend_from_slice(&buffer[..read]),
        }
        if heard.windows(4).any(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&std::mem::take(&mut heard)).into_owned();
            answer(&head, &mut stream)?;
        }
    }
}
