//! Plain HTTP: one checked request per connection, and the explanation of denied ones.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::AsyncReadExt,
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    time::{interval, timeout},
};

use crate::policy::{Permit, Target};

use super::{
    connection::{Open, dial, refuse},
    context::{Context, Why},
    dial::DialError,
    explain::{Refusal, answer},
    http::{BadRequest, Follow, Head, head, head_end},
    inspect,
    limits::Way,
    openings::Asked,
    piece,
    splice::{Meter, pump},
};

/// Longest head read.
const HEAD_MAX: usize = 64 * 1024;
/// How long an answer may pause after its client sent more than its one request.
const GRACE: Duration = Duration::from_secs(1);

const BAD_REQUEST: &str = "400 Bad Request";
const FORBIDDEN: &str = "403 Forbidden";
const MISDIRECTED: &str = "421 Misdirected Request";
const TOO_MANY: &str = "429 Too Many Requests";
const BAD_GATEWAY: &str = "502 Bad Gateway";

/// A request head and what was read behind it.
struct Received {
    head: Head,
    rest: Vec<u8>,
}

/// Reads one head. None when the client went away without a word.
async fn receive(
    context: &Context,
    client: &mut TcpStream,
) -> Option<Result<Received, BadRequest>> {
    let mut bytes = Vec::new();
    let whole = timeout(context.limits.head, async {
        let mut seen = 0;
        loop {
            if client.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
            if let Some(end) = head_end(&bytes, seen) {
                return Some(Ok(end));
            }
            seen = bytes.len();
            if seen >= HEAD_MAX {
                return Some(Err(BadRequest("its head is too long")));
            }
        }
    });
    let end = match whole.await {
        Ok(None) => return None,
        Ok(Some(end)) => end,
        Err(_late) => Err(BadRequest("its head did not come in time")),
    };
    Some(end.and_then(|end| {
        let rest = bytes.split_off(end);
        Ok(Received {
            head: head(&bytes)?,
            rest,
        })
    }))
}

/// Serves a connection to an allowed name.
pub(super) async fn serve(context: &Arc<Context>, permit: &Permit, client: &mut TcpStream) {
    let Some(received) = receive(context, client).await else {
        return;
    };
    let checked = match received {
        Ok(received) => match check(permit, &received.head) {
            Ok(()) => inspect::plain(context, permit, &received.head).await,
            refused => refused,
        }
        .map(|()| received),
        Err(bad) => Err((
            BAD_REQUEST,
            format!("this request cannot be passed on: {bad}"),
        )),
    };
    let received = match checked {
        Ok(received) => received,
        Err((status, reason)) => {
            let denied = Why::misuse(permit, reason);
            context.deny(permit.target(), &denied);
            return tell(context, client, status, (permit.target(), &denied)).await;
        }
    };
    match dial(context, permit).await {
        Ok(mut upstream) => {
            let open = Open::new(context, permit);
            if exchange(client, &mut upstream, received, &open.meter).await == Ended::SecondRequest
            {
                let reason = "a second request on one connection is not passed on".to_owned();
                context.deny(permit.target(), &Why::misuse(permit, reason));
            }
        }
        Err(DialError::Denied(denied)) => {
            tell(
                context,
                client,
                FORBIDDEN,
                (permit.target(), &denied.into()),
            )
            .await;
        }
        Err(DialError::Rate { over, .. }) => {
            let mut denied = Why::misuse(permit, over.to_string());
            denied.retry_after = over.retry_after();
            let status = match denied.retry_after {
                Some(_) => TOO_MANY,
                None => FORBIDDEN,
            };
            tell(context, client, status, (permit.target(), &denied)).await;
        }
        Err(error) => {
            let failed = Why::misuse(permit, error.to_string());
            tell(context, client, BAD_GATEWAY, (permit.target(), &failed)).await;
        }
    }
}

fn check(permit: &Permit, head: &Head) -> Result<(), (&'static str, String)> {
    let Target { name, port } = permit.target();
    if head.host != *name || head.port.is_some_and(|asked| asked != *port) {
        let reason = format!(
            "the connection is to `{name}:{port}`, its request to `{}`",
            head.host
        );
        return Err((MISDIRECTED, reason));
    }
    if head.upgrade {
        return Err((
            FORBIDDEN,
            "no rule allows to upgrade the connection".to_owned(),
        ));
    }
    Ok(())
}

/// The usual port.
pub(super) const PORT: u16 = 80;

/// Says that a target is denied.
pub(super) async fn forbid(context: &Context, client: &mut TcpStream, what: (&Target, &Why)) {
    tell(context, client, FORBIDDEN, what).await;
}

/// Says that there is no more for now.
pub(super) async fn too_many(context: &Context, client: &mut TcpStream, what: (&Target, &Why)) {
    tell(context, client, TOO_MANY, what).await;
}

async fn tell(context: &Context, client: &mut TcpStream, status: &str, what: (&Target, &Why)) {
    let (Target { name, port }, denied) = what;
    let refusal = Refusal {
        role: &context.role,
        host: name.as_str(),
        port: *port,
        rule: denied.rule.as_deref(),
        reason: &denied.reason,
        retry_after: denied.retry_after,
    };
    refuse(client, &answer(status, &refusal)).await;
}

/// Answers a connection to the explaining address, where all denied names stand.
pub(super) async fn explain(context: Arc<Context>, mut client: TcpStream) {
    let Some(received) = receive(&context, &mut client).await else {
        return;
    };
    let Received { head, .. } = match received {
        Ok(received) => received,
        Err(bad) => {
            let refusal = Refusal {
                role: &context.role,
                host: "unknown",
                port: 80,
                rule: None,
                reason: &format!("only denied names lead here, and of this request {bad}"),
                retry_after: None,
            };
            return refuse(&mut client, &answer(BAD_REQUEST, &refusal)).await;
        }
    };
    let target = Target {
        name: head.host,
        port: head.port.unwrap_or(80),
    };
    let denied = match context.decide(&target, Asked::ToName) {
        Err(denied) => denied.into(),
        Ok(permit) => {
            let name = &target.name;
            let reason = format!("only denied names lead here; connect to `{name}` by its name");
            Why::misuse(&permit, reason)
        }
    };
    context.deny(&target, &denied);
    tell(&context, &mut client, FORBIDDEN, (&target, &denied)).await;
}

/// How an exchange ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// The answer ended, or one side broke.
    Done,
    /// The client sent more than its one request; none of it was passed on.
    SecondRequest,
}

/// Sends one request on and its answer back.
async fn exchange(
    client: &mut TcpStream,
    upstream: &mut TcpStream,
    received: Received,
    meter: &Meter,
) -> Ended {
    let (from_client, to_client) = client.split();
    let (from_upstream, to_upstream) = upstream.split();
    let answered = pump(from_upstream, to_client, (meter, Way::In));
    let asked = ask(from_client, to_upstream, received, meter);
    tokio::pin!(answered);
    tokio::select! {
        biased;
        // Either way the answer is over, and with it the connection.
        _ = &mut answered => return Ended::Done,
        asked = asked => if asked == Ended::Done { return Ended::Done },
    }
    tokio::select! {
        _ = &mut answered => {}
        () = silence(meter) => {}
    }
    Ended::SecondRequest
}

/// Sends the request on, then watches for bytes behind it. Returns when there are some, or when
/// the request broke; otherwise never.
async fn ask(
    mut client: ReadHalf<'_>,
    mut upstream: WriteHalf<'_>,
    received: Received,
    meter: &Meter,
) -> Ended {
    let Received {
        head,
        rest: mut bytes,
    } = received;
    let sent = meter.pass(Way::Out, &head.forward, &mut upstream).await;
    if sent.is_err() {
        return Ended::Done;
    }
    let mut follow = Follow::new(head.body);
    loop {
        let Ok(taken) = follow.feed(&bytes) else {
            return Ended::Done;
        };
        let sent = meter.pass(Way::Out, &bytes[..taken], &mut upstream).await;
        if sent.is_err() {
            return Ended::Done;
        }
        // Some clients end a body with an empty line of their own.
        if bytes[taken..].iter().any(|b| !matches!(b, b'\r' | b'\n')) {
            return Ended::SecondRequest;
        }
        bytes.clear();
        bytes.reserve(piece::MOST);
        match client.read_buf(&mut bytes).await {
            Err(_) => return Ended::Done,
            // It has said all and waits for the answer; or it broke off, and so do we.
            Ok(0) if follow.done() => std::future::pending().await,
            Ok(0) => return Ended::Done,
            Ok(_) => {}
        }
    }
}

/// Returns once no byte of the answer came for a while.
async fn silence(meter: &Meter) {
    let mut ticks = interval(GRACE);
    ticks.tick().await;
    let mut before = meter.received();
    loop {
        ticks.tick().await;
        let now = meter.received();
        if now == before {
            return;
        }
        before = now;
    }
}
