//! Rules on requests where plain HTTP is spoken: the same decision, and never a credential.

use std::sync::Arc;

use super::vet::{Vetoed, Vetter};
use crate::{
    egress::{
        context::{Context, Line},
        http::{Body, Head},
        record::Call,
    },
    policy::{Permit, Request, decide_request},
};

const FORBIDDEN: &str = "403 Forbidden";
const BAD_GATEWAY: &str = "502 Bad Gateway";
const TOO_LARGE: &str = "413 Content Too Large";
const LENGTH_REQUIRED: &str = "411 Length Required";

/// Decides the one request of a plain connection, if requests have rules there.
///
/// # Errors
///
/// The status and the reason why it is not passed on.
pub(in crate::egress) async fn plain(
    context: &Arc<Context>,
    permit: &Permit,
    head: &Head,
) -> Result<(), (&'static str, String)> {
    if !permit.inspected() {
        return Ok(());
    }
    let asked = Request::new(&head.method, &head.target, None);
    let decided = decide_request(&context.egress, permit, &asked);
    let request = decided.map_err(|denied| (FORBIDDEN, denied.reason))?;
    if request.credential().is_some() {
        let reason = "a credential is never sent without TLS".to_owned();
        return Err((FORBIDDEN, reason));
    }
    if request.is_push() {
        let reason = "a push is never passed on without TLS".to_owned();
        return Err((FORBIDDEN, reason));
    }
    let vetter = Vetter::default();
    let vetted = vetter.admit(context, (permit.target(), &request)).await;
    vetted.map_err(|vetoed| match vetoed {
        Vetoed::Refused(refusal) => (FORBIDDEN, refusal.reason),
        Vetoed::Unlearned(reason) => (BAD_GATEWAY, reason),
    })?;
    match (request.max_request_bytes(), head.body) {
        (Some(most), Body::Length(length)) if length > most => {
            let reason = format!("its body is longer than the {most} bytes that its rule allows");
            return Err((TOO_LARGE, reason));
        }
        (Some(_), Body::Chunked) => {
            let reason = "its rule bounds the body, so its length has to be said".to_owned();
            return Err((LENGTH_REQUIRED, reason));
        }
        _ => {}
    }
    let line = Line {
        target: permit.target().clone(),
        rule: request.rule().to_owned(),
        call: Call::new(asked.method(), asked.path()),
    };
    context.note_line(&line, None);
    Ok(())
}
