//! Ends TLS and serves what is spoken within.

use std::{convert::Infallible, sync::Arc};

use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::Notify, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    session::{Answer, Refused, Session, explained, in_sight_of, suited},
    strict::{Reading, Strict},
    upstream::Tasks,
};
use crate::{
    egress::{
        context::{Context, Why},
        piece::Ahead,
        record::Call,
    },
    name::HostName,
    policy::{Permit, Target, decide},
};

/// Requests of one HTTP/2 connection that are answered at once.
const STREAMS: u32 = 128;
/// Longest list of header fields.
const HEADERS: u32 = 64 * 1024;
/// Bytes of a request that may be on their way before they are read.
const WINDOW: u32 = 1 << 20;

/// Serves a client whose hello, already read, asks for the permitted name.
pub(in crate::egress) async fn serve(
    context: &Arc<Context>,
    permit: &Permit,
    client: (Vec<u8>, TcpStream),
) {
    let stream = match accept(context, &permit.target().name, client).await {
        Ok(stream) => stream,
        Err(reason) => return context.fail(permit, reason),
    };
    let (stream, reading) = Spoken::of(stream, context);
    let session = Arc::new(Session::new(context, permit, reading));
    let closing = Arc::clone(&session.closing);
    let answer = move |request| Arc::clone(&session).answer(request);
    converse(context, stream, &closing, answer).await;
}

/// Answers a client that asks for a denied name.
pub(in crate::egress) async fn explain(
    context: &Arc<Context>,
    target: Target,
    client: (Vec<u8>, TcpStream),
) {
    // A client that does not want to hear why has been denied all the same.
    let Ok(stream) = accept(context, &target.name, client).await else {
        return;
    };
    let (stream, _) = Spoken::of(stream, context);
    let own = Arc::clone(context);
    let answer = move |request: Request<Incoming>| {
        let response = denied(&own, &target, &request);
        async move { response }
    };
    converse(context, stream, &Notify::new(), answer).await;
}

fn denied(context: &Context, target: &Target, request: &Request<Incoming>) -> Response<Answer> {
    let why = match decide(&context.egress, target) {
        Err(denied) => denied.into(),
        Ok(permit) => {
            let name = &target.name;
            let reason = format!("only denied names lead here; connect to `{name}` by its name");
            Why::misuse(&permit, reason)
        }
    };
    let call = Call::new(request.method().as_str(), request.uri().path());
    context.deny_call(target, &call, &why);
    let mut response = explained(context, target, &Refused::new(StatusCode::FORBIDDEN, why));
    in_sight_of(request.headers().get(header::USER_AGENT), &mut response);
    suited(request.method(), response)
}

/// Ends TLS in the name of `name`, or says why it cannot.
async fn accept(
    context: &Context,
    name: &HostName,
    (first, client): (Vec<u8>, TcpStream),
) -> Result<Secured, String> {
    let config = context.shared.inspection.authority.answer_as(name);
    let config = config.map_err(|error| error.to_string())?;
    let accepting = TlsAcceptor::from(config).accept(Ahead::new(first, client));
    match timeout(context.limits.hello, accepting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(format!(
            "TLS ended with the program, which may not trust the gateway's certificate: {error}"
        )),
        Err(_late) => Err("its TLS did not come about in time".to_owned()),
    }
}

/// A client's connection within its TLS.
type Secured = TlsStream<Ahead<TcpStream>>;

/// What is spoken within TLS.
enum Spoken {
    Old(Strict<Secured>),
    Two(Secured),
}

impl Spoken {
    fn of(stream: Secured, context: &Context) -> (Self, Arc<Reading>) {
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            return (Self::Two(stream), Arc::default());
        }
        let (strict, reading) = Strict::new(stream, context.limits.head);
        (Self::Old(strict), reading)
    }
}

/// Answers requests until the client or `closing` ends the connection.
async fn converse<F>(
    context: &Arc<Context>,
    stream: Spoken,
    closing: &Notify,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) where
    F: Future<Output = Response<Answer>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answering = answer(request);
        async move { Ok::<_, Infallible>(answering.await) }
    });
    // How it ended is the client's affair: each request has been recorded by itself.
    macro_rules! until_closed {
        ($connection:expr) => {{
            let mut connection = std::pin::pin!($connection);
            tokio::select! {
                ended = connection.as_mut() => drop(ended),
                () = closing.notified() => {
                    connection.as_mut().graceful_shutdown();
                    drop(connection.await);
                }
            }
        }};
    }
    match stream {
        Spoken::Old(stream) => {
            let mut builder = http1::Builder::new();
            // Heads are timed by the strict reader, from their first byte.
            builder.timer(TokioTimer::new()).header_read_timeout(None);
            until_closed!(
                builder
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades()
            );
        }
        Spoken::Two(stream) => {
            let mut builder = http2::Builder::new(Tasks(Arc::clone(context)));
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS)
                .max_header_list_size(HEADERS)
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW * 4);
            until_closed!(builder.serve_connection(TokioIo::new(stream), service));
        }
    }
}
