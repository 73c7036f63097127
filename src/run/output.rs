//! What a program in a sandbox says: kept in a log file up to a cap, with the last bytes of each
//! stream in memory. It reads no faster than it writes and keeps no more than that, however much
//! is said; what ends a program before its own end comes in as a future.

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
    time::timeout,
};

use crate::{
    event::{Limit, Overrun},
    link::{LinkError, Process, Streams},
    provider::Reader,
    redact::Redactor,
    sandbox::Spoken,
};

use super::spending::SoFar;

/// How many last bytes of each stream are kept in memory: a verdict or a test summary fits.
const TAIL: usize = 64 * 1024;
/// Bytes of an output that go into an event: a journal's line has a cap, and escapes make text
/// longer.
const TAIL_TEXT: usize = 8 * 1024;
/// How long output may still arrive after the program ended: a child left behind could hold its
/// streams open for ever.
const DRAIN: Duration = Duration::from_millis(300);

/// What takes a program's output: a log on the disk, with a cap, and a count of everything.
pub(super) struct Log {
    file: Mutex<File>,
    cap: u64,
    spoken: Spoken,
    over: Notify,
    mask: Redactor,
}

impl Log {
    /// Opens the file for appending, of which at most `cap` further bytes are kept.
    pub(super) fn open(path: &Path, cap: u64) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        Ok(Self {
            file: Mutex::new(File::options().append(true).create(true).open(path)?),
            cap,
            spoken: Spoken::default(),
            over: Notify::new(),
            mask: Redactor::default(),
        })
    }

    /// Has secret values masked before anything is kept, in the log or in memory.
    pub(super) fn masked(self, mask: Redactor) -> Self {
        Self { mask, ..self }
    }

    /// Counts everything that was said.
    pub(super) fn spoken(&self) -> &Spoken {
        &self.spoken
    }

    /// Keeps what still fits. A log that cannot be written does not stop an agent.
    fn keep(&self, bytes: &[u8]) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let said = self.spoken.add(bytes.len());
        let left = self.cap.saturating_sub(said - bytes.len() as u64);
        let fits = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let (kept, cut) = bytes.split_at(fits);
        file.write_all(kept).ok();
        if !cut.is_empty() {
            self.over.notify_one();
        }
    }

    /// Says in the log why it ends here.
    pub(super) fn cut(&self, over: &Overrun) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(file, "\n[loki: ended here, {over}]").ok();
    }

    /// Resolves once more was said than is kept.
    async fn overrun(&self) -> Overrun {
        self.over.notified().await;
        Overrun {
            limit: Limit::Log,
            allowed: self.cap,
            seen: self.spoken.add(0),
        }
    }
}

/// What a program said, and how it ended.
pub(super) struct Heard {
    /// How it ended.
    pub(super) end: End,
    /// Last bytes of its stdout.
    pub(super) stdout: Vec<u8>,
    /// Last bytes of its stderr.
    pub(super) stderr: Vec<u8>,
}

/// What a program is told, and who listens to its standard output besides the log.
pub(super) struct Talk<'a> {
    /// Its input.
    pub(super) input: &'a [u8],
    /// Hears all of its standard output.
    pub(super) reader: Option<&'a mut dyn Reader>,
    /// Told what the reader has heard of spending.
    pub(super) so_far: Option<&'a SoFar>,
}

impl<'a> From<&'a [u8]> for Talk<'a> {
    fn from(input: &'a [u8]) -> Self {
        Self {
            input,
            reader: None,
            so_far: None,
        }
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, with this exit code, 128 + n for signal n.
    Exited(i32),
    /// Not yet, but it passed a cap.
    Overrun(Overrun),
}

/// Feeds a program its input and listens until it ends, says more than its log keeps, or `overrun`
/// resolves. A program that passed a cap still runs when this returns.
pub(super) async fn listen(
    process: Process,
    talk: Talk<'_>,
    log: &Log,
    overrun: impl Future<Output = Overrun>,
) -> Result<Heard, LinkError> {
    let Talk {
        input,
        mut reader,
        so_far,
    } = talk;
    let hear = |bytes: &[u8]| {
        if let Some(reader) = &mut reader {
            reader.read(bytes);
            if let Some(so_far) = so_far {
                so_far.set(reader.so_far());
            }
        }
    };
    let (
        Streams {
            stdin,
            stdout,
            stderr,
        },
        ended,
    ) = process.split();
    let (out, err) = (Mutex::new(VecDeque::new()), Mutex::new(VecDeque::new()));
    let end = {
        let pumps = async {
            tokio::join!(
                pump(stdout, log, &out, hear),
                pump(stderr, log, &err, |_| {})
            )
        };
        let ended = async {
            let (exit, ()) = tokio::join!(ended.wait(), feed(stdin, input));
            exit
        };
        tokio::pin!(pumps);
        let mut open = true;
        let exit = async {
            tokio::select! { exit = ended => exit, never = drained(&mut pumps, &mut open) => never }
        };
        let end = tokio::select! {
            exit = exit => End::Exited(exit?.code),
            over = log.overrun() => End::Overrun(over),
            over = overrun => End::Overrun(over),
        };
        if open && matches!(end, End::Exited(_)) {
            // Only late output of a child left behind is lost when this times out.
            timeout(DRAIN, &mut pumps).await.ok();
        }
        end
    };
    let bytes = |tail: Mutex<VecDeque<u8>>| {
        tail.into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .into()
    };
    Ok(Heard {
        end,
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

async fn feed(stdin: Option<impl AsyncWrite + Unpin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        // A program may end without reading its brief; it is judged by what it did.
        stdin.write_all(input).await.ok();
    }
}

/// Reads a stream to its end into the log and a tail; `hear` is told of all of it.
async fn pump(
    mut stream: impl AsyncRead + Unpin,
    log: &Log,
    tail: &Mutex<VecDeque<u8>>,
    mut hear: impl FnMut(&[u8]),
) {
    let mut keep = |bytes: &[u8]| {
        log.keep(bytes);
        hear(bytes);
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(bytes);
        let over = tail.len().saturating_sub(TAIL);
        tail.drain(..over);
    };
    let mut mask = log.mask.stream();
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        keep(&mask.push(buffer.split_at(count).0));
    }
    keep(&mask.finish());
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
    async fn a_log_stops_at_its_cap_says_so_and_the_tail_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/log");
        let log = Log::open(&path, 10).unwrap();
        let tail = Mutex::new(VecDeque::new());
        let flood = vec![b'x'; 200_000];
        pump(flood.as_slice(), &log, &tail, |_| {}).await;
        assert_eq!(tail.into_inner().unwrap().len(), TAIL);
        let over = log.overrun().await;
        assert_eq!(
            (over.limit, over.allowed, over.seen),
            (Limit::Log, 10, 200_000)
        );
        log.cut(&over);
        let kept = std::fs::read_to_string(path).unwrap();
        assert!(
            kept.starts_with("xxxxxxxxxx\n[loki: ended here, it printed"),
            "{kept}"
        );
        assert!(kept.len() < 120, "{kept}");
    }

    #[tokio::test]
    async fn a_log_that_is_just_full_is_no_overrun() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(&directory.path().join("log"), 10).unwrap();
        log.keep(b"0123456789");
        timeout(Duration::from_millis(5), log.overrun())
            .await
            .unwrap_err();
        log.keep(b"!");
        assert_eq!(log.overrun().await.seen, 11);
    }

    #[test]
    fn last_lines_are_the_last() {
        assert_eq!(last_lines(b"a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines(b"", 2), "");
        let long = "é".repeat(TAIL_TEXT);
        assert_eq!(last_lines(long.as_bytes(), 2).len(), TAIL_TEXT);
    }
}
