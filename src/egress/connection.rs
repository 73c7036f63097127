//! One connection out of the sandbox: decided again, checked for what is spoken, then passed on.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    name::HostName,
    policy::{Permit, Protocol, Target},
};

use super::{
    context::{Context, Why},
    dial::{Admitted, DialError},
    hello::{BadHello, Hello, sni},
    inspect,
    limits::Way,
    record::{Closed, Fact},
    splice::{Meter, splice},
    web,
};

/// Where denials are explained over TLS.
pub(super) const TLS_PORT: u16 = 443;
/// Most bytes read before a hello must be whole.
const HELLO_MAX: usize = 64 * 1024;
/// A fatal `access_denied` alert, so that a program's message says more than "connection lost".
const ACCESS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];
/// How long and how many bytes of a refused client are read away, so that it sees the answer
/// instead of a reset.
pub(super) const LINGER: Duration = Duration::from_secs(1);
pub(super) const LINGER_BYTES: u64 = 256 * 1024;

/// Serves one accepted connection to the end.
pub(super) async fn serve(context: Arc<Context>, target: Target, mut client: TcpStream) {
    // Without it small messages wait for each other; nothing else changes.
    drop(client.set_nodelay(true));
    let permit = match context.decide_or_ask(&target).await {
        Ok(permit) => permit,
        Err(denied) => return refuse_target(&context, &target, (denied.into(), &mut client)).await,
    };
    let _seat = match context.seat(&permit).await {
        Ok(seat) => seat,
        Err(why) => return refuse_permitted(&context, &permit, (why, &mut client)).await,
    };
    match permit.protocol() {
        Protocol::Tcp => tunnel(&context, &permit, &mut client, &[]).await,
        Protocol::Tls => tls(&context, &permit, client).await,
        Protocol::Http => web::serve(&context, &permit, &mut client).await,
    }
}

/// Says that a target is denied, as far as its usual protocol has words for it.
async fn refuse_target(context: &Context, target: &Target, (why, client): (Why, &mut TcpStream)) {
    context.deny(target, &why);
    match target.port {
        web::PORT => web::forbid(context, client, (target, &why)).await,
        TLS_PORT => refuse(client, &ACCESS_DENIED).await,
        _ => {}
    }
}

/// Says why what the policy allows is not passed on now, as far as the protocol has words for it.
async fn refuse_permitted(
    context: &Context,
    permit: &Permit,
    (why, client): (Why, &mut TcpStream),
) {
    context.deny(permit.target(), &why);
    match permit.protocol() {
        Protocol::Tcp => {}
        Protocol::Tls => refuse(client, &ACCESS_DENIED).await,
        Protocol::Http => web::too_many(context, client, (permit.target(), &why)).await,
    }
}

async fn tls(context: &Arc<Context>, permit: &Permit, mut client: TcpStream) {
    let mut first = Vec::new();
    let Some(hello) = hello(context, &mut client, &mut first).await else {
        return;
    };
    match hello.and_then(|hello| check(&hello, &permit.target().name)) {
        Ok(()) if permit.inspected() => inspect::serve(context, permit, (first, client)).await,
        Ok(()) => tunnel(context, permit, &mut client, &first).await,
        Err(reason) => {
            context.deny(permit.target(), &Why::misuse(permit, reason));
            refuse(&mut client, &ACCESS_DENIED).await;
        }
    }
}

/// Reads a hello, or says what is wrong with it; none when the client closed without a word, for
/// then nothing was asked.
async fn hello(
    context: &Context,
    client: &mut TcpStream,
    first: &mut Vec<u8>,
) -> Option<Result<Hello, String>> {
    let deadline = Instant::now() + context.limits.hello;
    Some(
        match timeout_at(deadline, read_hello(client, first)).await {
            Ok(Ok(hello)) => hello,
            Ok(Err(None)) if first.is_empty() => return None,
            Ok(Err(None)) => Err("its TLS hello was cut off".to_owned()),
            Ok(Err(Some(bad))) => Err(bad.to_string()),
            Err(_late) => Err("its TLS hello did not come in time".to_owned()),
        },
    )
}

/// Answers a TLS connection to the explaining address, where all denied names stand.
pub(super) async fn explain(context: Arc<Context>, mut client: TcpStream) {
    let mut first = Vec::new();
    let Some(hello) = hello(&context, &mut client, &mut first).await else {
        return;
    };
    let name = hello.and_then(|hello| {
        let sent = hello.server_name.unwrap_or_default();
        let text = String::from_utf8_lossy(&sent);
        let name = text
            .parse::<HostName>()
            .map_err(|error| error.to_string())?;
        check(
            &Hello {
                server_name: Some(sent),
                ..hello
            },
            &name,
        )
        .map(|()| name)
    });
    match name {
        Ok(name) => {
            let target = Target {
                name,
                port: TLS_PORT,
            };
            inspect::explain(&context, target, (first, client)).await;
        }
        // Its name was denied and recorded when it was asked for.
        Err(_unreadable) => refuse(&mut client, &ACCESS_DENIED).await,
    }
}

/// Reads until the hello is whole; none as error when the client ended before.
async fn read_hello(
    client: &mut TcpStream,
    first: &mut Vec<u8>,
) -> Result<Result<Hello, String>, Option<BadHello>> {
    let mut want = 0;
    loop {
        let read = client.read_buf(first).await.map_err(|_| None)?;
        if read == 0 {
            return Err(None);
        }
        if first.len() < want {
            continue;
        }
        match sni(first) {
            Ok(hello) => return Ok(Ok(hello)),
            Err(BadHello::Incomplete { .. }) if first.len() >= HELLO_MAX => {
                return Ok(Err("its TLS hello is too long".to_owned()));
            }
            Err(BadHello::Incomplete { more }) => want = first.len() + more,
            Err(bad) => return Err(Some(bad)),
        }
    }
}

/// Compares what a hello asks for with the name that was allowed.
fn check(hello: &Hello, name: &HostName) -> Result<(), String> {
    if hello.encrypted {
        return Err(
            "its TLS hello is encrypted (ECH), so its server name cannot be checked".to_owned(),
        );
    }
    let Some(sent) = &hello.server_name else {
        return Err("its TLS hello carries no server name (SNI)".to_owned());
    };
    let same = std::str::from_utf8(sent)
        .ok()
        .and_then(|s| s.parse::<HostName>().ok());
    if same.as_ref() == Some(name) {
        return Ok(());
    }
    Err(format!(
        "its TLS hello asks for `{}` instead",
        sent.escape_ascii()
    ))
}

/// Dials and passes bytes both ways, `first` before all others.
async fn tunnel(context: &Context, permit: &Permit, client: &mut TcpStream, first: &[u8]) {
    let Ok(mut upstream) = dial(context, permit).await else {
        return;
    };
    let open = Open::new(context, permit);
    if open
        .meter
        .pass(Way::Out, first, &mut upstream)
        .await
        .is_ok()
    {
        // Whichever side broke, the connection is over; the bytes are counted.
        drop(splice(client, &mut upstream, &open.meter).await);
    }
}

/// Resolves, writes down the decision, and connects.
pub(super) async fn dial(context: &Context, permit: &Permit) -> Result<TcpStream, DialError> {
    let dialled = async {
        let admitted = Admitted::new(permit, context.way_out(), context.limits.dial).await?;
        let turn = context.turn(permit).await;
        let waited = turn.map_err(|over| DialError::Rate {
            name: permit.target().name.clone(),
            over,
        })?;
        context.allow(permit, waited);
        admitted.connect(context.limits.dial).await
    };
    told(context, permit, dialled.await)
}

/// Resolves, writes down the decision, and connects, where each request takes a turn of its own.
pub(super) async fn reach(context: &Context, permit: &Permit) -> Result<TcpStream, DialError> {
    let dialled = async {
        let admitted = Admitted::new(permit, context.way_out(), context.limits.dial).await?;
        context.allow(permit, Duration::ZERO);
        admitted.connect(context.limits.dial).await
    };
    told(context, permit, dialled.await)
}

/// Writes down what became of an attempt to connect.
fn told(
    context: &Context,
    permit: &Permit,
    result: Result<TcpStream, DialError>,
) -> Result<TcpStream, DialError> {
    match &result {
        Ok(upstream) => drop(upstream.set_nodelay(true)),
        Err(DialError::Denied(denied)) => context.deny(permit.target(), &denied.clone().into()),
        Err(error @ DialError::Rate { .. }) => {
            context.deny(permit.target(), &Why::misuse(permit, error.to_string()));
        }
        Err(error) => context.fail(permit, error.to_string()),
    }
    result
}

/// Sends a last word to a client and closes so that it can be read.
pub(super) async fn refuse(client: &mut TcpStream, answer: &[u8]) {
    let last = async {
        client.write_all(answer).await?;
        client.shutdown().await?;
        let mut rest = client.take(LINGER_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    let ended: Result<io::Result<u64>, _> = timeout(LINGER, last).await;
    // A client that does not want to know is closed all the same.
    drop(ended);
}

/// A connection that stands; recorded when dropped, however it ended.
pub(super) struct Open<'a> {
    context: &'a Context,
    target: &'a Target,
    since: Instant,
    pub(super) meter: Meter,
}

impl<'a> Open<'a> {
    pub(super) fn new(context: &'a Context, permit: &'a Permit) -> Self {
        let meter = Meter::new(context.budget(permit), Arc::clone(&context.tally));
        Self {
            context,
            target: permit.target(),
            since: Instant::now(),
            meter,
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.context.ledger.note(Fact::Closed(Closed {
            host: self.target.name.to_string(),
            port: self.target.port,
            sent: self.meter.sent(),
            received: self.meter.received(),
            elapsed: self.since.elapsed(),
            waited: self.meter.waited(),
            call: None,
            status: None,
            cache: None,
        }));
    }
}
