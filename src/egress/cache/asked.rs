//! What is asked, as far as the cache must know: which questions are the same one.

use std::{path::Path, time::Duration};

use hyper::{
    HeaderMap, Method, Uri,
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};
use sha2::{Digest, Sha256};

use super::key::{Key, hex};
use crate::{
    name::Role,
    policy::{Credential, Permit},
};

/// Headers that ask for a part, or of another answer than the newest: such a request has nothing to
/// do with the cache.
const PARTLY: [HeaderName; 4] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_UNMODIFIED_SINCE,
];

/// Headers that say what a program would like, of which servers say themselves (`Vary`) whether
/// they look at them. Any other makes a question of its own: what a server does with it is unknown.
const WISHES: [&str; 5] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "user-agent",
];

/// Headers that are for caches, not for what is answered.
const FOR_CACHES: [&str; 5] = [
    "cache-control",
    "pragma",
    "if-none-match",
    "if-modified-since",
    "te",
];

/// A request as it is about to be sent. It carries no credential but the one that the gateway adds.
pub(in crate::egress) struct Sent<'a> {
    /// Whose it is.
    pub(in crate::egress) role: &'a Role,
    /// To which server.
    pub(in crate::egress) permit: &'a Permit,
    /// Its head; the address is absolute.
    pub(in crate::egress) parts: &'a Parts,
    /// What the gateway adds to it.
    pub(in crate::egress) credential: Option<(&'a Credential, &'a HeaderName)>,
    /// How long an answer may be given again.
    pub(in crate::egress) longest: Duration,
}

/// A question whose answer may be given again.
#[derive(Debug, Clone)]
pub(in crate::egress) struct Asked {
    pub(super) role: Role,
    pub(super) uri: Uri,
    /// Whether the body is asked for too.
    pub(in crate::egress) whole: bool,
    /// The name of all questions about one address, in hexadecimal.
    pub(super) place: String,
    /// What makes this question another than the others about its address.
    pub(super) apart: String,
    /// Each wish without its value, by its fingerprint, and what is for caches as it is.
    pub(super) headers: HeaderMap,
    /// What the client has already.
    pub(in crate::egress) had: Had,
    /// Whether the gateway adds a credential: then only what is everybody's is kept.
    pub(super) credentialed: bool,
    pub(super) longest: Duration,
}

/// What a client says that it has already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::egress) struct Had {
    tags: Option<String>,
    since: Option<HeaderValue>,
}

impl Asked {
    /// Reads a request; none when no answer to it is kept or given again.
    pub(super) fn new(sent: &Sent<'_>, key: &Key) -> Option<Self> {
        let parts = sent.parts;
        let own = sent.credential.map(|(_, name)| name);
        let is_read = matches!(parts.method, Method::GET | Method::HEAD);
        if !is_read || PARTLY.iter().any(|name| parts.headers.contains_key(name)) {
            return None;
        }
        Some(Self {
            role: sent.role.clone(),
            uri: parts.uri.clone(),
            whole: parts.method == Method::GET,
            place: place(sent.role, sent.permit, &parts.uri),
            apart: apart_by(sent, key),
            headers: told(&parts.headers, own, key),
            had: Had::of(&parts.headers),
            credentialed: sent.credential.is_some(),
            longest: sent.longest,
        })
    }

    /// The same address and server, whatever is asked of it: what a change there makes invalid.
    pub(in crate::egress) fn of_address(role: &Role, permit: &Permit, uri: &Uri) -> Self {
        Self {
            role: role.clone(),
            uri: uri.clone(),
            whole: false,
            place: place(role, permit, uri),
            apart: String::new(),
            headers: HeaderMap::new(),
            had: Had::default(),
            credentialed: false,
            longest: Duration::ZERO,
        }
    }
}

/// Names an address of a server, for a role: a name pinned elsewhere is another server.
fn place(role: &Role, permit: &Permit, uri: &Uri) -> String {
    let pinned = permit.pinned().map(|at| at.to_string()).unwrap_or_default();
    let ca = permit.ca().map(Path::as_os_str).unwrap_or_default();
    let mut digest = Sha256::new();
    for part in [
        role.as_str().as_bytes(),
        pinned.as_bytes(),
        ca.as_encoded_bytes(),
        uri.to_string().as_bytes(),
    ] {
        digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        digest.update(part);
    }
    hex(&digest.finalize())
}

/// Names what else makes a question: the credential, and headers of unknown effect.
fn apart_by(sent: &Sent<'_>, key: &Key) -> String {
    let own = sent.credential.map(|(_, name)| name);
    let credential = sent
        .credential
        .map(|(credential, _)| format!("{credential:?}"))
        .unwrap_or_default();
    let mut lines: Vec<Vec<u8>> = sent
        .parts
        .headers
        .iter()
        .filter(|(name, _)| Some(*name) != own && !is_known(name))
        .map(|(name, value)| [name.as_str().as_bytes(), b":", value.as_bytes()].concat())
        .collect();
    lines.sort();
    let parts = std::iter::once(credential.as_bytes()).chain(lines.iter().map(Vec::as_slice));
    key.fingerprint(parts)
}

fn is_known(name: &HeaderName) -> bool {
    let name = name.as_str();
    WISHES.contains(&name) || FOR_CACHES.contains(&name)
}

/// Returns the headers that the semantics may see: no value that a file would tell.
fn told(headers: &HeaderMap, own: Option<&HeaderName>, key: &Key) -> HeaderMap {
    let mut told = HeaderMap::new();
    for name in headers.keys().filter(|name| Some(*name) != own) {
        let values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
        if FOR_CACHES.contains(&name.as_str()) {
            continue;
        }
        let mark = HeaderValue::try_from(key.fingerprint(values));
        told.insert(name, mark.expect("hexadecimal digits are sendable"));
    }
    for name in [header::CACHE_CONTROL, header::PRAGMA] {
        let lower = super::semantics::joined(headers, &name);
        if let Some(Ok(value)) = lower.map(HeaderValue::try_from) {
            told.insert(name, value);
        }
    }
    told
}

impl Had {
    fn of(headers: &HeaderMap) -> Self {
        let tags: Option<Vec<&str>> = headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .map(|value| value.to_str().ok())
            .collect();
        Self {
            tags: tags.filter(|tags| !tags.is_empty()).map(|t| t.join(", ")),
            since: headers.get(header::IF_MODIFIED_SINCE).cloned(),
        }
    }

    /// Returns whether an answer with these headers is the one that the client has.
    pub(in crate::egress) fn is(&self, headers: &HeaderMap) -> bool {
        let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        if let Some(tags) = &self.tags {
            let own = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
            return own.is_some_and(|own| tags.split(',').any(|tag| bare(tag) == bare(own)));
        }
        // Only the very date that was given: which of two is later is not for us to guess.
        self.since.is_some() && self.since.as_ref() == headers.get(header::LAST_MODIFIED)
    }
}
