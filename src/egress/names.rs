//! The addresses that names stand at inside one sandbox.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpStream, time::Instant};

use crate::{
    name::HostName,
    policy::{Protocol, Target},
};

use super::{
    accept::accept,
    connection::{self, TLS_PORT},
    context::{Context, Task},
    gateway::Limits,
    web,
};

/// The first address of 127.64.0.0/10 that a name gets.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 1);
/// Where every denied name stands; far above the last address that a name can get.
pub(super) const EXPLAINING: Ipv4Addr = Ipv4Addr::new(127, 127, 255, 254);
/// Where denials are explained without TLS.
const EXPLAINING_PORT: u16 = 80;
/// Most names a table can hold without leaving its network.
const MOST: usize = 1 << 20;
const MINUTE: Duration = Duration::from_secs(60);

/// Serves a connection.
type Serve = fn(Arc<Context>, TcpStream) -> Task;

/// Why a name gets no address.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAddress {
    #[error("the sandbox asked for more names than the {0} it may use")]
    Full(usize),
    #[error("the sandbox could not listen on port {port} for it: {source}")]
    Closed { port: u16, source: io::Error },
}

/// The table of names, and how many were asked for lately.
#[derive(Debug)]
pub(super) struct Names {
    most: usize,
    addresses: HashMap<HostName, Ipv4Addr>,
    explaining: bool,
    budget: Budget,
}

impl Names {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            most: limits.names.min(MOST),
            addresses: HashMap::new(),
            explaining: false,
            budget: Budget::new(limits.names_per_minute),
        }
    }

    /// Returns whether the name may be asked for now.
    pub(super) fn affords(&mut self, name: &HostName, now: Instant) -> bool {
        self.addresses.contains_key(name) || self.budget.affords(name, now)
    }

    /// Returns the address of an allowed name. On return its listeners stand.
    pub(super) async fn address(
        &mut self,
        context: &Arc<Context>,
        name: &HostName,
        ports: &[(u16, Protocol)],
    ) -> Result<Ipv4Addr, NoAddress> {
        if let Some(address) = self.addresses.get(name) {
            return Ok(*address);
        }
        let next = self.addresses.len();
        if next >= self.most {
            return Err(NoAddress::Full(self.most));
        }
        let offset = u32::try_from(next).expect("a table holds at most 2^20 names");
        let address = Ipv4Addr::from_bits(FIRST.to_bits() + offset);
        let mut listeners = Vec::new();
        for &(port, _) in ports {
            let opened = context.open(SocketAddr::from((address, port))).await;
            listeners.push((
                port,
                opened.map_err(|source| NoAddress::Closed { port, source })?,
            ));
        }
        for (port, listener) in listeners {
            let target = Target {
                name: name.clone(),
                port,
            };
            let serve = move |context: Arc<Context>, client| -> Task {
                Box::pin(connection::serve(context, target.clone(), client))
            };
            context.run(accept(
                Arc::clone(context),
                listener,
                Arc::clone(&context.seats),
                serve,
            ));
        }
        self.addresses.insert(name.clone(), address);
        Ok(address)
    }

    /// Returns the address where denials are explained. On return its listeners stand.
    pub(super) async fn explaining(
        &mut self,
        context: &Arc<Context>,
    ) -> Result<Ipv4Addr, NoAddress> {
        if !self.explaining {
            let serve: [(u16, Serve); 2] = [
                (EXPLAINING_PORT, |context, client| {
                    Box::pin(web::explain(context, client))
                }),
                (TLS_PORT, |context, client| {
                    Box::pin(connection::explain(context, client))
                }),
            ];
            let mut opened = Vec::new();
            for (port, serve) in serve {
                let listener = context.open(SocketAddr::from((EXPLAINING, port))).await;
                let listener = listener.map_err(|source| NoAddress::Closed { port, source })?;
                opened.push((listener, serve));
            }
            for (listener, serve) in opened {
                let seats = Arc::clone(&context.seats);
                context.run(accept(Arc::clone(context), listener, seats, serve));
            }
            self.explaining = true;
        }
        Ok(EXPLAINING)
    }
}

/// How many different names may be asked for per minute. A pure value.
#[derive(Debug)]
struct Budget {
    most: usize,
    since: Option<Instant>,
    seen: HashSet<HostName>,
}

impl Budget {
    fn new(most: usize) -> Self {
        Self {
            most,
            since: None,
            seen: HashSet::new(),
        }
    }

    fn affords(&mut self, name: &HostName, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= MINUTE {
            self.since = Some(now);
            self.seen.clear();
        }
        if self.seen.contains(name) {
            return true;
        }
        self.seen.len() < self.most && self.seen.insert(name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_counts_different_names_and_starts_again_each_minute() {
        let start = Instant::now();
        let mut budget = Budget::new(2);
        let name = |n: usize| format!("x{n}.test").parse::<HostName>().unwrap();
        assert!(budget.affords(&name(1), start));
        assert!(budget.affords(&name(2), start));
        assert!(!budget.affords(&name(3), start));
        assert!(
            budget.affords(&name(1), start),
            "a known name costs nothing"
        );
        assert!(!budget.affords(&name(3), start + Duration::from_secs(59)));
        assert!(budget.affords(&name(3), start + MINUTE));
    }

    #[test]
    fn the_largest_table_stays_below_the_explaining_address() {
        let last = FIRST.to_bits() + u32::try_from(MOST).unwrap();
        assert!(last < EXPLAINING.to_bits());
    }
}
