//! The key that signs what Loki says about itself: attestations, checkpoints, and seals of journals.
//!
//! One Ed25519 key a user, in `journal.key` beside the user's policies, made on first use;
//! [`super::ring`] puts a new one in its place. It
//! refuses a key that others may read, that belongs to someone else or that is reached through a
//! symlink. What is signed always begins with what it is, so that a signature made for one purpose
//! is none for another.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    str::FromStr,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use rustix::fs::{AtFlags, CWD, OFlags};
use zeroize::Zeroizing;

/// The file's name in the directory of settings.
pub(super) const NAME: &str = "journal.key";
/// Around a public key in a PEM file.
const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";
/// Before the 32 bytes of a public key there: that it is one of Ed25519 (RFC 8410).
const DER: [u8; 12] = [48, 42, 48, 5, 6, 3, 43, 101, 112, 3, 33, 0];
/// Hexadecimal digits of a key.
const DIGITS: usize = 64;

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system refused.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others may read the key, or replace it.
    #[error("`{}` has mode {mode:04o}, so others may have the key: `chmod go-rwx` it, or remove it to have a new one made", path.display())]
    Loose {
        /// The file, or the directory it is in.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is somebody else's, or no regular file.
    #[error("`{}` is not a regular file of this user: move it away to have a new key made", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file does not hold a key.
    #[error("`{}` does not hold 64 hexadecimal digits: move it away to have a new key made", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// There is no source of chance.
    #[error("this machine gives no random numbers for a key")]
    Chance,
}

/// A text that is not the hexadecimal form of a public key or of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a public key is 64 and a signature 128 digits of 0-9 and a-f")]
pub struct NotHex;

/// A signature that does not fit the bytes and the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not fit: the content was changed, or another key signed it")]
pub struct Forged;

/// The private key. It is wiped from memory when dropped.
pub struct Key(SigningKey);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.public())
    }
}

/// The public half of a key; as text 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

/// A signature; as text 128 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Key {
    /// Reads the key in a directory of settings, or makes one where there is none.
    ///
    /// # Errors
    /// When it cannot be read or made, or is not this user's alone.
    pub fn open_or_make(settings: &Path) -> Result<Self, KeyError> {
        if let Some(key) = Self::open(settings)? {
            return Ok(key);
        }
        make(settings, NAME)?;
        // Another process may have been first; then its key is the one.
        Self::open(settings)?.ok_or_else(|| KeyError::Foreign {
            path: settings.join(NAME),
        })
    }

    /// Reads the key in a directory of settings, if there is one.
    ///
    /// # Errors
    /// When it cannot be read, or is not this user's alone.
    pub fn open(settings: &Path) -> Result<Option<Self>, KeyError> {
        Self::open_as(settings, NAME)
    }

    /// Reads the key of this name, if there is one.
    pub(super) fn open_as(settings: &Path, name: &str) -> Result<Option<Self>, KeyError> {
        let path = settings.join(name);
        let opened = File::options()
            .read(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error("open", &path, source)),
        };
        guarded(&file, &path)?;
        let folder = std::fs::metadata(settings).map_err(|e| io_error("look at", settings, e))?;
        if folder.mode() & 0o022 != 0 {
            return Err(loose(settings, folder.mode()));
        }
        let mut text = Zeroizing::new(String::with_capacity(DIGITS + 1));
        file.take(DIGITS as u64 + 2)
            .read_to_string(&mut text)
            .map_err(|source| io_error("read", &path, source))?;
        let seed = unhex::<32>(text.trim_end()).map(Zeroizing::new);
        let seed = seed.map_err(|NotHex| KeyError::Malformed { path })?;
        Ok(Some(Self(SigningKey::from_bytes(&seed))))
    }

    /// Returns the public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `purpose`, a line break and these bytes.
    #[must_use]
    pub fn sign(&self, purpose: &str, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(&message(purpose, bytes)).to_bytes())
    }
}

impl PublicKey {
    /// A key that nothing is signed by.
    pub const NONE: Self = Self([0; 32]);

    /// Returns the key as other programs read it: a PEM file, with its line breaks.
    #[must_use]
    pub fn pem(&self) -> String {
        let der = [&DER[..], &self.0].concat();
        format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(der))
    }

    /// Reads a key as 64 hexadecimal digits or as PEM; space around it does not count.
    ///
    /// # Errors
    /// [`NotHex`].
    pub fn read(text: &str) -> Result<Self, NotHex> {
        let text = text.trim();
        let Some(inner) = text.strip_prefix(BEGIN) else {
            return text.parse();
        };
        let inner = inner.strip_suffix(END).ok_or(NotHex)?;
        let der = STANDARD.decode(inner.trim()).map_err(|_| NotHex)?;
        let key = der.strip_prefix(&DER).ok_or(NotHex)?;
        key.try_into().map(Self).map_err(|_| NotHex)
    }

    /// Checks a signature over `purpose`, a line break and these bytes.
    ///
    /// # Errors
    /// [`Forged`], also for a key that is none.
    pub fn verify(&self, purpose: &str, bytes: &[u8], signature: &Signature) -> Result<(), Forged> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| Forged)?;
        let given = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(&message(purpose, bytes), &given)
            .map_err(|_| Forged)
    }
}

fn message(purpose: &str, bytes: &[u8]) -> Vec<u8> {
    [purpose.as_bytes(), b"\n", bytes].concat()
}

/// Refuses a key file that is not this user's alone.
fn guarded(file: &File, path: &Path) -> Result<(), KeyError> {
    let found = file
        .metadata()
        .map_err(|source| io_error("look at", path, source))?;
    if !found.is_file() || found.uid() != rustix::process::geteuid().as_raw() {
        return Err(KeyError::Foreign {
            path: path.to_owned(),
        });
    }
    if found.mode() & 0o077 != 0 {
        return Err(loose(path, found.mode()));
    }
    Ok(())
}

/// Writes a new key, whole or not at all; one that is there already stays.
pub(super) fn make(settings: &Path, name: &str) -> Result<(), KeyError> {
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(settings);
    made.map_err(|source| io_error("create", settings, source))?;
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut()).map_err(|_| KeyError::Chance)?;
    let fail = |source| io_error("write", &settings.join(name), source);
    let mut file = tempfile::Builder::new()
        .prefix(".journal.key-")
        .tempfile_in(settings)
        .map_err(fail)?;
    let text = Zeroizing::new(format!("{}\n", hex(seed.as_ref())));
    file.write_all(text.as_bytes())
        .and_then(|()| file.as_file().sync_all())
        .map_err(fail)?;
    match rustix::fs::linkat(CWD, file.path(), CWD, settings.join(name), AtFlags::empty()) {
        // Also where it was there already: whoever made it may have been cut off before this.
        Ok(()) | Err(rustix::io::Errno::EXIST) => {
            let folder = File::open(settings);
            folder.and_then(|folder| folder.sync_all()).map_err(fail)
        }
        Err(errno) => Err(fail(errno.into())),
    }
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> KeyError {
    KeyError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

fn loose(path: &Path, mode: u32) -> KeyError {
    KeyError::Loose {
        path: path.to_owned(),
        mode: mode & 0o7777,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Result<[u8; N], NotHex> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(NotHex),
    };
    if text.len() != 2 * N {
        return Err(NotHex);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for PublicKey {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<Self, NotHex> {
        unhex(text).map(Self)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for Signature {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<Self, NotHex> {
        unhex(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_key_is_made_once_for_this_user_alone() {
        let home = tempfile::tempdir().unwrap();
        let settings = home.path().join("config/loki");
        assert!(Key::open(&settings).unwrap().is_none());
        let key = Key::open_or_make(&settings).unwrap();
        assert_eq!(mode(&settings), 0o700);
        assert_eq!(mode(&settings.join(NAME)), 0o600);
        let again = Key::open_or_make(&settings).unwrap();
        assert_eq!(again.public(), key.public());
        let other = Key::open_or_make(&home.path().join("other")).unwrap();
        assert_ne!(other.public(), key.public());
        let names: Vec<_> = std::fs::read_dir(&settings).unwrap().collect();
        assert_eq!(names.len(), 1, "something was left behind: {names:?}");
    }

    #[test]
    fn many_at_once_agree_on_one_key() {
        let home = tempfile::tempdir().unwrap();
        let keys: Vec<String> = std::thread::scope(|scope| {
            let make = || Key::open_or_make(home.path()).unwrap().public().to_string();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    }

    #[test]
    fn a_key_that_others_may_have_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(NAME);
        drop(Key::open_or_make(home.path()).unwrap());
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let refused = Key::open_or_make(home.path()).unwrap_err();
        assert!(refused.to_string().contains("mode 0640"), "{refused}");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        std::fs::set_permissions(home.path(), Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(
            Key::open(home.path()),
            Err(KeyError::Loose { mode: 0o770, .. })
        ));
    }

    #[test]
    fn what_is_no_key_is_refused_and_never_replaced() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(NAME);
        let elsewhere = home.path().join("elsewhere");
        drop(Key::open_or_make(home.path()).unwrap());
        std::fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(matches!(
            Key::open_or_make(home.path()),
            Err(KeyError::Io { .. })
        ));
        for text in ["", "00", &"g".repeat(64), &"0".repeat(65)] {
            std::fs::remove_file(&path).unwrap();
            let mut file = File::options()
                .create_new(true)
                .write(true)
                .mode(0o600)
                .open(&path)
                .unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let refused = Key::open_or_make(home.path());
            assert!(
                matches!(refused, Err(KeyError::Malformed { .. })),
                "{text:?} {refused:?}"
            );
        }
    }

    #[test]
    fn a_signature_holds_for_its_purpose_its_bytes_and_its_key_alone() {
        let home = tempfile::tempdir().unwrap();
        let key = Key::open_or_make(home.path()).unwrap();
        let public: PublicKey = key.public().to_string().parse().unwrap();
        let signature: Signature = key.sign("a", b"bytes").to_string().parse().unwrap();
        assert_eq!(public.verify("a", b"bytes", &signature), Ok(()));
        assert_eq!(public.verify("b", b"bytes", &signature), Err(Forged));
        assert_eq!(public.verify("a", b"Bytes", &signature), Err(Forged));
        let other = Key::open_or_make(&home.path().join("other")).unwrap();
        assert_eq!(
            other.public().verify("a", b"bytes", &signature),
            Err(Forged)
        );
        assert_eq!(
            PublicKey([0; 32]).verify("a", b"bytes", &signature),
            Err(Forged)
        );
        assert_eq!(PublicKey::read(&public.pem()), Ok(public));
        assert_eq!(PublicKey::read(&format!(" {public}\n")), Ok(public));
        let half = public.pem().replace("-----END PUBLIC KEY-----\n", "");
        assert_eq!(PublicKey::read(&half), Err(NotHex));
        assert_eq!("0".repeat(63).parse::<PublicKey>(), Err(NotHex));
        assert_eq!("A".repeat(64).parse::<PublicKey>(), Err(NotHex));
    }

    #[test]
    fn the_signature_is_the_one_of_the_standard() {
        // RFC 8032, section 7.1, test 1: the empty message. Ours always has a purpose in front, so
        // only the key's public half can be compared.
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let key = Key(SigningKey::from_bytes(&unhex(seed).unwrap()));
        assert_eq!(
            key.public().to_string(),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
    }
}
