//! What HTTP says of an answer: whether it may be kept, for how long it counts, and how the server
//! is asked whether it changed.
//!
//! The rules themselves are a library's. It is given heads in one plain spelling (directives in
//! lower case and in one line, ages that can be added up), for it compares them as they stand; and
//! no request can make a stale answer count, whatever it says it would accept.

use std::time::{Duration, SystemTime};

use http_cache_semantics::{AfterResponse, BeforeRequest, CacheOptions, CachePolicy};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{self, HeaderName, HeaderValue},
};

use super::{asked::Asked, draft::Meta};

/// The longest head that is kept, in bytes.
pub(super) const HEAD: usize = 32 << 10;
/// The largest age that is believed: what no clock reaches would only overflow.
const OLDEST: u64 = 1 << 31;

/// How a kept answer stands to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::egress) enum Standing {
    /// It may be given again.
    Fresh,
    /// The server has to be asked whether it changed, with these headers.
    Stale(HeaderMap),
    /// It cannot be asked for: only a whole answer helps.
    Useless,
}

/// Returns what is kept of an answer; none when it may not be.
pub(super) fn kept(
    asked: &Asked,
    (status, headers): (StatusCode, &HeaderMap),
    now: SystemTime,
) -> Option<Meta> {
    let of_one = |name: &HeaderName| headers.contains_key(name);
    let never = [header::SET_COOKIE, header::CONTENT_RANGE, header::TRAILER];
    if !asked.whole || never.iter().any(of_one) || streams(headers) {
        return None;
    }
    let varied = varied(asked, headers)?;
    let meta = Meta::new((status, headers), asked, (varied, now))?;
    let policy = policy(&meta, asked)?;
    let lasts = !policy.time_to_live(now).is_zero();
    let can_be_asked = of_one(&header::ETAG) || of_one(&header::LAST_MODIFIED);
    (policy.is_storable() && (lasts || can_be_asked)).then_some(meta)
}

/// A stream of events has no end that could be kept.
fn streams(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_TYPE).iter().any(|kind| {
        kind.to_str()
            .is_ok_and(|kind| kind.to_ascii_lowercase().contains("event-stream"))
    })
}

/// Returns the wishes that an answer depends on, each with its fingerprint; none when it depends
/// on more than can be compared.
fn varied(asked: &Asked, headers: &HeaderMap) -> Option<Vec<(String, String)>> {
    // A server that compresses without saying so would give one program what only another can read.
    let mut names = vec![header::ACCEPT_ENCODING.to_string()];
    let said = joined(headers, &header::VARY).unwrap_or_default();
    names.extend(said.split(',').map(|name| name.trim().to_owned()));
    names.retain(|name| !name.is_empty());
    names.sort();
    names.dedup();
    let known = names.iter().all(|name| name.parse::<HeaderName>().is_ok());
    if !known || names.iter().any(|name| name == "*" || name == "cookie") {
        return None;
    }
    let value = |name: String| {
        let value = asked.headers.get(&name).and_then(|mark| mark.to_str().ok());
        let value = value.unwrap_or_default().to_owned();
        (name, value)
    };
    Some(names.into_iter().map(value).collect())
}

/// Returns whether a kept answer belongs to a question.
pub(super) fn belongs(meta: &Meta, asked: &Asked) -> bool {
    let same = |(name, value): &(String, String)| {
        let mark = asked.headers.get(name).and_then(|mark| mark.to_str().ok());
        mark.unwrap_or_default() == value
    };
    meta.apart == asked.apart && meta.varied.iter().all(same)
}

/// Says how a kept answer that belongs to a question stands to it.
pub(super) fn standing(meta: &Meta, asked: &Asked, now: SystemTime) -> Standing {
    let Some(policy) = policy(meta, asked) else {
        return Standing::Useless;
    };
    // A clock that was set back tells no age.
    let within = now
        .duration_since(meta.made())
        .is_ok_and(|age| age < asked.longest);
    match policy.before_request(&request(asked, Method::GET), now) {
        BeforeRequest::Fresh(_) if within => Standing::Fresh,
        // Fresh for the server, but no longer for the rule: asked for like a stale one.
        BeforeRequest::Fresh(_) => Standing::Stale(conditions(&meta.headers())),
        BeforeRequest::Stale { .. } => Standing::Stale(conditions(&meta.headers())),
    }
    .or_useless()
}

impl Standing {
    fn or_useless(self) -> Self {
        match self {
            Self::Stale(headers) if headers.is_empty() => Self::Useless,
            other => other,
        }
    }
}

/// Returns the headers that ask whether an answer changed.
fn conditions(kept: &HeaderMap) -> HeaderMap {
    let pairs = [
        (header::ETAG, header::IF_NONE_MATCH),
        (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE),
    ];
    pairs
        .into_iter()
        .filter_map(|(had, asks)| Some((asks, kept.get(had)?.clone())))
        .collect()
}

/// Takes the head of a 304 and returns what is kept from now on; none when the server speaks of
/// another answer than ours.
pub(super) fn confirmed(
    meta: &Meta,
    asked: &Asked,
    headers: &HeaderMap,
    now: SystemTime,
) -> Option<Meta> {
    let policy = policy(meta, asked)?;
    let mut headers = headers.clone();
    let kept = meta.headers();
    // We asked for one answer alone: a server that names none speaks of that.
    let tags = [header::ETAG, header::LAST_MODIFIED];
    if !tags.iter().any(|tag| headers.contains_key(tag)) {
        let own = tags
            .iter()
            .filter_map(|tag| Some((tag.clone(), kept.get(tag)?.clone())));
        headers.extend(own);
    }
    let mut told = Response::new(());
    *told.status_mut() = StatusCode::NOT_MODIFIED;
    *told.headers_mut() = plain(&headers);
    match policy.after_response(&request(asked, Method::GET), &told, now) {
        AfterResponse::Modified(..) => return None,
        AfterResponse::NotModified(..) => {}
    }
    let mut merged = kept;
    for name in headers.keys().filter(|name| !of_the_body(name)) {
        merged.remove(name);
        for value in headers.get_all(name) {
            merged.append(name, value.clone());
        }
    }
    self::kept(
        &Asked {
            whole: true,
            ..asked.clone()
        },
        (StatusCode::from_u16(meta.status).ok()?, &merged),
        now,
    )
}

/// What speaks of the bytes that were sent with it, of which a 304 has none.
fn of_the_body(name: &HeaderName) -> bool {
    [
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::CONTENT_TYPE,
        header::CONTENT_RANGE,
        header::TRANSFER_ENCODING,
    ]
    .contains(name)
}

/// Returns how long ago the server made an answer, as far as is known.
pub(super) fn age(meta: &Meta, asked: &Asked, now: SystemTime) -> Duration {
    policy(meta, asked).map_or(Duration::ZERO, |policy| policy.age(now))
}

fn policy(meta: &Meta, asked: &Asked) -> Option<CachePolicy> {
    let mut answer = Response::new(());
    *answer.status_mut() = StatusCode::from_u16(meta.status).ok()?;
    *answer.headers_mut() = plain(&meta.headers());
    let options = CacheOptions {
        // What a credential was given for is everybody's only where the server says so.
        shared: asked.credentialed,
        ..CacheOptions::default()
    };
    let request = request(asked, Method::GET);
    Some(CachePolicy::new_options(
        &request,
        &answer,
        meta.made(),
        options,
    ))
}

fn request(asked: &Asked, method: Method) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = asked.uri.clone();
    *request.headers_mut() = asked.headers.clone();
    if let Some(control) = joined(&asked.headers, &header::CACHE_CONTROL) {
        // Nothing is given again that is stale, whoever would take it.
        let kept = control
            .split(',')
            .filter(|part| !part.trim().starts_with("max-stale"));
        let kept: Vec<&str> = kept.collect();
        set(request.headers_mut(), header::CACHE_CONTROL, kept.join(","));
    }
    if asked.credentialed {
        let some = HeaderValue::from_static("some");
        request.headers_mut().insert(header::AUTHORIZATION, some);
    }
    request
}

/// Returns all values of a header in lower case and as one.
pub(super) fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<String> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase())
        .collect();
    (!values.is_empty()).then(|| values.join(","))
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: String) {
    match HeaderValue::try_from(value) {
        Ok(value) => drop(headers.insert(name, value)),
        Err(_) => drop(headers.remove(name)),
    }
}

/// Returns the head of an answer as the library reads it rightly.
fn plain(headers: &HeaderMap) -> HeaderMap {
    let mut plain = headers.clone();
    // What a question is compared by has been compared already.
    plain.remove(header::VARY);
    for name in [header::CACHE_CONTROL, header::PRAGMA] {
        if let Some(value) = joined(headers, &name) {
            let value = match value.is_ascii() {
                true => value,
                // Whatever it says, it is not understood.
                false => "no-store".to_owned(),
            };
            set(&mut plain, name, value);
        }
    }
    if headers.contains_key(header::AGE) {
        let age = joined(headers, &header::AGE).and_then(|age| age.trim().parse::<u64>().ok());
        let age = age.unwrap_or(OLDEST).min(OLDEST);
        set(&mut plain, header::AGE, age.to_string());
    }
    if headers.get_all(header::EXPIRES).iter().count() > 1 {
        // Two of them are none that could be right.
        set(&mut plain, header::EXPIRES, "0".to_owned());
    }
    plain
}
