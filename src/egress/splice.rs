//! Bytes from one connection to another, counted.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

/// Bytes of one copy buffer; each direction of a connection has one.
pub(super) const BUFFER: usize = 64 * 1024;

/// Bytes passed on so far, readable also after the copying failed or was dropped.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// From the sandbox.
    pub(super) sent: AtomicU64,
    /// To the sandbox.
    pub(super) received: AtomicU64,
}

/// Adds `count` bytes to one side of a [`Meter`].
pub(super) fn add(side: &AtomicU64, count: usize) {
    side.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
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
        pump(from_client, to_upstream, &meter.sent),
        pump(from_upstream, to_client, &meter.received),
    )?;
    Ok(())
}

/// Copies one way until the end, then ends the other side's reading.
pub(super) async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        add(count, read);
    }
}
