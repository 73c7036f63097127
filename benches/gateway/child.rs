//! The gateways, in a process of their own, so that its memory and its processor time are theirs.

use std::{
    collections::HashMap,
    io::{self, Read},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};
use loki::{
    egress::{Config, DnsSockets, Gateway, Limits, Resolve, Threads},
    name::HostName,
    policy::{Facts, Layer, Policy, Rights, Source},
};
use serde::{Deserialize, Serialize};

use crate::Service;

/// What the child is given.
#[derive(Serialize, Deserialize)]
pub struct Order {
    /// How many gateways, one an agent.
    pub agents: usize,
    pub echo: SocketAddr,
    pub http: SocketAddr,
    pub https: SocketAddr,
    /// A PEM file.
    pub ca: String,
}

/// What it says once all gateways stand.
#[derive(Serialize, Deserialize)]
pub struct Stand {
    /// PEM.
    pub authority: String,
    /// The listeners of each agent's names.
    pub doors: Vec<HashMap<Service, SocketAddr>>,
}

/// The names and ports that an agent's services stand at.
pub const NAMES: [(Service, &str, u16); 4] = [
    (Service::Echo, "tcp.test", 22),
    (Service::Http, "plain.test", 80),
    (Service::Https, "tls.test", 443),
    (Service::Keyed, "key.test", 443),
];

/// As long as those of providers are.
const SECRET: &str = "sk-bench-0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghij";

/// All names are pinned.
struct Nobody;

impl Resolve for Nobody {
    fn resolve<'a>(
        &'a self,
        name: &'a HostName,
    ) -> BoxFuture<'a, io::Result<Vec<std::net::IpAddr>>> {
        Box::pin(async move { Err(io::Error::other(format!("`{name}` is not pinned"))) })
    }
}

/// The rights of an agent: each is of a role of its own, for those of one role share its limits.
fn rights(order: &Order, agent: usize) -> Rights {
    let role = format!("bench-{}", char::from(b'a' + u8::try_from(agent).unwrap()));
    let Order {
        echo,
        http,
        https,
        ca,
        ..
    } = order;
    let text = format!(
        "version: 1\nagents: {{ {role}: {{}} }}\n\
         rate_limits: {{ {role}: {{ api_calls_per_minute: none, network_bytes_per_minute: none }} }}\n\
         hosts: {{ tcp.test: \"{echo}\", plain.test: \"{http}\", \
         tls.test: {{ to: \"{https}\", ca: \"{ca}\" }}, key.test: {{ to: \"{https}\", ca: \"{ca}\" }} }}\n\
         network_policies: {{ {role}: {{ egress: [\"tcp.test:22\", \"plain.test:80\", \
         {{ host: tls.test, port: 443, paths: [\"/**\"] }}, \
         {{ host: key.test, port: 443, paths: [\"/**\"], credential: {{ secret: KEY, bearer: true }} }}] }} }}\n"
    );
    let source = Source {
        layer: Layer::User,
        file: "bench.yaml".into(),
        text,
    };
    let facts = Facts {
        secrets: ["KEY".to_owned()].into(),
        ..Facts::default()
    };
    let policy = Policy::check_knowing(&[source], &facts);
    let policy = policy.unwrap_or_else(|faults| panic!("{faults:?}"));
    policy.rights(&role.parse().unwrap()).unwrap()
}

/// Starts one gateway and returns it with where its names stand.
fn start(rights: Rights, threads: &Threads) -> (Gateway, HashMap<Service, SocketAddr>) {
    let opened = Arc::new(Mutex::new(HashMap::new()));
    let standing = Arc::clone(&opened);
    let open = move |at: SocketAddr| -> BoxFuture<'static, io::Result<TcpListener>> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let real = listener.local_addr().unwrap();
        opened.lock().unwrap().insert(at, real);
        Box::pin(std::future::ready(Ok(listener)))
    };
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let asked = udp.local_addr().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Config {
        egress: rights.egress,
        role: rights.role,
        dns: DnsSockets { udp, tcp },
        doors: Arc::new(open),
        record: Arc::new(drop),
        resolver: Arc::new(Nobody),
        rates: rights.rates,
        limits: Limits::default(),
        secrets: Arc::new(|_| Some(zeroize::Zeroizing::new(SECRET.to_owned()))),
    };
    let gateway = Gateway::start(config, threads).unwrap();
    let place = |(service, name, port): (Service, &str, u16)| {
        let at = SocketAddr::from((address(asked, name), port));
        (service, standing.lock().unwrap()[&at])
    };
    (gateway, NAMES.map(place).into())
}

/// Asks the gateway where a name stands.
fn address(dns: SocketAddr, name: &str) -> Ipv4Addr {
    let mut question = Message::new(7, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii(format!("{name}.")).unwrap();
    question.add_query(Query::query(name, RecordType::A));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    client.send_to(&question.to_vec().unwrap(), dns).unwrap();
    let mut answer = [0; 512];
    let length = client.recv(&mut answer).unwrap();
    let last: [u8; 4] = answer[length - 4..length].try_into().unwrap();
    last.into()
}

/// Serves until its input ends.
pub fn serve(order: &str) {
    let order: Order = serde_json::from_str(order).unwrap();
    let threads = Threads::start().unwrap();
    let (gateways, doors): (Vec<_>, Vec<_>) = (0..order.agents)
        .map(|agent| start(rights(&order, agent), &threads))
        .unzip();
    let stand = Stand {
        authority: threads.trust().authority.to_string(),
        doors,
    };
    println!("{}", serde_json::to_string(&stand).unwrap());
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
    drop(gateways);
}
