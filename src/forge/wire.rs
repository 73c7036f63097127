//! One question to a code host: one connection, one request, one answer.

use std::{io, sync::Arc, time::Duration};

use futures_util::future::join;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore, crypto::ring::default_provider, pki_types::CertificateDer,
    pki_types::ServerName,
};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::error::ForgeError;
use crate::{policy::Target, text::visible};

/// How long one question may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Largest answer that is read.
const ANSWER_MAX: usize = 8 << 20;
/// The version of the interface.
const VERSION: &str = "2022-11-28";

/// Whose certificates are believed.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Believes what this machine believes; `SSL_CERT_FILE` and `SSL_CERT_DIR` count.
    ///
    /// # Errors
    /// When no certificate can be checked here at all.
    pub fn of_this_machine() -> Result<Self, ForgeError> {
        Self::of_authorities(&rustls_native_certs::load_native_certs().certs)
    }

    /// Believes these authorities and no others.
    ///
    /// # Errors
    /// When no certificate can be checked here at all.
    pub fn of_authorities(authorities: &[CertificateDer<'static>]) -> Result<Self, ForgeError> {
        let mut roots = RootCertStore::empty();
        // What cannot be read is left out: a server that needs it is refused then.
        roots.add_parsable_certificates(authorities.iter().cloned());
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(ForgeError::NoTrust)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}

/// What is asked.
pub(super) struct Question<'a> {
    pub(super) target: &'a Target,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) token: &'a str,
    pub(super) body: Option<&'a Value>,
}

/// Asks on a fresh connection and returns the body of a good answer.
pub(super) async fn ask(
    stream: TcpStream,
    trust: &Trust,
    question: Question<'_>,
) -> Result<Vec<u8>, ForgeError> {
    let host = question.target.to_string();
    let late = || ForgeError::Unbearable {
        host: host.clone(),
        why: "did not answer in time",
    };
    timeout(LIMIT, converse(stream, trust, question))
        .await
        .unwrap_or_else(|_| Err(late()))
}

async fn converse(
    stream: TcpStream,
    trust: &Trust,
    question: Question<'_>,
) -> Result<Vec<u8>, ForgeError> {
    let host = question.target.to_string();
    let untrusted = |source| ForgeError::Untrusted {
        host: host.clone(),
        source,
    };
    let broken = |source| ForgeError::Broken {
        host: host.clone(),
        source,
    };
    let name = ServerName::try_from(question.target.name.to_string())
        .map_err(|cause| untrusted(io::Error::other(cause)))?;
    let connecting = TlsConnector::from(Arc::clone(&trust.0)).connect(name, stream);
    let secured = TokioIo::new(connecting.await.map_err(untrusted)?);
    let (mut sender, connection) = http1::handshake(secured).await.map_err(broken)?;
    let request = request(&question);
    let exchange = async move {
        let answer = sender.send_request(request).await.map_err(broken)?;
        judge(&question.target.to_string(), answer).await
    };
    // The connection ends when the sender is dropped; how it ends no longer matters then.
    join(exchange, connection).await.0
}

fn request(question: &Question<'_>) -> Request<Full<Bytes>> {
    let body = question.body.map(Value::to_string).unwrap_or_default();
    let host = match question.target.port {
        443 => question.target.name.to_string(),
        _ => question.target.to_string(),
    };
    let mut token = header::HeaderValue::from_str(&format!("Bearer {}", question.token))
        .unwrap_or_else(|_| header::HeaderValue::from_static(""));
    token.set_sensitive(true);
    let mut builder = Request::builder()
        .method(question.method)
        .uri(&question.path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "loki")
        .header(header::ACCEPT, "application/vnd.github+json")
        .header("X-GitHub-Api-Version", VERSION)
        .header(header::AUTHORIZATION, token);
    if question.body.is_some() {
        builder = builder.header(header::CONTENT_TYPE, "application/json");
    }
    builder
        .body(Full::new(Bytes::from(body)))
        .expect("paths and headers are made of plain letters")
}

async fn judge(host: &str, answer: Response<Incoming>) -> Result<Vec<u8>, ForgeError> {
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
    let body = body.map_err(|cause| ForgeError::Unbearable {
        host: host.to_owned(),
        why: match cause.is::<LengthLimitError>() {
            true => "answered more than is read",
            false => "broke off in the middle of its answer",
        },
    })?;
    let body = body.to_bytes().to_vec();
    let host = host.to_owned();
    match status {
        200 | 201 => Ok(body),
        401 => Err(ForgeError::Token {
            host,
            message: said(&body),
        }),
        403 | 404 => Err(ForgeError::Forbidden {
            host,
            status,
            message: said(&body),
        }),
        422 => Err(ForgeError::Refused {
            host,
            message: said(&body),
        }),
        _ => Err(ForgeError::Status {
            host,
            status,
            message: said(&body),
        }),
    }
}

/// Returns what a refusal says, made printable: its message and those of its single errors.
fn said(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return "no reason given".to_owned();
    };
    let text = |value: &Value| value["message"].as_str().map(str::to_owned);
    let errors = value["errors"].as_array();
    let all = text(&value)
        .into_iter()
        .chain(errors.into_iter().flatten().filter_map(text));
    let joined = visible(&all.collect::<Vec<_>>().join(": "));
    match joined.is_empty() {
        true => "no reason given".to_owned(),
        false => joined.chars().take(300).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::said;

    #[test]
    fn what_a_server_says_is_joined_cut_and_printable() {
        let body = br#"{"message":"Validation Failed","errors":[{"message":"A pull request already exists"},{"code":"x"}]}"#;
        assert_eq!(
            said(body),
            "Validation Failed: A pull request already exists"
        );
        assert_eq!(said(b"<html>"), "no reason given");
        let hostile = format!("{{\"message\":\"\\u001b[2J{}\"}}", "x".repeat(5000));
        let shown = said(hostile.as_bytes());
        assert!(
            shown.starts_with("\\u{1b}[2J") && shown.len() <= 300,
            "{shown}"
        );
    }
}
