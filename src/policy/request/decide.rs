//! The one decision on a request, asked by the gateway and by `policy explain` alike.

use std::time::Duration;

use super::{Credential, GitRule, Push, RegistryRule, RequestRule, UrlPath, push};
use crate::policy::{Denied, DeniedHost, Egress, EgressRule, Permit, Protocol, Target, decide};

/// What a program asks on an allowed connection. Holds no query: it takes no part in a decision
/// and is never recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    method: String,
    path: Result<UrlPath, super::PathError>,
    service: Service,
    upgrade: Option<String>,
}

/// Which of git's services a query asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    /// The query is not exactly one of git's.
    None,
    Upload,
    Receive,
}

impl Request {
    /// Takes a request as it was sent: its method, its target in origin form (path and query), and
    /// the protocol it asks to be upgraded to, if any (in HTTP/2 the `:protocol` of a `CONNECT`,
    /// whose method is then `GET`).
    #[must_use]
    pub fn new(method: &str, target: &str, upgrade: Option<&str>) -> Self {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let service = match query {
            Some("service=git-upload-pack") => Service::Upload,
            Some("service=git-receive-pack") => Service::Receive,
            _ => Service::None,
        };
        Self {
            method: method.to_owned(),
            path: path.parse(),
            service,
            upgrade: upgrade.map(str::to_ascii_lowercase),
        }
    }

    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Returns the path in its normal form, without its query; `?` stands for one that is no path.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.as_ref().map_or("?", UrlPath::as_str)
    }

    /// Returns what the connection is to become, in lower case, if anything else than it is.
    #[must_use]
    pub fn upgrade(&self) -> Option<&str> {
        self.upgrade.as_deref()
    }
}

/// Evidence that a rule covers a request. Only [`decide_request`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPermit {
    rule: String,
    path: String,
    part: RequestRule,
    pushes: bool,
    upgrades: bool,
}

impl RequestPermit {
    /// Returns the rule that allows it, such as `api.example.com:443 (policies/x.yaml:12)`.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Returns the path in its normal form, without its query: what may be recorded.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns what the gateway adds.
    #[must_use]
    pub fn credential(&self) -> Option<&Credential> {
        self.part.credential.as_ref()
    }

    /// Returns the most bytes that the body may have.
    #[must_use]
    pub fn max_request_bytes(&self) -> Option<u64> {
        self.part.max_request_bytes
    }

    /// Returns whether the request is one for a WebSocket, which may be opened.
    #[must_use]
    pub fn websocket(&self) -> bool {
        self.upgrades
    }

    /// Returns how long the server may take until its answer begins.
    #[must_use]
    pub fn first_byte_timeout(&self) -> Option<Duration> {
        self.part.first_byte_timeout
    }

    /// Returns how long the answer may be given again; none for anything but `GET`, and `HEAD`, which
    /// is answered from what `GET` got.
    #[must_use]
    pub fn cache(&self) -> Option<Duration> {
        self.part.cache
    }

    /// Returns the registry whose packages the answer is to be vetted for.
    #[must_use]
    pub fn registry(&self) -> Option<&RegistryRule> {
        self.part.registry.as_ref()
    }

    /// Returns whether the body is a push: its first bytes must then be read with
    /// [`git_push`](super::git_push) and its refs admitted with [`RequestPermit::admit_push`] before
    /// any of it is passed on. A body in another encoding (`Content-Encoding`) is to be refused.
    #[must_use]
    pub fn is_push(&self) -> bool {
        self.branches().is_some()
    }

    /// Decides whether a push may update `refs`.
    ///
    /// # Errors
    /// Returns [`Denied`] when some ref is no branch that the rule names, and for a request that is
    /// no push.
    pub fn admit_push(&self, refs: &[String]) -> Result<(), Denied> {
        let deny = |reason: String| Denied {
            target: format!("push to {}", self.path),
            rule: Some(self.rule.clone()),
            reason,
        };
        let branches = self
            .branches()
            .ok_or_else(|| deny("its request is no push".to_owned()))?;
        match push::beyond(refs, branches) {
            None => Ok(()),
            Some(name) => Err(deny(format!(
                "`{}` may not be updated, only the branches {}",
                name.escape_debug(),
                listed(branches)
            ))),
        }
    }

    /// Returns the branches that a push may update, none when the request is no push.
    #[must_use]
    pub fn branches(&self) -> Option<&[String]> {
        match &self.part.git {
            Some(GitRule {
                push: Push::Branches(branches),
                ..
            }) if self.pushes => Some(branches),
            _ => None,
        }
    }
}

/// Decides whether `request` may be passed on over a connection that `permit` allows.
///
/// The first rule for the host and port that covers the request counts, unless a denial does.
///
/// # Errors
/// Returns [`Denied`] when none does, with what would be right there.
pub fn decide_request(
    egress: &Egress,
    permit: &Permit,
    request: &Request,
) -> Result<RequestPermit, Denied> {
    let target = permit.target();
    let rules: Vec<&EgressRule> = egress
        .rules
        .iter()
        .filter(|rule| rule.covers_target(target) && rule.protocol == permit.protocol())
        .collect();
    let deny = |rule: Option<&EgressRule>, reason: String| Denied {
        target: asked(permit, request),
        rule: rule.map(ToString::to_string),
        reason,
    };
    let path = request
        .path
        .as_ref()
        .map_err(|error| deny(None, error.to_string()))?;
    if let Some(denial) = closing(egress, target, (request, path)) {
        return Err(Denied {
            target: asked(permit, request),
            rule: Some(denial.to_string()),
            reason: "a `deny` entry covers it".to_owned(),
        });
    }
    if rules.is_empty() {
        return opened(permit, request, path);
    }
    let mut nearest: Option<(u8, &EgressRule, String)> = None;
    for rule in rules {
        let open = RequestRule {
            websocket: true,
            ..RequestRule::default()
        };
        let part = rule.request.as_deref().unwrap_or(&open);
        match covers(part, request, path) {
            Ok(pushes) => {
                let mut part = part.clone();
                let reads = matches!(request.method.as_str(), "GET" | "HEAD");
                part.cache = part.cache.filter(|_| reads);
                return Ok(RequestPermit {
                    rule: rule.to_string(),
                    path: path.to_string(),
                    part,
                    pushes,
                    upgrades: request.upgrade.is_some(),
                });
            }
            Err((rank, reason)) => {
                if nearest.as_ref().is_none_or(|(near, ..)| rank > *near) {
                    nearest = Some((rank, rule, reason));
                }
            }
        }
    }
    Err(match nearest {
        Some((_, rule, reason)) => deny(Some(rule), reason),
        None => deny(None, format!("no egress rule names `{target}`")),
    })
}

/// Returns the denial that closes a request.
fn closing<'e>(
    egress: &'e Egress,
    target: &'e Target,
    (request, path): (&Request, &UrlPath),
) -> Option<&'e DeniedHost> {
    let closes = |denial: &&DeniedHost| {
        let requests = denial.request.as_ref();
        requests.is_some_and(|requests| requests.covers(request, path))
    };
    decide::denials(egress, &target.name, target.port).find(closes)
}

/// Decides on a connection that no rule allows, but a person: it is looked into only for what is
/// denied there.
fn opened(permit: &Permit, request: &Request, path: &UrlPath) -> Result<RequestPermit, Denied> {
    let part = RequestRule {
        websocket: true,
        ..RequestRule::default()
    };
    match covers(&part, request, path) {
        Ok(pushes) => Ok(RequestPermit {
            rule: permit.rule().to_owned(),
            path: path.to_string(),
            part,
            pushes,
            upgrades: request.upgrade.is_some(),
        }),
        Err((_, reason)) => Err(Denied {
            target: asked(permit, request),
            rule: Some(permit.rule().to_owned()),
            reason,
        }),
    }
}

/// Says a request as people read it: `POST https://api.example.com/v1/messages`.
fn asked(permit: &Permit, request: &Request) -> String {
    let target = permit.target();
    let (scheme, usual) = match permit.protocol() {
        Protocol::Http => ("http", 80),
        Protocol::Tls | Protocol::Tcp => ("https", 443),
    };
    let port = match target.port {
        port if port == usual => String::new(),
        port => format!(":{port}"),
    };
    let method = request.method.escape_debug();
    format!(
        "{method} {scheme}://{}{port}{}",
        target.name,
        request.path()
    )
}

/// Says whether a rule covers a request, and whether the request is a push; else how near it came
/// and why it does not.
fn covers(part: &RequestRule, request: &Request, path: &UrlPath) -> Result<bool, (u8, String)> {
    let pushes = match &part.git {
        Some(git) => git_covers(git, request, path)?,
        None => {
            plain_covers(part, request, path)?;
            false
        }
    };
    match request.upgrade() {
        None => Ok(pushes),
        Some("websocket") if part.websocket => Ok(pushes),
        Some("websocket") => Err((
            3,
            "a WebSocket may not be opened there: its rule does not say `websocket: true`"
                .to_owned(),
        )),
        Some(other) => Err((
            3,
            format!(
                "an upgrade to `{}` is never passed on",
                other.escape_debug()
            ),
        )),
    }
}

fn plain_covers(part: &RequestRule, request: &Request, path: &UrlPath) -> Result<(), (u8, String)> {
    let paths = &part.paths;
    if !paths.is_empty() && !paths.iter().any(|pattern| pattern.matches(path)) {
        let reason = match path.ambiguity() {
            Some(why) => format!("the path {why}, so no rule for paths covers it"),
            None => format!("no rule names its path, only {}", listed(paths)),
        };
        return Err((1, reason));
    }
    let methods = &part.methods;
    if !methods.is_empty() && !methods.contains(&request.method) {
        let method = request.method.escape_debug();
        let reason = format!("`{method}` is not allowed there, only {}", listed(methods));
        return Err((2, reason));
    }
    Ok(())
}

fn listed<T: ToString>(items: &[T]) -> String {
    const MOST: usize = 8;
    let mut shown: Vec<String> = items
        .iter()
        .take(MOST)
        .map(|item| format!("`{}`", item.to_string()))
        .collect();
    if items.len() > MOST {
        shown.push(format!("{} more", items.len() - MOST));
    }
    shown.join(", ")
}

/// Git's smart protocol over HTTP: the two questions and the two services, and nothing else.
fn git_covers(git: &GitRule, request: &Request, path: &UrlPath) -> Result<bool, (u8, String)> {
    let below = ["", ".git"].iter().find_map(|suffix| {
        let rest = path
            .as_str()
            .strip_prefix('/')?
            .strip_prefix(git.repo.as_str())?;
        rest.strip_prefix(suffix)?.strip_prefix('/')
    });
    let service = match (request.method.as_str(), below, request.service) {
        ("GET", Some("info/refs"), service) => service,
        ("POST", Some("git-upload-pack"), _) => Service::Upload,
        ("POST", Some("git-receive-pack"), _) => Service::Receive,
        _ => Service::None,
    };
    match (service, &git.push) {
        (Service::Upload, _) => Ok(false),
        (Service::Receive, Push::Branches(_)) => Ok(request.method == "POST"),
        (Service::Receive, Push::Never) => Err((
            2,
            format!(
                "git may only fetch from `{}`: its rule allows no push",
                git.repo
            ),
        )),
        (Service::None, _) => Err((
            u8::from(below.is_some()),
            format!(
                "only git may be used there, with the repository `{}`",
                git.repo
            ),
        )),
    }
}
