//! What the head of a request states of its connection: whom it is for, and what it is to become.

use hyper::{HeaderMap, header, http::request::Parts};

use crate::{egress::http::authority_of, name::HostName, policy::Target};

/// Returns what the connection is to become. `?` stands for what is not said.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<&str> {
    if let Some(protocol) = headers.get(header::UPGRADE) {
        return Some(protocol.to_str().unwrap_or("?"));
    }
    let mut words = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','));
    words
        .any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
        .then_some("?")
}

/// Compares every name that a request gives its host with the connection's.
pub(super) fn authority(parts: &Parts, target: &Target) -> Result<(), String> {
    let stated = parts
        .headers
        .get_all(header::HOST)
        .iter()
        .map(|value| value.to_str().ok());
    let inner = parts
        .uri
        .authority()
        .map(|authority| Some(authority.as_str()));
    let mut any = false;
    for text in stated.chain(inner) {
        any = true;
        let read = text.and_then(|text| authority_of(text).ok());
        let same = read.is_some_and(|(name, port): (HostName, Option<u16>)| {
            name == target.name && port.is_none_or(|port| port == target.port)
        });
        if !same {
            let shown = text.unwrap_or("?").escape_debug();
            return Err(format!(
                "the connection is to `{target}`, its request to `{shown}`"
            ));
        }
    }
    any.then_some(())
        .ok_or_else(|| format!("the connection is to `{target}`, its request names no host"))
}
