//! What a role may do, asked one act at a time: what `expect` cases and `policy explain` ask.
//!
//! The answers come from the functions that traffic and the hand-over gate ask themselves.
//! Refuses to read paths that are not canonical as anything but denied.

use std::{fmt, str::FromStr};

use super::{
    Denied, Glob, Globs, Program, Protocol, Request, Rights, Target, decide, decide_request,
    programs,
};
use crate::name::HostName;

/// One thing an agent could do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Connects to a name and port.
    Connect(Target),
    /// Asks something of a web server.
    Request(Asked),
    /// Reads a file, relative to the worktree.
    Read(String),
    /// Creates, changes or removes a file, relative to the worktree.
    Write(String),
    /// Runs a program: a bare name of the image, or a path of the worktree.
    Run(String),
}

/// What is asked of a web server, without its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Of whom.
    pub target: Target,
    /// What is spoken: TLS or plain HTTP.
    pub protocol: Protocol,
    /// The method.
    pub method: String,
    /// The path, from its first slash, with the query as far as git asks for a service with it.
    pub path: String,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            target: Target { name, port },
            method,
            path,
            ..
        } = self;
        match (self.protocol, port) {
            (Protocol::Http, 80) => write!(f, "{method} http://{name}{path}"),
            (Protocol::Http, _) => write!(f, "{method} http://{name}:{port}{path}"),
            (_, 443) => write!(f, "{method} https://{name}{path}"),
            _ => write!(f, "{method} https://{name}:{port}{path}"),
        }
    }
}

/// A text that is no act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not `connect HOST:PORT`, `request METHOD URL`, `read PATH`, `write PATH` or `run PROGRAM`", text.escape_debug())]
pub struct ActError {
    /// The text that was given.
    pub text: String,
}

impl FromStr for Act {
    type Err = ActError;

    fn from_str(text: &str) -> Result<Self, ActError> {
        let act = text.split_once(' ').and_then(|(verb, what)| {
            let what = what.trim();
            match verb {
                "connect" => target(what).map(Self::Connect),
                "request" => asked(what).map(Self::Request),
                "read" => path(what).map(Self::Read),
                "write" => path(what).map(Self::Write),
                "run" => program(what).map(Self::Run),
                _ => None,
            }
        });
        act.ok_or_else(|| ActError {
            text: text.to_owned(),
        })
    }
}

fn target(text: &str) -> Option<Target> {
    let (name, port) = text.rsplit_once(':')?;
    let name: HostName = name.parse().ok()?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    Some(Target { name, port })
}

/// Reads `POST https://api.example.com/v1/messages`.
fn asked(text: &str) -> Option<Asked> {
    let (method, url) = text.split_once(' ')?;
    let (protocol, usual, rest) = match url.split_once("://")? {
        ("https", rest) => (Protocol::Tls, 443, rest),
        ("http", rest) => (Protocol::Http, 80, rest),
        _ => return None,
    };
    let (host, path) = rest.split_at(rest.find('/')?);
    let target = if host.contains(':') {
        target(host)?
    } else {
        target(&format!("{host}:{usual}"))?
    };
    let fits = !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    let plain = !path
        .chars()
        .any(|c| c.is_control() || matches!(c, ' ' | '*'));
    (fits && plain).then(|| Asked {
        target,
        protocol,
        method: method.to_owned(),
        path: path.to_owned(),
    })
}

/// Takes paths as a person writes them: `./` in front is the worktree.
fn path(text: &str) -> Option<String> {
    let text = text.strip_prefix("./").unwrap_or(text);
    let canonical = text.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let plain = !text.chars().any(|c| c.is_control() || c == '*');
    (canonical && plain).then(|| text.to_owned())
}

fn program(text: &str) -> Option<String> {
    if programs::is_bare(text) {
        return Some(text.to_owned());
    }
    path(text).filter(|_| text.contains('/'))
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(target) => write!(f, "connect {target}"),
            Self::Request(asked) => write!(f, "request {asked}"),
            Self::Read(path) => write!(f, "read {path}"),
            Self::Write(path) => write!(f, "write {path}"),
            Self::Run(program) => write!(f, "run {program}"),
        }
    }
}

/// Whether an act is allowed, and by or despite what.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The rule or denial that decided, with its file and line; none when no rule covers the act.
    pub rule: Option<String>,
    /// Why, as a fragment that can stand after `allowed:` or `denied:`.
    pub reason: String,
}

impl From<Denied> for Verdict {
    fn from(denied: Denied) -> Self {
        Self {
            allowed: false,
            rule: denied.rule,
            reason: denied.reason,
        }
    }
}

impl Rights {
    /// Returns whether the role may do `act`.
    #[must_use]
    pub fn judge(&self, act: &Act) -> Verdict {
        match act {
            Act::Connect(target) => self.connect(target),
            Act::Request(asked) => self.request(asked),
            Act::Read(path) => {
                // What may be written may also be read.
                let list = match self.files.read.matches(path) {
                    None if self.files.write.matches(path).is_some() => "write",
                    _ => "read",
                };
                covered(&self.files.visible(), path, list)
            }
            Act::Write(path) => covered(&self.files.write, path, "write"),
            Act::Run(program) => self.run(program),
        }
    }

    fn connect(&self, target: &Target) -> Verdict {
        match decide(&self.egress, target) {
            Ok(permit) => Verdict {
                allowed: true,
                rule: Some(permit.rule().to_owned()),
                reason: if permit.inspected() {
                    "an egress rule names it, and each request is decided by itself".to_owned()
                } else {
                    "an egress rule names it".to_owned()
                },
            },
            Err(denied) => denied.into(),
        }
    }

    /// Decides as the gateway does: the connection first, then the request on it.
    fn request(&self, asked: &Asked) -> Verdict {
        let permit = match decide(&self.egress, &asked.target) {
            Ok(permit) => permit,
            Err(denied) => return denied.into(),
        };
        let spoken = permit.protocol();
        if spoken != Protocol::Tcp && spoken != asked.protocol {
            return Verdict {
                allowed: false,
                rule: Some(permit.rule().to_owned()),
                reason: format!("its rule says that {spoken} is spoken there"),
            };
        }
        if !permit.inspected() {
            return Verdict {
                allowed: true,
                rule: Some(permit.rule().to_owned()),
                reason: "an egress rule names the host, and says nothing of requests".to_owned(),
            };
        }
        let request = Request::new(&asked.method, &asked.path, None);
        match decide_request(&self.egress, &permit, &request) {
            Ok(permit) => Verdict {
                allowed: true,
                rule: Some(permit.rule().to_owned()),
                reason: match permit.credential() {
                    Some(credential) => {
                        format!("an egress rule names it, and the gateway {credential}")
                    }
                    None => "an egress rule names it".to_owned(),
                },
            },
            Err(denied) => denied.into(),
        }
    }

    fn run(&self, program: &str) -> Verdict {
        if program.contains('/') {
            let built = self.programs.iter().filter_map(|program| match program {
                Program::Worktree(glob) => Some(glob.clone()),
                Program::Image(_) => None,
            });
            return covered(&Globs(built.collect()), program, "execute");
        }
        let listed = |known: &&Program| matches!(known, Program::Image(name) if name == program);
        let allowed = self.programs.iter().any(|known| listed(&known));
        let origin = self.program_origins.get(program).filter(|_| allowed);
        let reason = if allowed {
            "`execute` lists it"
        } else {
            "`execute` does not list it"
        };
        Verdict {
            allowed,
            rule: origin.map(|origin| format!("{program} ({origin})")),
            reason: reason.to_owned(),
        }
    }
}

fn covered(globs: &Globs, path: &str, list: &str) -> Verdict {
    let said = |glob: &Glob, verb: &str| Some(format!("{verb}{} ({})", glob.text, glob.origin));
    if let Some(glob) = globs.matches(path) {
        return Verdict {
            allowed: true,
            rule: said(glob, ""),
            reason: format!("a `{list}` glob covers it"),
        };
    }
    let denial = globs.denied(path);
    let reason = match denial {
        Some(_) => "a `deny` entry covers it".to_owned(),
        None => format!("no `{list}` glob covers it"),
    };
    Verdict {
        allowed: false,
        rule: denial.and_then(|glob| said(glob, "deny ")),
        reason,
    }
}
