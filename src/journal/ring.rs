//! How one key follows another: `journal.keys`, beside the key, has a line for each change.
//!
//! `{"format":1,"old":"…","new":"…","ts":"…","by_old":"…","by_new":"…"}`: both keys sign that one
//! follows the other, so whoever trusts either can trust the other. A key follows one key and is
//! followed by one; anything else is refused, for then somebody else had a key.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    str::FromStr,
};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, OFlags};
use serde::Deserialize;

use super::key::{self, Key, KeyError, PublicKey, Signature};
use crate::whole;

/// What a signature of a change of keys begins with.
const PURPOSE: &str = "loki journal key 1";
/// The file's name in the directory of settings.
const NAME: &str = "journal.keys";
/// The key that is about to be the one.
const NEXT: &str = "journal.key.next";
/// The most that is read of the file: some thousand changes.
const LARGEST: u64 = 1 << 20;

/// Why keys cannot be changed, or what is known of their changes not be read.
#[derive(Debug, thiserror::Error)]
#[expect(
    clippy::module_name_repetitions,
    reason = "an error is named after what failed"
)]
pub enum RingError {
    /// The key itself.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The operating system refused.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line is not one of a change of keys, signed by both.
    #[error("line {line} is not a change of keys that both keys signed")]
    Line {
        /// Which line, from 1.
        line: usize,
    },
    /// A key follows two, or is followed by two.
    #[error("line {line} gives a key a second successor or predecessor: somebody else had a key")]
    Forked {
        /// Which line, from 1.
        line: usize,
    },
    /// There is no key yet.
    #[error("there is no key to follow: `loki audit init` makes one")]
    Missing,
}

/// One key followed another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    /// The key before.
    pub old: PublicKey,
    /// The key from then on.
    pub new: PublicKey,
    /// When.
    pub ts: Timestamp,
    by_old: Signature,
    by_new: Signature,
}

/// The keys whose seals count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted {
    keys: Vec<PublicKey>,
    /// When each but the last was followed by the next.
    ended: Vec<(PublicKey, Timestamp)>,
}

impl Trusted {
    /// Returns whether a key is one of them.
    #[must_use]
    pub fn holds(&self, key: &PublicKey) -> bool {
        self.keys.contains(key)
    }

    /// The keys, oldest first.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// Returns when a key was followed by another; none for one that was not.
    #[must_use]
    pub fn ended(&self, key: &PublicKey) -> Option<Timestamp> {
        let mut ended = self.ended.iter();
        ended.find(|(one, _)| one == key).map(|(_, when)| *when)
    }
}

/// All changes of keys that are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ring {
    /// In the order they happened.
    pub handovers: Vec<Handover>,
}

impl Ring {
    /// Reads the changes in a directory of settings; none where there is no file.
    ///
    /// # Errors
    /// Names the line that is not a change of keys.
    pub fn open(settings: &Path) -> Result<Self, RingError> {
        let path = settings.join(NAME);
        let opened = File::options().read(true).custom_flags(flags()).open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(fail("open", &path, source)),
        };
        let mut text = String::new();
        file.take(LARGEST)
            .read_to_string(&mut text)
            .map_err(|source| fail("read", &path, source))?;
        Self::parse(&text)
    }

    /// Reads changes, one a line.
    ///
    /// # Errors
    /// Names the line that is not a change of keys.
    pub fn parse(text: &str) -> Result<Self, RingError> {
        let mut ring = Self::default();
        for (at, line) in text.lines().enumerate() {
            let line_number = at + 1;
            let parsed: Handover = line
                .parse()
                .map_err(|()| RingError::Line { line: line_number })?;
            let is_fork = |known: &Handover| known.old == parsed.old || known.new == parsed.new;
            if parsed.old == parsed.new || ring.handovers.iter().any(is_fork) {
                return Err(RingError::Forked { line: line_number });
            }
            ring.handovers.push(parsed);
        }
        Ok(ring)
    }

    /// Returns a key with all before and after it.
    #[must_use]
    pub fn around(&self, key: PublicKey) -> Trusted {
        let mut keys = vec![key];
        let (mut first, mut last) = (key, key);
        while let Some(one) = self.handovers.iter().find(|one| one.new == first)
            && !keys.contains(&one.old)
        {
            first = one.old;
            keys.insert(0, first);
        }
        while let Some(one) = self.handovers.iter().find(|one| one.old == last)
            && !keys.contains(&one.new)
        {
            last = one.new;
            keys.push(last);
        }
        let followed = self.handovers.iter().filter(|one| keys.contains(&one.old));
        let ended = followed.map(|one| (one.old, one.ts)).collect();
        Trusted { keys, ended }
    }
}

/// Puts a new key in the place of the one in use and returns the change. A change that was cut
/// short earlier is finished instead.
///
/// # Errors
/// When a key or the list of changes cannot be read or written.
pub fn rotate(settings: &Path, now: Timestamp) -> Result<Handover, RingError> {
    let path = settings.join(NAME);
    // Two changes at once would give one key two successors. The key is read by who has the turn:
    // one that was read before may by then have a successor already.
    let folder = match File::open(settings) {
        Ok(folder) => folder,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Err(RingError::Missing),
        Err(source) => return Err(fail("open", settings, source)),
    };
    rustix::fs::flock(&folder, FlockOperation::LockExclusive)
        .map_err(|errno| fail("lock", settings, errno.into()))?;
    let old = Key::open(settings)?.ok_or(RingError::Missing)?;
    let mut ring = Ring::open(settings)?;
    key::make(settings, NEXT)?;
    let next = Key::open_as(settings, NEXT)?.ok_or(RingError::Missing)?;
    let (before, after) = (old.public(), next.public());
    let said = ring.handovers.iter().find(|one| one.old == before);
    let handover = match said {
        Some(one) if one.new == after => one.clone(),
        Some(_) => {
            return Err(RingError::Forked {
                line: ring.handovers.len() + 1,
            });
        }
        None => {
            let handover = Handover::sign(&old, &next, now);
            ring.handovers.push(handover.clone());
            replace(settings, &ring).map_err(|source| fail("write", &path, source))?;
            handover
        }
    };
    let current = settings.join(key::NAME);
    whole::settle(&settings.join(NEXT), &current)
        .map_err(|source| fail("replace", &current, source))?;
    Ok(handover)
}

/// Writes the list of changes, whole or not at all.
fn replace(settings: &Path, ring: &Ring) -> io::Result<()> {
    let lines = ring
        .handovers
        .iter()
        .map(|handover| format!("{handover}\n"));
    let text: String = lines.collect();
    whole::replace(&settings.join(NAME), 0o600, text.as_bytes())
}

fn flags() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()
}

fn fail(doing: &'static str, path: &Path, source: io::Error) -> RingError {
    RingError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

impl Handover {
    fn sign(old: &Key, new: &Key, ts: Timestamp) -> Self {
        let signed = body(&old.public(), &new.public(), ts);
        Self {
            old: old.public(),
            new: new.public(),
            ts,
            by_old: old.sign(PURPOSE, signed.as_bytes()),
            by_new: new.sign(PURPOSE, signed.as_bytes()),
        }
    }
}

/// The bytes that both sign.
fn body(old: &PublicKey, new: &PublicKey, ts: Timestamp) -> String {
    format!("{{\"format\":1,\"old\":\"{old}\",\"new\":\"{new}\",\"ts\":\"{ts:.6}\"}}")
}

impl std::fmt::Display for Handover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = body(&self.old, &self.new, self.ts);
        let open = body.strip_suffix('}').unwrap_or(&body);
        let (by_old, by_new) = (self.by_old, self.by_new);
        write!(
            f,
            "{open},\"by_old\":\"{by_old}\",\"by_new\":\"{by_new}\"}}"
        )
    }
}

impl FromStr for Handover {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Line {
            #[serde(rename = "format")]
            _format: u64,
            old: String,
            new: String,
            ts: Timestamp,
            by_old: String,
            by_new: String,
        }
        let line: Line = serde_json::from_str(text).map_err(drop)?;
        let handover = Self {
            old: line.old.parse().map_err(drop)?,
            new: line.new.parse().map_err(drop)?,
            ts: line.ts,
            by_old: line.by_old.parse().map_err(drop)?,
            by_new: line.by_new.parse().map_err(drop)?,
        };
        let signed = body(&handover.old, &handover.new, handover.ts);
        let signed = signed.as_bytes();
        let fits = handover.to_string() == text
            && handover
                .old
                .verify(PURPOSE, signed, &handover.by_old)
                .is_ok()
            && handover
                .new
                .verify(PURPOSE, signed, &handover.by_new)
                .is_ok();
        fits.then_some(handover).ok_or(())
    }
}
