//! A plain GET over the engine's socket, for answers that the library cannot read.
//!
//! Podman calls a container `stopped` between the end of its first process and the clean-up; the
//! library knows only Docker's words and drops the whole answer. Here the word becomes Docker's.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::EngineError;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(20);
/// How long an answer may be, in bytes.
const LONGEST: u64 = 64 << 20;

/// Who answers at a socket.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// The newest version of Docker's API that is spoken.
    pub(super) api: String,
    /// The version of Podman's own API; none where it is not Podman.
    pub(super) libpod: Option<String>,
}

/// Asks who answers.
pub(super) async fn ping(socket: &Path) -> Result<Server, EngineError> {
    let call = "say who it is";
    let (head, _) = ask(socket, "/_ping", call).await?;
    let api = header(&head, "api-version");
    let api = api.ok_or_else(|| fault(call, 200, "no version of an API".to_owned()))?;
    // It becomes part of a path.
    let libpod = header(&head, "libpod-api-version").filter(|version| {
        version
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'.'))
    });
    Ok(Server { api, libpod })
}

/// Asks for a path, API version included.
pub(super) async fn get<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    call: &str,
) -> Result<T, EngineError> {
    let (_, body) = ask(socket, path, call).await?;
    read(&body).map_err(|cause| fault(call, 200, cause.to_string()))
}

/// Returns head and body of an answer.
async fn ask(socket: &Path, path: &str, call: &str) -> Result<(String, Vec<u8>), EngineError> {
    let answer = tokio::time::timeout(LIMIT, exchange(socket.to_owned(), path)).await;
    let Ok(answer) = answer else {
        return Err(EngineError::TimedOut {
            call: call.to_owned(),
            after: LIMIT,
        });
    };
    let text = answer.map_err(|cause| fault(call, None, cause.to_string()))?;
    let (status, head, body) =
        split(&text).ok_or_else(|| fault(call, None, "no HTTP answer".to_owned()))?;
    if status != 200 {
        let said = String::from_utf8_lossy(body).into_owned();
        return Err(fault(call, status, said));
    }
    Ok((head.to_owned(), body.to_vec()))
}

fn fault(call: &str, status: impl Into<Option<u16>>, message: String) -> EngineError {
    EngineError::Api {
        call: call.to_owned(),
        status: status.into(),
        message,
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.trim().to_owned())
}

/// Version 1.0 of HTTP: the answer ends with the connection and comes in one piece.
async fn exchange(socket: PathBuf, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: engine\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn split(answer: &[u8]) -> Option<(u16, &str, &[u8])> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, head, &answer[end + 4..]))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    let mut value: Value = serde_json::from_slice(body)?;
    match &mut value {
        Value::Array(all) => all
            .iter_mut()
            .for_each(|each| translate(each.get_mut("State"))),
        one => translate(one.pointer_mut("/State/Status")),
    }
    serde_json::from_value(value)
}

fn translate(state: Option<&mut Value>) {
    match state {
        Some(state) if *state == "stopped" => *state = "exited".into(),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{header, read, split};
    use bollard::models::{ContainerInspectResponse, ContainerSummary};

    #[test]
    fn a_stopped_container_has_exited() {
        let one: ContainerInspectResponse =
            read(br#"{"Id":"stopped","State":{"Status":"stopped","ExitCode":7}}"#).unwrap();
        assert_eq!(one.id.as_deref(), Some("stopped"));
        let state = one.state.unwrap();
        assert_eq!(
            (state.status.unwrap().to_string().as_str(), state.exit_code),
            ("exited", Some(7))
        );
        let all: Vec<ContainerSummary> =
            read(br#"[{"Id":"a","State":"stopped"},{"Id":"b","State":"running"}]"#).unwrap();
        let words: Vec<_> = all
            .into_iter()
            .map(|each| each.state.unwrap().to_string())
            .collect();
        assert_eq!(words, ["exited", "running"]);
    }

    #[test]
    fn a_header_is_found_whatever_its_case() {
        let head = "HTTP/1.0 200 OK\r\nApi-Version: 1.41\r\nLIBPOD-API-VERSION:4.3.1";
        assert_eq!(header(head, "api-version").as_deref(), Some("1.41"));
        assert_eq!(header(head, "libpod-api-version").as_deref(), Some("4.3.1"));
        assert_eq!(header(head, "server"), None);
    }

    #[test]
    fn an_answer_is_split_at_its_first_empty_line() {
        assert_eq!(
            split(b"HTTP/1.0 404 Not\r\nA: b\r\n\r\nx\r\n\r\ny"),
            Some((404, "HTTP/1.0 404 Not\r\nA: b", &b"x\r\n\r\ny"[..]))
        );
        assert_eq!(split(b"SSH-2.0\r\n\r\n"), None);
        assert_eq!(split(b""), None);
    }
}
