//! `secrets.env.age` and what lies beside it.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{
    crypt,
    dotenv::Dotenv,
    error::SecretsError,
    identity::Identities,
    private::{self, Lock, Readable},
    recipients::{Recipient, Recipients},
};
use crate::redact::Values;

/// The store's own name.
pub const STORE: &str = "secrets.env.age";
/// The file with the public keys that it is encrypted to.
pub const RECIPIENTS: &str = "secrets.recipients";

/// A store in a directory. Naming one touches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    directory: PathBuf,
}

/// A store as it was read.
pub struct Opened {
    text: Dotenv,
    sealed: Zeroizing<Vec<u8>>,
}

impl Opened {
    /// Returns the values by name.
    #[must_use]
    pub fn into_values(self) -> Values {
        self.text.into_values()
    }

    /// Returns the text, for an editor.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.text()
    }
}

impl Store {
    /// Names the store in a directory.
    #[must_use]
    pub fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The encrypted file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.join(STORE)
    }

    /// The file with the recipients.
    #[must_use]
    pub fn recipients_path(&self) -> PathBuf {
        self.directory.join(RECIPIENTS)
    }

    /// Returns whether something lies there, whatever it is: a store that cannot be read is not
    /// taken for none.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path().symlink_metadata().is_ok()
    }

    /// Makes an empty store for one recipient.
    ///
    /// # Errors
    /// When there is one, or it cannot be written.
    pub fn create(&self, recipient: Recipient, own: &Identities) -> Result<(), SecretsError> {
        let lock = Lock::acquire(&self.directory)?;
        if self.exists() {
            return Err(SecretsError::Exists { path: self.path() });
        }
        let recipients = Recipients::of(recipient);
        self.write(&lock, &recipients, own, ("", crypt::Form::Binary))?;
        lock.replace(RECIPIENTS, recipients.text().as_bytes())
    }

    /// Decrypts the store.
    ///
    /// # Errors
    /// [`SecretsError`]: there is none, it is not private, nobody here can open it, its text has
    /// faults.
    pub fn open(&self, own: &Identities) -> Result<Opened, SecretsError> {
        let sealed = self.sealed()?;
        let text = crypt::open(&self.path(), &sealed, own)?;
        let text = Dotenv::parse(Path::new("secrets.env"), text);
        match text {
            Ok(text) => Ok(Opened { text, sealed }),
            Err(faults) => Err(SecretsError::Faults {
                path: self.path(),
                faults,
            }),
        }
    }

    /// Decrypts the store without reading what is in it, for an editor to mend.
    ///
    /// # Errors
    /// Those of [`Store::open`], but for faults of the text.
    pub fn open_text(&self, own: &Identities) -> Result<Draft, SecretsError> {
        let sealed = self.sealed()?;
        let text = crypt::open(&self.path(), &sealed, own)?;
        Ok(Draft { text, sealed })
    }

    fn sealed(&self) -> Result<Zeroizing<Vec<u8>>, SecretsError> {
        private::read_in(&self.directory, STORE, Readable::ByUser)?
            .ok_or_else(|| SecretsError::Missing { path: self.path() })
    }

    /// Changes a value, or adds it.
    ///
    /// # Errors
    /// Those of [`Store::open`], or the store cannot be written; nothing has changed then.
    pub fn set(&self, name: &str, value: &str, own: &Identities) -> Result<(), SecretsError> {
        let lock = Lock::acquire(&self.directory)?;
        let opened = self.open(own)?;
        self.save(&lock, &opened.text.with(name, value), &opened.sealed, own)
    }

    /// Removes a secret.
    ///
    /// # Errors
    /// Those of [`Store::set`], or there is no secret of this name.
    pub fn remove(&self, name: &str, own: &Identities) -> Result<(), SecretsError> {
        let lock = Lock::acquire(&self.directory)?;
        let opened = self.open(own)?;
        let text = opened.text.without(name);
        let text = text.ok_or_else(|| SecretsError::NoSuchSecret { name: name.into() })?;
        self.save(&lock, &text, &opened.sealed, own)
    }

    /// Replaces the whole text.
    ///
    /// # Errors
    /// The text has faults; or somebody changed the store since the draft was taken; or those of
    /// [`Store::set`].
    pub fn put(&self, draft: &Draft, text: &str, own: &Identities) -> Result<(), SecretsError> {
        let text = Zeroizing::new(text.to_owned());
        let parsed = Dotenv::parse(Path::new("secrets.env"), text);
        let text = parsed.map_err(|faults| SecretsError::Faults {
            path: self.path(),
            faults,
        })?;
        let lock = Lock::acquire(&self.directory)?;
        if *self.sealed()? != *draft.sealed {
            return Err(SecretsError::Changed { path: self.path() });
        }
        self.save(&lock, text.text(), &draft.sealed, own)
    }

    /// Returns the recipients.
    ///
    /// # Errors
    /// When the file cannot be read, or a line of it is no recipient.
    pub fn recipients(&self) -> Result<Recipients, SecretsError> {
        let path = self.recipients_path();
        let bytes = private::read_in(&self.directory, RECIPIENTS, Readable::ByAll)?;
        let bytes = bytes.ok_or(SecretsError::Missing { path })?;
        Recipients::parse(&String::from_utf8_lossy(&bytes))
    }

    /// Changes who can read the store, and encrypts it anew.
    ///
    /// # Errors
    /// Those of `change` and of [`Store::set`]; nobody here could read it afterwards.
    pub fn change_recipients(
        &self,
        own: &Identities,
        change: impl FnOnce(&mut Recipients) -> Result<(), SecretsError>,
    ) -> Result<(), SecretsError> {
        let lock = Lock::acquire(&self.directory)?;
        let opened = self.open(own)?;
        let mut recipients = self.recipients()?;
        change(&mut recipients)?;
        let text = (opened.text.text(), crypt::form(&opened.sealed));
        // The list comes last: should only one of both be written, then whoever was removed can
        // read no value that is set later, but for those already set.
        self.write(&lock, &recipients, own, text)?;
        lock.replace(RECIPIENTS, recipients.text().as_bytes())
    }

    fn save(
        &self,
        lock: &Lock,
        text: &str,
        before: &[u8],
        own: &Identities,
    ) -> Result<(), SecretsError> {
        self.write(lock, &self.recipients()?, own, (text, crypt::form(before)))
    }

    /// Encrypts and writes, once it is sure that somebody here can read it again.
    fn write(
        &self,
        lock: &Lock,
        recipients: &Recipients,
        own: &Identities,
        (text, form): (&str, crypt::Form),
    ) -> Result<(), SecretsError> {
        let path = self.path();
        let sealed = crypt::seal(&path, text, recipients, form)?;
        match crypt::open(&path, &sealed, own) {
            Ok(again) if *again == text => lock.replace(STORE, &sealed),
            _ => Err(SecretsError::LockedOut { path }),
        }
    }
}

/// The text of a store as it was when it was taken.
pub struct Draft {
    text: Zeroizing<String>,
    sealed: Zeroizing<Vec<u8>>,
}

impl Draft {
    /// The text, which may have faults.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}
