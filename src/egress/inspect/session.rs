//! One connection of a client: each of its requests judged by itself.

use std::sync::{Arc, OnceLock};

use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode, Version,
    body::{Body, Bytes, Incoming},
    header::{self, HeaderValue},
    http::request::Parts,
};
use tokio::{sync::Notify, time::timeout};

use super::{
    Speaks,
    body::Failure,
    credential::{Guard, Ready},
    push::Report,
    stated::{authority, upgrade},
    strict::Reading,
    upstream::{Requests, requests},
    vet::{Vetoed, Vetter},
};
use crate::{
    egress::{
        connection::{LINGER, LINGER_BYTES},
        context::{Context, Line, Why},
        explain::{Refusal, text},
        limits::TooMany,
        record::Call,
    },
    policy::{self, Permit, RequestPermit, Target, decide_request},
};

/// What a client gets.
pub(super) type Answer = UnsyncBoxBody<Bytes, Failure>;

/// A client's connection to one permitted name.
pub(super) struct Session {
    pub(super) context: Arc<Context>,
    pub(super) permit: Arc<Permit>,
    pub(super) reading: Arc<Reading>,
    /// Told when nothing more is to be taken from the client.
    pub(super) closing: Arc<Notify>,
    guard: Guard,
    both: Requests,
    old: OnceLock<Requests>,
    vetter: Vetter,
}

/// A request that may be passed on.
pub(super) struct Judged {
    pub(super) parts: Parts,
    pub(super) permit: RequestPermit,
    pub(super) credential: Option<Arc<Ready>>,
    pub(super) line: Line,
}

/// A request that is not passed on.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    why: Why,
    after: After,
    kind: Kind,
    vetoed: Option<Box<Vetoed>>,
    /// How git hears of it.
    report: Option<Box<Report>>,
    /// What is written down of it besides, and not told the client.
    aside: Option<String>,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Denial,
    Failure,
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Stay,
    Close,
}

impl Refused {
    pub(super) fn new(status: StatusCode, why: Why) -> Self {
        Self {
            status,
            why,
            after: After::Stay,
            kind: Kind::Denial,
            vetoed: None,
            report: None,
            aside: None,
        }
    }

    /// Adds how git hears of a push that is not passed on.
    pub(super) fn reporting(mut self, report: Option<Report>) -> Self {
        self.report = report.map(Box::new);
        self
    }

    /// Adds what only people of this host are told.
    pub(super) fn aside(mut self, aside: Option<&str>) -> Self {
        self.aside = aside.map(str::to_owned);
        self
    }

    /// A request that was allowed and that its server did not answer in time.
    pub(super) fn late(why: Why) -> Self {
        Self {
            status: StatusCode::GATEWAY_TIMEOUT,
            ..Self::failure(why)
        }
    }

    /// A request that was allowed and could not be answered.
    pub(super) fn failure(why: Why) -> Self {
        Self {
            kind: Kind::Failure,
            ..Self::new(StatusCode::BAD_GATEWAY, why)
        }
    }

    /// A request for a package that is not let in.
    fn vetoed(rule: &str, vetoed: Vetoed) -> Self {
        let status = match vetoed {
            Vetoed::Refused(_) => StatusCode::FORBIDDEN,
            Vetoed::Unlearned(_) => StatusCode::BAD_GATEWAY,
        };
        let why = Why::under(rule, vetoed.reason().to_owned());
        Self {
            vetoed: Some(Box::new(vetoed)),
            ..Self::new(status, why)
        }
    }

    fn closing(mut self) -> Self {
        self.after = After::Close;
        self
    }
}

impl Session {
    pub(super) fn new(context: &Arc<Context>, permit: &Permit, reading: Arc<Reading>) -> Self {
        let permit = Arc::new(permit.clone());
        Self {
            guard: Guard::new(&context.egress, permit.target()),
            both: requests(context, &permit, Speaks::Both),
            old: OnceLock::new(),
            vetter: Vetter::default(),
            context: Arc::clone(context),
            permit,
            reading,
            closing: Arc::default(),
        }
    }

    /// Returns who asks the server.
    pub(super) fn requests(&self, speaks: Speaks) -> &Requests {
        match speaks {
            Speaks::Both => &self.both,
            Speaks::Old => self
                .old
                .get_or_init(|| requests(&self.context, &self.permit, Speaks::Old)),
        }
    }

    /// Answers one request.
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Answer> {
        let (parts, mut body) = request.into_parts();
        let asked = policy::Request::new(
            parts.method.as_str(),
            parts
                .uri
                .path_and_query()
                .map_or("", |target| target.as_str()),
            upgrade(&parts.headers),
        );
        let call = Call::new(asked.method(), asked.path());
        let method = parts.method.clone();
        let waits = parts.headers.contains_key(header::EXPECT);
        let agent = parts.headers.get(header::USER_AGENT).cloned();
        let old = parts.version < Version::HTTP_2;
        let passed = match self.judge(parts, &asked, &body).await {
            Ok(judged) => self.forward(judged, body).await,
            Err(refused) => {
                // A client that still writes would see a reset in place of the answer.
                if old && !waits {
                    read_away(&mut body).await;
                }
                Err(refused)
            }
        };
        passed.unwrap_or_else(|refused| {
            let mut response = self.refuse(&call, refused);
            in_sight_of(agent.as_ref(), &mut response);
            suited(&method, response)
        })
    }

    /// Checks a request in every respect, and waits for its turn.
    async fn judge(
        &self,
        mut parts: Parts,
        asked: &policy::Request,
        body: &Incoming,
    ) -> Result<Judged, Refused> {
        self.check(&parts)?;
        let (context, target) = (&self.context, self.permit.target());
        let decided = decide_request(&context.egress, &self.permit, asked);
        let permit = decided.map_err(|denied| {
            let status = match asked.upgrade() {
                Some(_) => StatusCode::UPGRADE_REQUIRED,
                None => StatusCode::FORBIDDEN,
            };
            Refused::new(status, denied.into())
        })?;
        let refuse = |status, reason| Refused::new(status, Why::under(permit.rule(), reason));
        let forbid = |reason| refuse(StatusCode::FORBIDDEN, reason);
        let stripped = self.guard.strip(&mut parts.headers, parts.uri.query());
        stripped.map_err(|foreign| forbid(foreign.to_string()))?;
        let credential = self.credential(&permit).await?;
        if let Some(most) = permit.max_request_bytes()
            && body.size_hint().lower() > most
        {
            let reason = format!("its body is longer than the {most} bytes that its rule allows");
            return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, reason));
        }
        let vetted = self.vetter.admit(context, (target, &permit)).await;
        vetted.map_err(|vetoed| Refused::vetoed(permit.rule(), vetoed))?;
        let line = Line {
            target: target.clone(),
            rule: permit.rule().to_owned(),
            call: Call::new(asked.method(), asked.path()),
        };
        let turn = context.turn_under(permit.rule()).await;
        let waited = turn.map_err(|over| rate(permit.rule(), over))?;
        context.allow_line(&line, waited);
        Ok(Judged {
            parts,
            permit,
            credential,
            line,
        })
    }

    /// Checks what has to hold of any request.
    fn check(&self, parts: &Parts) -> Result<(), Refused> {
        let misuse = |status, reason| Refused::new(status, Why::misuse(&self.permit, reason));
        self.reading.next().map_err(|bad| {
            let reason = format!("this request cannot be passed on: {bad}");
            misuse(StatusCode::BAD_REQUEST, reason).closing()
        })?;
        if parts.method == Method::CONNECT {
            let reason = "it asks for a tunnel; programs need no proxy settings here".to_owned();
            return Err(misuse(StatusCode::FORBIDDEN, reason).closing());
        }
        authority(parts, self.permit.target())
            .map_err(|reason| misuse(StatusCode::MISDIRECTED_REQUEST, reason).closing())
    }

    /// Answers a request that is not passed on, and writes that down.
    fn refuse(&self, call: &Call, refused: Refused) -> Response<Answer> {
        let target = self.permit.target();
        let mut why = refused.why.clone();
        if let Some(aside) = &refused.aside {
            why.reason = format!("{}; it said: {aside}", why.reason);
        }
        match refused.kind {
            Kind::Denial => self.context.deny_call(target, call, &why),
            Kind::Failure => self.context.fail_call(target, call, &why),
        }
        if refused.after == After::Close {
            self.closing.notify_one();
        }
        explained(&self.context, target, &refused)
    }
}

/// Returns an answer as its request may have it: one to `HEAD` has no body, which HTTP/2 would take
/// for a breach.
pub(super) fn suited(method: &Method, answer: Response<Answer>) -> Response<Answer> {
    if *method != Method::HEAD {
        return answer;
    }
    let empty = Empty::<Bytes>::new().map_err(|never| match never {});
    answer.map(|_| empty.boxed_unsync())
}

/// Returns what a refused client is told.
pub(super) fn explained(context: &Context, target: &Target, refused: &Refused) -> Response<Answer> {
    let refusal = Refusal {
        role: &context.role,
        host: target.name.as_str(),
        port: target.port,
        rule: refused.why.rule.as_deref(),
        reason: &refused.why.reason,
        retry_after: refused.why.retry_after,
    };
    let sentence = match &refused.vetoed {
        Some(vetoed) => vetoed.told(&refusal),
        None => text(&refusal),
    };
    let (status, kind, body) = match &refused.report {
        Some(report) => {
            let told = report.refusing(refusal.reason, &sentence);
            (StatusCode::OK, Report::TYPE, told)
        }
        None => (refused.status, "application/json", sentence.into_bytes()),
    };
    let body = Full::new(Bytes::from(body));
    let body = body.map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let known = HeaderValue::from_static;
    headers.insert(header::CONTENT_TYPE, known(kind));
    headers.insert(header::CACHE_CONTROL, known("no-store"));
    if refused.after == After::Close {
        headers.insert(header::CONNECTION, known("close"));
    }
    if let Some(seconds) = refusal.seconds() {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if let Some(vetoed) = &refused.vetoed {
        vetoed.head(&mut response);
    }
    response
}

/// Git shows the text of a refusal to its user only where it is called plain.
pub(super) fn in_sight_of(agent: Option<&HeaderValue>, response: &mut Response<Answer>) {
    let is_git = agent.is_some_and(|agent| agent.as_bytes().starts_with(b"git/"));
    if is_git && !response.status().is_success() {
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
    }
}

/// Says that a call would have had to wait too long, or for ever.
fn rate(rule: &str, over: TooMany) -> Refused {
    let mut why = Why::under(rule, over.to_string());
    why.retry_after = over.retry_after();
    match why.retry_after {
        Some(_) => Refused::new(StatusCode::TOO_MANY_REQUESTS, why),
        None => Refused::new(StatusCode::FORBIDDEN, why),
    }
}

/// Reads some of what a refused client still sends.
async fn read_away(body: &mut Incoming) {
    let read = async {
        let mut left = LINGER_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let count = frame.data_ref().map_or(0, Bytes::len);
            left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
            if left == 0 {
                return;
            }
        }
    };
    // What is left is cut off.
    drop(timeout(LINGER, read).await);
}
