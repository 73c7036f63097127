//! The gateway: DNS and TCP sockets of one sandbox, served by the host.
//!
//! ```text
//!  sandbox (no network)                 │ host, egress threads
//!  getaddrinfo ──▶ 127.0.0.1:53 ────────┼▶ name_ports ─▶ 127.64.x.y  (nothing is forwarded)
//!  connect ──────▶ 127.64.x.y:443 ──────┼▶ decide ─▶ Permit ─▶ resolve ─▶ admit ─▶ dial ─▶ splice
//!                                       │  or, where requests have rules: end TLS and `inspect`
//!  denied name ─▶ 127.127.255.254:80,443 ┼▶ HTTP 403, one sentence
//! ```
//!
//! All sockets on the left were handed over by the sandbox; this module only serves them. It
//! decides nothing itself: [`crate::policy`] does, and only its permit opens a connection. It
//! refuses to forward a question, to dial an address that was not admitted, to pass a byte before
//! name and protocol are checked, and to outlive its [`Gateway`].

mod accept;
mod ask;
mod cache;
mod connection;
mod context;
mod dial;
mod dns;
mod explain;
mod gateway;
mod hello;
mod http;
mod inspect;
mod ledger;
mod limits;
mod names;
mod openings;
mod piece;
mod proxy;
mod questions;
mod quota;
mod race;
mod record;
mod splice;
mod threads;
mod tokens;
mod web;

#[cfg(test)]
mod tests;

pub use cache::{Answers, CacheError, Clock, Room};
pub use dial::{Resolve, SystemResolver};
pub use gateway::{Config, DnsSockets, Doors, Gateway, Limits, SecretValues};
pub use hello::{BadHello, Hello, sni};
pub use http::{BadRequest, Body, Head, head};
pub use inspect::{AuthorityError, Trust, placeholder};
pub use limits::Past;
pub use openings::{Opening, Times};
pub use proxy::{Proxies, ProxySettings, Unusable};
pub use record::{Call, Closed, Coalescer, Decision, Fact, Record};
pub use threads::Threads;
pub use tokens::Commands;

/// Why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The thread or its runtime could not be made.
    #[error("a thread for egress could not start")]
    Thread(#[source] std::io::Error),
    /// A passed socket could not be taken over.
    #[error("the DNS sockets handed over by the sandbox could not be served")]
    Sockets(#[source] std::io::Error),
    /// The authority that answers inspected names could not be made.
    #[error("the gateway's certificate authority could not be made")]
    Authority(#[from] AuthorityError),
    /// The host's resolver settings could not be read.
    #[error("the host's resolver settings could not be read; look at `/etc/resolv.conf`")]
    Resolver(#[source] std::io::Error),
}
