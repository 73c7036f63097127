//! What tests of kept answers stand on: servers that count, a clock that the test sets, and a look
//! at what is kept.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use tempfile::TempDir;
use tokio::time::Instant;

use super::{
    inspect_lab::{Secure, Served, policy, secrets, secure, until},
    lab::{Lab, PATIENCE, Table},
};
use crate::{
    egress::{Answers, Clock, Limits, Room, Threads},
    policy::{Egress, Rates, RequestRule},
    redact::{Redactor, Values},
};

/// A server that counts what it is asked.
pub(super) struct Counted {
    pub(super) secure: Secure,
    asked: Arc<AtomicUsize>,
}

impl Counted {
    /// Returns how many requests reached the server.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A server that writes what `answer` says to the nth request head, from 0, and says whether more
/// may come on the connection.
pub(super) fn speaking(
    answer: impl Fn(usize, &str, &mut Served<'_>) -> io::Result<bool> + Send + Sync + 'static,
) -> Counted {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let secure = secure(move |stream| {
        let mut heard = Vec::new();
        loop {
            let head = until(stream, b"\r\n\r\n").unwrap_or_default();
            if head.is_empty() {
                return Ok(heard);
            }
            let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
            heard.extend(head);
            let n = count.fetch_add(1, Ordering::SeqCst);
            if !answer(n, &text, stream)? {
                return Ok(heard);
            }
            stream.flush()?;
        }
    });
    Counted { secure, asked }
}

/// A server that answers with these headers, and a body that tells how often it was asked.
pub(super) fn counted(headers: &'static str) -> Counted {
    speaking(move |n, head, stream| {
        let body = format!("answer {n}");
        let sent = if head.starts_with("head ") { "" } else { &body };
        write!(
            stream,
            "HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n{sent}",
            body.len()
        )?;
        Ok(true)
    })
}

/// A rule that lets answers be given again for an hour.
pub(super) fn hour() -> RequestRule {
    RequestRule {
        cache: Some(Duration::from_secs(3600)),
        ..RequestRule::default()
    }
}

/// Where answers are kept, and the time there.
pub(super) struct Keeping {
    pub(super) state: TempDir,
    now: Arc<AtomicU64>,
}

impl Keeping {
    pub(super) fn new() -> Self {
        Self {
            state: TempDir::new().unwrap(),
            now: Arc::new(AtomicU64::new(1_000_000_000)),
        }
    }

    /// Lets time pass, in seconds.
    pub(super) fn pass(&self, seconds: u64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Opens what is kept.
    pub(super) fn open(&self, room: Room, secrets: &[(&str, &str)]) -> Answers {
        let now = Arc::clone(&self.now);
        let clock: Clock = Arc::new(move || {
            SystemTime::UNIX_EPOCH + Duration::from_secs(now.load(Ordering::SeqCst))
        });
        let values: Values = secrets
            .iter()
            .map(|(name, value)| {
                (
                    (*name).to_owned(),
                    zeroize::Zeroizing::new((*value).to_owned()),
                )
            })
            .collect();
        Answers::open(
            (&self.state.path().join(".loki"), room),
            &self.key(),
            Redactor::new(&values),
            clock,
        )
        .unwrap()
    }

    /// The file of the key.
    pub(super) fn key(&self) -> PathBuf {
        self.state.path().join("own/answers.key")
    }

    /// A gateway of a role that keeps answers here.
    pub(super) fn lab(&self, role: &str, egress: Egress) -> Lab {
        self.within((role, Room::default()), egress, Rates::default())
    }

    pub(super) fn within(&self, (role, room): (&str, Room), egress: Egress, rates: Rates) -> Lab {
        let threads = Arc::new(Threads::start().unwrap());
        threads.keep(self.open(room, &[("OTHER", "sk-other-0123456789")]));
        let limits = Limits {
            turn: Duration::from_millis(50),
            ..Limits::default()
        };
        let given = (egress, Table::default());
        Lab::of_role(role, threads, given, (secrets(), (limits, rates)))
    }

    /// A gateway of `eng-backend` to a server, with a rule.
    pub(super) fn to(&self, server: &Counted, part: RequestRule) -> Lab {
        self.lab("eng-backend", policy(&server.secure, part))
    }

    /// The directory of kept answers.
    pub(super) fn research(&self) -> PathBuf {
        self.state.path().join(".loki/cache/research")
    }

    /// Returns the files of all answers that are kept.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let within = |path: &Path| {
            std::fs::read_dir(path)
                .into_iter()
                .flatten()
                .map(|entry| entry.unwrap().path())
                .collect::<Vec<_>>()
        };
        let roles = within(&self.research());
        let roles = roles.iter().filter(|role| !role.ends_with(".unfinished"));
        let places: Vec<PathBuf> = roles.flat_map(|role| within(role)).collect();
        places.iter().flat_map(|place| within(place)).collect()
    }

    /// Waits until nothing is being written any more, and returns what is kept.
    pub(super) fn settled(&self) -> Vec<PathBuf> {
        let end = Instant::now() + PATIENCE;
        let unfinished = self.research().join(".unfinished");
        while std::fs::read_dir(&unfinished).unwrap().next().is_some() {
            assert!(Instant::now() < end, "something is still being written");
            std::thread::yield_now();
        }
        self.files()
    }

    /// Waits until so many answers are kept.
    pub(super) fn kept(&self, count: usize) -> Vec<PathBuf> {
        let end = Instant::now() + PATIENCE;
        loop {
            let files = self.settled();
            if files.len() == count {
                return files;
            }
            assert!(Instant::now() < end, "kept: {files:?}");
            std::thread::yield_now();
        }
    }
}

/// Returns the body of an answer.
pub(super) fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("an HTTP answer").1
}

/// Returns a header of an answer, in lower case.
pub(super) fn field(answer: &str, name: &str) -> Option<String> {
    let head = answer.split_once("\r\n\r\n")?.0.to_ascii_lowercase();
    head.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        (field == name).then(|| value.trim().to_owned())
    })
}
