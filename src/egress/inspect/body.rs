//! Bodies on their way: counted, kept to the role's pace, bounded, and masked, frame by frame.

use std::{
    collections::VecDeque,
    error::Error,
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    task::{Context as Polling, Poll, ready},
};

use futures_util::future::BoxFuture;
use hyper::{
    HeaderMap,
    body::{Body, Bytes, Frame, SizeHint},
    header::HeaderValue,
};
use tokio::time::Instant;

use super::mask::Mask;
use crate::{
    egress::{
        context::{Context, Line},
        limits::Way,
        record::{Call, Closed, Fact},
        splice::Meter,
    },
    event::CacheUse,
};

/// Why a body broke off.
pub(super) type Failure = Box<dyn Error + Send + Sync>;

/// A request body went over its rule's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is longer than {0} bytes")]
pub(super) struct TooLong(pub(super) u64);

/// What one request used; recorded when it is over, however it ended.
pub(super) struct Account {
    context: Arc<Context>,
    line: Line,
    since: Instant,
    pub(super) meter: Meter,
    status: AtomicU16,
    echoed: AtomicBool,
    cache: OnceLock<CacheUse>,
}

impl Account {
    pub(super) fn open(context: &Arc<Context>, line: Line) -> Arc<Self> {
        let budget = context.budget_under(&line.rule);
        Arc::new(Self {
            context: Arc::clone(context),
            line,
            since: Instant::now(),
            meter: Meter::new(budget, Arc::clone(&context.tally)),
            status: AtomicU16::new(0),
            echoed: AtomicBool::new(false),
            cache: OnceLock::new(),
        })
    }

    /// Notes how the server answered.
    pub(super) fn answered(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// Notes that the body came from the cache.
    pub(super) fn was_kept(&self, cache: CacheUse) {
        // It comes from there once at most.
        self.cache.set(cache).ok();
    }

    /// Notes that an answer held the credential.
    pub(super) fn echoed(&self) {
        self.echoed.store(true, Ordering::Relaxed);
    }

    /// Waits until a head may go, and counts it. Fails when the role has used up its bytes of the run.
    pub(super) async fn head(&self, way: Way, first: usize, headers: &HeaderMap) -> io::Result<()> {
        let lines = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4);
        self.meter.take(way, first + lines.sum::<usize>()).await
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let Line { target, call, .. } = &self.line;
        if self.echoed.load(Ordering::Relaxed) {
            let reason = "the answer held the credential of its rule; it was masked".to_owned();
            self.context.note_line(&self.line, Some(reason));
        }
        let status = self.status.load(Ordering::Relaxed);
        self.context.ledger.note(Fact::Closed(Closed {
            host: target.name.to_string(),
            port: target.port,
            call: Some(Call::clone(call)),
            status: (status > 0).then_some(status),
            cache: self.cache.get().copied(),
            sent: self.meter.sent(),
            received: self.meter.received(),
            elapsed: self.since.elapsed(),
            waited: self.meter.waited(),
        }));
    }
}

/// A body that passes through the gateway.
pub(super) struct Passing<B> {
    inner: B,
    account: Arc<Account>,
    way: Way,
    /// Most bytes that may still come, and how many there might have been.
    left: Option<(u64, u64)>,
    mask: Option<Mask>,
    /// Frames that are to go, the first once its time has come.
    ready: VecDeque<Frame<Bytes>>,
    turn: Option<BoxFuture<'static, io::Result<()>>>,
    over: bool,
}

impl<B> Passing<B> {
    /// A body from the sandbox, of at most so many bytes.
    pub(super) fn out(inner: B, account: &Arc<Account>, most: Option<u64>) -> Self {
        Self {
            left: most.map(|most| (most, most)),
            ..Self::new(inner, account, Way::Out)
        }
    }

    /// A body to the sandbox.
    pub(super) fn back(inner: B, account: &Arc<Account>, mask: Option<Mask>) -> Self {
        Self {
            mask,
            ..Self::new(inner, account, Way::In)
        }
    }

    fn new(inner: B, account: &Arc<Account>, way: Way) -> Self {
        Self {
            inner,
            account: Arc::clone(account),
            way,
            left: None,
            mask: None,
            ready: VecDeque::new(),
            turn: None,
            over: false,
        }
    }

    /// Takes a frame in and queues what of it may go.
    fn take(&mut self, frame: Frame<Bytes>) -> Result<(), Failure> {
        let frame = match frame.into_data() {
            Ok(data) => {
                self.bound(data.len())?;
                let data = self.masked(data);
                self.queue(data);
                return Ok(());
            }
            Err(frame) => frame,
        };
        self.end();
        if let Ok(mut trailers) = frame.into_trailers() {
            if let Some(mask) = &mut self.mask {
                mask_headers(mask, &mut trailers);
            }
            self.ready.push_back(Frame::trailers(trailers));
        }
        Ok(())
    }

    fn bound(&mut self, count: usize) -> Result<(), TooLong> {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        match &mut self.left {
            Some((left, most)) if *left < count => Err(TooLong(*most)),
            Some((left, _)) => {
                *left -= count;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn masked(&mut self, data: Bytes) -> Bytes {
        let Some(mask) = &mut self.mask else {
            return data;
        };
        let data = mask.feed(data);
        if mask.found() {
            self.account.echoed();
        }
        data
    }

    /// Lets go what was held back.
    fn end(&mut self) {
        if let Some(mask) = &mut self.mask {
            let rest = mask.rest();
            self.queue(rest);
        }
    }

    fn queue(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        let (account, way, count) = (Arc::clone(&self.account), self.way, data.len());
        self.turn = Some(Box::pin(
            async move { account.meter.take(way, count).await },
        ));
        self.ready.push_back(Frame::data(data));
    }
}

/// Masks what header fields hold of a credential.
pub(super) fn mask_headers(mask: &mut Mask, headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        if let Some(masked) = mask.value(value.as_bytes()) {
            // Asterisks are as sendable as what they replace.
            *value = HeaderValue::from_bytes(&masked).unwrap_or(HeaderValue::from_static("*"));
        }
    }
}

impl<B> Body for Passing<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Failure>,
{
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Polling<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = self.get_mut();
        loop {
            if let Some(turn) = &mut this.turn {
                let may = ready!(turn.as_mut().poll(cx));
                this.turn = None;
                may?;
            }
            if let Some(frame) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if this.over {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => this.take(frame)?,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => {
                    this.over = true;
                    this.end();
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let held = self.mask.as_ref().is_some_and(Mask::holds);
        !held && self.ready.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Exact only at the start, which is when it is asked for: masking keeps lengths.
        self.inner.size_hint()
    }
}
