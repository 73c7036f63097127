//! What can go wrong when a code host is asked.

use std::io;

/// Why a code host did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForgeError {
    /// No connection came to be.
    #[error("`{host}` could not be reached; is there a proxy to set in `HTTPS_PROXY`?")]
    Unreachable {
        /// Who was to be asked.
        host: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Its certificate is not trusted, or its TLS failed.
    #[error(
        "the certificate of `{host}` was not taken; name its authority with `SSL_CERT_FILE=FILE`"
    )]
    Untrusted {
        /// Who was to be asked.
        host: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// No certificate can be checked here.
    #[error("no certificate can be checked here")]
    NoTrust(#[source] rustls::Error),
    /// The conversation broke off.
    #[error("`{host}` broke off; try again, nothing is done twice")]
    Broken {
        /// Who was asked.
        host: String,
        /// The cause.
        #[source]
        source: hyper::Error,
    },
    /// It took too long or answered too much.
    #[error("`{host}` {why}; try again")]
    Unbearable {
        /// Who was asked.
        host: String,
        /// What it did.
        why: &'static str,
    },
    /// The token is not taken.
    #[error(
        "`{host}` does not take the token: {message}; keep another with `loki secrets set NAME` and name it with `--token NAME`"
    )]
    Token {
        /// Who was asked.
        host: String,
        /// What it said, made printable.
        message: String,
    },
    /// The token may not do this, or there is no such repository.
    #[error(
        "`{host}` answered {status}: {message}; may the token read the repository and write pull requests and contents?"
    )]
    Forbidden {
        /// Who was asked.
        host: String,
        /// The status.
        status: u16,
        /// What it said, made printable.
        message: String,
    },
    /// What was asked for cannot be.
    #[error("`{host}` refused: {message}; look at it there, then `loki ship` again")]
    Refused {
        /// Who was asked.
        host: String,
        /// What it said, made printable.
        message: String,
    },
    /// It answered with another status.
    #[error("`{host}` answered {status}: {message}; try again later")]
    Status {
        /// Who was asked.
        host: String,
        /// The status.
        status: u16,
        /// What it said, made printable.
        message: String,
    },
    /// It answered what is no answer.
    #[error(
        "the code host answered `{what}`, which was not expected; is it one that `gh` works with?"
    )]
    Odd {
        /// What it said, made printable.
        what: String,
    },
}
