//! A model's server on loopback: it speaks Anthropic Messages over TLS under the provider's real
//! name, and is as strict as the real one. What it answers is scripted by the test; a request that
//! the real server would refuse is refused here, whatever the script says.

mod http;
mod judge;
mod reply;

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivatePkcs8KeyDer};
use serde_json::Value;

pub(crate) use reply::Reply;

/// The name under which the real server is known, and this one too.
pub(crate) const HOST: &str = "api.anthropic.com";

/// A silent connection is closed after this.
const SILENCE: Duration = Duration::from_secs(120);

/// A request that reached the server, good or bad.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Null when it was no JSON.
    pub(crate) body: Value,
    /// What it was answered.
    pub(crate) status: u16,
}

impl Asked {
    /// Returns a header's only value; none when it is absent or stands twice.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name);
        let first = values.next().map(|(_, value)| value.as_str());
        first.filter(|_| values.next().is_none())
    }

    /// Returns how many tools have answered in the conversation so far.
    pub(crate) fn tools_used(&self) -> usize {
        let blocks = |message: &Value| message["content"].as_array().cloned().unwrap_or_default();
        let messages = self.body["messages"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let all = messages.iter().flat_map(blocks);
        all.filter(|block| block["type"] == "tool_result").count()
    }

    /// Returns whether the conversation holds a text anywhere.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        self.body["messages"].to_string().contains(text)
    }
}

/// Decides what to answer to a request that is right.
type Script = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A standing server. It ends with the test process; its threads hold nothing else.
pub(crate) struct Model {
    address: SocketAddr,
    authority: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// What all connections share.
struct Server {
    key: String,
    script: Box<Script>,
    asked: Arc<Mutex<Vec<Asked>>>,
    tls: Arc<ServerConfig>,
}

impl Model {
    /// Starts a server that takes this key and answers by the script.
    pub(crate) fn start(
        key: &str,
        script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (tls, authority) = tls();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let server = Arc::new(Server {
            key: key.to_owned(),
            script: Box::new(script),
            asked: Arc::clone(&asked),
            tls,
        });
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = Arc::clone(&server);
                thread::spawn(move || {
                    stream.set_read_timeout(Some(SILENCE)).unwrap();
                    let session = ServerConnection::new(Arc::clone(&server.tls)).unwrap();
                    // A client that goes away is no fault of the server.
                    http::serve(StreamOwned::new(session, stream), &server).ok();
                });
            }
        });
        Self {
            address,
            authority,
            asked,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate that its own is signed by, as PEM.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Everything that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.held().clone()
    }

    fn held(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Answers one request and remembers it.
    fn answer(&self, mut asked: Asked) -> Reply {
        let reply = match judge::refusal(&asked, &self.key) {
            Some(refused) => refused,
            None => (self.script)(&asked),
        };
        asked.status = reply.status();
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(asked);
        reply
    }
}

/// Makes an authority of the test's own, and with it the server's certificate.
fn tls() -> (Arc<ServerConfig>, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let secret = PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], secret.into())
        .unwrap();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    (Arc::new(tls), authority.pem())
}
