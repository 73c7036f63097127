//! HTTP/1 request heads and bodies, read strictly. Pure.
//!
//! Two readers of one request must not see two requests, so whatever leaves room for a second
//! reading is refused: bare line feeds, folded lines, two lengths, lengths and chunks together,
//! chunk extensions, trailers, space around a header's name.

use std::str::FromStr;

use crate::name::HostName;

/// Longest body length that is believed.
const LENGTH_DIGITS: usize = 18;
/// Hexadecimal digits of a chunk's size that are believed: 256 MiB a chunk less one.
const CHUNK_DIGITS: usize = 7;

/// A checked request head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The method, such as `GET`.
    pub method: String,
    /// What is asked for: path and query.
    pub target: String,
    /// The host in the `Host` header.
    pub host: HostName,
    /// The port in the `Host` header, if any.
    pub port: Option<u16>,
    /// What follows the head.
    pub body: Body,
    /// The client asks to leave HTTP.
    pub upgrade: bool,
    /// The head to send on: as received, less what speaks of the connection, with
    /// `Connection: close`.
    pub forward: Vec<u8>,
}

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// So many bytes, possibly none.
    Length(u64),
    /// Chunks up to an empty one.
    Chunked,
}

/// Why bytes are no request that can be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRequest(pub &'static str);

/// Returns the length of the head with its empty line, if its end is among `bytes`. Looks only
/// from `seen` on, the number of bytes looked at before.
pub(super) fn head_end(bytes: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    bytes[from..]
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .map(|at| from + at + 4)
}

/// Reads one whole request head, up to and with its empty line.
///
/// # Errors
///
/// When the head can be read in two ways, or has no valid `Host`.
pub fn head(bytes: &[u8]) -> Result<Head, BadRequest> {
    let text = bytes
        .strip_suffix(b"\r\n\r\n")
        .ok_or(BadRequest("its head has no end"))?;
    let lines = lines(text)?;
    let (request, fields) = lines.split_first().ok_or(BadRequest("it is empty"))?;
    let Request {
        method,
        target,
        authority,
        version,
    } = request_line(request)?;
    let fields = Fields::read(fields)?;
    let (host, port) = authority_of(fields.one("host")?.ok_or(BadRequest("it has no `Host`"))?)?;
    if let Some(authority) = authority
        && authority_of(authority)? != (host.clone(), port)
    {
        return Err(BadRequest("its target and its `Host` differ"));
    }
    Ok(Head {
        method: method.to_owned(),
        target: target.to_owned(),
        host,
        port,
        body: fields.body(version)?,
        upgrade: fields.upgrade(),
        forward: fields.forward(request),
    })
}

/// Splits at CR LF and refuses either byte alone, and every other control byte but the tab.
fn lines(text: &[u8]) -> Result<Vec<&str>, BadRequest> {
    let text = std::str::from_utf8(text).map_err(|_| BadRequest("its head is not UTF-8"))?;
    let lines: Vec<&str> = text.split("\r\n").collect();
    if lines
        .iter()
        .any(|line| line.chars().any(|c| c != '\t' && c.is_ascii_control()))
    {
        return Err(BadRequest(
            "its head holds a control character or a bare line end",
        ));
    }
    Ok(lines)
}

struct Request<'a> {
    method: &'a str,
    target: &'a str,
    authority: Option<&'a str>,
    version: Version,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    /// HTTP/1.0, which knows no chunks.
    Old,
    /// HTTP/1.1.
    Modern,
}

fn request_line(line: &str) -> Result<Request<'_>, BadRequest> {
    let parts: Vec<&str> = line.split(' ').collect();
    let &[method, target, version] = parts.as_slice() else {
        return Err(BadRequest("its first line is not `METHOD TARGET VERSION`"));
    };
    if !is_token(method) {
        return Err(BadRequest("its method is not a word"));
    }
    if method == "CONNECT" {
        return Err(BadRequest(
            "it asks for a tunnel; programs need no proxy settings here",
        ));
    }
    let version = match version {
        "HTTP/1.1" => Version::Modern,
        "HTTP/1.0" => Version::Old,
        _ => return Err(BadRequest("its version is neither HTTP/1.1 nor HTTP/1.0")),
    };
    if target.bytes().any(|b| !b.is_ascii_graphic()) {
        return Err(BadRequest("its target is not ASCII"));
    }
    let (authority, target) = match target.strip_prefix("http://") {
        Some(rest) => {
            let (authority, target) =
                rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            (Some(authority), target)
        }
        None if target.starts_with('/') || (target == "*" && method == "OPTIONS") => (None, target),
        None => return Err(BadRequest("its target is neither a path nor an http URL")),
    };
    Ok(Request {
        method,
        target,
        authority,
        version,
    })
}

fn is_token(text: &str) -> bool {
    let mark = |b: u8| b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || mark(b))
}

/// Reads `name` or `name:port`, nothing else: no user, no escapes, no address.
pub(super) fn authority_of(text: &str) -> Result<(HostName, Option<u16>), BadRequest> {
    let (name, port) = match text.split_once(':') {
        None => (text, None),
        Some((name, port)) => {
            let plain = port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
            let port = port.parse().ok().filter(|_| plain);
            (
                name,
                Some(port.ok_or(BadRequest("the port of its host is not a number"))?),
            )
        }
    };
    let name = HostName::from_str(name).map_err(|_| BadRequest("its host is not a host name"))?;
    Ok((name, port))
}

/// The header fields, names in lower case.
struct Fields<'a>(Vec<(String, &'a str, &'a str)>);

impl<'a> Fields<'a> {
    fn read(lines: &[&'a str]) -> Result<Self, BadRequest> {
        let field = |line: &&'a str| {
            let (name, value) = line.split_once(':')?;
            is_token(name).then(|| {
                (
                    name.to_ascii_lowercase(),
                    value.trim_matches([' ', '\t']),
                    *line,
                )
            })
        };
        let fields: Option<Vec<_>> = lines.iter().map(field).collect();
        Ok(Self(fields.ok_or(BadRequest(
            "a header is folded or has no clear name",
        ))?))
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(n, ..)| n == name)
            .map(|(_, value, _)| *value)
    }

    fn one(&self, name: &str) -> Result<Option<&'a str>, BadRequest> {
        let mut values = self.all(name);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(BadRequest("`Host` or a length is given twice")),
        }
    }

    fn body(&self, version: Version) -> Result<Body, BadRequest> {
        let length = self.one("content-length")?;
        match (self.one("transfer-encoding")?, length) {
            (Some(_), Some(_)) => Err(BadRequest("it has both a length and chunks")),
            (Some(coding), None)
                if version == Version::Modern && coding.eq_ignore_ascii_case("chunked") =>
            {
                Ok(Body::Chunked)
            }
            (Some(_), None) => Err(BadRequest("its `Transfer-Encoding` is not `chunked`")),
            (None, None) => Ok(Body::Length(0)),
            (None, Some(digits)) => {
                let plain = digits.bytes().all(|b| b.is_ascii_digit());
                let short = (1..=LENGTH_DIGITS).contains(&digits.len());
                let length = digits.parse().ok().filter(|_| plain && short);
                length
                    .map(Body::Length)
                    .ok_or(BadRequest("its `Content-Length` is not a number"))
            }
        }
    }

    fn upgrade(&self) -> bool {
        self.all("upgrade").next().is_some()
            || self.all("connection").any(|value| {
                value
                    .split(',')
                    .any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
            })
    }

    fn forward(&self, request: &str) -> Vec<u8> {
        let hop = ["connection", "keep-alive", "proxy-connection"];
        let kept = self
            .0
            .iter()
            .filter(|(name, ..)| !hop.contains(&name.as_str()));
        let mut head = format!("{request}\r\n");
        for (_, _, line) in kept {
            head.push_str(line);
            head.push_str("\r\n");
        }
        head.push_str("Connection: close\r\n\r\n");
        head.into_bytes()
    }
}

/// Follows a request body and says where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Follow {
    /// So many bytes are still to come.
    Length(u64),
    /// Within chunks.
    Chunks(Chunk),
}

/// Where in a chunked body we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In the digits of a size.
    Size { size: u64, digits: usize },
    /// Before the line feed of a size.
    SizeEnd { size: u64 },
    /// In the data, so many bytes before its end.
    Data { left: u64 },
    /// Before the CR (`\r`) or the LF (`\n`) that ends the data, or the whole body.
    After { want: u8, last: bool },
    /// Behind the end.
    Done,
}

impl Follow {
    pub(super) fn new(body: Body) -> Self {
        match body {
            Body::Length(length) => Self::Length(length),
            Body::Chunked => Self::Chunks(Chunk::Size { size: 0, digits: 0 }),
        }
    }

    /// Returns whether the body is over.
    pub(super) fn done(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunks(Chunk::Done))
    }

    /// Returns how many of `bytes` belong to the body.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<usize, BadRequest> {
        match self {
            Self::Length(left) => {
                let taken = clamp(*left, bytes.len());
                *left -= as_u64(taken);
                Ok(taken)
            }
            Self::Chunks(chunk) => {
                let mut at = 0;
                while at < bytes.len() && *chunk != Chunk::Done {
                    at += chunk.step(&bytes[at..])?;
                }
                Ok(at)
            }
        }
    }
}

fn clamp(left: u64, there: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(there)
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Chunk {
    /// Takes at least one byte of `bytes`, which is not empty, and returns how many.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, BadRequest> {
        const BAD: BadRequest = BadRequest("its chunks are malformed");
        let byte = bytes[0];
        let (next, taken) = match self {
            Self::Size { size, digits } => match char::from(byte).to_digit(16) {
                Some(digit) if *digits < CHUNK_DIGITS => (
                    Self::Size {
                        size: *size * 16 + u64::from(digit),
                        digits: *digits + 1,
                    },
                    1,
                ),
                None if byte == b'\r' && *digits > 0 => (Self::SizeEnd { size: *size }, 1),
                _ => return Err(BAD),
            },
            Self::SizeEnd { size } if byte == b'\n' && *size == 0 => (
                Self::After {
                    want: b'\r',
                    last: true,
                },
                1,
            ),
            Self::SizeEnd { size } if byte == b'\n' => (Self::Data { left: *size }, 1),
            Self::SizeEnd { .. } => return Err(BAD),
            Self::Data { left } => {
                let taken = clamp(*left, bytes.len());
                match *left - as_u64(taken) {
                    0 => (
                        Self::After {
                            want: b'\r',
                            last: false,
                        },
                        taken,
                    ),
                    left => (Self::Data { left }, taken),
                }
            }
            Self::After { want, .. } if byte != *want => return Err(BAD),
            Self::After { want: b'\r', last } => (
                Self::After {
                    want: b'\n',
                    last: *last,
                },
                1,
            ),
            Self::After { last: true, .. } => (Self::Done, 1),
            Self::After { .. } => (Self::Size { size: 0, digits: 0 }, 1),
            Self::Done => return Err(BAD),
        };
        *self = next;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn read(text: &str) -> Result<Head, BadRequest> {
        head(text.as_bytes())
    }

    #[test]
    fn a_plain_request_is_sent_on_with_connection_close() {
        let text =
            "GET /a?b HTTP/1.1\r\nHost: A.test:8080\r\nConnection: keep-alive\r\nX: y\r\n\r\n";
        let head = read(text).unwrap();
        assert_eq!((head.host.as_str(), head.port), ("a.test", Some(8080)));
        assert_eq!(head.body, Body::Length(0));
        let forward = String::from_utf8(head.forward).unwrap();
        assert_eq!(
            forward,
            "GET /a?b HTTP/1.1\r\nHost: A.test:8080\r\nX: y\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn requests_that_read_two_ways_are_refused() {
        let vectors = [
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5, 5\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +5\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: -1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: \r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0x5\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: xchunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding : chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.test\r\n Transfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.test\r\nX: a\r\n\tb\r\n\r\n",
            "GET / HTTP/1.1\nHost: a.test\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.test\nX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.test\rX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.test\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: user@a.test\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.test:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.test:080\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.test.\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "GET http://a.test@b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "GET https://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: a.test\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a.test\r\n\r\n",
            "CONNECT a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "G(T / HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.test\r\nno colon\r\n\r\n",
        ];
        for text in vectors {
            assert!(read(text).is_err(), "was read: {text:?}");
        }
    }

    #[test]
    fn an_absolute_target_of_the_same_host_is_read() {
        let head = read("GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
        assert_eq!(head.host.as_str(), "a.test");
    }

    #[test]
    fn an_upgrade_is_seen_in_either_header() {
        for line in ["Upgrade: websocket", "Connection: keep-alive, Upgrade"] {
            assert!(
                read(&format!("GET / HTTP/1.1\r\nHost: a.test\r\n{line}\r\n\r\n"))
                    .unwrap()
                    .upgrade
            );
        }
    }

    #[test]
    fn a_body_ends_where_its_framing_says_and_not_later() {
        let mut length = Follow::new(Body::Length(5));
        assert_eq!(length.feed(b"12345GET / HTTP/1.1"), Ok(5));
        assert!(length.done());
        let mut chunks = Follow::new(Body::Chunked);
        let body = b"4\r\nabcd\r\nA\r\n0123456789\r\n0\r\n\r\n";
        let all = [&body[..], b"GET / HTTP/1.1"].concat();
        assert_eq!(chunks.feed(&all), Ok(body.len()));
        assert!(chunks.done());
    }

    #[test]
    fn malformed_chunks_are_refused() {
        let vectors = [
            "4;ext=1\r\nabcd\r\n0\r\n\r\n",
            "4\nabcd\r\n",
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "0x4\r\n",
            "4\r\nabcde\r\n",
            "4\r\nabcd\n",
            "0\r\nTrailer: x\r\n\r\n",
            "100000000\r\n",
            " 4\r\n",
            "4 \r\nabcd\r\n",
            "4\r\r\n",
            "0\r\n\n",
        ];
        for text in vectors {
            let fed = Follow::new(Body::Chunked).feed(text.as_bytes());
            assert!(fed.is_err(), "was read: {text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_head_is_read_without_panic(text in "[ -~\r\n\t\u{e4}]{0,200}") {
            drop(read(&format!("GET / HTTP/1.1\r\nHost: a.test\r\n{text}\r\n\r\n")));
        }

        #[test]
        fn chunks_end_at_the_same_byte_however_they_are_cut(
            sizes in proptest::collection::vec(1usize..40, 0..6),
            cut in 1usize..20,
            tail in proptest::collection::vec(any::<u8>(), 0..10),
        ) {
            let chunk = |size: &usize| format!("{size:x}\r\n{}\r\n", "d".repeat(*size));
            let body: String = sizes.iter().map(chunk).chain(["0\r\n\r\n".to_owned()]).collect();
            let all = [body.as_bytes(), &tail].concat();
            let mut follow = Follow::new(Body::Chunked);
            let mut taken = 0;
            while taken < all.len() && !follow.done() {
                let end = (taken + cut).min(all.len());
                taken += follow.feed(&all[taken..end]).unwrap();
            }
            prop_assert_eq!(taken, body.len());
            assert!(follow.done());
        }
    }
}
