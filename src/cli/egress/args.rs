//! What a person can type after `loki egress`.

use std::{path::PathBuf, str::FromStr};

use clap::Args;

use crate::{
    name::{HostName, Role, RunId},
    policy::Target,
};

/// `loki egress log`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Log {
    /// Only this role
    #[arg(long)]
    pub(super) role: Option<Role>,
    /// The run (default: the newest)
    #[arg(long)]
    pub(super) run: Option<RunId>,
    /// Print JSON, one object a line
    #[arg(long)]
    pub(super) json: bool,
    /// Keep printing as decisions are made
    #[arg(short, long)]
    pub(super) follow: bool,
}

/// `loki egress top` and `loki egress denied`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Sums {
    /// Only this role
    #[arg(long)]
    pub(super) role: Option<Role>,
    /// The run (default: the newest)
    #[arg(long)]
    pub(super) run: Option<RunId>,
    /// Further policy files that the rules are written on top of
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `loki egress allow`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("times").required(true).args(["once", "this_run", "save"]))]
pub(in crate::cli) struct Allow {
    /// The host, such as api.example.com or db.example.com:5432 (default port: 443)
    #[arg(value_name = "HOST[:PORT]")]
    pub(super) target: Place,
    /// To whom
    #[arg(long)]
    pub(super) role: Role,
    /// For one connection of the run that goes on here
    #[arg(long)]
    pub(super) once: bool,
    /// For the rest of the run that goes on here
    #[arg(long = "run")]
    pub(super) this_run: bool,
    /// For good: written as a policy of this user
    #[arg(long)]
    pub(super) save: bool,
    /// Which run, when several go on here
    #[arg(long, value_name = "RUN", conflicts_with = "save")]
    pub(super) of: Option<RunId>,
}

/// A host with or without a port, as a person types it.
#[derive(Debug, Clone)]
pub(super) struct Place(pub(super) Target);

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, port.parse().ok().filter(|port| *port > 0)),
            None => (text, Some(443)),
        };
        let port = port.ok_or("ports are 1 to 65535: write api.example.com:443")?;
        let name = name
            .parse::<HostName>()
            .map_err(|cause| cause.to_string())?;
        Ok(Self(Target { name, port }))
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn a_place_is_one_name_and_a_port() {
        let read = |text: &str| text.parse::<Place>().map(|place| place.0.to_string());
        assert_eq!(read("a.test").as_deref(), Ok("a.test:443"));
        assert_eq!(read("A.test:5432").as_deref(), Ok("a.test:5432"));
        for bad in [
            "",
            "a.test:",
            "a.test:0",
            "a.test:65536",
            "*.a.test",
            "10.0.0.1",
            "[::1]:443",
            "a b",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
