//! The private keys of this user: where they lie, and what they must be.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{
    error::SecretsError,
    private::{self, Readable},
    recipients::Recipient,
};

const EMPTY: &str = "it is empty: `loki secrets init` makes one elsewhere";
const ENCRYPTED: &str = "it is protected by a passphrase, and nothing here asks for one: name an \
     unprotected key with `LOKI_AGE_IDENTITY=FILE`, such as a copy after `ssh-keygen -p -N '' -f COPY`";
const NOT_A_KEY: &str = "its lines are neither age keys (`AGE-SECRET-KEY-1…`) nor an SSH key";
const PLUGIN: &str =
    "it needs a plugin, a program that Loki would have to run on this host; it runs none";
const NOT_RSA: &str = "of SSH keys only ed25519 and RSA can decrypt";

/// Where identities are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identities {
    /// In this file and nowhere else: a person named it.
    Named(PathBuf),
    /// In those of these files that are there, in this order.
    Usual(Vec<PathBuf>),
}

/// A private key.
pub(super) enum Identity {
    X25519(age::x25519::Identity),
    Ssh(Box<age::ssh::Identity>),
}

impl Identity {
    /// The key as age sees it.
    pub(super) fn key(&self) -> &dyn age::Identity {
        match self {
            Self::X25519(key) => key,
            Self::Ssh(key) => key.as_ref(),
        }
    }

    /// Returns the public key.
    fn recipient(self) -> Option<Recipient> {
        match self {
            Self::X25519(key) => Some(key.to_public().into()),
            Self::Ssh(key) => age::ssh::Recipient::try_from(*key)
                .ok()
                .map(Recipient::from),
        }
    }
}

impl Identities {
    /// Returns the files, in order.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        match self {
            Self::Named(path) => std::slice::from_ref(path),
            Self::Usual(paths) => paths,
        }
    }

    /// Returns the public key of the first identity that is there.
    ///
    /// # Errors
    /// When one is there and is not private, or none is where a person named one.
    pub fn first_recipient(&self) -> Result<Option<Recipient>, SecretsError> {
        for path in self.paths() {
            match self.read(path) {
                Ok(keys) => {
                    if let Some(found) = keys.into_iter().find_map(Identity::recipient) {
                        return Ok(Some(found));
                    }
                }
                Err(cause) => self.pass_over(cause)?,
            }
        }
        Ok(None)
    }

    /// Reads one of the files; none is no key, unless a person named it.
    pub(super) fn read(&self, path: &Path) -> Result<Vec<Identity>, SecretsError> {
        match private::read(path, Readable::ByUser)? {
            Some(bytes) => keys(path, &bytes),
            None if matches!(self, Self::Named(_)) => Err(SecretsError::Missing {
                path: path.to_owned(),
            }),
            None => Ok(Vec::new()),
        }
    }

    /// Passes over a usual file that holds no key for us: an SSH key with a passphrase is an
    /// everyday thing. One that others can read is not passed over.
    pub(super) fn pass_over(&self, cause: SecretsError) -> Result<(), SecretsError> {
        match (self, cause) {
            (Self::Usual(_), SecretsError::Identity { .. }) => Ok(()),
            (_, cause) => Err(cause),
        }
    }
}

/// Makes a new identity in a file that must not be there yet, and returns its public key.
///
/// # Errors
/// The file is there, or cannot be written.
pub fn generate(path: &Path) -> Result<Recipient, SecretsError> {
    use age::secrecy::ExposeSecret;
    let key = age::x25519::Identity::generate();
    let public = key.to_public();
    let text = Zeroizing::new(format!(
        "# public key: {public}\n{}\n",
        key.to_string().expose_secret()
    ));
    private::create(path, text.as_bytes())?;
    Ok(public.into())
}

fn keys(path: &Path, bytes: &[u8]) -> Result<Vec<Identity>, SecretsError> {
    let unusable = |why| SecretsError::Identity {
        path: path.to_owned(),
        why,
    };
    let text = std::str::from_utf8(bytes).map_err(|_| unusable(NOT_A_KEY))?;
    if text.starts_with("age-encryption.org/") || text.starts_with("-----BEGIN AGE ENCRYPTED") {
        return Err(unusable(ENCRYPTED));
    }
    if text.starts_with("-----BEGIN ") {
        return ssh_key(bytes).map(|key| vec![key]).map_err(unusable);
    }
    let lines = text.lines().map(str::trim);
    let keys: Vec<Identity> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(age_key)
        .collect::<Result<_, _>>()
        .map_err(unusable)?;
    if keys.is_empty() {
        return Err(unusable(EMPTY));
    }
    Ok(keys)
}

fn age_key(line: &str) -> Result<Identity, &'static str> {
    if line.starts_with("AGE-PLUGIN-") {
        return Err(PLUGIN);
    }
    line.parse().map(Identity::X25519).map_err(|_| NOT_A_KEY)
}

fn ssh_key(bytes: &[u8]) -> Result<Identity, &'static str> {
    use age::ssh::Identity as Ssh;
    match Ssh::from_buffer(bytes, None) {
        Ok(Ssh::Encrypted(_)) => Err(ENCRYPTED),
        Ok(Ssh::Unsupported(_)) => Err(NOT_RSA),
        Ok(key) => Ok(Identity::Ssh(Box::new(key))),
        Err(_) => Err(NOT_A_KEY),
    }
}
