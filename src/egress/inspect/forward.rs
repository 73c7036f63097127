//! A judged request on its way to the server, and the answer on its way back.

use std::{error::Error, io, sync::Arc, time::Duration};

use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Request, Response, StatusCode, Uri, Version,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
    http::{request::Parts, uri},
};
use hyper_util::client::legacy;
use tokio::time::timeout;

use super::{
    Speaks,
    body::{Account, Passing, TooLong, mask_headers},
    credential::Ready,
    kept::Recalled,
    mask::Mask,
    push::{self, NotPushed, Opened},
    session::{Answer, Judged, Refused, Session},
    socket,
    upstream::Unreached,
};
use crate::{
    egress::{
        context::{Context, Line, Why},
        dial::DialError,
        limits::Way,
    },
    policy::{RequestPermit, Target},
};

/// A wait that a server asks for is told when it is longer, in seconds.
const LONG_WAIT: u64 = 65;

/// Fields that speak of one connection alone.
const OF_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    header::EXPECT,
];

impl Session {
    /// Passes a request on and returns the answer as it begins to come.
    pub(super) async fn forward(
        &self,
        judged: Judged,
        body: Incoming,
    ) -> Result<Response<Answer>, Refused> {
        let Judged {
            mut parts,
            permit,
            credential,
            line,
        } = judged;
        let body = self.open(&permit, &parts.headers, body).await;
        let body = body.map_err(|not| forbid(&line, not.reason).reporting(not.report))?;
        let account = Account::open(&self.context, line.clone());
        let client = permit.websocket().then(|| socket::client_side(&mut parts));
        self.prepare(&mut parts, credential.as_deref());
        if client.is_some() {
            socket::ask(&mut parts.headers);
        }
        let first = parts.method.as_str().len() + parts.uri.to_string().len();
        let may = account.head(Way::Out, first, &parts.headers).await;
        may.map_err(|spent| forbid(&line, format!("bytes: {spent}")))?;
        let turn = self.turn(&permit, (&parts, &body), credential.as_deref());
        let turn = match turn.recall(&mut parts.headers, &account).await {
            Ok(Recalled::Ask(turn)) => turn,
            Ok(Recalled::Answer(answer)) => return Ok(answer),
            Err(broken) => return Err(broken.refused(&line)),
        };
        let body = Passing::out(body, &account, permit.max_request_bytes());
        let requests = self.requests(match client.is_some() {
            true => Speaks::Old,
            false => Speaks::Both,
        });
        let asked = requests.request(Request::from_parts(parts, body));
        let asked = in_time(asked, permit.first_byte_timeout()).await;
        let asked = asked.map_err(|late| Refused::late(Why::under(&line.rule, late)))?;
        let response = asked.map_err(|error| self.failed(&line, &error))?;
        asks_to_wait(&self.context, &line, &response);
        self.taken(&permit, credential.as_deref(), response.status());
        let mask = credential.map(|ready| Mask::new(Arc::clone(&ready.forms)));
        let (response, mask) = received(response, &account, mask)
            .await
            .map_err(|broken| broken.refused(&line))?;
        match (client, response.status()) {
            (Some(client), StatusCode::SWITCHING_PROTOCOLS) => {
                Ok(socket::open(self, (client, response), (account, mask)))
            }
            (None, StatusCode::SWITCHING_PROTOCOLS) => {
                let reason = "its server changes the protocol unasked".to_owned();
                Err(Broken::Answer(reason).refused(&line))
            }
            _ => {
                let answer = turn.answer(response, (&account, mask)).await;
                answer.map_err(|broken| broken.refused(&line))
            }
        }
    }

    /// Reads of a body what has to be known before any of it is passed on.
    async fn open(
        &self,
        permit: &RequestPermit,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<Opened, NotPushed> {
        if !permit.is_push() {
            return Ok(Opened::from(body));
        }
        let admitted = push::admit(permit, headers, body);
        match timeout(self.context.limits.head, admitted).await {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(not)) => Err(not.heard_out().await),
            Err(_late) => Err("the push did not name its refs in time".into()),
        }
    }

    /// Makes a client's request head one of our own.
    fn prepare(&self, parts: &mut Parts, credential: Option<&Ready>) {
        let Target { name, port } = self.permit.target();
        let authority = match port {
            443 => name.to_string(),
            port => format!("{name}:{port}"),
        };
        let target = parts.uri.path_and_query().cloned();
        let uri = Uri::builder()
            .scheme(uri::Scheme::HTTPS)
            .authority(authority);
        parts.uri = uri
            .path_and_query(target.unwrap_or(uri::PathAndQuery::from_static("/")))
            .build()
            .expect("a host name, a port and a path that was sent are an address");
        parts.version = Version::HTTP_11;
        let trailers = parts
            .headers
            .get(header::TE)
            .is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
        of_one_connection(&mut parts.headers);
        // Written anew from the address.
        parts.headers.remove(header::HOST);
        if trailers {
            parts
                .headers
                .insert(header::TE, HeaderValue::from_static("trailers"));
        }
        if let Some(ready) = credential {
            ready.add(&mut parts.headers);
            // What is compressed or given in parts could hold the credential where no mask sees it.
            let identity = HeaderValue::from_static("identity");
            parts.headers.insert(header::ACCEPT_ENCODING, identity);
            parts.headers.remove(header::RANGE);
            parts.headers.remove(header::IF_RANGE);
        }
    }

    /// Says why a request that was allowed got no answer.
    fn failed(&self, line: &Line, error: &legacy::Error) -> Refused {
        if let Some(TooLong(most)) = cause::<TooLong>(error) {
            let reason = format!("its body is longer than the {most} bytes that its rule allows");
            let why = Why::under(&line.rule, reason);
            return Refused::new(StatusCode::PAYLOAD_TOO_LARGE, why);
        }
        if let Some(bad) = self.reading.broken() {
            let reason = format!("this request cannot be passed on: {bad}");
            return Refused::new(StatusCode::BAD_REQUEST, Why::under(&line.rule, reason));
        }
        match cause::<Unreached>(error) {
            Some(Unreached::Dial(DialError::Denied(denied))) => {
                Refused::new(StatusCode::FORBIDDEN, denied.clone().into())
            }
            Some(unreached) => self.broken(line, unreached.to_string()),
            None => self.broken(line, format!("its server broke off: {}", innermost(error))),
        }
    }

    fn broken(&self, line: &Line, reason: String) -> Refused {
        Refused::failure(Why::under(&line.rule, reason))
    }
}

/// Waits for an answer to begin, no longer than its rule lets it.
async fn in_time<T>(answer: impl Future<Output = T>, limit: Option<Duration>) -> Result<T, String> {
    let Some(limit) = limit else {
        return Ok(answer.await);
    };
    timeout(limit, answer).await.map_err(|_late| {
        let seconds = limit.as_secs();
        format!("its server did not begin to answer within {seconds} s (`first_byte_timeout`)")
    })
}

/// Writes down that a server asks for a wait so long that a program may seem to hang: some sleep as
/// long as they are told, and say nothing.
fn asks_to_wait<T>(context: &Context, line: &Line, response: &Response<T>) {
    let after = response.headers().get(header::RETRY_AFTER);
    let seconds = after.and_then(|after| after.to_str().ok()?.trim().parse::<u64>().ok());
    if let Some(seconds) = seconds.filter(|seconds| *seconds > LONG_WAIT) {
        let status = response.status().as_u16();
        let reason = format!("its server answers {status} and asks to wait {seconds} s");
        context.note_line(line, Some(reason));
    }
}

/// Why an answer is not passed back.
pub(super) enum Broken {
    /// The role has used up its bytes of the run: waiting brings none back.
    Spent(io::Error),
    /// The server is at fault.
    Answer(String),
}

impl Broken {
    fn refused(self, line: &Line) -> Refused {
        match self {
            Self::Spent(spent) => forbid(line, format!("bytes: {spent}")),
            Self::Answer(reason) => Refused::failure(Why::under(&line.rule, reason)),
        }
    }
}

fn forbid(line: &Line, reason: String) -> Refused {
    Refused::new(StatusCode::FORBIDDEN, Why::under(&line.rule, reason))
}

/// Counts the head of an answer and masks it.
async fn received(
    mut response: Response<Incoming>,
    account: &Account,
    mut mask: Option<Mask>,
) -> Result<(Response<Incoming>, Option<Mask>), Broken> {
    account.answered(response.status().as_u16());
    let may = account.head(Way::In, 0, response.headers()).await;
    may.map_err(Broken::Spent)?;
    if let Some(mask) = &mut mask {
        if let Some(reason) = unmaskable(response.headers()) {
            return Err(Broken::Answer(reason));
        }
        mask_headers(mask, response.headers_mut());
        if mask.found() {
            account.echoed();
        }
    }
    Ok((response, mask))
}

/// Returns the answer as the client gets it.
pub(super) fn answer(
    response: Response<Incoming>,
    account: &Arc<Account>,
    mask: Option<Mask>,
) -> Response<Answer> {
    let (parts, body) = response.into_parts();
    let mut answer = Response::new(Passing::back(body, account, mask).boxed_unsync());
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = parts.headers;
    of_one_connection(answer.headers_mut());
    // It would lead the client to ports and protocols that no rule opens.
    answer.headers_mut().remove(header::ALT_SVC);
    answer
}

/// Removes what speaks of one connection alone, and what a `Connection` field says does so too.
fn of_one_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in OF_CONNECTION.iter().chain(&named) {
        headers.remove(name);
    }
}

/// Returns why an answer cannot be searched for the credential.
fn unmaskable(headers: &HeaderMap) -> Option<String> {
    let coded = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    coded.then(|| {
        "its server compressed the answer although asked not to, so an echoed credential could \
         not be masked"
            .to_owned()
    })
}

/// Looks for a cause of a kind.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    causes(error).find_map(|error| error.downcast_ref())
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// Returns an error and what is behind it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        (**error).source()
    })
}
