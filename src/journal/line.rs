//! One record as one line of bytes.
//!
//! `{"format":4,"seq":1,"ts":"…","prev":"…","event":{…},"hash":"…"}` and a line break, `format`
//! in the first line only. The hash covers the bytes of the line without `,"hash":"…"`. What
//! would break a line or move a cursor is escaped, so a record is one line for every reader.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::Fault;
use crate::{
    digest::Digest,
    event::{Event, Record},
    text::is_hidden,
};

/// The format that is written, and the newest that is read. Older ones are read too: each has only
/// fewer events and fields.
pub const FORMAT: u64 = 4;

/// The longest line, with its break, in bytes.
pub(super) const LONGEST: usize = 16 << 20;

/// Length of `,"hash":"` + 64 digits + `"}`.
const TAIL: usize = 75;

/// Writes a record as a line into `line`, which is emptied first, and returns it with its hash.
pub(super) fn encode(line: &mut Vec<u8>, body: Body<'_>) -> serde_json::Result<Digest> {
    line.clear();
    write_body(line, body)?;
    let mut hasher = Sha256::new();
    hasher.update(&line);
    hasher.update(b"}");
    let hash = Digest(hasher.finalize().into());
    line.extend(b",\"hash\":\"");
    line.extend(hash.hex());
    line.extend(b"\"}\n");
    Ok(hash)
}

/// What a record says before it is hashed.
#[derive(Clone, Copy)]
pub(super) struct Body<'a> {
    pub(super) seq: u64,
    pub(super) ts: Timestamp,
    pub(super) prev: Digest,
    pub(super) event: &'a Event,
}

fn write_body(line: &mut Vec<u8>, body: Body<'_>) -> serde_json::Result<()> {
    let head = if body.seq == 1 {
        format!("\"format\":{FORMAT},")
    } else {
        String::new()
    };
    write!(
        line,
        "{{{head}\"seq\":{},\"ts\":\"{:.6}\",\"prev\":\"",
        body.seq, body.ts
    )
    .map_err(serde_json::Error::io)?;
    line.extend(body.prev.hex());
    line.extend(b"\",\"event\":");
    body.event
        .serialize(&mut serde_json::Serializer::with_formatter(line, OneLine))
}

/// Compact JSON in which every hidden character is escaped.
struct OneLine;

impl serde_json::ser::Formatter for OneLine {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        text: &str,
    ) -> io::Result<()> {
        if text.bytes().all(|b| b.is_ascii() && b != 0x7f) {
            return out.write_all(text.as_bytes());
        }
        let (mut units, mut utf8) = ([0; 2], [0; 4]);
        for c in text.chars() {
            if is_hidden(c) {
                for unit in c.encode_utf16(&mut units) {
                    write!(out, "\\u{unit:04x}")?;
                }
            } else {
                out.write_all(c.encode_utf8(&mut utf8).as_bytes())?;
            }
        }
        Ok(())
    }
}

/// A line as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    format: Option<u64>,
    seq: u64,
    ts: Timestamp,
    prev: Digest,
    event: Event,
    hash: Digest,
}

/// The only part of a first line that every format has.
#[derive(Deserialize)]
struct Head {
    format: u64,
}

/// Returns the format that a first line declares.
pub(super) fn format(line: &[u8]) -> Result<u64, Fault> {
    serde_json::from_slice::<Head>(line)
        .map(|head| head.format)
        .map_err(Fault::Json)
}

/// A line that hashes to what it says, and is a record of a known form; where it stands is not
/// judged yet.
pub(super) struct Read {
    /// The record.
    pub(super) record: Record,
    /// Whether it says a format, as a first one must.
    headed: bool,
}

impl Read {
    /// Returns the record if it is number `seq`, after the one hashed `prev`.
    pub(super) fn placed(self, seq: u64, prev: Digest) -> Result<Record, Fault> {
        let record = self.record;
        if record.seq != seq {
            return Err(Fault::Sequence { found: record.seq });
        }
        if record.prev != prev {
            return Err(Fault::Chain {
                found: record.prev,
                expected: prev,
            });
        }
        if self.headed != (seq == 1) {
            return Err(Fault::Format);
        }
        if matches!(record.event, Event::RunStarted { .. }) != (seq == 1) {
            return Err(Fault::Order);
        }
        Ok(record)
    }
}

/// Reads a line, without its break, as the record number `seq` after the one hashed `prev`.
pub(super) fn decode(line: &[u8], seq: u64, prev: Digest) -> Result<Record, Fault> {
    read(line)?.placed(seq, prev)
}

/// Reads a line, without its break, wherever it stands.
pub(super) fn read(line: &[u8]) -> Result<Read, Fault> {
    let (body, tail) = line
        .split_at_checked(line.len().wrapping_sub(TAIL))
        .ok_or(Fault::Layout)?;
    let digits = tail
        .strip_prefix(b",\"hash\":\"")
        .and_then(|tail| tail.strip_suffix(b"\"}"));
    let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    let hash: Digest = digits
        .and_then(|digits| digits.parse().ok())
        .ok_or(Fault::Layout)?;
    let mut hasher = Sha256::new();
    hasher.update(body);
    hasher.update(b"}");
    let actual = Digest(hasher.finalize().into());
    if actual != hash {
        return Err(Fault::Hash { actual });
    }
    let line: Line = serde_json::from_slice(line).map_err(Fault::Json)?;
    Ok(Read {
        headed: line.format.is_some(),
        record: Record {
            seq: line.seq,
            ts: line.ts,
            prev: line.prev,
            event: line.event,
            hash: line.hash,
        },
    })
}
