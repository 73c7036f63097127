//! The proxy through which this host reaches the network, where it has one: HTTP CONNECT, with or
//! without basic authentication.
//!
//! It decides nothing and never widens what a permit allows: it is asked for the permit's name and
//! port alone. The proxy resolves the name, so the gateway cannot look at the address behind it;
//! what the proxy may reach is up to whoever runs it. Names that `hosts:` pins never pass through.
//! It refuses to go around a proxy that it cannot use.

use std::{fmt, io, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::policy::{Protocol, Target};

/// Longest answer of a proxy to CONNECT that is read.
const ANSWER_MAX: usize = 16 * 1024;

/// What this host's environment says about proxies, as it stands there.
#[derive(Clone, Default)]
pub struct ProxySettings {
    /// `HTTPS_PROXY`: for TLS, and for all that is not plain HTTP.
    pub https: Option<String>,
    /// `HTTP_PROXY`: for plain HTTP.
    pub http: Option<String>,
    /// `ALL_PROXY`: where the one above is not set.
    pub all: Option<String>,
    /// `NO_PROXY`: names that are reached directly.
    pub no: Option<String>,
}

impl fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // They may hold a password.
        f.debug_struct("ProxySettings").finish_non_exhaustive()
    }
}

/// The ways out of this host that lead through a proxy; by default there is none.
#[derive(Debug, Default)]
pub struct Proxies {
    https: Option<Server>,
    http: Option<Server>,
    except: Vec<Exception>,
}

/// One proxy, or why it cannot be used: then nothing that it is for leaves this host.
type Server = Result<Proxy, Unusable>;

/// A setting that names no proxy that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{variable}` of this host {why}; set it to `http://host:port`, or name the host in `NO_PROXY`"
)]
pub struct Unusable {
    variable: &'static str,
    why: &'static str,
}

impl Proxies {
    /// Reads the settings. One that cannot be used fails each connection that it is for.
    #[must_use]
    pub fn new(settings: &ProxySettings) -> Self {
        let all = || ("ALL_PROXY", settings.all.as_deref());
        let read = |variable, own: &Option<String>| {
            let (variable, text) = match own.as_deref() {
                Some(own) => (variable, Some(own)),
                None => all(),
            };
            text.map(str::trim)
                .filter(|text| !text.is_empty())
                .map(|text| Proxy::parse(text).map_err(|why| Unusable { variable, why }))
        };
        let no = settings.no.as_deref().unwrap_or_default();
        Self {
            https: read("HTTPS_PROXY", &settings.https),
            http: read("HTTP_PROXY", &settings.http),
            except: no.split([',', ' ']).filter_map(Exception::parse).collect(),
        }
    }

    /// Returns what cannot be used, for a warning at the start.
    pub fn unusable(&self) -> impl Iterator<Item = &Unusable> {
        let both = [&self.https, &self.http].into_iter().flatten();
        both.filter_map(|server| server.as_ref().err())
    }

    /// Connects Loki itself to a host, through the proxy that is for it: no sandbox is behind this.
    ///
    /// # Errors
    ///
    /// When the host does not answer within `limit`, or its proxy cannot be used.
    pub async fn connect_loki_itself(
        &self,
        target: &Target,
        limit: Duration,
    ) -> io::Result<TcpStream> {
        match self.of(target, Protocol::Tls) {
            Ok(Some(proxy)) => proxy.connect(target, limit).await,
            Ok(None) => {
                let place = (target.name.as_str(), target.port);
                let connected = timeout(limit, TcpStream::connect(place)).await;
                connected.unwrap_or_else(|late| Err(late.into()))
            }
            Err(unusable) => Err(io::Error::other(unusable.clone())),
        }
    }

    /// Returns the proxy that a target is reached through; none when directly.
    ///
    /// # Errors
    ///
    /// When there is one that cannot be used.
    pub(super) fn of(
        &self,
        target: &Target,
        protocol: Protocol,
    ) -> Result<Option<&Proxy>, &Unusable> {
        let server = match protocol {
            Protocol::Http => &self.http,
            Protocol::Tls | Protocol::Tcp => &self.https,
        };
        let is_excepted = self.except.iter().any(|one| one.covers(target));
        match server {
            Some(server) if !is_excepted => server.as_ref().map(Some),
            _ => Ok(None),
        }
    }
}

/// One entry of `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exception {
    /// None stands for every name.
    name: Option<String>,
    port: Option<u16>,
}

impl Exception {
    /// Reads `example.com`, `.example.com`, `*.example.com`, each with or without a port, or `*`.
    /// Addresses and networks cover nothing, for no rule names an address.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_end_matches('.').to_ascii_lowercase();
        if text == "*" {
            return Some(Self {
                name: None,
                port: None,
            });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') => (name, Some(port.parse().ok()?)),
            _ => (text.as_str(), None),
        };
        let name = name
            .strip_prefix('*')
            .unwrap_or(name)
            .trim_start_matches('.');
        (!name.is_empty()).then(|| Self {
            name: Some(name.to_owned()),
            port,
        })
    }

    /// Covers the name itself and all below it.
    fn covers(&self, target: &Target) -> bool {
        let covers_name = self.name.as_deref().is_none_or(|name| {
            let rest = target.name.as_str().strip_suffix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        });
        covers_name && self.port.is_none_or(|port| port == target.port)
    }
}

/// A proxy.
pub(super) struct Proxy {
    host: String,
    port: u16,
    /// The value of `Proxy-Authorization`.
    authorization: Option<Zeroizing<String>>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({}:{})", self.host, self.port)
    }
}

impl Proxy {
    fn parse(text: &str) -> Result<Self, &'static str> {
        // As other programs do, a bare `host:port` is taken for HTTP.
        let url = match text.contains("://") {
            true => Url::parse(text),
            false => Url::parse(&format!("http://{text}")),
        };
        let url = url.map_err(|_| "is no address of a proxy")?;
        if url.scheme() != "http" {
            return Err("is no `http://` proxy, and others are not spoken to");
        }
        let host = match url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return Err("names no host"),
        };
        Ok(Self {
            host,
            port: url.port().unwrap_or(80),
            authorization: authorization(&url)?,
        })
    }

    /// Connects to the proxy and has it connect to `target`, within `limit`.
    pub(super) async fn connect(&self, target: &Target, limit: Duration) -> io::Result<TcpStream> {
        let connected = async {
            let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            stream.set_nodelay(true)?;
            stream.write_all(self.request(target).as_bytes()).await?;
            let answer = head(&mut stream).await?;
            granted(&answer).map_err(io::Error::other)?;
            Ok(stream)
        };
        let (host, port) = (&self.host, self.port);
        let named = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("through the proxy `{host}:{port}`: {error}"),
            )
        };
        timeout(limit, connected)
            .await
            .unwrap_or_else(|late| Err(late.into()))
            .map_err(named)
    }

    fn request(&self, target: &Target) -> Zeroizing<String> {
        let mut text = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"));
        if let Some(authorization) = &self.authorization {
            for part in ["Proxy-Authorization: ", authorization, "\r\n"] {
                text.push_str(part);
            }
        }
        text.push_str("\r\n");
        text
    }
}

/// Returns what a URL's user and password become, none without any.
fn authorization(url: &Url) -> Result<Option<Zeroizing<String>>, &'static str> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let decode = |text: &str| {
        Zeroizing::new(percent_encoding::percent_decode_str(text).collect::<Vec<u8>>())
    };
    let (user, password) = (
        decode(url.username()),
        decode(url.password().unwrap_or_default()),
    );
    if user.contains(&b':') {
        return Err("has a colon in its user name, which cannot be sent");
    }
    let pair = Zeroizing::new([&user[..], b":", &password[..]].concat());
    Ok(Some(Zeroizing::new(format!(
        "Basic {}",
        BASE64_STANDARD.encode(&*pair)
    ))))
}

/// Reads the head of an answer and not a byte more: what follows is the other side's.
async fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    const END: &[u8] = b"\r\n\r\n";
    let mut head = Vec::new();
    let mut ahead = [0; 1024];
    loop {
        let seen = stream.peek(&mut ahead).await?;
        if seen == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it hung up before it answered",
            ));
        }
        let before = head.len();
        head.extend_from_slice(&ahead[..seen]);
        // The end may have begun in what was read before.
        let from = before.saturating_sub(END.len() - 1);
        let end = head[from..].windows(END.len()).position(|four| four == END);
        let length = end.map_or(head.len(), |at| from + at + END.len());
        head.truncate(length);
        stream.read_exact(&mut ahead[..length - before]).await?;
        if end.is_some() {
            return Ok(head);
        }
        if head.len() > ANSWER_MAX {
            return Err(io::Error::other("its answer is too long"));
        }
    }
}

/// Returns whether the proxy connected, from the first line of its answer.
fn granted(answer: &[u8]) -> Result<(), String> {
    let line = answer.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ');
    let is_http = words
        .next()
        .is_some_and(|word| word.starts_with(b"HTTP/1."));
    let status = words.next().unwrap_or_default();
    match status {
        [b'2', b, c] if is_http && b.is_ascii_digit() && c.is_ascii_digit() => Ok(()),
        b"407" if is_http => {
            Err("it wants a user and password: set `http://user:password@host:port`".to_owned())
        }
        _ => Err(format!("it answered `{}`", line.escape_ascii())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str, port: u16) -> Target {
        Target {
            name: name.parse().unwrap(),
            port,
        }
    }

    fn proxies(https: &str, no: &str) -> Proxies {
        Proxies::new(&ProxySettings {
            https: Some(https.to_owned()),
            no: Some(no.to_owned()),
            ..ProxySettings::default()
        })
    }

    #[test]
    fn names_that_need_no_proxy_are_read_as_usual_tools_read_them() {
        let table = [
            ("", "a.test", 443, true),
            ("*", "a.test", 443, false),
            ("a.test", "a.test", 443, false),
            ("a.test", "x.a.test", 443, false),
            (".a.test", "x.a.test", 443, false),
            ("*.a.test", "x.y.a.test", 443, false),
            ("A.Test.", "a.test", 443, false),
            ("a.test", "ba.test", 443, true),
            ("a.test", "a.test.b.test", 443, true),
            ("b.test, a.test:8443", "a.test", 443, true),
            ("b.test, a.test:8443", "a.test", 8443, false),
            ("b.test a.test", "a.test", 443, false),
            ("10.0.0.0/8,::1,127.0.0.1", "a.test", 443, true),
            ("a.test:port", "a.test", 443, true),
        ];
        for (no, name, port, through) in table {
            let proxies = proxies("http://proxy.test:3128", no);
            let found = proxies.of(&target(name, port), Protocol::Tls).unwrap();
            assert_eq!(found.is_some(), through, "{no:?} {name}:{port}");
        }
    }

    #[test]
    fn each_protocol_has_its_setting_and_all_stands_in() {
        let one = |https: Option<&str>, http: Option<&str>, all: Option<&str>| {
            let own = |text: Option<&str>| text.map(str::to_owned);
            let proxies = Proxies::new(&ProxySettings {
                https: own(https),
                http: own(http),
                all: own(all),
                no: None,
            });
            [Protocol::Tls, Protocol::Http, Protocol::Tcp].map(|protocol| {
                let found = proxies.of(&target("a.test", 1), protocol).unwrap();
                found.map_or(0, |proxy| proxy.port)
            })
        };
        assert_eq!(one(Some("p:1"), None, None), [1, 0, 1]);
        assert_eq!(one(None, Some("p:2"), None), [0, 2, 0]);
        assert_eq!(one(None, Some("p:2"), Some("p:3")), [3, 2, 3]);
        assert_eq!(one(Some("http://p"), Some(" "), None), [80, 0, 80]);
    }

    #[test]
    fn what_cannot_be_used_is_never_gone_around() {
        for text in [
            "socks5://p:1080",
            "https://p:443",
            "http://",
            "http://u%3av@p:1",
            "http://p:99999",
        ] {
            let proxies = proxies(text, "b.test");
            let refused = proxies.of(&target("a.test", 443), Protocol::Tls);
            let said = refused.expect_err(text).to_string();
            assert!(said.starts_with("`HTTPS_PROXY` of this host "), "{said}");
            assert!(
                proxies
                    .of(&target("b.test", 443), Protocol::Tls)
                    .unwrap()
                    .is_none()
            );
            assert_eq!(proxies.unusable().count(), 1);
        }
    }

    #[test]
    fn a_user_and_password_are_sent_decoded_and_never_shown() {
        let proxies = proxies("http://me:p%40ss%20w@proxy.test:3128", "");
        let to = target("a.test", 443);
        let proxy = proxies.of(&to, Protocol::Tls).unwrap().unwrap();
        let basic = BASE64_STANDARD.encode("me:p@ss w");
        let expected = format!(
            "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nProxy-Authorization: Basic {basic}\r\n\r\n"
        );
        assert_eq!(*proxy.request(&to), expected);
        let shown = format!("{proxies:?}");
        assert!(
            !shown.contains("p@ss") && !shown.contains(&basic),
            "{shown}"
        );
    }

    #[test]
    fn only_a_2xx_is_a_connection() {
        assert_eq!(
            granted(b"HTTP/1.1 200 Connection established\r\n\r\n"),
            Ok(())
        );
        assert_eq!(granted(b"HTTP/1.0 200\r\n\r\n"), Ok(()));
        for bad in [
            &b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..],
            b"HTTP/1.1 403 Forbidden\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"SSH-2.0 200 x\r\n\r\n",
            b"\r\n\r\n",
        ] {
            assert!(granted(bad).is_err(), "{}", bad.escape_ascii());
        }
    }
}
