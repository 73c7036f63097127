//! The one decision on where a role may connect to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::name::HostName;

use super::{Egress, EgressRule, HostPattern, Protocol};

/// A name and port that something in a sandbox wants to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The name asked for.
    pub name: HostName,
    /// The port asked for.
    pub port: u16,
}

/// Proof that a target was allowed; only [`decide`] makes one.
#[derive(Debug, Clone)]
pub struct Permit {
    target: Target,
    rule: String,
    protocol: Protocol,
    pinned: Option<SocketAddr>,
}

impl Permit {
    /// Returns what was asked for.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Returns the rule that allows it, for people.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Returns what may be spoken.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Returns the address the `hosts:` table pins the name to.
    #[must_use]
    pub fn pinned(&self) -> Option<SocketAddr> {
        self.pinned
    }

    /// Checks one resolved address.
    ///
    /// # Errors
    ///
    /// When the address is not a public one.
    pub fn admit(&self, ip: IpAddr) -> Result<SocketAddr, Denied> {
        if let Some(pinned) = self.pinned.filter(|pinned| pinned.ip() == ip) {
            return Ok(pinned);
        }
        let public = match ip.to_canonical() {
            IpAddr::V4(v4) => {
                let shared = Ipv4Addr::new(100, 64, 0, 0).to_bits() >> 22 == v4.to_bits() >> 22;
                let special = v4.is_loopback() || v4.is_private() || v4.is_link_local();
                !(special || shared || v4.octets()[0] == 0 || v4.octets()[0] >= 224)
            }
            IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000,
        };
        if public {
            return Ok(SocketAddr::new(ip, self.target.port));
        }
        Err(Denied {
            rule: Some(self.rule.clone()),
            reason: format!(
                "`{}` resolves to `{ip}`, which is not a public address",
                self.target.name
            ),
        })
    }
}

/// Why a target may not be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Denied {
    /// The rule that decided, none when no rule covers the target.
    pub rule: Option<String>,
    /// One sentence.
    pub reason: String,
}

/// Decides whether `egress` allows `target`.
///
/// # Errors
///
/// When no rule covers the name and port.
pub fn decide(egress: &Egress, target: &Target) -> Result<Permit, Denied> {
    let rule = egress
        .rules
        .iter()
        .find(|r| r.port == target.port && covers(r, &target.name));
    let Some(rule) = rule else {
        let reason = format!("no rule allows `{}:{}`", target.name, target.port);
        return Err(Denied { rule: None, reason });
    };
    let pinned = egress
        .hosts
        .iter()
        .find(|h| h.name == target.name)
        .map(|h| h.to);
    Ok(Permit {
        target: target.clone(),
        rule: format!("{}:{}", rule.origin.file, rule.origin.line),
        protocol: rule.protocol,
        pinned,
    })
}

/// Returns the ports of `name` that some rule allows; empty is a denied name.
#[must_use]
pub fn name_ports(egress: &Egress, name: &HostName) -> Vec<(u16, Protocol)> {
    let mut ports: Vec<(u16, Protocol)> = Vec::new();
    for rule in egress.rules.iter().filter(|r| covers(r, name)) {
        if !ports.iter().any(|(port, _)| *port == rule.port) {
            ports.push((rule.port, rule.protocol));
        }
    }
    ports
}

fn covers(rule: &EgressRule, name: &HostName) -> bool {
    match &rule.host {
        HostPattern::Exact(exact) => exact == name,
        HostPattern::Wildcard(parent) => name
            .as_str()
            .split_once('.')
            .is_some_and(|(_, rest)| rest == parent.as_str()),
    }
}
