//! One kept answer as a file: what it is, how it is written, and how it is checked.
//!
//! ```text
//! loki-answer 1
//! <64 hexadecimal digits: what vouches for its place and all that follows>
//! <one line of JSON: the head of the answer>
//! <the body>
//! ```
//!
//! A file is written under another name and gets its own only once it is whole. What vouches for it
//! covers the question as well: the same bytes in another place are believed nowhere.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::{FileExt, MetadataExt},
    sync::Arc,
    time::{Duration, SystemTime},
};

use hmac::{Hmac, Mac};
use hyper::{
    HeaderMap, StatusCode,
    body::Bytes,
    header::{HeaderName, HeaderValue},
};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{
    asked::Asked,
    key::{Key, hex},
    semantics::HEAD,
    shelf::{Shelf, Unfinished},
};

const MAGIC: &str = "loki-answer 1";
/// Bytes of the two first lines.
const FRONT: usize = MAGIC.len() + 1 + 64 + 1;
/// Bytes of a body that are given from memory: they were just read to be checked.
const SMALL: u64 = 256 << 10;
const BUFFER: usize = 64 << 10;

/// The head of a kept answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::egress) struct Meta {
    pub(super) apart: String,
    /// Which wishes it depends on, with their fingerprints.
    pub(super) varied: Vec<(String, String)>,
    /// When it came or was last confirmed, in milliseconds since 1970.
    made: u64,
    pub(super) status: u16,
    headers: Vec<(String, String)>,
}

impl Meta {
    /// Takes the head of an answer; none when it cannot be written down.
    pub(super) fn new(
        (status, headers): (StatusCode, &HeaderMap),
        asked: &Asked,
        (varied, now): (Vec<(String, String)>, SystemTime),
    ) -> Option<Self> {
        let made = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            Some((name.to_string(), value.to_str().ok()?.to_owned()))
        };
        let headers: Option<Vec<_>> = headers.iter().map(line).collect();
        let meta = Self {
            apart: asked.apart.clone(),
            varied,
            made: u64::try_from(made.as_millis()).ok()?,
            status: status.as_u16(),
            headers: headers?,
        };
        (meta.line().len() <= HEAD).then_some(meta)
    }

    pub(super) fn made(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.made)
    }

    /// Returns the header fields.
    pub(in crate::egress) fn headers(&self) -> HeaderMap {
        let pair = |(name, value): &(String, String)| {
            let name = name.parse::<HeaderName>().ok()?;
            Some((name, HeaderValue::from_str(value).ok()?))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers.iter().filter_map(pair) {
            headers.append(name, value);
        }
        headers
    }

    /// Returns the status; none of a number that is none.
    pub(in crate::egress) fn status(&self) -> Option<StatusCode> {
        StatusCode::from_u16(self.status).ok()
    }

    /// Returns it as one line of JSON.
    pub(super) fn line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("texts and numbers always serialize");
        line.push('\n');
        line
    }

    /// Names the file: answers that the same questions get have the same.
    pub(super) fn name(&self) -> String {
        use sha2::Digest;
        let mut digest = Sha256::new();
        digest.update(&self.apart);
        for (name, value) in &self.varied {
            digest.update(format!("\n{name}:{value}"));
        }
        hex(&digest.finalize())
    }
}

/// The body of a kept answer that was checked.
#[derive(Debug, Clone)]
pub(in crate::egress) enum Content {
    /// In memory.
    Small(Bytes),
    /// In its file, from here, so many bytes.
    Large {
        /// The file as it was checked, whatever has its name now.
        file: Arc<File>,
        /// Where the body begins.
        from: u64,
        /// Its length.
        length: u64,
    },
}

impl Content {
    /// Returns its length in bytes.
    pub(in crate::egress) fn length(&self) -> u64 {
        match self {
            Self::Small(bytes) => bytes.len() as u64,
            Self::Large { length, .. } => *length,
        }
    }

    /// Returns a piece of it from `at`, empty at its end.
    pub(super) fn piece(&self, at: u64) -> io::Result<Bytes> {
        match self {
            Self::Small(bytes) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.slice(at..))
            }
            Self::Large { file, from, length } => {
                let left = usize::try_from(length.saturating_sub(at)).unwrap_or(usize::MAX);
                let mut piece = vec![0; left.min(BUFFER)];
                file.read_exact_at(&mut piece, from + at)?;
                Ok(piece.into())
            }
        }
    }
}

/// An answer that is being written.
pub(super) struct Draft {
    file: Unfinished,
    mac: Hmac<Sha256>,
    shelf: Arc<Shelf>,
    asked: Asked,
    name: String,
    written: u64,
}

impl Draft {
    /// Begins the file of an answer.
    pub(super) fn begin(shelf: &Arc<Shelf>, asked: &Asked, meta: &Meta) -> io::Result<Self> {
        let mut file = shelf.unfinished()?;
        let line = meta.line();
        let mut mac = vouch(shelf.key(), asked);
        mac.update(line.as_bytes());
        // The place of what vouches for it is filled in last.
        file.write_all(&[0; FRONT])?;
        file.write_all(line.as_bytes())?;
        Ok(Self {
            file,
            mac,
            shelf: Arc::clone(shelf),
            asked: asked.clone(),
            name: meta.name(),
            written: 0,
        })
    }

    /// Writes some of the body. Fails when it becomes longer than what is kept.
    pub(super) fn write(mut self, bytes: &[u8]) -> io::Result<Self> {
        self.written += bytes.len() as u64;
        if self.written > self.shelf.room().one {
            return Err(io::Error::other("the answer is too long to be kept"));
        }
        self.mac.update(bytes);
        self.file.write_all(bytes)?;
        Ok(self)
    }

    /// Writes the body of another answer.
    pub(super) fn copy(mut self, body: &Content) -> io::Result<Self> {
        let mut at = 0;
        while at < body.length() {
            let piece = body.piece(at)?;
            at += piece.len() as u64;
            self = self.write(&piece)?;
        }
        Ok(self)
    }

    /// Returns the bytes of the body so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Gives the whole answer its name.
    pub(super) fn keep(self) -> io::Result<()> {
        let digits = hex(&self.mac.finalize().into_bytes());
        let front = format!("{MAGIC}\n{digits}\n");
        self.file.write_at(front.as_bytes())?;
        self.shelf.put(self.file, (&self.asked, &self.name))
    }
}

fn vouch(key: &Key, asked: &Asked) -> Hmac<Sha256> {
    let mut mac = key.vouch(MAGIC);
    mac.update(asked.place.as_bytes());
    mac.update(b"\n");
    mac
}

/// Reads the head of a file, which nobody has vouched for yet, and where its body begins.
pub(super) fn head(file: &File) -> Option<(Meta, u64)> {
    let mut front = vec![0; FRONT + HEAD];
    let mut read = 0;
    loop {
        match file.read_at(&mut front[read..], read as u64).ok()? {
            0 => break,
            count => read += count,
        }
    }
    let text = front.get(FRONT..read)?;
    let end = text.iter().position(|byte| *byte == b'\n')?;
    let meta: Meta = serde_json::from_slice(&text[..end]).ok()?;
    // Written in another way it is not ours, and its name would not tell which question it is for.
    let ours = meta.line().as_bytes() == &text[..=end];
    ours.then_some((meta, (FRONT + end + 1) as u64))
}

/// Checks a file from its first byte to its last, and returns its body.
pub(super) fn body(key: &Key, asked: &Asked, file: File, from: u64) -> Option<Content> {
    let mut mac = vouch(key, asked);
    let mut front = [0; FRONT];
    file.read_exact_at(&mut front, 0).ok()?;
    let front = std::str::from_utf8(&front).ok()?;
    let digits = front.strip_prefix(MAGIC)?.trim_matches('\n');
    let length = file.metadata().ok()?.size().checked_sub(from)?;
    let small = length <= SMALL;
    let mut whole = Vec::new();
    let mut reading = Reading {
        file: &file,
        at: FRONT as u64,
    };
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = reading.read(&mut buffer).ok()?;
        if count == 0 {
            break;
        }
        mac.update(&buffer[..count]);
        if small {
            whole.extend_from_slice(&buffer[..count]);
        }
    }
    if reading.at != from + length || !matches(mac, digits) {
        return None;
    }
    Some(match small {
        true => {
            let head = usize::try_from(from).ok()? - FRONT;
            Content::Small(Bytes::from(whole).slice(head..))
        }
        false => Content::Large {
            file: Arc::new(file),
            from,
            length,
        },
    })
}

/// Compares in a time that tells nothing.
fn matches(mac: Hmac<Sha256>, digits: &str) -> bool {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let claimed: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    claimed.is_some_and(|claimed| mac.verify_slice(&claimed).is_ok())
}

/// Reads a file without moving the place that others read from.
struct Reading<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Reading<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(to, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
