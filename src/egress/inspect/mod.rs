//! Inspection: TLS ended here, so that each request is decided, for rules that say what may be
//! asked.
//!
//! ```text
//!  sandbox            │ gateway                                             │ server
//!  hello, SNI = name ─┼▶ leaf of our authority ─▶ HTTP/1.1 or HTTP/2        │
//!  request ───────────┼▶ strict reader ─▶ Host = name ─▶ decide_request     │
//!                     │    ─▶ credential ─▶ turn ─▶ record ─▶ admitted dial ┼▶ TLS, host's roots
//!  answer ◀───────────┼─ masked, counted, at the role's pace ◀──────────────┼─
//! ```
//!
//! Nothing is buffered beyond a frame: answers stream as they come. Refused are: a request that
//! could be read in two ways, one for another host than the connection's, a tunnel, an upgrade that
//! no rule allows, and any credential but our placeholder where the gateway adds the real one. No
//! certificate of a server is ever taken on trust.

mod authority;
mod authorize;
mod body;
mod credential;
mod forward;
mod kept;
mod mask;
mod plain;
mod push;
mod serve;
mod session;
mod socket;
mod stated;
mod strict;
mod trust;
mod upstream;
mod vet;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::CertificateDer,
};

pub(super) use authority::Authority;
pub use authority::AuthorityError;
pub use credential::placeholder;
pub(super) use plain::plain;
pub(super) use serve::{explain, serve};
pub use trust::Trust;
use upstream::NoTrust;
pub(super) use vet::Kept as VettingKept;

/// What we speak within TLS, the better first.
const ALPN_BOTH: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// What we speak where a connection is to become a WebSocket.
const ALPN_OLD: [&[u8]; 1] = [b"http/1.1"];

/// How to connect, by the file of the authorities and by what is spoken.
type Clients = HashMap<(Option<PathBuf>, Speaks), Arc<ClientConfig>>;

/// What inspection keeps for all gateways of a process.
#[derive(Debug)]
pub(super) struct Inspection {
    pub(super) authority: Authority,
    /// What this machine trusts, read once, when it is first needed.
    system: OnceLock<Vec<CertificateDer<'static>>>,
    trust: OnceLock<Arc<Trust>>,
    clients: Mutex<Clients>,
    made: credential::Made,
}

/// Which versions of HTTP a connection to a server may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Speaks {
    Both,
    /// HTTP/1.1, the only one that becomes a WebSocket here.
    Old,
}

impl Inspection {
    pub(super) fn new() -> Result<Self, AuthorityError> {
        Ok(Self {
            authority: Authority::new()?,
            system: OnceLock::new(),
            trust: OnceLock::new(),
            clients: Mutex::default(),
            made: credential::Made::default(),
        })
    }

    /// Returns the trust files of sandboxes.
    pub(super) fn trust(&self) -> Arc<Trust> {
        let make = || Trust::new(self.authority.certificate(), self.system());
        Arc::clone(self.trust.get_or_init(make))
    }

    fn system(&self) -> &[CertificateDer<'static>] {
        // What of the store cannot be read is left out: a server that needs it is refused then.
        self.system
            .get_or_init(|| rustls_native_certs::load_native_certs().certs)
    }

    /// Returns how to connect to a server that is checked against the certificates of a file, or
    /// against what this machine trusts.
    fn client(&self, ca: Option<PathBuf>, speaks: Speaks) -> Result<Arc<ClientConfig>, NoTrust> {
        let key = (ca, speaks);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = clients.get(&key) {
            return Ok(Arc::clone(made));
        }
        let mut roots = RootCertStore::empty();
        match &key.0 {
            Some(path) => upstream::read_roots(path, &mut roots)?,
            None => drop(roots.add_parsable_certificates(self.system().iter().cloned())),
        }
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(NoTrust::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = match speaks {
            Speaks::Both => ALPN_BOTH.map(<[u8]>::to_vec).to_vec(),
            Speaks::Old => ALPN_OLD.map(<[u8]>::to_vec).to_vec(),
        };
        let made = Arc::new(config);
        clients.insert(key, Arc::clone(&made));
        Ok(made)
    }
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(ring::default_provider())))
}
