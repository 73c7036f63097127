//! Asks a registry when the versions of a package came out, and remembers it.

use std::{
    collections::HashMap,
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::{BodyExt, Empty};
use hyper::{HeaderMap, Request, body::Bytes, header};
use hyper_util::{client::legacy::Client, rt::TokioTimer};
use tokio::{
    sync::{Mutex as Turn, Semaphore},
    time::{Instant, timeout},
};

use super::super::{
    authorize,
    body::{Account, Passing},
    credential::Ready,
    upstream::{Tasks, Unreached},
};
use super::wire::Reacher;
use crate::{
    egress::{
        context::{Context, Line},
        limits::Way,
        record::Call,
    },
    policy::{self, Permit, Protocol, RegistryRule, Target, decide, decide_request},
    vetting::{Package, Published, metadata_path},
};

/// The longest answer that is read.
const LONGEST: usize = 64 << 20;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many are asked for at once.
const AT_ONCE: usize = 8;
/// When a registry is asked again about a version that it did not know.
const STALE: Duration = Duration::from_secs(60);
/// How many times are remembered before all are forgotten.
const REMEMBERED: usize = 500_000;

/// Where an answer came from: host, path, and what the name was pinned to.
type Key = (Target, String, String);
/// What one answer said, and when.
type Slot = Arc<Turn<Option<(Instant, Arc<Published>)>>>;

/// What registries said, for all gateways: agents have no part in it.
pub(super) struct Learned {
    by: Mutex<(HashMap<Key, Slot>, usize)>,
    seats: Semaphore,
}

/// Why it is not known when a version came out.
pub(super) enum Unknown {
    /// The registry has nothing about the package.
    Silent,
    /// The registry could not be asked.
    Failed(String),
}

/// Asks the registries that one client's connection concerns.
#[derive(Default)]
pub(super) struct Asking {
    clients: Mutex<HashMap<Target, Asker>>,
}

type Asker = Client<Reacher, Empty<Bytes>>;

impl Default for Learned {
    fn default() -> Self {
        Self {
            by: Mutex::default(),
            seats: Semaphore::new(AT_ONCE),
        }
    }
}

impl fmt::Debug for Learned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Learned").finish_non_exhaustive()
    }
}

impl Learned {
    fn slot(&self, key: Key) -> Slot {
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        if by.1 > REMEMBERED {
            *by = Default::default();
        }
        if !by.0.contains_key(&key) {
            by.1 += 1;
        }
        Arc::clone(by.0.entry(key).or_default())
    }

    fn weigh(&self, published: &Published) {
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        by.1 += published.len();
    }
}

impl Asking {
    /// Returns what the registry of a rule says of a package; `place` is host and path of what is
    /// asked for. Of several hosts, the first that knows it counts.
    pub(super) async fn learn(
        &self,
        context: &Arc<Context>,
        rule: &RegistryRule,
        (package, place): (&Package, &str),
    ) -> Result<Arc<Published>, Unknown> {
        let mut near = None;
        let mut failed = None;
        for host in &rule.hosts {
            let Some(path) = metadata_path(host, package) else {
                continue;
            };
            let target = Target {
                name: host.host.clone(),
                port: host.port,
            };
            let question = Question {
                target,
                path,
                package,
                place,
            };
            match self.remembered(context, &question).await {
                Ok(published) if published.of(package, place).is_some() => return Ok(published),
                Ok(published) if published.is_empty() => {}
                Ok(published) => near = near.or(Some(published)),
                Err(why) => failed = failed.or(Some(why)),
            }
        }
        match (near, failed) {
            (Some(published), _) => Ok(published),
            (None, Some(why)) => Err(Unknown::Failed(why)),
            (None, None) => Err(Unknown::Silent),
        }
    }

    /// Returns what was learned, asking only for what is new. Equal questions wait for one answer.
    async fn remembered(
        &self,
        context: &Arc<Context>,
        question: &Question<'_>,
    ) -> Result<Arc<Published>, String> {
        let permit = decide(&context.egress, &question.target).map_err(|denied| denied.reason)?;
        let pinned = permit
            .pinned()
            .map_or_else(String::new, |at| at.to_string());
        let ca = permit.ca().map(Path::to_string_lossy).unwrap_or_default();
        let key = (
            question.target.clone(),
            question.path.clone(),
            format!("{pinned} {ca}"),
        );
        let learned = &context.shared.vetting.learned;
        let slot = learned.slot(key);
        let mut slot = slot.lock().await;
        if let Some((since, published)) = slot.as_ref() {
            let knows = published.of(question.package, question.place).is_some();
            if knows || since.elapsed() < STALE {
                return Ok(Arc::clone(published));
            }
        }
        let seat = learned.seats.acquire().await;
        let answer = timeout(PATIENCE, self.ask(context, &permit, question)).await;
        drop(seat);
        let late = |_| "the registry did not answer in time".to_owned();
        let published = Arc::new(answer.map_err(late).flatten()?);
        learned.weigh(&published);
        *slot = Some((Instant::now(), Arc::clone(&published)));
        Ok(published)
    }

    /// Asks as the role could have asked itself: what its rules refuse is not asked.
    async fn ask(
        &self,
        context: &Arc<Context>,
        permit: &Permit,
        question: &Question<'_>,
    ) -> Result<Published, String> {
        let asked = policy::Request::new("GET", &question.path, None);
        let allowed = decide_request(&context.egress, permit, &asked);
        let allowed = allowed.map_err(|denied| denied.reason)?;
        let line = Line {
            target: question.target.clone(),
            rule: allowed.rule().to_owned(),
            call: Call::new("GET", allowed.path()),
        };
        let turn = context.turn_under(allowed.rule()).await;
        turn.map_err(|over| over.to_string())?;
        let why = format!(
            "asked by the gateway: when did `{}` come out",
            question.package.shown()
        );
        context.note_line(&line, Some(why));
        let account = Account::open(context, line);
        let ready = authorize::ready(context, &allowed).await;
        let ready = ready.map_err(|without| without.to_string())?;
        let request = request(permit, (ready.as_deref(), question))?;
        let base = request.uri().to_string();
        let first = 4 + base.len();
        let spent = account.head(Way::Out, first, request.headers()).await;
        spent.map_err(|spent| format!("bytes: {spent}"))?;
        let response = self.asker(context, permit).request(request).await;
        let response = response.map_err(|error| said(&error))?;
        account.answered(response.status().as_u16());
        let spent = account.head(Way::In, 0, response.headers()).await;
        spent.map_err(|spent| format!("bytes: {spent}"))?;
        match response.status().as_u16() {
            200 => {}
            404 | 410 | 451 => return Ok(Published::default()),
            status => return Err(format!("the registry answered {status}")),
        }
        plain(response.headers())?;
        let body = whole(Passing::back(response.into_body(), &account, None)).await?;
        read(question.package, &base, body).await
    }

    fn asker(&self, context: &Arc<Context>, permit: &Permit) -> Asker {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let reacher = Reacher {
                context: Arc::clone(context),
                permit: Arc::new(permit.clone()),
            };
            Client::builder(Tasks(Arc::clone(context)))
                .pool_timer(TokioTimer::new())
                .build(reacher)
        };
        clients
            .entry(permit.target().clone())
            .or_insert_with(make)
            .clone()
    }
}

/// What a registry is asked, and why.
struct Question<'q> {
    target: Target,
    path: String,
    package: &'q Package,
    /// Host and path of what the client asked for.
    place: &'q str,
}

/// Writes the request.
fn request(
    permit: &Permit,
    (ready, question): (Option<&Ready>, &Question<'_>),
) -> Result<Request<Empty<Bytes>>, String> {
    let (scheme, usual) = match permit.protocol() {
        Protocol::Http => ("http", 80),
        Protocol::Tls | Protocol::Tcp => ("https", 443),
    };
    let Target { name, port } = &question.target;
    let port = match *port {
        port if port == usual => String::new(),
        port => format!(":{port}"),
    };
    let address = format!("{scheme}://{name}{port}{}", question.path);
    let accept = match question.package.kind {
        policy::RegistryKind::Pypi => {
            "application/vnd.pypi.simple.v1+json, text/html;q=0.1, */*;q=0.01"
        }
        policy::RegistryKind::Npm => "application/json",
        _ => "*/*",
    };
    let request = Request::get(address)
        .header(header::ACCEPT, accept)
        .header(header::ACCEPT_ENCODING, "identity")
        .header(
            header::USER_AGENT,
            concat!("loki/", env!("CARGO_PKG_VERSION")),
        );
    let mut request = request
        .body(Empty::new())
        .map_err(|_| "its path cannot be asked for".to_owned())?;
    if let Some(ready) = ready {
        ready.add(request.headers_mut());
    }
    Ok(request)
}

fn plain(headers: &HeaderMap) -> Result<(), String> {
    let codings = headers.get_all(header::CONTENT_ENCODING);
    let is_plain =
        |coding: &header::HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    match codings.iter().all(is_plain) {
        true => Ok(()),
        false => Err("the registry compressed its answer although asked not to".to_owned()),
    }
}

/// Reads a body that is not too long.
async fn whole<B>(mut body: B) -> Result<Vec<u8>, String>
where
    B: hyper::body::Body<Data = Bytes, Error: fmt::Display> + Unpin,
{
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("the registry broke off: {error}"))?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > LONGEST {
                return Err("the registry's answer is longer than 64 MiB".to_owned());
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}

/// Reads an answer, on a thread of its own: it may be long.
async fn read(package: &Package, base: &str, body: Vec<u8>) -> Result<Published, String> {
    let base = url::Url::parse(base).map_err(|error| error.to_string())?;
    let kind = package.kind;
    let read = tokio::task::spawn_blocking(move || Published::read(kind, &base, &body));
    let read = read.await.map_err(|error| error.to_string())?;
    read.map_err(|error| error.to_string())
}

fn said(error: &(dyn std::error::Error + 'static)) -> String {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    let unreached = causes.find_map(|error| error.downcast_ref::<Unreached>());
    unreached.map_or_else(
        || format!("the registry broke off: {error}"),
        ToString::to_string,
    )
}
