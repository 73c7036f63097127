//! The signed head of a checkpoint.
//!
//! It names the chunks of the listing, the listing those of the files: one signature over the head
//! covers every byte.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest,
    name::{CheckpointId, RunId, TaskId},
};

use super::error::{CheckpointError, Flaw};

/// What a signature over a checkpoint begins with: it is none for anything else.
pub const PURPOSE: &str = "loki checkpoint 1";
/// The version of heads and listings that is written, and the newest that is read.
const VERSION: u32 = 1;

/// What a checkpoint is of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The run; none for a directory that a person named.
    pub run: Option<RunId>,
    /// The task; none for what belongs to none.
    pub task: Option<TaskId>,
    /// The name of the sandbox, such as `store-1`.
    pub sandbox: Option<String>,
    /// How far the run's journal was: the number of its newest record.
    pub journal: Option<u64>,
}

/// How it is known that nothing changed while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stillness {
    /// Nothing ran.
    Ended,
    /// The engine had paused everything.
    Paused,
    /// A second look found every file as it was before the first.
    Proven,
}

/// A directory that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// The first part of its entries' paths, such as `work`.
    pub name: String,
    /// Where it was on this machine; for an archive, the archive.
    pub path: String,
}

/// Where the listing is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its chunks, in order.
    pub chunks: Vec<Digest>,
}

/// What a checkpoint is. Only its signature makes one of these out of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The version of this format.
    pub version: u32,
    /// Its name.
    pub id: CheckpointId,
    /// When the reading of it began.
    pub created: Timestamp,
    /// What it is of.
    pub origin: Origin,
    /// What was read.
    pub trees: Vec<Tree>,
    /// How it is known to be of one moment.
    pub stillness: Stillness,
    /// The checkpoint that it was compared with while it was made.
    pub base: Option<CheckpointId>,
    /// Entries: directories, files and links.
    pub entries: u64,
    /// What was left out.
    pub left_out: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that were added to the store for it, this head not counted.
    pub stored: u64,
    /// Where the listing is.
    pub listing: Parts,
}

/// A signed text, as a head is kept in.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Letter {
    /// The text, byte for byte as it was signed.
    head: String,
    /// The public key, in hexadecimal.
    key: String,
    /// The signature, in hexadecimal.
    signature: String,
}

impl Letter {
    /// Signs a text.
    pub(super) fn sign(text: String, signer: Signer<'_>) -> Self {
        Self {
            signature: (signer.sign)(text.as_bytes()),
            key: signer.key.to_owned(),
            head: text,
        }
    }

    /// Returns the bytes of its file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts are JSON")
    }

    /// Reads a file; none when it is no signed text.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Returns the text; none when no trusted key signed it.
    pub(super) fn opened(self, trusted: Trusted<'_>) -> Option<String> {
        let trusted = trusted.of(&self.key)?;
        (trusted.fits)(self.head.as_bytes(), &self.signature).then_some(self.head)
    }
}

/// Signs heads.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// The public key, as text.
    pub key: &'a str,
    /// Returns the signature over [`PURPOSE`], a line break and these bytes, as text.
    pub sign: &'a (dyn Fn(&[u8]) -> String + Sync),
}

/// Checks signatures of the keys that are trusted.
#[derive(Clone, Copy)]
pub struct Trusted<'a> {
    /// The public key, as text.
    pub key: &'a str,
    /// Returns whether a signature, as text, is the key's over [`PURPOSE`], a line break and these
    /// bytes.
    pub fits: &'a (dyn Fn(&[u8], &str) -> bool + Sync),
    /// The keys before it and after it, whose signatures count as well.
    pub around: &'a [Self],
}

impl<'a> Trusted<'a> {
    /// Returns what checks signatures of this key; none when it is not trusted.
    fn of(self, key: &str) -> Option<Self> {
        let mut all = std::iter::once(self).chain(self.around.iter().copied());
        all.find(|one| one.key == key)
    }
}

impl Head {
    /// The version that is written.
    pub(super) const VERSION: u32 = VERSION;

    /// Returns the bytes of its file.
    pub(super) fn seal(&self, signer: Signer<'_>) -> Vec<u8> {
        let head = serde_json::to_string(self).expect("a head is plain text and numbers");
        Letter::sign(head, signer).bytes()
    }

    /// Reads a file that [`Head::seal`] made: signed by the trusted key, and the head of `id`.
    pub(super) fn open(
        bytes: &[u8],
        id: &CheckpointId,
        trusted: Trusted<'_>,
    ) -> Result<Self, CheckpointError> {
        let malformed = |what| Flaw::Malformed(what).of(id);
        let sealed = Letter::read(bytes).ok_or_else(|| malformed("it is no signed JSON"))?;
        let Some(trusted) = trusted.of(&sealed.key) else {
            // Whatever it holds is shown to a person: a key is nothing but digits.
            let shown = sealed.key.chars().filter(char::is_ascii_hexdigit).take(64);
            return Err(Flaw::Stranger(shown.collect()).of(id));
        };
        if !(trusted.fits)(sealed.head.as_bytes(), &sealed.signature) {
            return Err(Flaw::Forged.of(id));
        }
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } =
            serde_json::from_str(&sealed.head).map_err(|_| malformed("its head has no version"))?;
        if version > VERSION {
            return Err(Flaw::Newer(version).of(id));
        }
        let head: Self = serde_json::from_str(&sealed.head)
            .map_err(|_| malformed("its head is not of its version"))?;
        if head.id != *id {
            return Err(Flaw::Swapped(head.id).of(id));
        }
        Ok(head)
    }
}
