//! From a permit to a connection: resolve, admit, dial exactly what was admitted.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::future::BoxFuture;
use hickory_resolver::TokioResolver;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    name::HostName,
    policy::{Denied, Permit},
};

use super::{StartError, limits::TooMany};

/// Most addresses of one name that are tried.
const ADDRESSES: usize = 8;

/// Turns names into addresses, on the host.
pub trait Resolve: Send + Sync {
    /// Returns all addresses of `name`, of both families.
    fn resolve<'a>(&'a self, name: &'a HostName) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// Resolves with the settings of this machine.
#[derive(Debug)]
pub struct SystemResolver(TokioResolver);

impl SystemResolver {
    /// Reads `/etc/resolv.conf` and `/etc/hosts`.
    ///
    /// # Errors
    ///
    /// When the settings cannot be read.
    pub fn new() -> Result<Self, StartError> {
        let build = || TokioResolver::builder_tokio()?.build();
        let resolver = build().map_err(|e| StartError::Resolver(io::Error::other(e)))?;
        Ok(Self(resolver))
    }
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a HostName) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            // The last dot keeps search domains out: what is looked up is what was allowed.
            let found = self
                .0
                .lookup_ip(format!("{name}."))
                .await
                .map_err(io::Error::other)?;
            Ok(found.iter().collect())
        })
    }
}

/// Why a permitted target was not reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("`{name}` does not resolve on this machine: {source}")]
    Unresolved { name: HostName, source: io::Error },
    #[error("rate: over {} calls a minute to `{name}`", .over.per_minute)]
    Rate { name: HostName, over: TooMany },
    #[error("`{name}` could not be reached: {source}")]
    Unreachable { name: HostName, source: io::Error },
}

/// The addresses of a permitted target that passed. Only a permit makes one, and only one of
/// these can connect, so a connection that skipped a check does not compile.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    permit: &'a Permit,
    addresses: Vec<SocketAddr>,
}

impl<'a> Admitted<'a> {
    /// Resolves the name within `limit` and admits each address by itself. Denied when the name
    /// has addresses and none of them passed.
    pub(super) async fn new(
        permit: &'a Permit,
        resolver: &dyn Resolve,
        limit: Duration,
    ) -> Result<Self, DialError> {
        if let Some(pinned) = permit.pinned() {
            let addresses = vec![permit.admit(pinned.ip())?];
            return Ok(Self { permit, addresses });
        }
        let name = &permit.target().name;
        let unresolved = |source| DialError::Unresolved {
            name: name.clone(),
            source,
        };
        let found = timeout(limit, resolver.resolve(name))
            .await
            .map_err(|late| unresolved(late.into()))?
            .map_err(unresolved)?;
        let mut addresses = Vec::new();
        let mut denied = None;
        for ip in found {
            match permit.admit(ip) {
                Ok(address) => addresses.push(address),
                Err(error) => denied = denied.or(Some(error)),
            }
        }
        match denied {
            Some(denied) if addresses.is_empty() => Err(denied.into()),
            _ => Ok(Self { permit, addresses }),
        }
    }

    /// Connects to the first address that answers, within `limit`.
    pub(super) async fn connect(self, limit: Duration) -> Result<TcpStream, DialError> {
        let name = &self.permit.target().name;
        connect(&self.addresses, limit)
            .await
            .map_err(|source| DialError::Unreachable {
                name: name.clone(),
                source,
            })
    }
}

/// Tries the addresses in turn; each has its share of the time, so that a family without a route
/// does not use up all of it.
async fn connect(addresses: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
    let tried = addresses.len().min(ADDRESSES);
    let share = limit / u32::try_from(tried.max(1)).unwrap_or(1);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    for address in addresses.iter().take(tried) {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(late) => last = late.into(),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_this_machine_resolve_its_own_name() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let resolver = SystemResolver::new().unwrap();
        let found = runtime
            .block_on(resolver.resolve(&"localhost".parse().unwrap()))
            .unwrap();
        assert!(
            !found.is_empty() && found.iter().all(IpAddr::is_loopback),
            "{found:?}"
        );
    }

    #[test]
    fn an_address_that_does_not_answer_leaves_time_for_the_next() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [closed, open.local_addr().unwrap()];
        let found = runtime
            .block_on(connect(&addresses, Duration::from_secs(10)))
            .unwrap();
        assert_eq!(found.peer_addr().unwrap(), addresses[1]);
        assert!(
            runtime
                .block_on(connect(&[], Duration::from_secs(10)))
                .is_err()
        );
    }
}
