//! A request's turn at the cache: answered from it, asked of the server whether that still holds,
//! or answered by the server and kept.

use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::{
    HeaderMap, Method, Response, StatusCode, Version,
    body::{Body, Bytes, Incoming},
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};

use super::{
    body::{Account, Passing},
    credential::{Ready, carries},
    forward::{self, Broken},
    mask::Mask,
    session::{Answer, Session},
};
use crate::{
    egress::{
        cache::{Answers, Asked, Found, Keeping, Sent, Standing, given},
        limits::Way,
    },
    event::CacheUse,
    policy::RequestPermit,
};

/// Says where an answer came from (RFC 9211).
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What the cache has to do with one request.
pub(super) struct Turn {
    answers: Option<Arc<Answers>>,
    part: Part,
}

enum Part {
    /// Nothing.
    None,
    /// It may change what is at an address.
    Changes(Asked),
    /// It may be answered from the cache, and its answer may be kept.
    Asks {
        asked: Asked,
        /// What is kept, when the server is asked whether it changed.
        stale: Option<Found>,
    },
}

/// What became of a turn.
pub(super) enum Recalled {
    /// The answer.
    Answer(Response<Answer>),
    /// The server has to be asked.
    Ask(Box<Turn>),
}

impl Session {
    /// Returns a request's turn at the cache. Its head is as it is about to be sent; `body` is
    /// that of the request.
    pub(super) fn turn(
        &self,
        permit: &RequestPermit,
        (parts, body): (&Parts, &impl Body),
        credential: Option<&Ready>,
    ) -> Turn {
        let answers = self.context.shared.answers.get().map(Arc::clone);
        let own = credential.map(Ready::header);
        let part = match (&answers, permit.cache()) {
            (Some(answers), Some(longest)) => {
                let sent = Sent {
                    role: &self.context.role,
                    permit: &self.permit,
                    parts,
                    credential: permit.credential().zip(own),
                    longest,
                };
                let alone = body.is_end_stream()
                    && !permit.websocket()
                    && !carries(&parts.headers, parts.uri.query(), own);
                alone
                    .then(|| answers.asked(&sent).map(Part::asks))
                    .flatten()
            }
            (Some(_), None) => self.changes(parts),
            (None, _) => None,
        };
        Turn {
            answers,
            part: part.unwrap_or(Part::None),
        }
    }

    fn changes(&self, parts: &Parts) -> Option<Part> {
        let is_safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&parts.method);
        let target = self.permit.target();
        let keeps = || {
            self.context.egress.rules.iter().any(|rule| {
                let part = rule.request.as_ref();
                rule.covers_target(target) && part.is_some_and(|part| part.cache.is_some())
            })
        };
        let asked = || Asked::of_address(&self.context.role, &self.permit, &parts.uri);
        (!is_safe && keeps()).then(|| Part::Changes(asked()))
    }
}

impl Part {
    fn asks(asked: Asked) -> Self {
        Self::Asks { asked, stale: None }
    }
}

impl Turn {
    /// Answers a request from what is kept; or has its server asked, where something is kept
    /// whether that changed.
    pub(super) async fn recall(
        mut self,
        headers: &mut HeaderMap,
        account: &Arc<Account>,
    ) -> Result<Recalled, Broken> {
        let (Some(answers), Part::Asks { asked, stale }) = (&self.answers, &mut self.part) else {
            return Ok(Recalled::Ask(Box::new(self)));
        };
        match answers.find(asked).await {
            Some((found, Standing::Fresh)) => {
                let age = answers.age(&found.meta, asked);
                let again = Again { found, age };
                let answer = again.give(asked, (account, CacheUse::Hit)).await?;
                return Ok(Recalled::Answer(answer));
            }
            Some((found, Standing::Stale(conditions))) if asked.whole => {
                // Our own question stands for the client's: the answer to it tells both.
                headers.remove(header::IF_NONE_MATCH);
                headers.remove(header::IF_MODIFIED_SINCE);
                headers.extend(conditions);
                *stale = Some(found);
            }
            _ => {}
        }
        Ok(Recalled::Ask(Box::new(self)))
    }

    /// Passes a server's answer back, and keeps what may be kept.
    pub(super) async fn answer(
        self,
        response: Response<Incoming>,
        (account, mask): (&Arc<Account>, Option<Mask>),
    ) -> Result<Response<Answer>, Broken> {
        let is_framed = is_framed(&response);
        let length = response.body().size_hint().exact();
        let status = response.status();
        let (answers, asked, stale) = match (self.answers, self.part) {
            (Some(answers), Part::Asks { asked, stale }) => (answers, asked, stale),
            (Some(answers), Part::Changes(asked)) => {
                if status.is_success() || status.is_redirection() {
                    answers.forget(&asked).await;
                }
                return Ok(forward::answer(response, account, mask));
            }
            _ => return Ok(forward::answer(response, account, mask)),
        };
        if let Some(found) = stale {
            if status == StatusCode::NOT_MODIFIED {
                return confirm((&answers, &asked), found, (response, account)).await;
            }
            answers.forget(&asked).await;
        }
        let answer = forward::answer(response, account, mask);
        if !asked.whole || !is_framed {
            return Ok(answer);
        }
        let head = (status, answer.headers());
        match answers.begin(&asked, head, length).await {
            Some(give) => Ok(answer.map(|body| Keeping::new(body, give).boxed_unsync())),
            None => Ok(answer),
        }
    }
}

/// Returns whether it shows where an answer ends: one that ends with its connection may have been
/// cut off.
fn is_framed(response: &Response<Incoming>) -> bool {
    let says = |name| response.headers().contains_key(name);
    response.version() == Version::HTTP_2
        || says(header::CONTENT_LENGTH)
        || says(header::TRANSFER_ENCODING)
}

/// Gives what is kept again, for the server says that it has not changed.
async fn confirm(
    (answers, asked): (&Answers, &Asked),
    found: Found,
    (response, account): (Response<Incoming>, &Arc<Account>),
) -> Result<Response<Answer>, Broken> {
    let response = forward::answer(response, account, None);
    match answers.confirm(asked, found, response.headers()).await {
        Some(found) => {
            let age = answers.age(&found.meta, asked);
            let again = Again { found, age };
            again.give(asked, (account, CacheUse::Validated)).await
        }
        None => {
            answers.forget(asked).await;
            let reason = "its server says of another answer than was asked for that it has not changed; ask again";
            Err(Broken::Answer(reason.to_owned()))
        }
    }
}

/// An answer that is given again.
struct Again {
    found: Found,
    /// In seconds.
    age: u64,
}

impl Again {
    async fn give(
        self,
        asked: &Asked,
        (account, cache): (&Arc<Account>, CacheUse),
    ) -> Result<Response<Answer>, Broken> {
        let meta = &self.found.meta;
        let mut headers = meta.headers();
        let had = asked.had.is(&headers);
        let status = match (had, meta.status()) {
            (true, Some(StatusCode::OK)) => StatusCode::NOT_MODIFIED,
            (_, Some(status)) => status,
            (_, None) => StatusCode::BAD_GATEWAY,
        };
        headers.insert(header::AGE, self.age.into());
        let how = match cache {
            CacheUse::Hit => "loki; hit",
            CacheUse::Validated => "loki; fwd=stale; fwd-status=304",
        };
        headers.append(CACHE_STATUS, HeaderValue::from_static(how));
        headers.remove(header::CONTENT_LENGTH);
        let empty = matches!(status, StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT);
        if !empty {
            headers.insert(header::CONTENT_LENGTH, self.found.body.length().into());
        }
        account.answered(status.as_u16());
        account.was_kept(cache);
        let may = account.head(Way::In, 0, &headers).await;
        may.map_err(Broken::Spent)?;
        let body = match empty || !asked.whole {
            true => Empty::<Bytes>::new()
                .map_err(|never| match never {})
                .boxed_unsync(),
            false => Passing::back(given(self.found.body), account, None).boxed_unsync(),
        };
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        Ok(answer)
    }
}
