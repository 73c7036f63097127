//! From a permit to a connection: resolve, admit, dial exactly what was admitted, or have the
//! host's proxy dial it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::future::BoxFuture;
use hickory_resolver::{TokioResolver, config::LookupIpStrategy};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    name::HostName,
    policy::{Denied, Permit},
};

use super::{
    StartError,
    limits::TooMany,
    proxy::{Proxies, Proxy, Unusable},
    race,
};

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
        let build = || {
            let mut builder = TokioResolver::builder_tokio()?;
            // Both families are raced, so both are asked for.
            builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            builder.build()
        };
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
    #[error("{over} to `{name}`")]
    Rate { name: HostName, over: TooMany },
    #[error("`{name}` could not be reached: {source}")]
    Unreachable { name: HostName, source: io::Error },
    #[error("`{name}` could not be reached: {source}")]
    NoProxy { name: HostName, source: Unusable },
}

/// The way to a permitted target, each address on it having passed. Only a permit makes one, and
/// only one of these can connect, so a connection that skipped a check does not compile.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    permit: &'a Permit,
    way: Way<'a>,
}

/// How a target is reached.
#[derive(Debug)]
enum Way<'a> {
    /// At these addresses.
    Direct(Vec<SocketAddr>),
    /// By its name: the proxy resolves it.
    Through(&'a Proxy),
}

impl<'a> Admitted<'a> {
    /// Takes the proxy that the target is for, or resolves the name within `limit` and admits each
    /// address by itself. Denied when the name has addresses and none of them passed.
    pub(super) async fn new(
        permit: &'a Permit,
        (resolver, proxies): (&dyn Resolve, &'a Proxies),
        limit: Duration,
    ) -> Result<Self, DialError> {
        let by = |way| Self { permit, way };
        if let Some(pinned) = permit.pinned() {
            return Ok(by(Way::Direct(vec![permit.admit(pinned.ip())?])));
        }
        let name = &permit.target().name;
        let proxy = proxies.of(permit.target(), permit.protocol());
        let proxy = proxy.map_err(|source| DialError::NoProxy {
            name: name.clone(),
            source: source.clone(),
        })?;
        if let Some(proxy) = proxy {
            return Ok(by(Way::Through(proxy)));
        }
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
            _ => Ok(by(Way::Direct(addresses))),
        }
    }

    /// Connects to the first address that answers, or through the proxy, within `limit`.
    pub(super) async fn connect(self, limit: Duration) -> Result<TcpStream, DialError> {
        let target = self.permit.target();
        let connected = match &self.way {
            Way::Direct(addresses) => race::connect(addresses, limit).await,
            Way::Through(proxy) => proxy.connect(target, limit).await,
        };
        connected.map_err(|source| DialError::Unreachable {
            name: target.name.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Egress, EgressRule, Target, decide};

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

    /// A name server that says something else each time it is asked.
    struct Rebinding(std::sync::Mutex<Vec<Vec<IpAddr>>>);

    impl Resolve for Rebinding {
        fn resolve<'a>(&'a self, _: &'a HostName) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
            let answer = self.0.lock().unwrap().remove(0);
            Box::pin(std::future::ready(Ok(answer)))
        }
    }

    #[tokio::test]
    async fn attack_n28_a_name_that_rebinds_is_judged_each_time_and_dialled_only_where_it_was() {
        let egress = Egress {
            rules: vec![EgressRule {
                host: "a.test".parse().unwrap(),
                port: 443,
                protocol: crate::policy::Protocol::Tls,
                request: None,
                origin: crate::policy::Origin::default(),
            }],
            ..Egress::default()
        };
        let target = Target {
            name: "a.test".parse().unwrap(),
            port: 443,
        };
        let permit = decide(&egress, &target).unwrap();
        // Addresses of the world outside, which nothing here connects to.
        let good: IpAddr = "9.9.9.9".parse().unwrap();
        let hostile = [
            "127.0.0.1",
            "169.254.169.254",
            "10.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
        ];
        let hostile: Vec<IpAddr> = hostile.iter().map(|text| text.parse().unwrap()).collect();
        let mut answers = vec![vec![good], [vec![good], hostile.clone()].concat()];
        answers.extend(hostile.iter().map(|one| vec![*one]));
        let resolver = Rebinding(std::sync::Mutex::new(answers));
        let proxies = Proxies::default();
        let admit = || Admitted::new(&permit, (&resolver, &proxies), Duration::from_secs(1));
        let leads = |admitted: Admitted<'_>| match admitted.way {
            Way::Direct(addresses) => addresses,
            Way::Through(_) => panic!("there is no proxy"),
        };
        let there = vec![SocketAddr::new(good, 443)];
        // The control: what an honest answer names is dialled.
        assert_eq!(leads(admit().await.unwrap()), there);
        assert_eq!(leads(admit().await.unwrap()), there, "the rest is left out");
        for one in hostile {
            let denied = admit().await;
            assert!(
                matches!(denied, Err(DialError::Denied(_))),
                "{one}: {denied:?}"
            );
        }
    }
}
