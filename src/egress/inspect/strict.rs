//! Reads HTTP/1 before the library does, and lets through only what every reader reads alike.
//!
//! The library forgives bare line feeds, lengths beside chunks and the like, as the field's servers
//! do. Here each head and each chunk passes [`http`](super::super::http) first; of a request that
//! fails, nothing is let through, and the library is given an empty request in its place, which is
//! answered with the reason.

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::super::http::{BadRequest, Follow, head, head_end};

/// Longest head read.
const HEAD_MAX: usize = 64 * 1024;
/// Bytes read at once.
const READ: usize = 16 * 1024;
/// What stands in for a request that is not let through.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nHost: refused.invalid\r\n\r\n";

/// What the reader tells whoever answers its requests.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The number of the request that is not let through, from 0, and why.
    refused: Mutex<Option<(u64, BadRequest)>>,
    /// Requests taken up so far.
    taken: AtomicU64,
    /// The connection speaks HTTP no more.
    raw: AtomicBool,
    /// Why a body broke off.
    broken: Mutex<Option<BadRequest>>,
}

impl Reading {
    /// Takes up the next request; an error when it is only a stand-in.
    pub(super) fn next(&self) -> Result<(), BadRequest> {
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        match *lock(&self.refused) {
            Some((refused, why)) if refused == number => Err(why),
            _ => Ok(()),
        }
    }

    /// Lets everything through from now on.
    pub(super) fn end_http(&self) {
        self.raw.store(true, Ordering::Relaxed);
    }

    /// Returns why the body of the last request broke off, if it did.
    pub(super) fn broken(&self) -> Option<BadRequest> {
        *lock(&self.broken)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client's stream whose reading side is checked.
pub(super) struct Strict<S> {
    stream: S,
    reading: Arc<Reading>,
    patience: Duration,
    /// Read from the client; the first `clear` bytes of it may be passed on.
    bytes: Vec<u8>,
    clear: usize,
    stage: Stage,
    /// Requests let through or refused.
    heads: u64,
    /// When a head that has begun must be whole.
    late: Option<Pin<Box<Sleep>>>,
}

enum Stage {
    /// Before the end of a head, so many bytes looked at.
    Head(usize),
    Body(Follow),
    /// Nothing more is read.
    Over,
}

impl<S> Strict<S> {
    /// Wraps a stream whose heads must each come within `patience` of their first byte.
    pub(super) fn new(stream: S, patience: Duration) -> (Self, Arc<Reading>) {
        let reading = Arc::new(Reading::default());
        let strict = Self {
            stream,
            reading: Arc::clone(&reading),
            patience,
            bytes: Vec::new(),
            clear: 0,
            stage: Stage::Head(0),
            heads: 0,
            late: None,
        };
        (strict, reading)
    }

    fn refuse(&mut self, why: BadRequest) {
        *lock(&self.reading.refused) = Some((self.heads, why));
        self.bytes = STAND_IN.to_vec();
        self.clear = self.bytes.len();
        self.stage = Stage::Over;
        self.late = None;
    }

    /// Looks at what was read and clears at most one message.
    fn look(&mut self) -> io::Result<()> {
        if self.reading.raw.load(Ordering::Relaxed) {
            self.clear = self.bytes.len();
            return Ok(());
        }
        match &mut self.stage {
            Stage::Head(seen) => {
                let from = std::mem::replace(seen, self.bytes.len());
                match head_end(&self.bytes, from) {
                    Some(end) => self.head(end),
                    None if bare_line_feed(&self.bytes, from) => {
                        self.refuse(BadRequest("its head holds a bare line end"));
                    }
                    None if self.bytes.len() < HEAD_MAX => {}
                    None => self.refuse(BadRequest("its head is too long")),
                }
                Ok(())
            }
            Stage::Body(follow) => match follow.feed(&self.bytes) {
                Ok(taken) => {
                    self.clear = taken;
                    if follow.done() {
                        self.stage = Stage::Head(0);
                    }
                    Ok(())
                }
                Err(why) => {
                    *lock(&self.reading.broken) = Some(why);
                    self.stage = Stage::Over;
                    Err(io::Error::new(io::ErrorKind::InvalidData, why))
                }
            },
            Stage::Over => Ok(()),
        }
    }

    fn head(&mut self, end: usize) {
        match head(&self.bytes[..end]) {
            Err(why) => self.refuse(why),
            Ok(head) => {
                let follow = Follow::new(head.body);
                self.heads += 1;
                self.late = None;
                self.clear = end;
                self.stage = match follow.done() {
                    true => Stage::Head(0),
                    false => Stage::Body(follow),
                };
            }
        }
    }

    /// Passes cleared bytes on; false when there are none.
    fn give(&mut self, to: &mut ReadBuf<'_>) -> bool {
        let count = self.clear.min(to.remaining());
        to.put_slice(&self.bytes[..count]);
        self.bytes.drain(..count);
        self.clear -= count;
        count > 0
    }
}

/// Returns whether a line feed without its carriage return is among `bytes`, from `from` on. A head
/// that ends with one would else be waited for in vain.
fn bare_line_feed(bytes: &[u8], from: usize) -> bool {
    let from = from.saturating_sub(1);
    let ends = bytes.iter().enumerate().skip(from);
    ends.filter(|(_, byte)| **byte == b'\n')
        .any(|(at, _)| at == 0 || bytes[at - 1] != b'\r')
}

impl<S: AsyncRead + Unpin> Strict<S> {
    /// Reads more; `Ready(0)` at the end of the stream.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.bytes.reserve(READ);
        // Holds nothing between two polls: what was read is in `bytes`.
        pin!(self.stream.read_buf(&mut self.bytes)).poll(cx)
    }

    /// Bounds the wait for a head that has begun.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !matches!(self.stage, Stage::Head(_)) || self.bytes.is_empty() {
            return Poll::Pending;
        }
        let patience = self.patience;
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(late.as_mut().poll(cx));
        self.refuse(BadRequest("its head did not come in time"));
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Strict<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.clear == 0 && !this.bytes.is_empty() {
                this.look()?;
            }
            if to.remaining() == 0 || this.give(to) {
                return Poll::Ready(Ok(()));
            }
            // The answer to the stand-in closes the connection; an end would cut the answer off.
            if matches!(this.stage, Stage::Over) {
                return Poll::Pending;
            }
            match this.fill(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => ready!(this.wait(cx)),
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Strict<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
