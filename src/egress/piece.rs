//! Room for bytes on their way: taken when some have come, given back when they are gone, so that a
//! connection on which nothing happens holds none.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    ops::{Deref, Range},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes of a piece.
pub(super) const MOST: usize = 64 * 1024;
/// Rooms that a thread keeps for the next pieces.
const SPARE: usize = 8;

thread_local! {
    static ROOMS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that were read at once.
#[derive(Debug)]
pub(super) struct Piece {
    room: Vec<u8>,
    left: Range<usize>,
}

impl Piece {
    fn empty() -> Self {
        let room = ROOMS.with_borrow_mut(Vec::pop);
        Self {
            room: room.unwrap_or_else(|| vec![0; MOST]),
            left: 0..0,
        }
    }

    /// Reads what is there; an empty piece at the end of the stream.
    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        poll_fn(|cx| Self::poll_read(Pin::new(from), cx)).await
    }

    /// Reads what is there; an empty piece at the end of the stream.
    pub(super) fn poll_read(
        from: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Self>> {
        let mut piece = Self::empty();
        let mut buffer = ReadBuf::new(&mut piece.room);
        ready!(from.poll_read(cx, &mut buffer))?;
        piece.left = 0..buffer.filled().len();
        Poll::Ready(Ok(piece))
    }

    /// Moves as many bytes as fit.
    fn give(&mut self, to: &mut ReadBuf<'_>) {
        let count = self.len().min(to.remaining());
        to.put_slice(&self[..count]);
        self.left.start += count;
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.room[self.left.clone()]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let room = std::mem::take(&mut self.room);
        // A thread that ends has no use for it.
        ROOMS
            .try_with(|rooms| {
                let mut rooms = rooms.borrow_mut();
                if rooms.len() < SPARE {
                    rooms.push(room);
                }
            })
            .ok();
    }
}

/// A connection that is read in whole pieces, however little is asked for at once: TLS asks for a
/// quarter of a record. Some bytes may have been read before.
#[derive(Debug)]
pub(super) struct Ahead<S> {
    first: Vec<u8>,
    held: Option<Piece>,
    stream: S,
}

impl<S> Ahead<S> {
    /// Wraps a stream of which `first` has been read already.
    pub(super) fn new(first: Vec<u8>, stream: S) -> Self {
        Self {
            first,
            held: None,
            stream,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Ahead<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.first.is_empty() {
            let count = this.first.len().min(to.remaining());
            to.put_slice(&this.first[..count]);
            this.first.drain(..count);
            return Poll::Ready(Ok(()));
        }
        let piece = match &mut this.held {
            Some(piece) => piece,
            None => {
                let piece = ready!(Piece::poll_read(Pin::new(&mut this.stream), cx))?;
                this.held.insert(piece)
            }
        };
        piece.give(to);
        if piece.is_empty() {
            this.held = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ahead<S> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(future)
    }

    proptest! {
        #[test]
        fn reading_ahead_changes_no_byte(
            first in prop::collection::vec(any::<u8>(), 0..40),
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..3000), 0..8),
            asked in 1usize..5000,
        ) {
            let all = [first.clone(), parts.concat()].concat();
            let read = block_on(async {
                let (mut theirs, ours) = duplex(4096);
                let mut ahead = Ahead::new(first, ours);
                let write = async {
                    for part in &parts {
                        theirs.write_all(part).await.unwrap();
                    }
                    theirs.shutdown().await.unwrap();
                };
                let read = async {
                    let (mut all, mut some) = (Vec::new(), vec![0; asked]);
                    loop {
                        match ahead.read(&mut some).await.unwrap() {
                            0 => return all,
                            count => all.extend_from_slice(&some[..count]),
                        }
                    }
                };
                tokio::join!(write, read).1
            });
            prop_assert_eq!(read, all);
        }
    }

    #[test]
    fn a_connection_that_is_silent_holds_no_room_and_threads_keep_few() {
        block_on(async {
            let (mut theirs, ours) = duplex(4096);
            let mut ahead = Ahead::new(Vec::new(), ours);
            theirs.write_all(b"some").await.unwrap();
            ahead.read_exact(&mut [0; 4]).await.unwrap();
            assert!(ahead.held.is_none());
            let many: Vec<Piece> = (0..3 * SPARE).map(|_| Piece::empty()).collect();
            drop(many);
            assert_eq!(ROOMS.with_borrow(Vec::len), SPARE);
        });
    }

    #[test]
    fn a_piece_never_shows_what_its_room_held_before() {
        block_on(async {
            let mut long = &[7; 100][..];
            assert_eq!(*Piece::read(&mut long).await.unwrap(), [7; 100]);
            let mut short = &b"ab"[..];
            assert_eq!(*Piece::read(&mut short).await.unwrap(), *b"ab");
            assert!(Piece::read(&mut short).await.unwrap().is_empty());
        });
    }
}
