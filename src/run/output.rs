//! What a program in a sandbox says: kept in a log file up to a cap, with the last bytes of each
//! stream in memory; and when it has been silent or running for too long.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Notify,
    time::{sleep, timeout},
};

use crate::link::{LinkError, Process, Streams};

/// How many last bytes of each stream are kept in memory: a verdict or a test summary fits.
const TAIL: usize = 64 * 1024;
/// Bytes of an output that go into an event: a journal's line has a cap, and escapes make text
/// longer.
const TAIL_TEXT: usize = 8 * 1024;
/// How long output may still arrive after the program ended: a child left behind could hold its
/// streams open for ever.
const DRAIN: Duration = Duration::from_millis(300);

/// The log of one attempt or check.
pub(super) struct Log {
    file: File,
    left: u64,
}

impl Log {
    /// Opens the file for appending, of which at most `cap` further bytes are kept.
    pub(super) fn open(path: &Path, cap: u64) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        Ok(Self {
            file: File::options().append(true).create(true).open(path)?,
            left: cap,
        })
    }

    /// Keeps what still fits. A log that cannot be written does not stop an agent.
    fn keep(&mut self, bytes: &[u8]) {
        let fits = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let (kept, cut) = bytes.split_at(fits);
        self.left -= fits as u64;
        self.file.write_all(kept).ok();
        if fits > 0 && !cut.is_empty() {
            self.file
                .write_all(b"\n[loki: the log is cut here, its cap is reached]\n")
                .ok();
        }
    }
}

/// How long a program may run, and how long it may be silent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Wall clock.
    pub(super) whole: Duration,
    /// Between two outputs.
    pub(super) silent: Duration,
}

/// What a program said, and how it ended.
pub(super) struct Heard {
    /// Exit code, 128 + n for signal n.
    pub(super) code: i32,
    /// Why it was ended before its own end.
    pub(super) cut: Option<String>,
    /// Last bytes of its stdout.
    pub(super) stdout: Vec<u8>,
    /// Last bytes of its stderr.
    pub(super) stderr: Vec<u8>,
}

/// Feeds a program its input and listens until it ends or patience does. A program that is cut
/// short still runs when this returns; its sandbox is about to end.
pub(super) async fn listen(
    process: Process,
    input: &[u8],
    log: Log,
    patience: Patience,
) -> Result<Heard, LinkError> {
    let (
        Streams {
            stdin,
            stdout,
            stderr,
        },
        ended,
    ) = process.split();
    let (log, heard) = (Mutex::new(log), Notify::new());
    let (out, err) = (Mutex::new(VecDeque::new()), Mutex::new(VecDeque::new()));
    let ended = {
        let pumps = async {
            tokio::join!(
                pump(stdout, &log, &out, &heard),
                pump(stderr, &log, &err, &heard)
            )
        };
        let end = async {
            let (exit, ()) = tokio::join!(ended.wait(), feed(stdin, input));
            exit
        };
        tokio::pin!(pumps);
        let mut open = true;
        let ended = tokio::select! {
            exit = async { tokio::select! { exit = end => exit, never = drained(&mut pumps, &mut open) => never } } => Some(exit?),
            () = sleep(patience.whole) => None,
            () = silence(&heard, patience.silent) => None,
        };
        if open && ended.is_some() {
            // Only late output of a child left behind is lost when this times out.
            timeout(DRAIN, &mut pumps).await.ok();
        }
        ended
    };
    let bytes = |tail: Mutex<VecDeque<u8>>| {
        tail.into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .into()
    };
    Ok(Heard {
        code: ended.as_ref().map_or(137, |exit| exit.code),
        cut: ended.is_none().then(|| patience.to_string()),
        stdout: bytes(out),
        stderr: bytes(err),
    })
}

/// Drives the pumps to their end, then waits for ever: only an exit ends a program.
async fn drained<F: Future + Unpin>(pumps: &mut F, open: &mut bool) -> ! {
    pumps.await;
    *open = false;
    std::future::pending().await
}

impl std::fmt::Display for Patience {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, silent) = (self.whole.as_secs(), self.silent.as_secs());
        write!(
            f,
            "it was ended: it ran for {whole} s or was silent for {silent} s, which is its limit"
        )
    }
}

async fn feed(stdin: Option<impl AsyncWrite + Unpin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        // A program may end without reading its brief; it is judged by what it did.
        stdin.write_all(input).await.ok();
    }
}

/// Reads a stream to its end into the log and a tail.
async fn pump(
    mut stream: impl AsyncRead + Unpin,
    log: &Mutex<Log>,
    tail: &Mutex<VecDeque<u8>>,
    heard: &Notify,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let (bytes, _) = buffer.split_at(count);
        heard.notify_one();
        log.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keep(bytes);
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(bytes);
        let over = tail.len().saturating_sub(TAIL);
        tail.drain(..over);
    }
}

/// Resolves once nothing was heard for `limit`.
async fn silence(heard: &Notify, limit: Duration) {
    while timeout(limit, heard.notified()).await.is_ok() {}
}

/// Returns the last lines of an output as text fit for a journal or a brief.
pub(super) fn last_lines(bytes: &[u8], lines: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let all: Vec<&str> = text.trim_end().lines().collect();
    let tail = all[all.len().saturating_sub(lines)..].join("\n");
    let over = tail.len().saturating_sub(TAIL_TEXT);
    let from = (over..=tail.len()).find(|&at| tail.is_char_boundary(at));
    tail.get(from.unwrap_or(0)..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_log_stops_at_its_cap_and_the_tail_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/log");
        let log = Mutex::new(Log::open(&path, 10).unwrap());
        let tail = Mutex::new(VecDeque::new());
        let flood = vec![b'x'; 200_000];
        pump(flood.as_slice(), &log, &tail, &Notify::new()).await;
        assert_eq!(tail.into_inner().unwrap().len(), TAIL);
        let kept = std::fs::read_to_string(path).unwrap();
        assert!(kept.starts_with("xxxxxxxxxx\n[loki"), "{kept}");
        assert!(kept.len() < 100, "{kept}");
    }

    #[test]
    fn last_lines_are_the_last() {
        assert_eq!(last_lines(b"a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines(b"", 2), "");
        let long = "é".repeat(TAIL_TEXT);
        assert_eq!(last_lines(long.as_bytes(), 2).len(), TAIL_TEXT);
    }
}
