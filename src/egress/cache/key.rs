//! The key that vouches for kept answers. It stands outside of every repository, so that none can
//! bring answers along that this user's own gateway never got.

use std::{
    fs::File,
    io::{Read, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

use hmac::{Hmac, KeyInit, Mac};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags},
    io::Errno,
};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::CacheError;

const LENGTH: usize = 32;

/// A key of this user's.
#[derive(Clone)]
pub(super) struct Key(Zeroizing<[u8; LENGTH]>);

impl Key {
    /// Begins to vouch for something of a kind.
    pub(super) fn vouch(&self, kind: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.0).expect("any length is a key");
        mac.update(kind.as_bytes());
        mac.update(b"\n");
        mac
    }

    /// Returns a name for a value that does not tell it.
    pub(super) fn fingerprint<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> String {
        let mut mac = self.vouch("fingerprint");
        for part in parts {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            mac.update(part);
        }
        hex(&mac.finalize().into_bytes())
    }
}

/// Writes bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads the key, or makes it where there is none yet.
pub(super) fn read_or_make(path: &Path) -> Result<Key, CacheError> {
    match read(path) {
        Err(CacheError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            make(path)?;
            read(path)
        }
        read => read,
    }
}

fn read(path: &Path) -> Result<Key, CacheError> {
    let fail = |source| failed("read", path, source);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let mut file = match opened {
        Err(Errno::LOOP) => return Err(CacheError::Key { path: path.into() }),
        opened => File::from(opened.map_err(|errno| fail(errno.into()))?),
    };
    let facts = file.metadata().map_err(fail)?;
    let own = facts.uid() == rustix::process::geteuid().as_raw() && facts.mode() & 0o077 == 0;
    if !facts.is_file() || !own || facts.len() != LENGTH as u64 {
        return Err(CacheError::Key { path: path.into() });
    }
    let mut bytes = Zeroizing::new([0; LENGTH]);
    file.read_exact(bytes.as_mut()).map_err(fail)?;
    Ok(Key(bytes))
}

/// Writes a new key, whole or not at all; one that is there already stays.
fn make(path: &Path) -> Result<(), CacheError> {
    use std::os::unix::fs::DirBuilderExt;
    let fail = |source| failed("write", path, source);
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut builder = std::fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(parent)
        .map_err(fail)?;
    let mut bytes = Zeroizing::new([0; LENGTH]);
    getrandom::fill(bytes.as_mut()).map_err(|_| CacheError::Chance)?;
    let mut file = tempfile::Builder::new()
        .prefix(".answers.key-")
        .tempfile_in(parent)
        .map_err(fail)?;
    file.write_all(bytes.as_ref())
        .and_then(|()| file.as_file().sync_all())
        .map_err(fail)?;
    match rustix::fs::linkat(CWD, file.path(), CWD, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(fail(errno.into())),
    }
}

/// Says what failed with which file.
pub(super) fn failed(
    doing: &'static str,
    path: &Path,
    source: impl Into<std::io::Error>,
) -> CacheError {
    CacheError::Io {
        doing,
        path: path.to_owned(),
        source: source.into(),
    }
}
