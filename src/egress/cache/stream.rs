//! An answer on its way to a client, written down beside it piece by piece; and a kept one that is
//! given again.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context as Polling, Poll, ready},
};

use futures_util::{future::BoxFuture, stream};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::spawn_blocking,
};

use super::draft::{Content, Draft};
use crate::redact::Search;

/// Bytes that are written at once.
const BATCH: usize = 128 << 10;
/// Pieces of an answer that may wait to be written before its client waits with them.
const PIECES: usize = 16;

/// A piece of an answer.
#[derive(Debug)]
enum Piece {
    /// Some of its body, and its place among those that wait.
    Bytes(Bytes, Option<OwnedSemaphorePermit>),
    /// It is over, and whole.
    End,
}

/// A body that is written down as it passes. When its client reads faster than can be written, it
/// waits; when the body breaks off, or its client goes, what was written is thrown away.
pub(in crate::egress) struct Keeping<B> {
    inner: B,
    to: Option<Give>,
    seat: Option<OwnedSemaphorePermit>,
    waiting: Option<BoxFuture<'static, Option<OwnedSemaphorePermit>>>,
}

/// Takes the pieces of an answer that is being kept.
pub(in crate::egress) struct Give {
    to: mpsc::UnboundedSender<Piece>,
    seats: Arc<Semaphore>,
}

/// Where pieces come out again.
pub(super) struct Pieces(mpsc::UnboundedReceiver<Piece>);

/// Makes the way from a body to its file. The last word never waits: whoever asks for no more once
/// he has all does not hear that he should.
pub(super) fn way() -> (Give, Pieces) {
    let (to, pieces) = mpsc::unbounded_channel();
    let seats = Arc::new(Semaphore::new(PIECES));
    (Give { to, seats }, Pieces(pieces))
}

impl<B: Body<Data = Bytes> + Unpin> Keeping<B> {
    /// A body whose pieces go to `to` as well.
    pub(in crate::egress) fn new(inner: B, to: Give) -> Self {
        let mut keeping = Self {
            inner,
            to: Some(to),
            seat: None,
            waiting: None,
        };
        keeping.end_if_over();
        keeping
    }

    /// Waits until one more piece may wait to be written.
    fn poll_seat(&mut self, cx: &mut Polling<'_>) -> Poll<()> {
        let Some(give) = self.to.as_ref().filter(|_| self.seat.is_none()) else {
            return Poll::Ready(());
        };
        if self.waiting.is_none() {
            self.seat = Arc::clone(&give.seats).try_acquire_owned().ok();
            if self.seat.is_some() {
                return Poll::Ready(());
            }
        }
        let seats = Arc::clone(&give.seats);
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(async move { seats.acquire_owned().await.ok() }));
        self.seat = ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(())
    }

    fn give(&mut self, data: Bytes) {
        let piece = Piece::Bytes(data, self.seat.take());
        // Whoever writes may have given up.
        if self
            .to
            .as_ref()
            .is_some_and(|give| give.to.send(piece).is_err())
        {
            self.to = None;
        }
    }

    fn end_if_over(&mut self) {
        if self.inner.is_end_stream() {
            self.end();
        }
    }

    /// Says that it was all, once.
    fn end(&mut self) {
        if let Some(give) = self.to.take() {
            drop(give.to.send(Piece::End));
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Keeping<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Polling<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        ready!(this.poll_seat(cx));
        let next = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        match &next {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => {
                    this.give(data.clone());
                    this.end_if_over();
                }
                // Trailers are not kept, and so neither is what they belong to.
                None => this.to = None,
            },
            Some(Err(_)) => this.to = None,
            None => this.end(),
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Writes an answer down as it comes, and keeps it once it is whole. `length` is what was said of
/// its body.
pub(super) async fn write(
    (mut draft, mut search, length): (Draft, Search, Option<u64>),
    mut pieces: Pieces,
    seat: OwnedSemaphorePermit,
) {
    loop {
        let Some((batch, is_over)) = pieces.batch().await else {
            return;
        };
        let written = spawn_blocking(move || {
            let whole = batch.iter().try_fold(draft, |draft, (bytes, _)| {
                let holds_secret = search.finds(bytes);
                (!holds_secret).then(|| draft.write(bytes).ok()).flatten()
            });
            (whole, search)
        });
        let Ok((Some(next), searched)) = written.await else {
            return;
        };
        (draft, search) = (next, searched);
        if is_over {
            break;
        }
    }
    if length.is_none_or(|length| length == draft.written()) {
        // Where it cannot be kept it is asked for again.
        drop(spawn_blocking(move || draft.keep()).await);
    }
    drop(seat);
}

/// Bytes that are to be written, each with its place among those that wait.
type Batch = Vec<(Bytes, Option<OwnedSemaphorePermit>)>;

impl Pieces {
    /// Returns what there is to write, and whether that is the end; none when there will be none.
    async fn batch(&mut self) -> Option<(Batch, bool)> {
        let (mut batch, mut size) = (Batch::new(), 0);
        let mut next = Some(self.0.recv().await?);
        while let Some(piece) = next {
            let Piece::Bytes(bytes, seat) = piece else {
                return Some((batch, true));
            };
            size += bytes.len();
            batch.push((bytes, seat));
            next = (size < BATCH).then(|| self.0.try_recv().ok()).flatten();
        }
        Some((batch, false))
    }
}

/// Returns the body of a kept answer, piece by piece.
pub(in crate::egress) fn given(content: Content) -> UnsyncBoxBody<Bytes, io::Error> {
    let pieces = stream::try_unfold((content, 0), |(content, at)| async move {
        let (piece, content) = match content {
            Content::Small(_) => (content.piece(at), content),
            large => spawn_blocking(move || (large.piece(at), large))
                .await
                .map_err(io::Error::other)?,
        };
        let piece = piece?;
        let next = at + piece.len() as u64;
        Ok((!piece.is_empty()).then_some((Frame::data(piece), (content, next))))
    });
    StreamBody::new(pieces).boxed_unsync()
}
