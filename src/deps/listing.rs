//! Lists what is kept, and removes what nobody needs.

use std::io::ErrorKind;

use jiff::Timestamp;
use rustix::fs::FlockOperation;

use super::{DepsError, Kept, Store, place, store::Lock};
use crate::digest::Digest;

/// How much is kept of all installs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes.
    pub bytes: u64,
}

impl Room {
    /// What there is unless a person says otherwise.
    pub const USUAL: Self = Self { bytes: 20 << 30 };
}

/// An entry as it is listed.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its key.
    pub key: Digest,
    /// What its manifest says; none where this user did not sign it.
    pub kept: Option<Kept>,
    /// When it was used last.
    pub used: Timestamp,
}

impl Store {
    /// Lists the entries, the one used last first.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, DepsError> {
        let names = place::names(&self.root);
        let names = names.map_err(|errno| DepsError::io("list", &self.path, errno))?;
        let keys = names.iter().filter_map(|name| key_of(name));
        let mut all: Vec<Listed> = keys.map(|key| self.listed(key)).collect();
        all.sort_by_key(|one| (std::cmp::Reverse(one.used), one.key.0));
        Ok(all)
    }

    fn listed(&self, key: Digest) -> Listed {
        let entry = place::directory(&self.root, key.to_string().as_bytes());
        let stat = place::look(&self.locks, Lock::Use.of(&key).as_bytes());
        let seconds = stat.map_or(0, |stat| stat.st_mtime);
        Listed {
            key,
            kept: entry.ok().and_then(|entry| self.manifest(&key, &entry)),
            used: Timestamp::from_second(seconds).unwrap_or_default(),
        }
    }

    /// Removes entries that `gone` names and nobody uses, and returns them.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn prune(&self, gone: impl Fn(&Listed) -> bool) -> Result<Vec<Listed>, DepsError> {
        let mut removed = Vec::new();
        for one in self.list()?.into_iter().filter(|one| gone(one)) {
            if self.discard(&one.key)? {
                removed.push(one);
            }
        }
        Ok(removed)
    }

    /// Removes what was not used for longest until all fits, and returns it. What is used stays.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn fit(&self, room: Room) -> Result<Vec<Listed>, DepsError> {
        let size = |one: &Listed| one.kept.as_ref().map_or(0, |kept| kept.bytes);
        let all = self.list()?;
        let mut sum: u64 = all.iter().map(size).sum();
        let mut removed = Vec::new();
        for one in all.into_iter().rev() {
            if sum <= room.bytes {
                break;
            }
            if self.discard(&one.key)? {
                sum = sum.saturating_sub(size(&one));
                removed.push(one);
            }
        }
        Ok(removed)
    }

    /// Removes an entry that nobody uses, and returns whether it did.
    fn discard(&self, key: &Digest) -> Result<bool, DepsError> {
        match self.lock(key, Lock::Use, FlockOperation::NonBlockingLockExclusive) {
            Ok(_held) => self.put_away(key).map(|()| true),
            Err(DepsError::Io { source, .. }) if source.kind() == ErrorKind::WouldBlock => {
                Ok(false)
            }
            Err(fault) => Err(fault),
        }
    }
}

/// Returns the key that a name is, if it is one.
pub(super) fn key_of(name: &[u8]) -> Option<Digest> {
    std::str::from_utf8(name).ok()?.parse().ok()
}
