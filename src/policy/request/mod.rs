//! What may be asked within TLS or plain HTTP, once a connection is allowed.
//!
//! ```text
//! method, target ── Request::new ──► Request: path in its normal form, query dropped
//! Permit + Request ── decide_request ──► RequestPermit or Denied, both naming the rule
//! ```
//! A rule without a [`RequestRule`] allows everything on its connections and asks for no inspection.
//! Where one rule for a host and port has one, all traffic there is inspected and each request is
//! decided by itself. Nothing here reads a body, a header or the network.

pub(super) mod cover;
mod credential;
mod decide;
pub(super) mod denied;
mod path;
mod push;
pub(super) mod read;
pub(super) mod registry;
pub(super) mod shown;

use std::time::Duration;

use serde::{Serialize, Serializer};

pub use decide::{Request, RequestPermit, decide_request};
pub use denied::DeniedRequests;
pub use path::{PathError, PathPattern, UrlPath};
pub use push::{PUSH_HEAD_MAX, PushError, git_push};
pub use registry::RegistryHost;

/// What may be asked on the connections of a rule. The default allows any method and any path, and
/// neither an upgrade nor a credential.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RequestRule {
    /// Methods in upper case; empty is any.
    pub methods: Vec<String>,
    /// Which paths; empty is any.
    pub paths: Vec<PathPattern>,
    /// What the gateway adds, so that the agent never holds it.
    pub credential: Option<Credential>,
    /// Whether a request may become a WebSocket.
    pub websocket: bool,
    /// The most bytes of one request's body.
    pub max_request_bytes: Option<u64>,
    /// How long a server may take until its answer begins.
    #[serde(serialize_with = "seconds")]
    pub first_byte_timeout: Option<Duration>,
    /// How long an answer to `GET` may be given again.
    #[serde(serialize_with = "seconds")]
    pub cache: Option<Duration>,
    /// The one repository that git may use here.
    pub git: Option<GitRule>,
    /// The package registry that this is, with what is vetted.
    pub registry: Option<RegistryRule>,
}

fn seconds<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs()).serialize(to)
}

/// What the gateway adds to every request of a rule: a secret, or the token that a command gives.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Credential {
    /// The name of the secret, or of the command's token.
    pub secret: String,
    /// The program of the host that gives the token, by its absolute path, and its arguments; none
    /// for a kept secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// How it is sent.
    pub form: CredentialForm,
}

/// How a credential is sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialForm {
    /// As the value of this header, whose name is in lower case.
    Header(String),
    /// As `authorization: Bearer …`.
    Bearer,
    /// As `authorization: Basic …` of this user, the secret being the password.
    Basic {
        /// The name before the colon.
        user: String,
    },
}

/// What git may do on a host over HTTPS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GitRule {
    /// `owner/name`, without `.git`.
    pub repo: String,
    /// Whether it may push.
    pub push: Push,
}

/// Which branches a push may update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Push {
    /// None: it may only fetch.
    Never,
    /// Branches of these names; `*` stands for any text.
    Branches(Vec<String>),
}

/// A package registry, and which packages it may give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RegistryRule {
    /// Whose packages.
    pub kind: RegistryKind,
    /// How old a version must be.
    #[serde(serialize_with = "seconds")]
    pub min_age: Option<Duration>,
    /// The only packages there are; empty is all. `*` stands for any text.
    pub allow: Vec<String>,
    /// Packages that are refused. They win.
    pub deny: Vec<String>,
    /// Whether known advisories refuse a version: demanded, never, or, left out, once some were
    /// imported.
    pub advisories: Option<bool>,
    /// Advisories that refuse nothing.
    pub accept: Vec<String>,
    /// Where the packages come from.
    #[serde(skip)]
    pub hosts: Vec<RegistryHost>,
}

/// Whose packages a registry has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistryKind {
    /// Those of npm.
    Npm,
    /// Those of pip.
    Pypi,
    /// Those of cargo.
    Crates,
    /// Those of apt.
    Debian,
}

#[cfg(test)]
mod tests;
