//! Events as they stand in a journal.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Event;
use crate::digest::Digest;

/// How long something took, as whole milliseconds for events.
#[must_use]
pub fn millis(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// One event as it stands in the journal: numbered, timed and chained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number in the run, from 1, without gaps.
    pub seq: u64,
    /// When it was written, UTC, whole microseconds.
    pub ts: Timestamp,
    /// The hash of the record before it, zeros for the first.
    pub prev: Digest,
    /// What happened.
    pub event: Event,
    /// The hash of this record, which covers everything above.
    pub hash: Digest,
}

#[cfg(test)]
impl Record {
    /// Returns events as the records of a run, a second apart and without hashes.
    pub(crate) fn row(events: Vec<Event>) -> Vec<Self> {
        let record = |(seq, event): (i64, Event)| Self {
            seq: seq.unsigned_abs(),
            ts: Timestamp::from_second(1_800_000_000 + seq).expect("the year is 2027"),
            prev: Digest::default(),
            event,
            hash: Digest::default(),
        };
        (1..).zip(events).map(record).collect()
    }
}
