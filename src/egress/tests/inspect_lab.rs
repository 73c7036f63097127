//! What tests of inspection stand on: clients that trust the gateway, and servers that an authority
//! of the test's own vouches for.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use super::lab::{Lab, Table, Upstream, all, host, pin, rules, upstream};
use crate::{
    egress::{
        Call, Closed, Decision, Fact, Limits, SecretValues, Threads, Trust, inspect::Authority,
    },
    policy::{Credential, CredentialForm, Egress, Protocol, Rates, RequestRule},
};

/// What a server of the test answers when nothing else matters.
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// The name of the inspected host.
pub(super) const NAME: &str = "a.test";
/// The value of the one secret, `KEY`.
pub(super) const SECRET: &str = "sk-real-0123456789";

pub(super) type Client = StreamOwned<ClientConnection, TcpStream>;
pub(super) type Served<'a> = rustls::Stream<'a, ServerConnection, TcpStream>;

/// A server with a certificate for [`NAME`], and the file of the authority behind it.
pub(super) struct Secure {
    pub(super) server: Upstream,
    pub(super) ca: NamedTempFile,
}

fn pem_file(authority: &Authority) -> NamedTempFile {
    let trust = Trust::new(authority.certificate(), &[]);
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(trust.authority.as_bytes()).unwrap();
    file
}

/// Returns how a server of [`NAME`] speaks TLS, and the file of its authority.
pub(super) fn identity(name: &str, alpn: &[u8]) -> (Arc<ServerConfig>, NamedTempFile) {
    let authority = Authority::new().unwrap();
    let mut config = ServerConfig::clone(&authority.answer_as(&host(name)).unwrap());
    config.alpn_protocols = vec![alpn.to_vec()];
    (Arc::new(config), pem_file(&authority))
}

/// Starts a TLS server that runs `speak` on each connection and tells what it heard.
pub(super) fn secure(
    speak: impl Fn(&mut Served<'_>) -> io::Result<Vec<u8>> + Send + Sync + 'static,
) -> Secure {
    let (config, ca) = identity(NAME, b"http/1.1");
    let server = upstream(move |stream| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        let heard = speak(&mut Served::new(&mut tls, stream));
        tls.send_close_notify();
        while tls.wants_write() {
            tls.write_tls(stream)?;
        }
        heard
    });
    Secure { server, ca }
}

/// Reads until `end` was heard.
pub(super) fn until(stream: &mut impl Read, end: &[u8]) -> io::Result<Vec<u8>> {
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    while !heard.windows(end.len()).any(|window| window == end) {
        match stream.read(&mut buffer)? {
            0 => break,
            read => heard.extend_from_slice(&buffer[..read]),
        }
    }
    Ok(heard)
}

/// A server that answers each request head with `answer` until its client ends.
pub(super) fn answering(answer: &'static str) -> Secure {
    secure(move |stream| {
        let mut heard = Vec::new();
        loop {
            let next = until(stream, b"\r\n\r\n").unwrap_or_default();
            if next.is_empty() {
                return Ok(heard);
            }
            heard.extend(next);
            // A client that is gone by now was heard all the same.
            if stream.write_all(answer.as_bytes()).is_err() {
                return Ok(heard);
            }
        }
    })
}

/// A policy for [`NAME`] alone, pinned to the server.
pub(super) fn policy(secure: &Secure, part: RequestRule) -> Egress {
    let mut egress = rules(&[(NAME, 443, Protocol::Tls)]);
    egress.rules[0].request = Some(Box::new(part));
    let mut egress = pin(egress, NAME, secure.server.at);
    egress.hosts[0].ca = Some(secure.ca.path().to_owned());
    egress
}

/// A rule that adds `KEY`.
pub(super) fn with_credential(form: CredentialForm) -> RequestRule {
    RequestRule {
        credential: Some(Credential {
            secret: "KEY".to_owned(),
            command: None,
            form,
        }),
        ..RequestRule::default()
    }
}

pub(super) fn secrets() -> SecretValues {
    Arc::new(|name| (name == "KEY").then(|| Zeroizing::new(SECRET.to_owned())))
}

/// A gateway with one inspected host.
pub(super) fn lab(secure: &Secure, part: RequestRule) -> Lab {
    paced(secure, part, Rates::default())
}

pub(super) fn paced(secure: &Secure, part: RequestRule, rates: Rates) -> Lab {
    let limits = Limits {
        head: std::time::Duration::from_millis(300),
        turn: std::time::Duration::from_millis(50),
        ..Limits::default()
    };
    let threads = Arc::new(Threads::start().unwrap());
    let given = (policy(secure, part), Table::default());
    Lab::trusted(threads, given, (secrets(), (limits, rates)))
}

/// Returns how a client trusts the gateway.
pub(super) fn trusting(lab: &Lab, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let pem = lab.threads.trust().authority.clone();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|one| one.to_vec()).collect();
    Arc::new(config)
}

/// Connects as a program does, with TLS to `sni`.
pub(super) fn connect(lab: &Lab, name: &str, sni: &str) -> Client {
    let stream = lab.connect(name, 443).unwrap();
    let sni = ServerName::try_from(sni.to_owned()).unwrap();
    let tls = ClientConnection::new(trusting(lab, &[]), sni).unwrap();
    StreamOwned::new(tls, stream)
}

/// Sends `bytes` and returns all that comes back until the gateway closes.
pub(super) fn say(lab: &Lab, bytes: &[u8]) -> String {
    let mut client = connect(lab, NAME, NAME);
    client.write_all(bytes).unwrap();
    client.flush().unwrap();
    rest(&mut client)
}

pub(super) fn rest(client: &mut Client) -> String {
    let mut bytes = Vec::new();
    // Whether the end was announced says nothing about what was answered.
    drop(client.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends one request that asks to close, and returns the answer.
pub(super) fn ask(lab: &Lab, request: &str) -> String {
    let (head, body) = request.split_once("\r\n\r\n").unwrap_or((request, ""));
    say(
        lab,
        format!("{head}\r\nHost: {NAME}\r\nConnection: close\r\n\r\n{body}").as_bytes(),
    )
}

pub(super) fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

pub(super) fn json(answer: &str) -> serde_json::Value {
    let body = answer.split_once("\r\n\r\n").expect("an HTTP answer").1;
    serde_json::from_str(body).unwrap_or_else(|_| panic!("no explanation: {answer}"))
}

/// What is recorded of requests, in the order it came.
pub(super) fn requests(lab: &mut Lab) -> (Vec<Decision>, Vec<Closed>) {
    let (mut decided, mut closed) = (Vec::new(), Vec::new());
    for record in lab.close() {
        match record.fact {
            Fact::Decision(decision) if decision.call.is_some() => decided.push(decision),
            Fact::Closed(one) if one.call.is_some() => closed.push(one),
            _ => {}
        }
    }
    (decided, closed)
}

pub(super) fn call(method: &str, path: &str) -> Option<Call> {
    Some(Call {
        method: method.to_owned(),
        path: path.to_owned(),
    })
}

/// Everything a connection still says, without TLS.
pub(super) fn raw(lab: &Lab, bytes: &[u8]) -> Vec<u8> {
    let mut stream = lab.connect(NAME, 443).unwrap();
    stream.write_all(bytes).unwrap();
    all(&mut stream)
}
