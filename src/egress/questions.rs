//! Questions from the sandbox and their answers. Every answer is made here: nothing that was
//! asked leaves this machine.

use std::{io, net::Ipv4Addr, sync::Arc, time::Duration};

use hickory_proto::{op::ResponseCode, rr::RecordType};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::{event::EgressKind, name::HostName, policy::Target};

use super::{
    accept::accept,
    context::{Context, Task},
    dns::{Answer, NotQuestion, Question, question},
    names::NoAddress,
    openings::Asked,
    record::{Decision, Fact},
};

/// Largest packet read; a larger one would not be a question.
const PACKET: usize = 4096;
/// How long a DNS connection may be silent.
const SILENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// Answers packets until the gateway ends.
pub(super) async fn packets(context: Arc<Context>, socket: UdpSocket) {
    let mut packet = [0; PACKET];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut packet).await else {
            sleep(PAUSE).await;
            continue;
        };
        if let Some(reply) = reply(&context, &packet[..length]).await {
            // A client that is gone asks nothing any more.
            drop(socket.send_to(&reply, from).await);
        }
    }
}

/// Answers connections until the gateway ends.
pub(super) async fn connections(context: Arc<Context>, listener: TcpListener) {
    let seats = Arc::new(Semaphore::new(context.limits.dns_connections));
    let serve = |context: Arc<Context>, stream| -> Task {
        Box::pin(async move {
            // A broken connection is the client's affair.
            drop(connection(&context, stream).await);
        })
    };
    accept(context, listener, seats, serve).await;
}

async fn connection(context: &Arc<Context>, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let length = usize::from(timeout(SILENCE, stream.read_u16()).await??);
        let mut message = vec![0; length];
        timeout(SILENCE, stream.read_exact(&mut message)).await??;
        let Some(reply) = reply(context, &message).await else {
            return Ok(());
        };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes()[..], &reply].concat();
        timeout(SILENCE, stream.write_all(&framed)).await??;
    }
}

async fn reply(context: &Arc<Context>, bytes: &[u8]) -> Option<Vec<u8>> {
    match question(bytes) {
        Ok(question) => question.reply(answer(context, &question).await),
        Err(NotQuestion::Ignore) => None,
        Err(NotQuestion::Reply(reply)) => Some(reply),
    }
}

async fn answer(context: &Arc<Context>, question: &Question) -> Answer {
    let address = question.record_type() == RecordType::A;
    let text = question.name().unwrap_or_default().to_ascii_lowercase();
    if within(&text, "localhost") {
        return if address {
            Answer::Address(Ipv4Addr::LOCALHOST)
        } else {
            Answer::Empty
        };
    }
    if within(&text, "in-addr.arpa") || within(&text, "ip6.arpa") {
        return Answer::Code(ResponseCode::NXDomain);
    }
    let Ok(name) = text.parse::<HostName>() else {
        note(
            context,
            question.shown(),
            Err((None, "this is not a host name".to_owned())),
        );
        return Answer::Code(ResponseCode::NXDomain);
    };
    let mut names = context.names.lock().await;
    let most = context.limits.names_per_minute;
    if !names.knows(&name) && !context.affords_name(&name) {
        let reason =
            format!("names: the role asked for more than {most} different ones within a minute");
        note(context, name.to_string(), Err((None, reason)));
        return Answer::Code(ResponseCode::Refused);
    }
    let ports = context.ports(&name);
    let allowed = verdict(context, &name, ports.first().map(|(port, _)| *port));
    // What a person is asked for is decided when it is connected to.
    let denied = allowed.is_err() && ports.is_empty();
    if allowed.is_ok() || denied {
        note(context, name.to_string(), allowed);
    }
    if !address {
        return Answer::Empty;
    }
    let found = match denied {
        true => names.explaining(context).await,
        false => names.address(context, &name, &ports).await,
    };
    found.map_or_else(|error| unanswered(context, &name, &error), Answer::Address)
}

/// Returns whether `text` is `zone` or a name in it.
fn within(text: &str, zone: &str) -> bool {
    text.strip_suffix(zone)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Returns the rule that allows the name on some port, or the rule and reason against it.
fn verdict(
    context: &Context,
    name: &HostName,
    port: Option<u16>,
) -> Result<String, (Option<String>, String)> {
    // Without any open port, the reason is the same on each.
    let target = Target {
        name: name.clone(),
        port: port.unwrap_or(443),
    };
    match context.decide(&target, Asked::ToName) {
        Ok(permit) => Ok(permit.rule().to_owned()),
        Err(denied) => Err((denied.rule, denied.reason)),
    }
}

fn unanswered(context: &Context, name: &HostName, error: &NoAddress) -> Answer {
    note(context, name.to_string(), Err((None, error.to_string())));
    Answer::Code(match error {
        NoAddress::Full(_) => ResponseCode::Refused,
        NoAddress::Closed { .. } => ResponseCode::ServFail,
    })
}

fn note(context: &Context, host: String, verdict: Result<String, (Option<String>, String)>) {
    let allowed = verdict.is_ok();
    let (rule, reason) = match verdict {
        Ok(rule) => (Some(rule), None),
        Err((rule, reason)) => (rule, Some(reason)),
    };
    let kind = EgressKind::Name;
    context.ledger.note(Fact::Decision(Decision {
        kind,
        host,
        port: None,
        allowed,
        rule,
        reason,
        call: None,
    }));
}
