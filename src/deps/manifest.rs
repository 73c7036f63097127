//! What is written beside a kept tree: its facts, its digest, and a signature over both.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// What is signed begins with this, so that no other signature of the key fits.
pub const PURPOSE: &str = "loki dependencies 1";

/// The largest manifest, in bytes.
pub(super) const LARGEST: u64 = 64 << 10;

/// Where an entry came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Which tool made it.
    pub tool: String,
    /// From which lock file.
    pub lock: String,
    /// By which command.
    pub command: String,
    /// In which image, by its digest.
    pub image: String,
    /// When.
    pub made: Timestamp,
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Its key.
    pub key: Digest,
    /// Where it came from.
    pub facts: Facts,
    /// The digest of its tree.
    pub digest: Digest,
    /// How many files, directories and links it has.
    pub entries: u64,
    /// How many bytes are in its files.
    pub bytes: u64,
}

type Sign = dyn Fn(&[u8]) -> String + Send + Sync;
type Fits = dyn Fn(&[u8], &str) -> bool + Send + Sync;

/// Signs what this user's own installs made, and tells it from what others did.
pub struct Vouch {
    /// Signs bytes.
    pub sign: Box<Sign>,
    /// Whether a signature is this user's over these bytes.
    pub fits: Box<Fits>,
}

impl Vouch {
    pub(super) fn write(&self, kept: &Kept) -> Vec<u8> {
        let body = serde_json::to_vec(kept).expect("facts and hashes are JSON");
        let signature = (self.sign)(&body);
        [&body[..], b"\n", signature.as_bytes(), b"\n"].concat()
    }

    /// Reads a manifest; none of one that this user did not sign, or that is another key's.
    pub(super) fn read(&self, key: &Digest, bytes: &[u8]) -> Option<Kept> {
        let text = bytes.strip_suffix(b"\n")?;
        let at = text.iter().position(|byte| *byte == b'\n')?;
        let (body, signature) = (text.get(..at)?, text.get(at + 1..)?);
        let signature = std::str::from_utf8(signature).ok()?;
        if !(self.fits)(body, signature) {
            return None;
        }
        let kept: Kept = serde_json::from_slice(body).ok()?;
        (kept.key == *key).then_some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vouch(secret: &'static str) -> Vouch {
        let of = move |bytes: &[u8]| Digest::of(&[secret.as_bytes(), bytes].concat()).to_string();
        Vouch {
            sign: Box::new(of),
            fits: Box::new(move |bytes, signature| of(bytes) == signature),
        }
    }

    fn kept() -> Kept {
        Kept {
            key: Digest::of(b"k"),
            facts: Facts {
                tool: "npm".to_owned(),
                lock: "package-lock.json".to_owned(),
                command: "npm ci\n".to_owned(),
                image: "i".to_owned(),
                made: Timestamp::UNIX_EPOCH,
            },
            digest: Digest::of(b"t"),
            entries: 1,
            bytes: 2,
        }
    }

    #[test]
    fn a_manifest_reads_back_and_no_other_does() {
        let (mine, other) = (vouch("mine"), vouch("other"));
        let written = mine.write(&kept());
        assert_eq!(mine.read(&kept().key, &written), Some(kept()));
        assert_eq!(other.read(&kept().key, &written), None);
        assert_eq!(mine.read(&Digest::of(b"another"), &written), None);
        for at in 0..written.len() {
            let mut changed = written.clone();
            changed[at] ^= 1;
            assert_eq!(mine.read(&kept().key, &changed), None, "byte {at}");
            assert_eq!(mine.read(&kept().key, &written[..at]), None, "cut at {at}");
        }
    }
}
