//! What probes are after, on this host: a capture server on loopback, and a resolver in whose place
//! the authority of a tunnel would stand. Both only count.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use crate::{egress::Resolve, name::HostName};

/// How long a visitor may be silent.
const PATIENCE: Duration = Duration::from_secs(2);

/// A capture server on this host's loopback that answers every connection and counts it. It ends
/// with the value.
pub(super) struct Sink {
    port: u16,
    count: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl Sink {
    /// Opens one on a free port.
    pub(super) async fn open() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let count = Arc::new(AtomicUsize::new(0));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::clone(&count)));
        Ok(Self {
            port,
            count,
            _server: server,
        })
    }

    /// Returns its port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Returns how many connections it took so far.
    pub(super) fn hits(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, count: Arc<AtomicUsize>) {
    let mut visitors = JoinSet::new();
    // Fails only without descriptors; then the probe that looks for the sink fails, too.
    while let Ok((visitor, _)) = listener.accept().await {
        count.fetch_add(1, Ordering::SeqCst);
        visitors.spawn(answer(visitor));
        while visitors.try_join_next().is_some() {}
    }
}

/// What is sent does not matter, nor whether the visitor stays for the answer.
async fn answer(mut visitor: TcpStream) {
    let mut request = [0; 4096];
    if let Ok(Ok(1..)) = timeout(PATIENCE, visitor.read(&mut request)).await {
        let sink = b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nsink";
        visitor.write_all(sink).await.ok();
    }
}

/// Resolves nothing and counts every name that it is asked for: whatever comes here would have
/// gone to a name server on the network.
#[derive(Debug, Default)]
pub(super) struct Authority(AtomicUsize);

impl Authority {
    /// Returns how often it was asked.
    pub(super) fn hits(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Resolve for Authority {
    fn resolve<'a>(&'a self, _: &'a HostName) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {
            Err(io::Error::new(
                io::ErrorKind::NotFound,
                "no name resolves here",
            ))
        })
    }
}
