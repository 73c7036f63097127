//! Reads `egress` lists and the `hosts` table. What rules say of requests is read by
//! [`request`](super::request).

use std::{net::SocketAddr, path::PathBuf};

use super::{
    EgressRule, HostEntry, HostPattern, Protocol, address,
    fields::{self, List, items, map, scalar, text, unknown},
    request::{read, registry},
    sheet::{Mark, Sheet},
    yaml::{Node, Value},
};
use crate::name::HostName;

const EXAMPLE: &str = "[\"api.example.com:443\"]";

/// Returns the rules of an `egress` list. A list of one host and one bare port is one rule.
pub(super) fn list(sheet: &mut Sheet<'_>, node: &Node) -> List<EgressRule> {
    if let Value::List(items) = &node.value
        && let [host, port] = items.as_slice()
        && let (Value::Text(name), Value::Text(number)) = (&host.value, &port.value)
        && !name.contains(':')
        && is_number(number)
    {
        let port = self::port(sheet, number, port.at);
        let draft = Draft::of(name, host.at, port);
        let rules = rules(sheet, draft).into_iter();
        let rules = rules.map(|rule| sheet.placed(rule, host.at)).collect();
        return sheet.placed(rules, node.at);
    }
    fields::list(sheet, node, EXAMPLE, rule)
}

/// A rule as written, its parts not yet put together.
struct Draft<'n> {
    host: (&'n str, Mark),
    ports: Vec<(u16, Mark)>,
    protocol: Option<Protocol>,
    request: read::Draft,
}

impl<'n> Draft<'n> {
    /// A short rule: it says nothing but a host and a port.
    fn of(name: &'n str, at: Mark, port: Option<(u16, Mark)>) -> Self {
        Self {
            host: (name, at),
            ports: port.into_iter().collect(),
            protocol: None,
            request: read::Draft::default(),
        }
    }
}

fn is_number(text: &str) -> bool {
    text.trim_start_matches(['-', '+'])
        .bytes()
        .all(|b| b.is_ascii_digit())
        && text.bytes().any(|b| b.is_ascii_digit())
}

fn rule(sheet: &mut Sheet<'_>, item: &Node) -> Vec<EgressRule> {
    match &item.value {
        Value::Text(text) => short(sheet, text, item.at),
        Value::Map(_) => long(sheet, item),
        Value::Faulty => Vec::new(),
        _ => {
            let help = Some(format!(
                "write {EXAMPLE} or {{ host: api.example.com, port: 443 }}"
            ));
            sheet.fault(
                item.at,
                format!("a rule is wanted here, and this is {}", item.kind()),
                help,
            );
            Vec::new()
        }
    }
}

/// Reads `api.stripe.com:443`.
fn short(sheet: &mut Sheet<'_>, text: &str, at: Mark) -> Vec<EgressRule> {
    let end = text.rsplit_once(':').filter(|(_, port)| is_number(port));
    match end {
        Some((host, number)) => {
            let port = port(sheet, number, at);
            rules(sheet, Draft::of(host, at, port))
        }
        None if is_number(text) => {
            let help = "only a list of one host and one port is one rule: [api.example.com, 443]; else write \"api.example.com:443\"";
            sheet.fault(
                at,
                format!("the port `{text}` stands without its host"),
                Some(help.to_owned()),
            );
            Vec::new()
        }
        None => match text.parse::<HostPattern>() {
            Ok(host) => {
                sheet.fault(
                    at,
                    format!("`{host}` has no port"),
                    Some(format!("write \"{host}:443\"")),
                );
                Vec::new()
            }
            Err(_) => rules(sheet, Draft::of(text, at, None)),
        },
    }
}

/// The keys of a long rule for a host.
const KEYS: [&str; 4] = ["host", "port", "ports", "protocol"];

/// Reads `{ host: api.example.com, port: 8080, protocol: tls }` and what it says of requests.
fn long(sheet: &mut Sheet<'_>, item: &Node) -> Vec<EgressRule> {
    if let Value::Map(pairs) = &item.value
        && pairs
            .iter()
            .any(|(key, _)| key.value == Value::Text("registry".to_owned()))
    {
        return registry::rules(sheet, item);
    }
    let (mut host, mut ports, mut protocol) = (None, None, None);
    let mut request = read::Draft::default();
    for (key, at, value) in map(sheet, item, "a rule") {
        match key {
            "host" => host = Some(text(sheet, value, "a host name").map(|name| (name, value.at))),
            "port" | "ports" if ports.is_some() => sheet.fault(
                at,
                "`port` and `ports` stand in one rule",
                Some("keep one of them".to_owned()),
            ),
            "port" => ports = Some(one_port(sheet, value)),
            "ports" => {
                ports = Some(
                    items(sheet, value, "[80, 443]")
                        .iter()
                        .flat_map(|port| one_port(sheet, port))
                        .collect(),
                );
            }
            "protocol" => protocol = self::protocol(sheet, value),
            _ => match read::KEYS.iter().find(|known| **known == key) {
                Some(known) => request.read(sheet, (*known, at), value),
                None => unknown(sheet, (key, at), &[&KEYS[..], &read::KEYS].concat()),
            },
        }
    }
    if host.is_none() {
        sheet.fault(
            item.at,
            "the rule names no host",
            Some("add `host: api.example.com`".to_owned()),
        );
    }
    if ports.is_none() {
        sheet.fault(
            item.at,
            "the rule names no port",
            Some("add `port: 443`".to_owned()),
        );
    }
    let Some(host) = host.flatten() else {
        return Vec::new();
    };
    rules(
        sheet,
        Draft {
            host,
            ports: ports.unwrap_or_default(),
            protocol,
            request,
        },
    )
}

fn one_port(sheet: &mut Sheet<'_>, node: &Node) -> Vec<(u16, Mark)> {
    let Some(number) = text(sheet, node, "a port number") else {
        return Vec::new();
    };
    port(sheet, number, node.at).into_iter().collect()
}

fn port(sheet: &mut Sheet<'_>, number: &str, at: Mark) -> Option<(u16, Mark)> {
    let digits = number.bytes().all(|b| b.is_ascii_digit());
    let port = number
        .parse::<u16>()
        .ok()
        .filter(|port| *port > 0 && digits);
    if port.is_none() {
        sheet.fault(
            at,
            format!("`{}` is not a port", number.escape_debug()),
            Some("ports are 1 to 65535".to_owned()),
        );
    }
    Some((port?, at))
}

fn protocol(sheet: &mut Sheet<'_>, node: &Node) -> Option<Protocol> {
    match text(sheet, node, "tls, http or tcp")? {
        "tls" => Some(Protocol::Tls),
        "http" => Some(Protocol::Http),
        "tcp" => Some(Protocol::Tcp),
        other => {
            sheet.fault(
                node.at,
                format!("`{}` is not a protocol", other.escape_debug()),
                Some("protocols are tls, http and tcp".to_owned()),
            );
            // A second fault for the missing protocol would only repeat this one.
            Some(Protocol::Tls)
        }
    }
}

fn rules(sheet: &mut Sheet<'_>, draft: Draft<'_>) -> Vec<EgressRule> {
    let (text, at) = draft.host;
    let host: HostPattern = match text.parse() {
        Ok(host) => host,
        Err(error) => {
            let error: super::HostError = error;
            sheet.fault(at, error.to_string(), Some(error.help.to_owned()));
            return Vec::new();
        }
    };
    let spoken = draft
        .ports
        .iter()
        .filter_map(|(port, _)| Some((*port, draft.protocol.or_else(|| usual(*port))?)));
    let request = draft.request.finish(sheet, &host, spoken);
    let origin = sheet.origin(at);
    let rule = |(port, mark): (u16, Mark)| match draft.protocol.or_else(|| usual(port)) {
        Some(protocol) => Some(EgressRule {
            host: host.clone(),
            port,
            protocol,
            request: request.clone(),
            origin: origin.clone(),
        }),
        None => {
            let help = format!(
                "write {{ host: \"{host}\", port: {port}, protocol: tls }}, or http, or tcp"
            );
            sheet.fault(
                mark,
                format!("port {port} does not say what is spoken there"),
                Some(help),
            );
            None
        }
    };
    draft.ports.into_iter().filter_map(rule).collect()
}

/// Returns what is spoken on a port when nothing else is said.
pub(super) fn usual(port: u16) -> Option<Protocol> {
    match port {
        443 => Some(Protocol::Tls),
        80 => Some(Protocol::Http),
        22 => Some(Protocol::Tcp),
        _ => None,
    }
}

/// Returns the entries of a `hosts` table: names, each with the address and port it is pinned to.
pub(super) fn hosts(sheet: &mut Sheet<'_>, node: &Node) -> Vec<HostEntry> {
    let mut entries = Vec::new();
    for (key, at, value) in map(sheet, node, "`hosts`") {
        let name = key.parse::<HostName>();
        if let Err(error) = &name {
            sheet.fault(
                at,
                error.to_string(),
                Some("pin one exact name: `mirror.internal: \"10.0.0.5:443\"`".to_owned()),
            );
        }
        let pinned = match value.value {
            Value::Map(_) => pinned_long(sheet, value),
            _ => pinned(sheet, value).map(|to| (to, None)),
        };
        if let (Ok(name), Some((to, ca))) = (name, pinned) {
            entries.push(HostEntry {
                name,
                to,
                ca,
                origin: sheet.origin(at),
            });
        }
    }
    entries
}

/// Reads `{ to: "127.0.0.1:8443", ca: /etc/ssl/own.pem }`.
fn pinned_long(sheet: &mut Sheet<'_>, node: &Node) -> Option<(SocketAddr, Option<PathBuf>)> {
    let (mut to, mut ca, mut named) = (None, None, false);
    for (key, at, value) in map(sheet, node, "a pinned name") {
        match key {
            "to" => (to, named) = (pinned(sheet, value), true),
            "ca" => ca = certificates(sheet, value),
            _ => unknown(sheet, (key, at), &["to", "ca"]),
        }
    }
    if !named {
        let help = "write { to: \"127.0.0.1:8443\", ca: /etc/ssl/own.pem }".to_owned();
        sheet.fault(node.at, "the name is pinned to no address", Some(help));
    }
    Some((to?, ca))
}

fn certificates(sheet: &mut Sheet<'_>, node: &Node) -> Option<PathBuf> {
    let path = |text: &str| {
        let plain = text.len() <= 4096 && !text.chars().any(char::is_control);
        let part = |part: &str| !matches!(part, "." | "..");
        let fits = plain && text.starts_with('/') && text.split('/').all(part);
        fits.then(|| PathBuf::from(text))
    };
    let wanted = "the absolute path of a file of certificates, such as /etc/ssl/own.pem";
    scalar(sheet, node, wanted, path)
}

fn pinned(sheet: &mut Sheet<'_>, node: &Node) -> Option<SocketAddr> {
    let wanted = "an address and a port such as \"127.0.0.1:8443\" or \"[::1]:8443\"";
    let given = text(sheet, node, wanted)?;
    let Some(to) = given.parse::<SocketAddr>().ok().filter(|to| to.port() > 0) else {
        sheet.fault(
            node.at,
            format!("`{}` is not an address with a port", given.escape_debug()),
            Some(format!("write {wanted}")),
        );
        return None;
    };
    if let Some(why) = address::never(to.ip()) {
        sheet.fault(
            node.at,
            format!("{} is {why} and is never dialled", to.ip()),
            Some("pin the name to another address".to_owned()),
        );
        return None;
    }
    Some(to)
}
