//! The life of one gateway: one task that owns all others.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{
    sync::{Mutex, Semaphore, mpsc, oneshot},
    task::JoinSet,
};
use zeroize::Zeroizing;

use crate::{
    event::{Limit, Overrun, Usage},
    name::Role,
    policy::{Egress, Rates},
};

use super::{
    StartError, Threads,
    ask::Asking,
    context::{Context, Task},
    dial::Resolve,
    ledger::Ledger,
    limits::Tally,
    names::Names,
    questions,
    quota::Total,
    record::Record,
};

/// Asks a sandbox for listeners.
pub trait Doors: Send + Sync {
    /// Returns a listener bound inside the sandbox at exactly `at`. Runs on the gateway's thread.
    fn open(&self, at: SocketAddr) -> BoxFuture<'static, io::Result<TcpListener>>;
}

impl<F> Doors for F
where
    F: Fn(SocketAddr) -> BoxFuture<'static, io::Result<TcpListener>> + Send + Sync,
{
    fn open(&self, at: SocketAddr) -> BoxFuture<'static, io::Result<TcpListener>> {
        self(at)
    }
}

/// Looks a secret up by its name; none when there is no such secret.
pub type SecretValues = Arc<dyn Fn(&str) -> Option<Zeroizing<String>> + Send + Sync>;

/// The sockets that the sandbox bound to 127.0.0.1:53.
#[derive(Debug)]
pub struct DnsSockets {
    /// For questions in one packet.
    pub udp: UdpSocket,
    /// For questions over a connection.
    pub tcp: TcpListener,
}

/// Caps and patience of one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once; further ones wait in the kernel's backlog. Each takes two
    /// descriptors.
    pub connections: usize,
    /// DNS connections open at once.
    pub dns_connections: usize,
    /// Allowed names that ever get an address; each takes one descriptor per port.
    pub names: usize,
    /// Different names without an address yet that a role's sandboxes together may ask for in a
    /// minute.
    pub names_per_minute: usize,
    /// Connections that a role's sandboxes together may have to one host.
    pub per_host: usize,
    /// Different denials recorded per second; the rest is summed up.
    pub denials_per_second: usize,
    /// How long the sandbox may take to bind a listener.
    pub door: Duration,
    /// How long a TLS hello may take.
    pub hello: Duration,
    /// How long a request head may take.
    pub head: Duration,
    /// How long resolving may take, and then connecting.
    pub dial: Duration,
    /// How long a call over the role's rate may wait for its turn before it is refused.
    pub turn: Duration,
    /// How long a connection waits for a person who is asked, before it is denied.
    pub ask: Duration,
    /// Hosts and ports that a person is asked for at once; further ones are denied.
    pub asks: usize,
}

impl Limits {
    /// Returns the caps of a sandbox on a host where this process may open so many files: its
    /// share is kept for it however many connections others have.
    #[must_use]
    pub fn within(files: u64) -> Self {
        let share = usize::try_from(files / (2 * SANDBOXES)).unwrap_or(usize::MAX);
        let most = Self::default();
        Self {
            connections: share.clamp(16, most.connections),
            ..most
        }
    }
}

/// How many sandboxes share the files that this process may open.
const SANDBOXES: u64 = 128;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            dns_connections: 16,
            names: 1024,
            names_per_minute: 600,
            per_host: 256,
            denials_per_second: 50,
            door: Duration::from_secs(5),
            hello: Duration::from_secs(5),
            head: Duration::from_secs(10),
            dial: Duration::from_secs(10),
            turn: Duration::from_secs(30),
            ask: Duration::from_secs(60),
            asks: 16,
        }
    }
}

/// Everything one gateway needs.
pub struct Config {
    /// Where the role may connect to.
    pub egress: Egress,
    /// Whose rights these are; named in what a denied program is told.
    pub role: Role,
    /// Where questions come in.
    pub dns: DnsSockets,
    /// How to get listeners.
    pub doors: Arc<dyn Doors>,
    /// Takes each record, on the gateway's thread; must not block.
    pub record: Arc<dyn Fn(Record) + Send + Sync>,
    /// Turns allowed names into addresses.
    pub resolver: Arc<dyn Resolve>,
    /// How much the role may do in a minute.
    pub rates: Rates,
    /// Caps.
    pub limits: Limits,
    /// Gives the credentials that rules add to requests; the sandbox never sees one.
    pub secrets: SecretValues,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// The running gateway of one sandbox. Dropping it ends all its tasks, listeners and connections
/// at once; [`Gateway::close`] also waits until that is done and recorded.
#[derive(Debug)]
pub struct Gateway {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
    tally: Arc<Tally>,
    total: Arc<Total>,
    most: Option<u64>,
}

impl Gateway {
    /// Takes the sockets over and serves them on `threads`.
    ///
    /// # Errors
    ///
    /// When the sockets cannot be taken over.
    pub fn start(config: Config, threads: &Threads) -> Result<Self, StartError> {
        let (handle, place) = threads.place();
        let inside = handle.enter();
        let dns = Dns::take(config.dns).map_err(StartError::Sockets)?;
        drop(inside);
        let (tasks, queue) = mpsc::unbounded_channel();
        let tally = Arc::new(Tally::default());
        let total = threads.shared.budgets.total(&config.role);
        let most = config.rates.network_bytes_per_run;
        let context = Arc::new(Context {
            egress: config.egress,
            role: config.role,
            ledger: Ledger::new(config.limits.denials_per_second, config.record),
            resolver: config.resolver,
            names: Mutex::new(Names::new(&config.limits)),
            asking: Asking::default(),
            seats: Arc::new(Semaphore::new(config.limits.connections)),
            doors: config.doors,
            rates: config.rates,
            shared: Arc::clone(&threads.shared),
            tally: Arc::clone(&tally),
            secrets: config.secrets,
            limits: config.limits,
            tasks,
        });
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        drop(handle.spawn(async move {
            serve(context, dns, queue, stopped).await;
            drop(place);
            // The waiting side takes the end of this sender as the message.
            drop(end);
        }));
        Ok(Self {
            stop,
            ended,
            tally,
            total,
            most,
        })
    }

    /// Resolves once the role, in all its sandboxes, has used up its bytes of the run; never
    /// without a limit on them.
    pub async fn overrun(&self) -> Overrun {
        let Some(allowed) = self.most else {
            return std::future::pending().await;
        };
        Overrun {
            limit: Limit::Network,
            allowed,
            seen: self.total.passed(allowed).await,
        }
    }

    /// Returns what was let out so far, the numbers of writes left at 0.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.tally.usage()
    }

    /// Ends everything and returns when the last record was handed out.
    pub async fn close(self) {
        drop(self.stop);
        // Never a message: the other end is dropped when all is done, or when the thread is gone.
        drop(self.ended.await);
    }
}

struct Dns {
    udp: tokio::net::UdpSocket,
    tcp: tokio::net::TcpListener,
}

impl Dns {
    fn take(sockets: DnsSockets) -> io::Result<Self> {
        sockets.udp.set_nonblocking(true)?;
        sockets.tcp.set_nonblocking(true)?;
        let udp = tokio::net::UdpSocket::from_std(sockets.udp)?;
        Ok(Self {
            udp,
            tcp: tokio::net::TcpListener::from_std(sockets.tcp)?,
        })
    }
}

async fn serve(
    context: Arc<Context>,
    dns: Dns,
    mut queue: mpsc::UnboundedReceiver<Task>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut tasks = JoinSet::new();
    let flusher = Arc::clone(&context);
    tasks.spawn(async move { flusher.ledger.flush_every_second().await });
    tasks.spawn(questions::packets(Arc::clone(&context), dns.udp));
    tasks.spawn(questions::connections(Arc::clone(&context), dns.tcp));
    loop {
        tokio::select! {
            biased;
            // A dropped sender and a message mean the same.
            _ = &mut stopped => break,
            Some(task) = queue.recv() => drop(tasks.spawn(task)),
            Some(ended) = tasks.join_next() => drop(ended),
        }
    }
    drop(queue);
    tasks.shutdown().await;
    context.ledger.drain();
}
