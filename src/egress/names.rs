//! The addresses that names stand at inside one sandbox.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::net::{TcpListener, TcpStream};

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

/// The table of names.
#[derive(Debug)]
pub(super) struct Names {
    most: usize,
    standing: HashMap<HostName, Standing>,
    explaining: bool,
}

/// Where a name stands, and on which ports.
#[derive(Debug)]
struct Standing {
    address: Ipv4Addr,
    ports: Vec<u16>,
}

impl Names {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            most: limits.names.min(MOST),
            standing: HashMap::new(),
            explaining: false,
        }
    }

    /// Returns whether the name has its address already.
    pub(super) fn knows(&self, name: &HostName) -> bool {
        self.standing.contains_key(name)
    }

    /// Returns the address of an allowed name. On return its listeners stand.
    pub(super) async fn address(
        &mut self,
        context: &Arc<Context>,
        name: &HostName,
        ports: &[(u16, Protocol)],
    ) -> Result<Ipv4Addr, NoAddress> {
        let next = self.standing.len();
        let known = self.standing.get(name);
        if known.is_none() && next >= self.most {
            return Err(NoAddress::Full(self.most));
        }
        let address = known.map_or_else(|| nth(next), |standing| standing.address);
        let is_new = |port: &u16| known.is_none_or(|known| !known.ports.contains(port));
        let mut listeners = Vec::new();
        for port in ports.iter().map(|(port, _)| *port).filter(is_new) {
            let opened = context.open(SocketAddr::from((address, port))).await;
            listeners.push((
                port,
                opened.map_err(|source| NoAddress::Closed { port, source })?,
            ));
        }
        let standing = self.standing.entry(name.clone()).or_insert(Standing {
            address,
            ports: Vec::new(),
        });
        for (port, listener) in listeners {
            standing.ports.push(port);
            serve(context, name, (port, listener));
        }
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

/// Returns the address of the name that is the `offset`-th to get one.
fn nth(offset: usize) -> Ipv4Addr {
    let offset = u32::try_from(offset).expect("a table holds at most 2^20 names");
    Ipv4Addr::from_bits(FIRST.to_bits() + offset)
}

/// Serves connections to a name.
fn serve(context: &Arc<Context>, name: &HostName, (port, listener): (u16, TcpListener)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_table_stays_below_the_explaining_address() {
        let last = FIRST.to_bits() + u32::try_from(MOST).unwrap();
        assert!(last < EXPLAINING.to_bits());
    }
}
