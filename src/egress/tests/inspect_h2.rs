//! HTTP/2 on either side, and on both.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, mpsc},
    thread,
};

use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    body::{Bytes, Frame, Incoming},
    client::conn::http2::{self, SendRequest},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    cache_lab::{Keeping, counted, hour},
    inspect_lab::{
        NAME, OK, Secure, answering, ask, call, identity, lab, requests, status, trusting,
    },
    lab::{Lab, PATIENCE, Upstream},
};
use crate::policy::RequestRule;

type Sent = UnsyncBoxBody<Bytes, Infallible>;

fn full(text: &'static str) -> Sent {
    Full::new(Bytes::from_static(text.as_bytes())).boxed_unsync()
}

/// A body and trailers behind it.
fn with_trailers(text: &'static str) -> Sent {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let frames = [
        Ok(Frame::data(Bytes::from_static(text.as_bytes()))),
        Ok(Frame::trailers(trailers)),
    ];
    StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
}

/// A server that speaks HTTP/2 alone, answers with what it heard, and tells of each request.
fn h2_server() -> (Secure, mpsc::Receiver<(String, HeaderMap, String)>) {
    let (config, ca) = identity(NAME, b"h2");
    let (tell, told) = mpsc::channel();
    let tell = Arc::new(Mutex::new(tell));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let (_, heard) = mpsc::channel();
    thread::spawn(move || {
        runtime().block_on(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (config, tell) = (Arc::clone(&config), Arc::clone(&tell));
                connections.spawn(async move {
                    let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request| echo(request, Arc::clone(&tell)));
                    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    drop(server.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
    });
    let server = Upstream {
        at,
        heard,
        peak: Arc::default(),
    };
    (Secure { server, ca }, told)
}

type Told = Arc<Mutex<mpsc::Sender<(String, HeaderMap, String)>>>;

async fn echo(request: Request<Incoming>, tell: Told) -> Result<Response<Sent>, Infallible> {
    let uri = request.uri().to_string();
    let headers = request.headers().clone();
    let body = request.into_body().collect().await.unwrap();
    let trailers = body.trailers().map(|_| " and trailers").unwrap_or_default();
    let text = String::from_utf8(body.to_bytes().to_vec()).unwrap() + trailers;
    drop(tell.lock().unwrap().send((uri, headers, text)));
    Ok(Response::new(with_trailers("answered")))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Connects with HTTP/2.
async fn client(lab: &Lab) -> SendRequest<Sent> {
    let stream = lab.connect(NAME, 443).unwrap();
    stream.set_nonblocking(true).unwrap();
    let stream = tokio::net::TcpStream::from_std(stream).unwrap();
    let connector = TlsConnector::from(trusting(lab, &[b"h2", b"http/1.1"]));
    let name = ServerName::try_from(NAME).unwrap();
    let stream = connector.connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    drop(tokio::runtime::Handle::current().spawn(connection));
    sender
}

fn request(method: Method, uri: &str, body: Sent) -> Request<Sent> {
    Request::builder()
        .method(method)
        .uri(uri)
        .body(body)
        .unwrap()
}

fn rule() -> RequestRule {
    RequestRule {
        paths: vec!["/v1/**".parse().unwrap()],
        ..RequestRule::default()
    }
}

#[test]
fn bodies_and_trailers_pass_over_http_2_both_ways() {
    let (server, told) = h2_server();
    let mut lab = lab(&server, rule());
    runtime().block_on(async {
        let mut client = client(&lab).await;
        let mut sent = request(
            Method::POST,
            "https://a.test/v1/x?q=1",
            with_trailers("hello"),
        );
        sent.headers_mut().insert("te", "trailers".parse().unwrap());
        let answer = client.send_request(sent).await.unwrap();
        assert_eq!(
            (answer.status(), answer.version()),
            (StatusCode::OK, Version::HTTP_2)
        );
        let body = answer.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(body.to_bytes(), "answered");
    });
    let (uri, headers, text) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        (uri.as_str(), text.as_str()),
        ("https://a.test/v1/x?q=1", "hello and trailers")
    );
    assert_eq!(headers["te"], "trailers");
    assert!(!headers.contains_key("host"), "{headers:?}");
    let (decided, closed) = requests(&mut lab);
    assert_eq!(decided[0].call, call("POST", "/v1/x"));
    assert_eq!(closed[0].status, Some(200));
}

#[test]
fn a_head_has_no_body_over_http_2_denied_or_kept() {
    let keeping = Keeping::new();
    let server = counted("Cache-Control: max-age=600\r\n");
    let part = RequestRule {
        cache: hour().cache,
        ..rule()
    };
    let lab = keeping.to(&server, part);
    let ask = |method, path| {
        runtime().block_on(async {
            let mut client = client(&lab).await;
            let asked = request(method, &format!("https://a.test{path}"), full(""));
            let (head, body) = client.send_request(asked).await.unwrap().into_parts();
            (head, body.collect().await.unwrap().to_bytes())
        })
    };
    let (denied, body) = ask(Method::HEAD, "/closed");
    assert_eq!((denied.status.as_u16(), body.len()), (403, 0));
    assert_eq!(ask(Method::GET, "/v1/x").1, "answer 0");
    keeping.kept(1);
    assert_eq!(ask(Method::GET, "/v1/x").1, "answer 0");
    let (kept, body) = ask(Method::HEAD, "/v1/x");
    assert_eq!((kept.status.as_u16(), body.len()), (200, 0));
    assert_eq!(kept.headers["content-length"], "8");
    assert_eq!(kept.headers["cache-status"], "loki; hit");
    assert_eq!(server.asked(), 1);
}

#[test]
fn many_requests_of_one_connection_are_judged_each_by_itself() {
    let (server, told) = h2_server();
    let lab = lab(&server, rule());
    runtime().block_on(async {
        let mut client = client(&lab).await;
        let mut waiting = Vec::new();
        for n in 0..40 {
            let path = if n % 2 == 0 { "v1" } else { "v2" };
            let uri = format!("https://a.test/{path}/{n}");
            waiting.push((n, client.send_request(request(Method::GET, &uri, full("")))));
            client.ready().await.unwrap();
        }
        for (n, answer) in waiting {
            let expected = if n % 2 == 0 {
                StatusCode::OK
            } else {
                StatusCode::FORBIDDEN
            };
            assert_eq!(answer.await.unwrap().status(), expected, "{n}");
        }
    });
    assert_eq!(told.try_iter().count(), 20);
    assert_eq!(lab.usage().calls, 20);
}

#[test]
fn n12_n15_another_authority_is_refused_and_ends_the_connection() {
    let (server, told) = h2_server();
    let lab = lab(&server, rule());
    runtime().block_on(async {
        for uri in [
            "https://denied.test/v1/x",
            "https://a.test:80/v1/x",
            "https://user@a.test/v1/x",
        ] {
            let mut client = client(&lab).await;
            let answer = client
                .send_request(request(Method::GET, uri, full("")))
                .await
                .unwrap();
            assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST, "{uri}");
            let again = request(Method::GET, "https://a.test/v1/x", full(""));
            // The connection is being closed: whether this one still starts is a race, but it is
            // never the one that was refused.
            drop(client.send_request(again).await);
            assert!(
                client.ready().await.is_err(),
                "{uri}: the connection goes on"
            );
        }
        let mut client = client(&lab).await;
        let mut two = request(Method::GET, "https://a.test/v1/x", full(""));
        two.headers_mut()
            .insert("host", "denied.test".parse().unwrap());
        let answer = client.send_request(two).await.unwrap();
        assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
    });
    assert!(
        told.try_iter()
            .all(|(uri, ..)| uri == "https://a.test/v1/x")
    );
}

#[test]
fn a_tunnel_over_http_2_is_refused() {
    let (server, told) = h2_server();
    let lab = lab(&server, RequestRule::default());
    runtime().block_on(async {
        let mut client = client(&lab).await;
        let asked = request(Method::CONNECT, "denied.test:443", full(""));
        let status = client
            .send_request(asked)
            .await
            .map(|answer| answer.status());
        assert!(
            !matches!(status, Ok(status) if status.is_success()),
            "{status:?}"
        );
    });
    assert_eq!(told.try_iter().count(), 0);
}

#[test]
fn versions_are_translated_in_both_directions() {
    let old = answering(OK);
    let to_old = lab(&old, rule());
    runtime().block_on(async {
        let mut client = client(&to_old).await;
        let sent = request(Method::POST, "https://a.test/v1/x", full("hello"));
        let answer = client.send_request(sent).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
    });
    drop(to_old);
    let heard = String::from_utf8(old.server.heard.recv_timeout(PATIENCE).unwrap()).unwrap();
    assert!(heard.starts_with("POST /v1/x HTTP/1.1\r\n"), "{heard}");
    assert_eq!(
        heard
            .to_ascii_lowercase()
            .matches("\r\nhost: a.test\r\n")
            .count(),
        1,
        "{heard}"
    );
    let (new, told) = h2_server();
    let to_new = lab(&new, rule());
    let answer = ask(
        &to_new,
        "POST /v1/x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    );
    assert_eq!(status(&answer), "200", "{answer}");
    assert!(answer.contains("answered"), "{answer}");
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().2, "hello");
}
