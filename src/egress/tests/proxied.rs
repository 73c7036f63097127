//! A host that reaches the network only through a proxy.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::Arc,
    thread,
};

use super::lab::{Lab, Table, Upstream, all, echo, pin, rules, upstream};
use crate::{
    egress::{Decision, Fact, Limits, Proxies, ProxySettings, Threads},
    policy::{Egress, Protocol, Rates},
};

/// Reads a CONNECT, byte by byte so that nothing behind it is lost.
fn asked(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut one = [0];
        stream.read_exact(&mut one)?;
        head.extend(one);
    }
    Ok(head)
}

/// A proxy that answers this and then leads to `to`, if it leads anywhere.
fn proxy(answer: &'static [u8], to: Option<SocketAddr>) -> Upstream {
    upstream(move |stream| {
        let head = asked(stream)?;
        stream.write_all(answer)?;
        let Some(to) = to else { return Ok(head) };
        let mut far = TcpStream::connect(to)?;
        let (mut near, mut back) = (stream.try_clone()?, far.try_clone()?);
        let forth = thread::spawn(move || {
            let copied = io::copy(&mut near, &mut back);
            back.shutdown(Shutdown::Write).and(copied.map(drop))
        });
        io::copy(&mut far, stream)?;
        stream.shutdown(Shutdown::Write)?;
        forth.join().expect("copying does not panic")?;
        Ok(head)
    })
}

fn lab(egress: Egress, settings: &ProxySettings) -> Lab {
    let threads = Threads::through(Proxies::new(settings)).unwrap();
    let paced = (Limits::default(), Rates::default());
    Lab::among(Arc::new(threads), (egress, Table::default()), paced)
}

fn through(at: SocketAddr, no: &str) -> ProxySettings {
    ProxySettings {
        https: Some(format!("http://me:s%40cret@{at}")),
        no: Some(no.to_owned()),
        ..ProxySettings::default()
    }
}

fn failures(lab: &mut Lab) -> Vec<Decision> {
    let failed = |fact| match fact {
        Fact::Decision(one) if one.reason.is_some() => Some(one),
        _ => None,
    };
    lab.close()
        .into_iter()
        .filter_map(|one| failed(one.fact))
        .collect()
}

#[test]
fn an_allowed_name_is_asked_of_the_proxy_and_never_resolved_here() {
    let server = echo();
    let proxy = proxy(
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        Some(server.at),
    );
    let mut lab = lab(
        rules(&[("a.test", 22, Protocol::Tcp)]),
        &through(proxy.at, ""),
    );
    assert_eq!(lab.say_and_end("a.test", 22, b"hello"), "hello");
    let head = String::from_utf8(proxy.heard.recv().unwrap()).unwrap();
    assert!(
        head.starts_with("CONNECT a.test:22 HTTP/1.1\r\nHost: a.test:22\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\nProxy-Authorization: Basic bWU6c0BjcmV0\r\n"),
        "{head}"
    );
    assert_eq!(lab.asked(), 0);
    let records = format!("{:?}", lab.close());
    assert!(
        !records.contains("cret"),
        "a password was recorded: {records}"
    );
}

#[test]
fn what_comes_right_behind_the_answer_is_the_servers() {
    let proxy = upstream(|stream| {
        let head = asked(stream)?;
        stream.write_all(b"HTTP/1.0 200 ok\r\n\r\nSSH-2.0-first words\r\n")?;
        stream.shutdown(Shutdown::Write)?;
        Ok(head)
    });
    let lab = lab(
        rules(&[("a.test", 22, Protocol::Tcp)]),
        &through(proxy.at, ""),
    );
    let mut stream = lab.connect("a.test", 22).unwrap();
    assert_eq!(all(&mut stream), b"SSH-2.0-first words\r\n");
}

#[test]
fn a_denied_name_is_never_asked_of_the_proxy() {
    let server = echo();
    let proxy = proxy(b"HTTP/1.1 200 ok\r\n\r\n", Some(server.at));
    let lab = lab(
        rules(&[("a.test", 22, Protocol::Tcp)]),
        &through(proxy.at, ""),
    );
    assert!(lab.connect("denied.test", 22).is_err());
    assert!(lab.connect("a.test", 443).is_err());
    assert!(proxy.heard.try_recv().is_err());
    assert_eq!(lab.say_and_end("a.test", 22, b"the control"), "the control");
}

#[test]
fn a_pinned_name_and_one_of_no_proxy_are_reached_directly() {
    let (server, nowhere) = (echo(), proxy(b"HTTP/1.1 502 no\r\n\r\n", None));
    let names = [("a.test", 22, Protocol::Tcp), ("b.test", 22, Protocol::Tcp)];
    let egress = pin(rules(&names), "a.test", server.at);
    let mut lab = lab(egress, &through(nowhere.at, ".b.test"));
    assert_eq!(lab.say_and_end("a.test", 22, b"direct"), "direct");
    assert_eq!(
        lab.say_and_end("b.test", 22, b"direct"),
        "",
        "b.test does not resolve here"
    );
    assert_eq!(lab.asked(), 1);
    assert!(nowhere.heard.try_recv().is_err());
    assert_eq!(failures(&mut lab).len(), 1);
}

#[test]
fn a_proxy_that_does_not_connect_ends_the_connection_and_is_named_in_the_record() {
    for (answer, said) in [
        (
            &b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..],
            "wants a user and password",
        ),
        (
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
            "it answered `HTTP/1.1 403 Forbidden`",
        ),
        (b"HTTP/1.1 20", "hung up"),
        (b"SSH-2.0-x\r\n\r\n", "it answered `SSH-2.0-x`"),
    ] {
        let proxy = proxy(answer, None);
        let mut lab = lab(
            rules(&[("a.test", 22, Protocol::Tcp)]),
            &through(proxy.at, ""),
        );
        assert_eq!(lab.say_and_end("a.test", 22, b"hello"), "");
        let failed = failures(&mut lab);
        let reason = failed[0].reason.as_deref().unwrap();
        assert!(
            reason.contains(said) && reason.contains("through the proxy"),
            "{reason}"
        );
    }
}

#[test]
fn a_proxy_that_cannot_be_used_is_not_gone_around() {
    let settings = ProxySettings {
        all: Some("socks5://127.0.0.1:1".to_owned()),
        ..ProxySettings::default()
    };
    let mut lab = lab(rules(&[("a.test", 22, Protocol::Tcp)]), &settings);
    assert_eq!(lab.say_and_end("a.test", 22, b"hello"), "");
    assert_eq!(lab.asked(), 0);
    let failed = failures(&mut lab);
    let reason = failed[0].reason.as_deref().unwrap();
    assert!(reason.contains("`ALL_PROXY` of this host"), "{reason}");
}
