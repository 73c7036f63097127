//! A seal: who held the key says that a record has this number and this hash, and so that
//! everything before it, which the hash covers, is what was written.
//!
//! One line of JSON, in `<run>.seals` beside the journal:
//! `{"format":2,"run":"…","seq":12,"hash":"…","ts":"…","seal":3,"before":"…","key":"…","signature":"…"}`.
//! The signature covers [`PURPOSE`], a line break, and the bytes of the line without
//! `,"signature":"…"`. `before` is the hash of the line before it, so that none in between can be
//! removed; format 1, which is read still, has neither that nor `seal`. A seal is read only in the one
//! form that it is written in.

use std::str::FromStr;

use jiff::Timestamp;
use serde::Deserialize;

use super::key::{Forged, Key, PublicKey, Signature};
use crate::{digest::Digest, name::RunId};

/// What a signature of a seal begins with.
pub const PURPOSE: &str = "loki journal seal 1";

/// The longest line, with its break, in bytes: what belongs in one is shorter.
pub(super) const LONGEST_SEAL: usize = 1024;

/// A signed place in a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// What it says.
    pub facts: Facts,
    /// Whose key signed it.
    pub key: PublicKey,
    /// The signature.
    pub signature: Signature,
}

/// What a seal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The run.
    pub run: RunId,
    /// The number of the last record it covers.
    pub seq: u64,
    /// That record's hash.
    pub hash: Digest,
    /// When it was made.
    pub ts: Timestamp,
    /// The first record that a new writer found unsealed, where its predecessor died: those from
    /// here on were sealed later than they were written.
    pub taken_over: Option<u64>,
    /// Which seal of its run it is; none in those of older versions.
    pub link: Option<Link>,
}

/// What joins a seal to the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its number among the seals of the run, from 1.
    pub seal: u64,
    /// The hash of the line before it, without its break; zeros for the first.
    pub before: Digest,
}

/// Why a line is no seal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealFault {
    /// It does not have the one form of a seal.
    #[error("it does not have the form of a seal")]
    Form,
    /// It belongs to another run.
    #[error("it is a seal of run `{found}`")]
    OtherRun {
        /// That run.
        found: RunId,
    },
    /// Its signature does not fit.
    #[error("it was changed, or is not signed by the key it names")]
    Forged,
    /// It is signed by a key that is not trusted.
    #[error("it is signed by key `{found}`, which is not the one to trust")]
    OtherKey {
        /// That key.
        found: PublicKey,
    },
    /// It is not the one that came after the one before it.
    #[error("it does not follow the seal before it: one was removed, or put in between")]
    Chain,
    /// It covers less than the one before it, or the same otherwise.
    #[error("it says record {seq} after one that says record {before}")]
    Order {
        /// Its number.
        seq: u64,
        /// The one before it.
        before: u64,
    },
}

impl Seal {
    /// Signs what a seal says.
    #[must_use]
    pub fn sign(facts: Facts, key: &Key) -> Self {
        let signer = key.public();
        let signature = key.sign(PURPOSE, body(&facts, &signer).as_bytes());
        Self {
            facts,
            key: signer,
            signature,
        }
    }

    /// Returns the hash of its line, which the next one names.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_string().as_bytes())
    }

    /// Checks the signature by the key it names; whether that key is trusted is another question.
    ///
    /// # Errors
    /// [`Forged`].
    pub fn check(&self) -> Result<(), Forged> {
        let signed = body(&self.facts, &self.key);
        self.key.verify(PURPOSE, signed.as_bytes(), &self.signature)
    }
}

/// The bytes that are signed.
fn body(facts: &Facts, key: &PublicKey) -> String {
    let Facts {
        run,
        seq,
        hash,
        ts,
        taken_over,
        link,
    } = facts;
    let format = 1 + u64::from(link.is_some());
    let link = link.map_or_else(String::new, |Link { seal, before }| {
        format!("\"seal\":{seal},\"before\":\"{before}\",")
    });
    let taken_over =
        taken_over.map_or_else(String::new, |first| format!("\"taken_over\":{first},"));
    format!(
        "{{\"format\":{format},\"run\":\"{run}\",\"seq\":{seq},\"hash\":\"{hash}\",\"ts\":\"{ts:.6}\",{link}{taken_over}\"key\":\"{key}\"}}"
    )
}

impl std::fmt::Display for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = body(&self.facts, &self.key);
        let open = body.strip_suffix('}').unwrap_or(&body);
        write!(f, "{open},\"signature\":\"{}\"}}", self.signature)
    }
}

impl FromStr for Seal {
    type Err = SealFault;

    fn from_str(text: &str) -> Result<Self, SealFault> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Line {
            format: u64,
            run: RunId,
            seq: u64,
            hash: Digest,
            ts: Timestamp,
            seal: Option<u64>,
            before: Option<Digest>,
            taken_over: Option<u64>,
            key: String,
            signature: String,
        }
        if text.len() >= LONGEST_SEAL {
            return Err(SealFault::Form);
        }
        let line: Line = serde_json::from_str(text).map_err(|_| SealFault::Form)?;
        let link = line.seal.zip(line.before);
        let link = link.map(|(seal, before)| Link { seal, before });
        let seal = Self {
            facts: Facts {
                run: line.run,
                seq: line.seq,
                hash: line.hash,
                ts: line.ts,
                taken_over: line.taken_over,
                link,
            },
            key: line.key.parse().map_err(|_| SealFault::Form)?,
            signature: line.signature.parse().map_err(|_| SealFault::Form)?,
        };
        // The format follows from the rest, so it is compared with it.
        let is_canonical = line.format <= 2 && seal.to_string() == text;
        is_canonical.then_some(seal).ok_or(SealFault::Form)
    }
}
