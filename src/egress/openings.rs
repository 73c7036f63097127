//! Hosts that a person opened to a role while its sandboxes run.
//!
//! An opening is one more rule, for one name and port, asked after the policy's own. It opens
//! nothing that a `deny` entry closes, and it ends with the orchestrator.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::{
    event::Event,
    name::{HostName, Role},
    policy::{Denied, Egress, EgressRule, HostPattern, Origin, Permit, Protocol, Target, decide},
};

/// One name and port, opened to a role.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// To whom.
    pub role: Role,
    /// The name.
    pub host: HostName,
    /// The port.
    pub port: u16,
    /// What is spoken there.
    pub protocol: Protocol,
    /// How often.
    pub times: Times,
}

/// How often an opening can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Times {
    /// For one connection.
    Once,
    /// For as long as the orchestrator runs.
    Run,
}

impl Times {
    /// Returns the option of `loki egress allow`.
    fn option(self) -> &'static str {
        match self {
            Self::Once => "--once",
            Self::Run => "--run",
        }
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            role, host, port, ..
        } = self;
        write!(f, "{host}:{port} for {role}, {}", self.times.option())
    }
}

impl Opening {
    /// Returns what the journal holds of it.
    #[must_use]
    pub fn event(&self) -> Event {
        Event::EgressOpened {
            role: self.role.clone(),
            host: self.host.to_string(),
            port: self.port,
            once: self.times == Times::Once,
        }
    }

    fn rule(&self) -> EgressRule {
        let target = Target {
            name: self.host.clone(),
            port: self.port,
        };
        let origin = Origin {
            file: format!("loki egress allow {}", self.times.option()),
            ..Origin::default()
        };
        rule(&target, self.protocol, origin)
    }
}

fn rule(Target { name, port }: &Target, protocol: Protocol, origin: Origin) -> EgressRule {
    EgressRule {
        host: HostPattern::Exact(name.clone()),
        port: *port,
        protocol,
        request: None,
        origin,
    }
}

/// Returns whether a person could open a target: no `deny` entry closes it.
pub(super) fn may_open(egress: &Egress, target: &Target) -> bool {
    let opened = Egress {
        rules: vec![rule(target, Protocol::Tls, Origin::default())],
        ..egress.clone()
    };
    decide(&opened, target).is_ok()
}

/// What a decision is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// To say where a name stands: uses nothing up.
    ToName,
    /// To open a connection: uses an opening for one connection up.
    ToConnect,
}

/// All openings of an orchestrator.
#[derive(Debug)]
pub(super) struct Openings {
    open: Mutex<HashMap<Role, Vec<Opening>>>,
    /// How many there were ever, so that who waits for one hears of it.
    made: watch::Sender<u64>,
}

impl Default for Openings {
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            made: watch::Sender::new(0),
        }
    }
}

impl Openings {
    /// Opens it from now on.
    pub(super) fn add(&self, opening: Opening) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_role = open.entry(opening.role.clone()).or_default();
        if !of_role.contains(&opening) || opening.times == Times::Once {
            of_role.push(opening);
        }
        drop(open);
        self.made.send_modify(|made| *made += 1);
    }

    /// Hears of openings made from now on.
    pub(super) fn hear(&self) -> watch::Receiver<u64> {
        self.made.subscribe()
    }

    /// Decides by the policy's own rules, then by what was opened to the role.
    pub(super) fn decide(
        &self,
        (role, egress): (&Role, &Egress),
        target: &Target,
        asked: Asked,
    ) -> Result<Permit, Denied> {
        let denied = match decide(egress, target) {
            Ok(permit) => return Ok(permit),
            Err(denied) => denied,
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(of_role) = open.get_mut(role) else {
            return Err(denied);
        };
        let covers = |one: &Opening| one.host == target.name && one.port == target.port;
        // One for the run first, so that one for a connection is not used up in vain.
        let at = of_role
            .iter()
            .position(|one| covers(one) && one.times == Times::Run)
            .or_else(|| of_role.iter().position(covers));
        let Some(at) = at else { return Err(denied) };
        let opened = Egress {
            rules: vec![of_role[at].rule()],
            ..egress.clone()
        };
        // By the same function, so that a `deny` entry holds.
        let permit = decide(&opened, target)?;
        if asked == Asked::ToConnect && of_role[at].times == Times::Once {
            of_role.remove(at);
        }
        Ok(permit)
    }

    /// Returns the ports opened to the role for a name, besides those of its rules.
    pub(super) fn ports(&self, role: &Role, name: &HostName) -> Vec<(u16, Protocol)> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_role = open.get(role).into_iter().flatten();
        of_role
            .filter(|one| one.host == *name)
            .map(|one| (one.port, one.protocol))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{DeniedHost, DeniedNames};

    fn role() -> Role {
        "eng-backend".parse().unwrap()
    }

    fn opening(host: &str, times: Times) -> Opening {
        Opening {
            role: role(),
            host: host.parse().unwrap(),
            port: 443,
            protocol: Protocol::Tls,
            times,
        }
    }

    fn target(name: &str) -> Target {
        Target {
            name: name.parse().unwrap(),
            port: 443,
        }
    }

    #[test]
    fn once_is_for_one_connection_and_run_for_all() {
        let openings = Openings::default();
        let egress = Egress::default();
        let ask = |name, asked| openings.decide((&role(), &egress), &target(name), asked);
        assert!(ask("a.test", Asked::ToConnect).is_err());
        openings.add(opening("a.test", Times::Once));
        assert!(
            ask("a.test", Asked::ToName).is_ok(),
            "a name uses nothing up"
        );
        let permit = ask("a.test", Asked::ToConnect).unwrap();
        assert!(
            permit.rule().contains("loki egress allow --once"),
            "{permit:?}"
        );
        assert!(ask("a.test", Asked::ToConnect).is_err());
        openings.add(opening("b.test", Times::Run));
        openings.add(opening("b.test", Times::Run));
        for _ in 0..3 {
            assert!(ask("b.test", Asked::ToConnect).is_ok());
        }
        assert_eq!(openings.ports(&role(), &target("b.test").name).len(), 1);
    }

    #[test]
    fn another_role_port_or_name_stays_closed_and_a_denial_holds() {
        let openings = Openings::default();
        openings.add(opening("a.test", Times::Run));
        let ask = |role: &str, egress: &Egress, target: &Target| {
            let role = role.parse().unwrap();
            openings
                .decide((&role, egress), target, Asked::ToConnect)
                .is_ok()
        };
        let none = Egress::default();
        let other_port = Target {
            port: 80,
            ..target("a.test")
        };
        assert!(ask("eng-backend", &none, &target("a.test")));
        assert!(!ask("eng-frontend", &none, &target("a.test")));
        assert!(!ask("eng-backend", &none, &other_port));
        assert!(!ask("eng-backend", &none, &target("x.a.test")));
        let denied = Egress {
            denied: vec![DeniedHost {
                names: DeniedNames::All,
                port: None,
                request: None,
                origin: Origin::default(),
            }],
            ..Egress::default()
        };
        assert!(!ask("eng-backend", &denied, &target("a.test")));
    }
}
