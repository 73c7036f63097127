//! Whether one rule provably allows all requests that another allows, with the same credential.

use super::{GitRule, PathPattern, Push, RegistryRule, RequestRule, path::plain};
use crate::policy::{EgressRule, cover};

/// Returns whether every request that `other` allows is allowed by `mine`, and travels alike: a
/// rule that adds a credential gives more, and one that leaves it out lets the agent's own pass.
pub(in crate::policy) fn covers(mine: &EgressRule, other: &EgressRule) -> bool {
    let open = RequestRule {
        websocket: true,
        ..RequestRule::default()
    };
    let part = |rule: &EgressRule| rule.request.as_deref().unwrap_or(&open).clone();
    let (mine, other) = (part(mine), part(other));
    asks(&mine, &other)
        && mine.credential == other.credential
        && (mine.websocket || !other.websocket)
        && most(mine.max_request_bytes, other.max_request_bytes)
        && most(mine.first_byte_timeout, other.first_byte_timeout)
        && git(mine.git.as_ref(), other.git.as_ref())
        && registry(mine.registry.as_ref(), other.registry.as_ref())
}

fn asks(mine: &RequestRule, other: &RequestRule) -> bool {
    let methods = all(&mine.methods, &other.methods, PartialEq::eq);
    methods && all(&mine.paths, &other.paths, path)
}

/// Returns whether each of `other` is within one of `mine`; an empty list is everything.
fn all<T>(mine: &[T], other: &[T], within: fn(&T, &T) -> bool) -> bool {
    let one = |other: &T| mine.iter().any(|mine| within(mine, other));
    mine.is_empty() || (!other.is_empty() && other.iter().all(one))
}

/// What a pattern spells that no wildcard covers is covered by itself alone.
fn path(mine: &PathPattern, other: &PathPattern) -> bool {
    mine == other || (plain(other.as_str()) && cover::spans(parts(mine), parts(other), component))
}

fn parts(pattern: &PathPattern) -> impl Iterator<Item = &str> {
    pattern.as_str().split('/').skip(1)
}

/// Returns whether a component of a pattern covers another's: a `**` at the end anything, others
/// themselves and what has no `*`.
fn component(mine: &str, other: &str) -> bool {
    mine == "**" || mine == other || (!other.contains('*') && super::path::component(mine, other))
}

fn most<T: PartialOrd>(mine: Option<T>, other: Option<T>) -> bool {
    mine.is_none_or(|most| other.is_some_and(|other| other <= most))
}

fn git(mine: Option<&GitRule>, other: Option<&GitRule>) -> bool {
    let (Some(mine), Some(other)) = (mine, other) else {
        return mine.is_none();
    };
    let push = match (&mine.push, &other.push) {
        (_, Push::Never) => true,
        (Push::Never, Push::Branches(_)) => false,
        (Push::Branches(mine), Push::Branches(other)) => {
            let named = |other: &String| mine.contains(other);
            other.iter().all(named)
        }
    };
    mine.repo == other.repo && push
}

fn registry(mine: Option<&RegistryRule>, other: Option<&RegistryRule>) -> bool {
    let (Some(mine), Some(other)) = (mine, other) else {
        return mine.is_none();
    };
    mine.kind == other.kind
        && mine.min_age <= other.min_age
        && all(&mine.allow, &other.allow, PartialEq::eq)
        && mine.deny.iter().all(|name| other.deny.contains(name))
        && heeds(mine) <= heeds(other)
        && other.accept.iter().all(|id| mine.accept.contains(id))
}

/// Orders what a rule says of advisories: never, once some were imported, always.
fn heeds(rule: &RegistryRule) -> u8 {
    match rule.advisories {
        Some(false) => 0,
        None => 1,
        Some(true) => 2,
    }
}
