//! Whence the value of a credential comes: the kept secrets, or a command of the host.

use std::sync::Arc;

use hyper::StatusCode;
use zeroize::Zeroizing;

use super::{
    credential::{NoCredential, Ready},
    session::{Refused, Session},
};
use crate::{
    egress::{
        context::{Context, Why},
        tokens::NoToken,
    },
    policy::{Credential, RequestPermit},
};

/// Why a request goes without the credential that its rule adds, which is not at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum Without {
    /// There is none, or none that could be sent.
    #[error(transparent)]
    None(#[from] NoCredential),
    /// Its command gave none.
    #[error("the token `{name}` of its rule cannot be had: {cause}")]
    Token {
        /// How the policy calls it.
        name: String,
        /// What was wrong.
        cause: NoToken,
    },
}

/// Returns the credential that a request gets, none where its rule adds none.
pub(super) async fn ready(
    context: &Arc<Context>,
    permit: &RequestPermit,
) -> Result<Option<Arc<Ready>>, Without> {
    let Some(credential) = permit.credential() else {
        return Ok(None);
    };
    let value = match &credential.command {
        None => (context.secrets)(&credential.secret),
        Some(command) => Some(token(context, credential, command).await?),
    };
    let made = &context.shared.inspection.made;
    Ok(Some(made.ready(credential, value)?))
}

async fn token(
    context: &Arc<Context>,
    credential: &Credential,
    command: &[String],
) -> Result<Zeroizing<String>, Without> {
    let start = |task| context.run(task);
    let said = context.shared.tokens.of(command, start).await;
    said.map_err(|cause| Without::Token {
        name: credential.secret.clone(),
        cause,
    })
}

impl Session {
    /// Returns the credential that a request gets.
    pub(super) async fn credential(
        &self,
        permit: &RequestPermit,
    ) -> Result<Option<Arc<Ready>>, Refused> {
        let got = ready(&self.context, permit).await;
        got.map_err(|without| {
            let why = Why::under(permit.rule(), without.to_string());
            match &without {
                Without::None(_) => Refused::new(StatusCode::FORBIDDEN, why),
                Without::Token { cause, .. } => Refused::failure(why).aside(cause.aside()),
            }
        })
    }

    /// Hears how a server took a request's credential: a token that it refuses is asked for anew.
    pub(super) fn taken(&self, permit: &RequestPermit, ready: Option<&Ready>, status: StatusCode) {
        let command = permit.credential().and_then(|one| one.command.as_deref());
        if let (Some(command), Some(ready), StatusCode::UNAUTHORIZED) = (command, ready, status) {
            self.context.shared.tokens.refused(command, ready.secret());
        }
    }
}
