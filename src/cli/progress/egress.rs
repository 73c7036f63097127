//! What sandboxes reached, and what they were denied.

use crate::{
    cli::ui,
    event::{EgressKind, Event},
};

pub(super) fn of_egress(event: &Event) -> Option<String> {
    Some(match event {
        Event::Egress {
            kind,
            host,
            port,
            allowed,
            rule,
            reason,
            count,
            role,
            ..
        } => {
            let word = if *allowed { "allowed" } else { "denied" };
            let what = match kind {
                EgressKind::Name => "name",
                EgressKind::Connect => "connection",
                EgressKind::Request => "request",
                EgressKind::Ask => "question",
            };
            let why = reason
                .as_deref()
                .or(rule.as_deref())
                .unwrap_or("no rule allows it");
            format!(
                "{word} {what} {} ×{count} for {role}: {}",
                place(host, *port),
                ui::visible(why)
            )
        }
        Event::EgressClosed {
            host,
            port,
            sent,
            received,
            ..
        } => {
            format!(
                "closed {}: {sent} bytes sent, {received} received",
                place(host, Some(*port))
            )
        }
        _ => return None,
    })
}

pub(super) fn place(host: &str, port: Option<u16>) -> String {
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    format!("{}{port}", ui::visible(host))
}
