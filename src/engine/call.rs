//! One call of the engine: its time limit, and what its refusal means.

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use bollard::errors::Error as ApiError;
use futures_util::{Stream, StreamExt};
use tokio::io::AsyncReadExt;

use super::EngineError;

/// How long a call may take that only asks.
pub(super) const ASK: Duration = Duration::from_secs(20);
/// How long a call may take that changes a container.
pub(super) const CHANGE: Duration = Duration::from_secs(60);
/// How long a container that ends may take until it can be removed, looked at so many times.
pub(super) const SETTLE: (Duration, u32) = (Duration::from_millis(100), 300);
/// How long a stream of progress may be silent: an import or build step says nothing while it works.
pub(super) const SILENCE: Duration = Duration::from_secs(600);
/// How long a registry may be silent.
pub(super) const REGISTRY_SILENCE: Duration = Duration::from_secs(10);

/// Waits for an answer, no longer than the limit.
pub(super) async fn within<T>(
    call: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(limit, work).await {
        Ok(answer) => answer.map_err(|fault| refusal(call, fault)),
        Err(_) => Err(EngineError::TimedOut {
            call: call.to_owned(),
            after: limit,
        }),
    }
}

/// Reads a stream of progress to its end.
pub(super) async fn follow<T>(
    call: &str,
    silence: Duration,
    stream: impl Stream<Item = Result<T, ApiError>>,
    mut step: impl FnMut(T),
) -> Result<(), EngineError> {
    let mut stream = Box::pin(stream);
    loop {
        match tokio::time::timeout(silence, stream.next()).await {
            Ok(Some(next)) => step(next.map_err(|fault| refusal(call, fault))?),
            Ok(None) => return Ok(()),
            Err(_) => {
                return Err(EngineError::TimedOut {
                    call: call.to_owned(),
                    after: silence,
                });
            }
        }
    }
}

/// Translates the library's errors.
pub(super) fn refusal(call: &str, fault: ApiError) -> EngineError {
    let call = call.to_owned();
    match fault {
        ApiError::DockerResponseServerError {
            status_code,
            message,
        } => EngineError::Api {
            call,
            status: Some(status_code),
            message,
        },
        ApiError::DockerStreamError { error } => EngineError::Api {
            call,
            status: None,
            message: error,
        },
        ApiError::RequestTimeoutError => EngineError::TimedOut {
            call,
            after: SILENCE,
        },
        other => EngineError::Api {
            call,
            status: None,
            message: other.to_string(),
        },
    }
}

/// Says what is missing where the engine only says 404.
pub(super) fn absent<T>(
    answer: Result<T, EngineError>,
    kind: &'static str,
    name: &str,
) -> Result<T, EngineError> {
    answer.map_err(|fault| match fault {
        EngineError::Api {
            status: Some(404), ..
        } => EngineError::Absent {
            kind,
            name: name.to_owned(),
        },
        other => other,
    })
}

/// Whether the library could not read a word of Podman's; see `raw.rs`.
pub(super) fn is_podman_word(fault: &EngineError) -> bool {
    matches!(fault, EngineError::Api { status: None, message, .. } if message.contains("unknown variant"))
}

/// Whether labels hold `key` or `key=value`.
pub(super) fn carries(labels: &BTreeMap<String, String>, label: &str) -> bool {
    match label.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(label),
    }
}

/// Whether a container cannot be removed for the moment: Podman met it just ending by itself, or
/// Docker is removing it for somebody else.
pub(super) fn is_settling(fault: &EngineError) -> bool {
    let EngineError::Api {
        status, message, ..
    } = fault
    else {
        return false;
    };
    match status {
        Some(500) => message.contains("could not be stopped"),
        Some(409) => message.contains("already in progress"),
        _ => false,
    }
}

/// Removing what is not there is no fault.
pub(super) fn gone_is_fine(done: Result<(), EngineError>) -> Result<(), EngineError> {
    match done {
        Err(EngineError::Api {
            status: Some(404), ..
        }) => Ok(()),
        other => other,
    }
}

/// Streams a file in pieces, so that an image never stands in memory whole.
pub(super) async fn file_stream<B: From<Vec<u8>>>(
    path: &Path,
) -> Result<impl Stream<Item = io::Result<B>> + Send + 'static, EngineError> {
    let file = tokio::fs::File::open(path)
        .await
        .map_err(|source| EngineError::Read {
            path: path.to_owned(),
            source,
        })?;
    Ok(futures_util::stream::try_unfold(
        file,
        |mut file| async move {
            let mut piece = vec![0; 1 << 18];
            let length = file.read(&mut piece).await?;
            piece.truncate(length);
            Ok((length > 0).then(|| (B::from(piece), file)))
        },
    ))
}

/// Podman leaves the algorithm out in some answers.
pub(super) fn with_algorithm(id: String) -> String {
    if id.contains(':') {
        id
    } else {
        format!("sha256:{id}")
    }
}

/// Splits `name:tag`; a colon before a slash belongs to a port.
pub(super) fn split_tag(reference: &str) -> (&str, &str) {
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (reference, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        EngineError, absent, carries, follow, gone_is_fine, is_settling, split_tag, with_algorithm,
        within,
    };
    use bollard::errors::Error as ApiError;
    use std::{future::pending, time::Duration};

    const SHORT: Duration = Duration::from_millis(1);

    fn status(status_code: u16) -> ApiError {
        let message = "no".to_owned();
        ApiError::DockerResponseServerError {
            status_code,
            message,
        }
    }

    #[tokio::test]
    async fn silence_ends_a_call_and_a_stream() {
        let call = within("ask", SHORT, pending::<Result<(), ApiError>>()).await;
        assert!(matches!(call, Err(EngineError::TimedOut { call, .. }) if call == "ask"));
        let silent = futures_util::stream::pending::<Result<(), ApiError>>();
        let stream = follow("pull", SHORT, silent, drop).await;
        assert!(matches!(stream, Err(EngineError::TimedOut { call, .. }) if call == "pull"));
    }

    #[tokio::test]
    async fn a_missing_object_is_named_and_other_refusals_keep_their_words() {
        let gone = within("start", SHORT, async { Err::<(), _>(status(404)) }).await;
        assert!(gone_is_fine(within("x", SHORT, async { Err(status(404)) }).await).is_ok());
        let fault = absent(gone, "container", "c1").unwrap_err();
        assert_eq!(fault.to_string(), "the engine has no container `c1`");
        let broken = within("start", SHORT, async { Err::<(), _>(status(500)) }).await;
        let fault = gone_is_fine(broken).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "the engine refused to start (HTTP 500): no"
        );
    }

    #[test]
    fn what_ends_by_itself_or_by_another_is_waited_for_and_nothing_else() {
        let said = |status, message: &str| EngineError::Api {
            call: "remove".to_owned(),
            status: Some(status),
            message: message.to_owned(),
        };
        assert!(is_settling(&said(
            500,
            "it could not be stopped: state improper"
        )));
        assert!(is_settling(&said(
            409,
            "removal of it is already in progress"
        )));
        assert!(!is_settling(&said(409, "it is in use")));
        assert!(!is_settling(&said(404, "already in progress")));
    }

    #[test]
    fn labels_match_by_key_or_by_pair() {
        let labels = [("a".to_owned(), "b".to_owned())].into();
        assert!(carries(&labels, "a") && carries(&labels, "a=b"));
        assert!(!carries(&labels, "b") && !carries(&labels, "a=c"));
    }

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(
            split_tag("debian:bookworm-slim"),
            ("debian", "bookworm-slim")
        );
        assert_eq!(
            split_tag("mirror:5000/debian"),
            ("mirror:5000/debian", "latest")
        );
        assert_eq!(with_algorithm("ab".to_owned()), "sha256:ab");
    }
}
