//! The one decision on where a role may connect to: pure, and the only maker of a [`Permit`].
//!
//! ```text
//! name asked for ── name_ports ──► ports to listen on (none: the name is denied)
//! connection     ── decide ──────► Permit or Denied, both naming the rule
//! resolved address ─ Permit::admit ► the socket address that is dialled, or Denied
//! ```
//! Nothing here says "if there is no rule, allow": without a rule that covers it a target is denied.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use super::{DeniedHost, Egress, EgressRule, Protocol, address};
use crate::name::HostName;

/// What a program wants to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The name it asked for.
    pub name: HostName,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

/// Evidence that a rule covers a target. Only [`decide`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    target: Target,
    rule: String,
    protocol: Protocol,
    pinned: Option<SocketAddr>,
    ca: Option<PathBuf>,
    inspected: bool,
}

impl Permit {
    /// Returns what may be connected to.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Returns the rule that allows it, such as `api.stripe.com:443 (policies/x.yaml:12)`.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Returns what must be spoken.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Returns the address that `hosts:` pins the name to. Nothing is resolved then.
    #[must_use]
    pub fn pinned(&self) -> Option<SocketAddr> {
        self.pinned
    }

    /// Returns the file of the certificates that the server is checked against, none for those of
    /// the host.
    #[must_use]
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// Returns whether some rule for the target says what may be asked there: then each request is
    /// to be decided by [`decide_request`](super::decide_request).
    #[must_use]
    pub fn inspected(&self) -> bool {
        self.inspected
    }

    /// Returns what to dial when the name leads to `resolved`.
    ///
    /// # Errors
    /// Returns [`Denied`] for an address that no public name may lead to: loopback, private,
    /// link-local, metadata and the like, in any form. A pinned name leads to its pinned address
    /// alone, which may be loopback or private, but never metadata or link-local.
    pub fn admit(&self, resolved: IpAddr) -> Result<SocketAddr, Denied> {
        let Some(pinned) = self.pinned else {
            let why = address::refusal(resolved);
            return why.map_or(Ok(SocketAddr::new(resolved, self.target.port)), |why| {
                Err(self.refuse(resolved, why))
            });
        };
        if pinned.ip() != resolved {
            return Err(self.refuse(resolved, "not the address that `hosts:` pins the name to"));
        }
        address::never(resolved).map_or(Ok(pinned), |why| Err(self.refuse(resolved, why)))
    }

    fn refuse(&self, resolved: IpAddr, why: &str) -> Denied {
        let reason = format!("`{}` leads to {resolved}, which is {why}", self.target.name);
        Denied {
            target: self.target.to_string(),
            rule: Some(self.rule.clone()),
            reason,
        }
    }
}

/// Why a target may not be connected to. Its text is one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("access to `{target}` is denied: {reason}{}", rule.as_deref().map(|rule| format!(" (rule {rule})")).unwrap_or_default())]
pub struct Denied {
    /// What was asked for, such as `api.stripe.com:443` or `GET https://api.stripe.com/v1`.
    pub target: String,
    /// The rule that covered the name, if any did.
    pub rule: Option<String>,
    /// Why not.
    pub reason: String,
}

/// Decides whether `target` may be connected to.
///
/// # Errors
/// Returns [`Denied`] when a denial covers the target, or when no rule covers the name and the
/// port together.
pub fn decide(egress: &Egress, target: &Target) -> Result<Permit, Denied> {
    if let Some(denial) = denial(egress, &target.name, target.port) {
        return Err(Denied {
            target: target.to_string(),
            rule: Some(denial.to_string()),
            reason: "a `deny` entry covers it".to_owned(),
        });
    }
    let mut covering = egress
        .rules
        .iter()
        .filter(|rule| rule.covers_target(target));
    let Some(first) = covering.clone().next() else {
        return Err(deny(egress, target));
    };
    // A rule on requests is held even where another rule for the target stands before it.
    let asking = covering.find(|rule| rule.request.is_some());
    let rule = asking.unwrap_or(first);
    let closing = denials(egress, &target.name, target.port).next();
    if let Some(denial) = closing.filter(|_| rule.protocol == Protocol::Tcp) {
        return Err(Denied {
            target: target.to_string(),
            rule: Some(denial.to_string()),
            reason: "a `deny` entry closes requests there, and none is seen in tcp".to_owned(),
        });
    }
    let pinned = egress.hosts.iter().find(|entry| entry.name == target.name);
    Ok(Permit {
        target: target.clone(),
        rule: rule.to_string(),
        protocol: rule.protocol,
        pinned: pinned.map(|entry| entry.to),
        ca: pinned.and_then(|entry| entry.ca.clone()),
        inspected: asking.is_some() || closing.is_some(),
    })
}

/// Returns the ports, with what is spoken on them, that some rule allows for `name`; empty when
/// the name is denied.
#[must_use]
pub fn name_ports(egress: &Egress, name: &HostName) -> Vec<(u16, Protocol)> {
    let mut ports: Vec<(u16, Protocol)> = Vec::new();
    for rule in egress.rules.iter().filter(|rule| rule.host.matches(name)) {
        let is_blind = rule.protocol == Protocol::Tcp;
        let is_denied = denial(egress, name, rule.port).is_some()
            || (is_blind && denials(egress, name, rule.port).next().is_some());
        if !is_denied && !ports.iter().any(|(port, _)| *port == rule.port) {
            ports.push((rule.port, rule.protocol));
        }
    }
    ports
}

/// Returns the denial that closes a name and port altogether.
fn denial<'e>(egress: &'e Egress, name: &HostName, port: u16) -> Option<&'e DeniedHost> {
    let mut covering = egress.denied.iter().filter(|one| one.is_at(name, port));
    covering.find(|denial| denial.request.is_none())
}

/// Returns the denials that close some requests to a name and port.
pub(super) fn denials<'e>(
    egress: &'e Egress,
    name: &'e HostName,
    port: u16,
) -> impl Iterator<Item = &'e DeniedHost> {
    let is_at = move |denial: &&DeniedHost| denial.is_at(name, port);
    let covering = egress.denied.iter().filter(is_at);
    covering.filter(|denial| denial.request.is_some())
}

fn deny(egress: &Egress, target: &Target) -> Denied {
    let same = egress
        .rules
        .iter()
        .find(|rule| rule.host.matches(&target.name));
    let reason = match same {
        Some(rule) => format!(
            "port {} is not open, only port {} is",
            target.port, rule.port
        ),
        None if egress.rules.is_empty() => "the role has no egress at all".to_owned(),
        None => format!("no egress rule names `{}`", target.name),
    };
    Denied {
        target: target.to_string(),
        rule: same.map(ToString::to_string),
        reason,
    }
}

impl EgressRule {
    /// Returns whether the rule is about this name and port.
    #[must_use]
    pub fn covers_target(&self, target: &Target) -> bool {
        self.host.matches(&target.name) && self.port == target.port
    }
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({})", self.host, self.port, self.origin)
    }
}

impl fmt::Display for DeniedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deny {} ({})", self.item(), self.origin)
    }
}

impl DeniedHost {
    /// Returns what it closes: `*.example.com`, `api.example.com:443`, `DELETE on *`.
    #[must_use]
    pub fn item(&self) -> String {
        let host = self.host();
        match &self.request {
            Some(request) => format!("{request} on {host}"),
            None => host,
        }
    }

    /// Returns where it closes something: `*.example.com`, `api.example.com:443`.
    #[must_use]
    pub fn host(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.names),
            None => self.names.to_string(),
        }
    }

    fn is_at(&self, name: &HostName, port: u16) -> bool {
        self.names.matches(name) && self.port.is_none_or(|only| only == port)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::policy::{HostEntry, HostPattern, Origin};

    fn rule(host: &str, port: u16) -> EgressRule {
        let origin = Origin {
            file: "x.yaml".to_owned(),
            line: 3,
            ..Origin::default()
        };
        EgressRule {
            host: host.parse().unwrap(),
            port,
            protocol: Protocol::Tls,
            request: None,
            origin,
        }
    }

    fn pin(name: &str, to: &str) -> HostEntry {
        HostEntry {
            name: name.parse().unwrap(),
            to: to.parse().unwrap(),
            ca: None,
            origin: Origin::default(),
        }
    }

    fn target(name: &str, port: u16) -> Target {
        Target {
            name: name.parse().unwrap(),
            port,
        }
    }

    #[test]
    fn an_empty_list_denies_everything() {
        let empty = Egress {
            rules: Vec::new(),
            hosts: vec![pin("mirror.test", "127.0.0.1:80")],
            ..Egress::default()
        };
        for name in [
            "localhost",
            "api.stripe.com",
            "mirror.test",
            "metadata.google.internal",
        ] {
            for port in [0, 22, 53, 80, 443, u16::MAX] {
                assert!(decide(&empty, &target(name, port)).is_err());
            }
            assert!(name_ports(&empty, &name.parse().unwrap()).is_empty());
        }
    }

    #[test]
    fn a_permit_names_its_rule_and_so_does_a_denial() {
        let egress = Egress {
            rules: vec![rule("api.stripe.com", 443)],
            ..Egress::default()
        };
        assert_eq!(
            decide(&egress, &target("api.stripe.com", 443))
                .unwrap()
                .rule(),
            "api.stripe.com:443 (x.yaml:3)"
        );
        let denied = decide(&egress, &target("api.stripe.com", 80)).unwrap_err();
        insta::assert_snapshot!(denied, @"access to `api.stripe.com:80` is denied: port 80 is not open, only port 443 is (rule api.stripe.com:443 (x.yaml:3))");
        let denied = decide(&egress, &target("evil.test", 443)).unwrap_err();
        insta::assert_snapshot!(denied, @"access to `evil.test:443` is denied: no egress rule names `evil.test`");
    }

    #[test]
    fn an_exact_rule_does_not_open_children() {
        let egress = Egress {
            rules: vec![rule("github.com", 443)],
            ..Egress::default()
        };
        assert!(decide(&egress, &target("github.com", 443)).is_ok());
        assert!(decide(&egress, &target("gist.github.com", 443)).is_err());
    }

    #[test]
    fn six_metadata_endpoints_are_refused_even_when_a_rule_or_a_pin_names_them() {
        let endpoints = [
            "169.254.169.254",
            "fd00:ec2::254",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd20:ce::254",
        ];
        for endpoint in endpoints {
            let address: IpAddr = endpoint.parse().unwrap();
            let to = SocketAddr::new(address, 80);
            let name = "metadata.google.internal";
            let mut egress = Egress {
                rules: vec![rule(name, 80)],
                ..Egress::default()
            };
            let permit = decide(&egress, &target(name, 80)).unwrap();
            assert!(permit.admit(address).is_err(), "{endpoint}");
            egress.hosts = vec![HostEntry {
                to,
                ..pin(name, "127.0.0.1:80")
            }];
            let permit = decide(&egress, &target(name, 80)).unwrap();
            assert!(permit.admit(address).is_err(), "{endpoint} pinned");
            assert!(
                endpoint.parse::<HostPattern>().is_err(),
                "{endpoint} as a rule"
            );
        }
    }

    #[test]
    fn a_pinned_name_leads_to_its_address_alone() {
        let egress = Egress {
            rules: vec![rule("mirror.test", 443)],
            hosts: vec![pin("mirror.test", "127.0.0.1:8443")],
            ..Egress::default()
        };
        let permit = decide(&egress, &target("mirror.test", 443)).unwrap();
        assert_eq!(
            permit.admit("127.0.0.1".parse().unwrap()),
            Ok("127.0.0.1:8443".parse().unwrap())
        );
        assert!(permit.admit("127.0.0.2".parse().unwrap()).is_err());
        assert!(permit.admit("8.8.8.8".parse().unwrap()).is_err());
    }

    #[test]
    fn a_public_address_is_dialled_on_the_asked_port() {
        let egress = Egress {
            rules: vec![rule("api.stripe.com", 443)],
            ..Egress::default()
        };
        let permit = decide(&egress, &target("api.stripe.com", 443)).unwrap();
        assert_eq!(
            permit.admit("8.8.8.8".parse().unwrap()),
            Ok("8.8.8.8:443".parse().unwrap())
        );
        let denied = permit
            .admit("::ffff:10.0.0.1".parse().unwrap())
            .unwrap_err();
        assert!(
            denied.to_string().contains("leads to ::ffff:10.0.0.1"),
            "{denied}"
        );
    }

    fn names() -> impl Strategy<Value = HostName> {
        "[ab](\\.[ab]){0,3}".prop_map(|text| text.parse().unwrap())
    }

    fn rules() -> impl Strategy<Value = Vec<EgressRule>> {
        let one = (names(), proptest::bool::ANY, 1u16..4).prop_map(|(name, wild, port)| {
            let host = if wild {
                HostPattern::Wildcard(name)
            } else {
                HostPattern::Exact(name)
            };
            EgressRule {
                host,
                port,
                protocol: Protocol::Tcp,
                request: None,
                origin: Origin::default(),
            }
        });
        proptest::collection::vec(one, 0..6)
    }

    /// The meaning of a rule, said by label lists instead of by text.
    fn covers(rule: &EgressRule, target: &Target) -> bool {
        let asked: Vec<&str> = target.name.as_str().split('.').collect();
        let allowed = match &rule.host {
            HostPattern::Exact(name) => name.as_str().split('.').eq(asked.iter().copied()),
            HostPattern::Wildcard(name) => {
                name.as_str().split('.').eq(asked.iter().copied().skip(1))
            }
        };
        allowed && rule.port == target.port
    }

    proptest! {
        #[test]
        fn nothing_is_permitted_that_no_rule_covers(rules in rules(), name in names(), port in 0u16..5) {
            let egress = Egress { rules, ..Egress::default() };
            let target = Target { name, port };
            let expected = egress.rules.iter().any(|rule| covers(rule, &target));
            prop_assert_eq!(decide(&egress, &target).is_ok(), expected);
            let listed = name_ports(&egress, &target.name).iter().any(|(open, _)| *open == port);
            prop_assert_eq!(listed, expected);
        }

        #[test]
        fn no_private_address_is_dialled_unpinned(bits: u32) {
            let egress = Egress { rules: vec![rule("a.test", 443)], ..Egress::default() };
            let permit = decide(&egress, &target("a.test", 443)).unwrap();
            let address = std::net::Ipv4Addr::from(bits);
            if permit.admit(address.into()).is_ok() {
                prop_assert!(!address.is_private() && !address.is_loopback() && !address.is_link_local() && !address.is_multicast());
            }
            prop_assert!(permit.admit(address.to_ipv6_mapped().into()).is_err());
        }
    }
}
