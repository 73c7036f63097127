//! Bytes from one connection to another, counted and kept to the role's pace.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    limits::{Budget, Tally, Way},
    piece::Piece,
};

/// Bytes of one connection passed on so far, readable also after the copying failed or was dropped.
#[derive(Debug)]
pub(super) struct Meter {
    sent: AtomicU64,
    received: AtomicU64,
    waited_us: AtomicU64,
    budget: Arc<Budget>,
    tally: Arc<Tally>,
}

impl Meter {
    /// Makes one for a connection that takes its bytes from `budget`.
    pub(super) fn new(budget: Arc<Budget>, tally: Arc<Tally>) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            sent: zero(),
            received: zero(),
            waited_us: zero(),
            budget,
            tally,
        }
    }

    /// Waits until so many bytes may go, and counts them. Fails when the role has used up its bytes
    /// of the run.
    pub(super) async fn take(&self, way: Way, count: usize) -> io::Result<()> {
        self.wait(count).await?;
        self.count(way, count);
        Ok(())
    }

    async fn wait(&self, count: usize) -> io::Result<()> {
        let waited = self.budget.bytes(count).await?;
        let waited = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.waited_us.fetch_add(waited, Ordering::Relaxed);
        Ok(())
    }

    fn count(&self, way: Way, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.tally.bytes(way, count);
        let side = match way {
            Way::Out => &self.sent,
            Way::In => &self.received,
        };
        side.fetch_add(count, Ordering::Relaxed);
    }

    /// Passes bytes on once they may go: whoever sends more must wait with us. Fails when the role
    /// has used up its bytes of the run, and then passes none of them.
    pub(super) async fn pass(
        &self,
        way: Way,
        bytes: &[u8],
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        self.wait(bytes.len()).await?;
        to.write_all(bytes).await?;
        self.count(way, bytes.len());
        Ok(())
    }

    /// Bytes from the sandbox.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes to the sandbox.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// How long bytes waited because the role's minute was used up.
    pub(super) fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_us.load(Ordering::Relaxed))
    }
}

/// Copies both ways until both sides ended, each end passed on by itself; an error on either side
/// ends both.
pub(super) async fn splice(
    client: &mut TcpStream,
    upstream: &mut TcpStream,
    meter: &Meter,
) -> io::Result<()> {
    let (from_client, to_client) = client.split();
    let (from_upstream, to_upstream) = upstream.split();
    tokio::try_join!(
        pump(from_client, to_upstream, (meter, Way::Out)),
        pump(from_upstream, to_client, (meter, Way::In)),
    )?;
    Ok(())
}

/// Copies one way until the end, then ends the other side's reading.
pub(super) async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    (meter, way): (&Meter, Way),
) -> io::Result<()> {
    loop {
        let piece = Piece::read(&mut from).await?;
        if piece.is_empty() {
            return to.shutdown().await;
        }
        meter.pass(way, &piece, &mut to).await?;
    }
}
