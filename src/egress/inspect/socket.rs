//! WebSockets, where a rule allows them: passed through, counted and masked like bodies.

use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::{
    HeaderMap, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, split};

use super::{
    body::Account,
    mask::Mask,
    session::{Answer, Session},
};
use crate::egress::{limits::Way, piece::Piece};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Returns the client's stream to be, out of its request.
pub(super) fn client_side(parts: &mut Parts) -> Option<OnUpgrade> {
    parts.extensions.remove::<OnUpgrade>()
}

/// Asks the server for what the client asked for. Extensions are not asked for: compressed, an
/// echoed credential could not be seen.
pub(super) fn ask(headers: &mut HeaderMap) {
    headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
    agree(headers);
}

fn agree(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, WEBSOCKET);
}

/// Joins both sides once the client has heard that the server agreed.
pub(super) fn open(
    session: &Session,
    (client, response): (Option<OnUpgrade>, Response<Incoming>),
    (account, mask): (Arc<Account>, Option<Mask>),
) -> Response<Answer> {
    let mut answer = Response::new(
        Empty::<Bytes>::new()
            .map_err(|never| match never {})
            .boxed_unsync(),
    );
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in response.headers() {
        if is_of_sockets(name) {
            answer.headers_mut().append(name, value.clone());
        }
    }
    agree(answer.headers_mut());
    session.reading.end_http();
    session.context.run(async move {
        let Some(client) = client else { return };
        let server = hyper::upgrade::on(response);
        if let Ok((client, server)) = tokio::try_join!(client, server) {
            join(client, server, (account, mask)).await;
        }
    });
    answer
}

fn is_of_sockets(name: &HeaderName) -> bool {
    name.as_str().starts_with("sec-websocket-") || name == header::SET_COOKIE
}

async fn join(client: Upgraded, server: Upgraded, (account, mask): (Arc<Account>, Option<Mask>)) {
    let (from_client, to_client) = split(TokioIo::new(client));
    let (from_server, to_server) = split(TokioIo::new(server));
    let out = copy(from_client, to_server, (&account, Way::Out, None));
    let back = copy(from_server, to_client, (&account, Way::In, mask));
    // Whichever side broke, the connection is over; the bytes are counted.
    drop(tokio::try_join!(out, back));
}

/// Copies one way until the end, masked where there is a mask.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    (account, way, mut mask): (&Account, Way, Option<Mask>),
) -> std::io::Result<()> {
    loop {
        let piece = Piece::read(&mut from).await?;
        let bytes = match &mut mask {
            None => Bytes::copy_from_slice(&piece),
            Some(mask) if piece.is_empty() => mask.rest(),
            Some(mask) => mask.feed(Bytes::copy_from_slice(&piece)),
        };
        if mask.as_ref().is_some_and(Mask::found) {
            account.echoed();
        }
        account.meter.pass(way, &bytes, &mut to).await?;
        to.flush().await?;
        if piece.is_empty() {
            return to.shutdown().await;
        }
    }
}
