//! What the tests stand on.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    str::FromStr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use futures_util::future::BoxFuture;
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};

use tokio::time::Instant;

use crate::{
    egress::{
        Config, Decision, DnsSockets, Fact, Gateway, Limits, Record, Resolve, SecretValues, Threads,
    },
    event::Usage,
    name::HostName,
    policy::{Egress, EgressRule, HostEntry, HostPattern, Origin, Protocol, Rates},
};

/// Bounds every wait of a test.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Answers from a table and remembers what it was asked.
#[derive(Default)]
pub(super) struct Table {
    pub(super) answers: HashMap<String, Vec<IpAddr>>,
    pub(super) asked: Mutex<Vec<String>>,
}

impl Resolve for Table {
    fn resolve<'a>(&'a self, name: &'a HostName) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.asked.lock().unwrap().push(name.to_string());
        let found = self.answers.get(name.as_str()).cloned();
        Box::pin(async move { found.ok_or_else(|| io::Error::other("no such name")) })
    }
}

/// Listeners by the address the gateway asked for.
type Standing = Arc<Mutex<HashMap<SocketAddr, SocketAddr>>>;

/// A gateway with everything around it.
pub(super) struct Lab {
    gateway: Option<Gateway>,
    standing: Standing,
    records: Arc<Mutex<Vec<Record>>>,
    udp: SocketAddr,
    tcp: SocketAddr,
    pub(super) resolver: Arc<Table>,
    // Last, so that the gateway goes first.
    pub(super) threads: Arc<Threads>,
}

pub(super) fn host(name: &str) -> HostName {
    HostName::from_str(name).unwrap()
}

/// A policy of `(pattern, port, protocol)` rules.
pub(super) fn rules(rules: &[(&str, u16, Protocol)]) -> Egress {
    let rule = |(n, (pattern, port, protocol)): (usize, &(&str, u16, Protocol))| EgressRule {
        host: match pattern.strip_prefix("*.") {
            Some(parent) => HostPattern::Wildcard(host(parent)),
            None => HostPattern::Exact(host(pattern)),
        },
        port: *port,
        protocol: *protocol,
        request: None,
        origin: Origin {
            file: "policy.yaml".to_owned(),
            line: n + 1,
            ..Origin::default()
        },
    };
    Egress {
        rules: rules.iter().enumerate().map(rule).collect(),
        ..Egress::default()
    }
}

/// The policy with `name` pinned to `to`.
pub(super) fn pin(mut egress: Egress, name: &str, to: SocketAddr) -> Egress {
    let origin = Origin {
        file: "hosts.yaml".to_owned(),
        line: 1,
        ..Origin::default()
    };
    egress.hosts.push(HostEntry {
        name: host(name),
        to,
        ca: None,
        origin,
    });
    egress
}

impl Lab {
    pub(super) fn new(egress: Egress) -> Self {
        Self::with(egress, Table::default(), Limits::default())
    }

    pub(super) fn with(egress: Egress, resolver: Table, limits: Limits) -> Self {
        Self::paced(egress, resolver, (limits, Rates::default()))
    }

    pub(super) fn paced(egress: Egress, resolver: Table, paced: (Limits, Rates)) -> Self {
        let threads = Threads::start().unwrap();
        Self::among(Arc::new(threads), (egress, resolver), paced)
    }

    /// One of several gateways of an orchestrator, or one whose way out is special.
    pub(super) fn among(
        threads: Arc<Threads>,
        given: (Egress, Table),
        paced: (Limits, Rates),
    ) -> Self {
        Self::trusted(threads, given, (Arc::new(|_| None), paced))
    }

    /// A gateway that knows secrets.
    pub(super) fn trusted(
        threads: Arc<Threads>,
        given: (Egress, Table),
        held: (SecretValues, (Limits, Rates)),
    ) -> Self {
        Self::of_role("eng-backend", threads, given, held)
    }

    /// A gateway of a role.
    pub(super) fn of_role(
        role: &str,
        threads: Arc<Threads>,
        (egress, resolver): (Egress, Table),
        (secrets, (limits, rates)): (SecretValues, (Limits, Rates)),
    ) -> Self {
        let standing = Standing::default();
        let records = Arc::new(Mutex::new(Vec::new()));
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let (udp_at, tcp_at) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        let resolver = Arc::new(resolver);
        let (doors, sink) = (Arc::clone(&standing), Arc::clone(&records));
        let open = move |at: SocketAddr| -> BoxFuture<'static, io::Result<TcpListener>> {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let before = doors
                .lock()
                .unwrap()
                .insert(at, listener.local_addr().unwrap());
            assert_eq!(before, None, "a second listener was asked for at {at}");
            Box::pin(std::future::ready(Ok(listener)))
        };
        let config = Config {
            egress,
            role: role.parse().unwrap(),
            dns: DnsSockets { udp, tcp },
            doors: Arc::new(open),
            record: Arc::new(move |record| sink.lock().unwrap().push(record)),
            resolver: Arc::clone(&resolver) as Arc<dyn Resolve>,
            rates,
            limits,
            secrets,
        };
        let gateway = Some(Gateway::start(config, &threads).unwrap());
        Self {
            gateway,
            standing,
            records,
            udp: udp_at,
            tcp: tcp_at,
            resolver,
            threads,
        }
    }

    /// Sends bytes as one packet and returns the answer, none when there is none.
    pub(super) fn packet(&self, bytes: &[u8]) -> Option<Message> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(bytes, self.udp).unwrap();
        // A marker question behind it bounds the wait for an answer that never comes.
        socket
            .send_to(&question(0xffff, "localhost.", RecordType::A), self.udp)
            .unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        (answer.metadata.id != 0xffff).then_some(answer)
    }

    /// Sends bytes over a DNS connection and returns the answer.
    pub(super) fn stream(&self, bytes: &[u8]) -> Option<Message> {
        let mut stream = connected(self.tcp);
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length[..], bytes].concat()).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).unwrap();
        Some(Message::from_vec(&answer).unwrap())
    }

    pub(super) fn ask(&self, name: &str, record_type: RecordType) -> Message {
        self.packet(&question(7, name, record_type)).unwrap()
    }

    /// Asks for an address and returns it, or the code.
    pub(super) fn lookup(&self, name: &str) -> Result<Ipv4Addr, ResponseCode> {
        address(&self.ask(&format!("{name}."), RecordType::A))
    }

    /// Does what a program does: looks the name up and connects.
    pub(super) fn connect(&self, name: &str, port: u16) -> io::Result<TcpStream> {
        let address = self
            .lookup(name)
            .map_err(|code| io::Error::other(code.to_string()))?;
        let at = self
            .standing
            .lock()
            .unwrap()
            .get(&SocketAddr::from((address, port)))
            .copied();
        // In a sandbox, nothing listens there: the connection would be refused.
        let at = at.ok_or(io::ErrorKind::ConnectionRefused)?;
        Ok(connected(at))
    }

    /// Connects and sends `bytes`, ends writing, and returns all that comes back.
    pub(super) fn say(&self, name: &str, port: u16, bytes: &[u8]) -> String {
        let mut stream = self.connect(name, port).unwrap();
        stream.write_all(bytes).unwrap();
        String::from_utf8_lossy(&all(&mut stream)).into_owned()
    }

    /// Connects, sends `bytes` and ends writing; returns all that comes back, nothing when the
    /// connection was closed instead.
    pub(super) fn say_and_end(&self, name: &str, port: u16, bytes: &[u8]) -> String {
        let mut stream = self.connect(name, port).unwrap();
        // A gateway that refuses may have closed it by now.
        stream.write_all(bytes).ok();
        stream.shutdown(Shutdown::Write).ok();
        String::from_utf8_lossy(&all(&mut stream)).into_owned()
    }

    /// Where the listener that the gateway asked for at `at` really is.
    pub(super) fn stands_at(&self, at: SocketAddr) -> SocketAddr {
        self.standing.lock().unwrap()[&at]
    }

    /// Ends the gateway and returns everything it recorded.
    pub(super) fn close(&mut self) -> Vec<Record> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(self.gateway.take().unwrap().close());
        self.records.lock().unwrap().clone()
    }

    /// Ends the gateway and returns the denials it recorded.
    pub(super) fn denials(&mut self) -> Vec<Decision> {
        let denied = |record: Record| match record.fact {
            Fact::Decision(decision) if !decision.allowed => Some(decision),
            _ => None,
        };
        self.close().into_iter().filter_map(denied).collect()
    }

    /// Waits until the role has used up its bytes of the run.
    pub(super) fn overrun(&self) -> crate::event::Overrun {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let over = self.gateway.as_ref().unwrap().overrun();
        let waited = runtime.block_on(async { tokio::time::timeout(PATIENCE, over).await });
        waited.expect("the bytes of the run are not used up")
    }

    /// What the gateway let out.
    pub(super) fn usage(&self) -> Usage {
        self.gateway.as_ref().unwrap().usage()
    }

    pub(super) fn recorded(&self) -> Vec<Record> {
        self.records.lock().unwrap().clone()
    }

    /// Ends the gateway by dropping it.
    pub(super) fn forget(&mut self) {
        drop(self.gateway.take());
    }

    pub(super) fn listeners(&self) -> Vec<SocketAddr> {
        self.standing.lock().unwrap().keys().copied().collect()
    }

    pub(super) fn dns(&self) -> SocketAddr {
        self.tcp
    }

    pub(super) fn asked(&self) -> usize {
        self.resolver.asked.lock().unwrap().len()
    }
}

pub(super) fn question(id: u16, name: &str, record_type: RecordType) -> Vec<u8> {
    question_for(id, Name::from_str(name).unwrap(), record_type)
}

pub(super) fn question_for(id: u16, name: Name, record_type: RecordType) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name, record_type));
    message.to_vec().unwrap()
}

pub(super) fn address(answer: &Message) -> Result<Ipv4Addr, ResponseCode> {
    match answer.answers.first().map(|record| &record.data) {
        Some(RData::A(a)) => Ok(a.0),
        _ => Err(answer.metadata.response_code),
    }
}

pub(super) fn connected(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&at, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads to the end; a reset is an end too.
pub(super) fn all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(
            error.kind(),
            io::ErrorKind::ConnectionReset,
            "waited for an end in vain"
        );
    }
    bytes
}

/// A server of the test's own.
pub(super) struct Upstream {
    pub(super) at: SocketAddr,
    /// What each connection that ended had received.
    pub(super) heard: mpsc::Receiver<Vec<u8>>,
    /// The most connections open at once.
    pub(super) peak: Arc<AtomicUsize>,
}

/// Starts a server that runs `speak` on each connection, in a thread of its own.
pub(super) fn upstream(
    speak: impl Fn(&mut TcpStream) -> io::Result<Vec<u8>> + Send + Sync + 'static,
) -> Upstream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let (tell, heard) = mpsc::channel();
    let (open, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (speak, highest) = (Arc::new(speak), Arc::clone(&peak));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let (tell, speak) = (tell.clone(), Arc::clone(&speak));
            let (open, highest) = (Arc::clone(&open), Arc::clone(&highest));
            thread::spawn(move || {
                highest.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let heard = speak(&mut stream).unwrap_or_default();
                open.fetch_sub(1, Ordering::SeqCst);
                // The test may have ended already.
                drop(tell.send(heard));
            });
        }
    });
    Upstream { at, heard, peak }
}

/// A server that sends back what it hears until the client ends, then ends too.
pub(super) fn echo() -> Upstream {
    upstream(|stream| {
        let mut heard = Vec::new();
        let mut buffer = [0; 65536];
        loop {
            let read = stream.read(&mut buffer)?;
            if read == 0 {
                stream.shutdown(Shutdown::Write)?;
                return Ok(heard);
            }
            heard.extend_from_slice(&buffer[..read]);
            stream.write_all(&buffer[..read])?;
        }
    })
}

/// A server that reads until `end` was heard, answers `answer`, and hears on until the other side
/// ends or is silent for a second.
pub(super) fn answering(end: &'static [u8], answer: &'static str) -> Upstream {
    upstream(move |stream| {
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        while !heard.windows(end.len()).any(|w| w == end) {
            match stream.read(&mut buffer)? {
                0 => return Ok(heard),
                read => heard.extend_from_slice(&buffer[..read]),
            }
        }
        stream.write_all(answer.as_bytes())?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            heard.extend_from_slice(&buffer[..read]);
        }
        Ok(heard)
    })
}

/// Waits until `ready`, or fails.
pub(super) fn eventually(what: &str, ready: impl Fn() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < PATIENCE, "in vain waited until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
