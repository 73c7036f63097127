//! The ways to the server that are compared: none, our gateways, and others' proxies. Each that
//! runs does so in a process of its own.

use std::{
    collections::HashMap,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Service,
    child::{self, Order, Stand},
    server::{NAMES, Server},
};

/// How long a program may take to listen.
const PATIENCE: Duration = Duration::from_secs(60);

/// One way to the server.
pub struct Side {
    pub name: &'static str,
    way: Way,
    process: Option<Process>,
    /// PEM.
    pub authority: String,
}

enum Way {
    Direct(HashMap<Service, SocketAddr>),
    Gateways(Vec<HashMap<Service, SocketAddr>>),
    Proxy {
        at: SocketAddr,
        to: HashMap<Service, SocketAddr>,
    },
}

impl Side {
    /// Returns where an agent's programs connect to.
    pub fn at(&self, agent: usize, service: Service) -> SocketAddr {
        match &self.way {
            Way::Direct(at) => at[&service],
            Way::Gateways(doors) => doors[agent % doors.len()][&service],
            Way::Proxy { at, .. } => *at,
        }
    }

    /// Connects to a service as an agent does.
    pub fn connect(&self, agent: usize, service: Service) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.at(agent, service))?;
        stream.set_nodelay(true)?;
        match &self.way {
            Way::Proxy { to, .. } if service != Service::Http => {
                tunnel(&mut stream, to[&service].port())?;
            }
            _ => {}
        }
        Ok(stream)
    }

    /// The server's name as this side's programs know it.
    pub fn host(&self, service: Service) -> String {
        let ours = child::NAMES.iter().find(|(one, ..)| *one == service);
        match (&self.way, ours) {
            (Way::Gateways(_), Some((_, name, _))) => (*name).to_owned(),
            (Way::Proxy { to, .. }, _) if service == Service::Http => {
                format!("localhost:{}", to[&service].port())
            }
            _ => NAMES[0].to_owned(),
        }
    }

    /// What the first line of a request asks for.
    pub fn target(&self, service: Service, path: &str) -> String {
        match self.way {
            Way::Proxy { .. } if service == Service::Http => {
                format!("http://{}{path}", self.host(service))
            }
            _ => path.to_owned(),
        }
    }

    /// What its processes used so far, none when it has none.
    pub fn used(&self) -> Option<Used> {
        self.process.as_ref().map(Process::used)
    }

    pub fn direct(server: &Server) -> Self {
        Self {
            name: "direct",
            way: Way::Direct(services(server)),
            process: None,
            authority: server.authority.clone(),
        }
    }

    /// Starts as many gateways as there are agents.
    pub fn gateways(server: &Server, agents: usize, ca: &Path) -> Self {
        let order = Order {
            agents,
            echo: server.at(Service::Echo),
            http: server.at(Service::Http),
            https: server.at(Service::Https),
            ca: ca.display().to_string(),
        };
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .arg("gateways")
            .arg(serde_json::to_string(&order).unwrap());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let said = child.stdout.take().unwrap();
        BufReader::new(said).read_line(&mut line).unwrap();
        let stand: Stand = serde_json::from_str(&line).expect("the gateways stand");
        Self {
            name: "loki",
            way: Way::Gateways(stand.doors),
            process: Some(Process(child)),
            authority: stand.authority,
        }
    }

    /// Waits until a proxy listens and answers.
    pub fn proxy(
        name: &'static str,
        (server, at): (&Server, SocketAddr),
        (mut command, authority): (Command, Option<PathBuf>),
    ) -> Result<Self, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let child = command
            .spawn()
            .map_err(|error| format!("{name}: {error}"))?;
        let mut process = Process(child);
        let since = Instant::now();
        while TcpStream::connect(at).is_err() {
            let ended = process.0.try_wait().ok().flatten();
            if ended.is_some() || since.elapsed() > PATIENCE {
                return Err(format!("{name}: did not listen at {at} ({ended:?})"));
            }
            thread::sleep(Duration::from_millis(50));
        }
        let authority = match authority {
            Some(path) => fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?,
            None => server.authority.clone(),
        };
        let way = Way::Proxy {
            at,
            to: services(server),
        };
        let side = Self {
            name,
            way,
            process: Some(process),
            authority,
        };
        match side.connect(0, Service::Echo) {
            Ok(_) => Ok(side),
            Err(error) => Err(format!("{name}: {error}")),
        }
    }
}

fn services(server: &Server) -> HashMap<Service, SocketAddr> {
    [Service::Echo, Service::Http, Service::Https, Service::Keyed]
        .map(|service| (service, server.at(service)))
        .into()
}

/// Asks a proxy for a tunnel to a port of this machine.
fn tunnel(stream: &mut TcpStream, port: u16) -> io::Result<()> {
    let ask = format!("CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    stream.write_all(ask.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if head.starts_with(b"HTTP/1.1 200") || head.starts_with(b"HTTP/1.0 200") {
        return Ok(());
    }
    Err(io::Error::other(
        String::from_utf8_lossy(&head).into_owned(),
    ))
}

/// Returns an address that nobody listens at.
pub fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// What processes used.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    pub cpu: Duration,
    pub resident: u64,
    pub peak: u64,
}

/// A process that ends with this value, and with it what it started.
struct Process(Child);

impl Process {
    fn used(&self) -> Used {
        let mut all = Used {
            cpu: Duration::ZERO,
            resident: 0,
            peak: 0,
        };
        for id in family(self.0.id()) {
            let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            let bytes = |key: &str| {
                let line = status.lines().find(|line| line.starts_with(key));
                let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
                kib.unwrap_or(0) * 1024
            };
            all.resident += bytes("VmRSS:");
            all.peak += bytes("VmHWM:");
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
            let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
            // User and system time, in hundredths of a second on every Linux there is.
            let ticks = ticks(11).unwrap_or(0) + ticks(12).unwrap_or(0);
            all.cpu += Duration::from_millis(ticks * 10);
        }
        all
    }
}

/// Returns a process and all below it.
fn family(of: u32) -> Vec<u32> {
    let mut all = vec![of];
    let mut at = 0;
    while at < all.len() {
        let path = format!("/proc/{0}/task/{0}/children", all[at]);
        let below = fs::read_to_string(path).unwrap_or_default();
        all.extend(
            below
                .split_whitespace()
                .filter_map(|id| id.parse::<u32>().ok()),
        );
        at += 1;
    }
    all
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its children end when it ends in order; our own child when its input does.
        drop(self.0.stdin.take());
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
        let since = Instant::now();
        while self.0.try_wait().ok().flatten().is_none() {
            if since.elapsed() > Duration::from_secs(5) {
                self.0.kill().ok();
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
