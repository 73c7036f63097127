//! Why secrets could not be read or kept.

use std::{io, path::PathBuf};

use crate::diagnostic::Diagnostic;

/// Why secrets could not be read or kept. No variant holds a value or a private key.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The operating system refused.
    #[error("`{path}` cannot be {doing}: {source}")]
    Io {
        /// What was being done, such as `read`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others of this machine could read a file that must be private.
    #[error("`{path}` can be read by others: `chmod 600 {path}`")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// Others of this machine could replace what is in a directory.
    #[error("others can write to `{path}`: `chmod go-w {path}`")]
    Open {
        /// The directory.
        path: PathBuf,
    },
    /// A link, a directory, a device.
    #[error("`{path}` is a link or no regular file: put the file itself there")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// It is not this user's.
    #[error("`{path}` belongs to another user: `chown` it to yours, or name another file")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// More than a store may have.
    #[error("`{path}` is larger than 2 MiB: secrets are short")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// There is a store already.
    #[error("`{path}` is there already: `loki secrets set NAME` adds to it")]
    Exists {
        /// The store.
        path: PathBuf,
    },
    /// There is no store.
    #[error("there is no `{path}`: `loki secrets init` makes one")]
    Missing {
        /// The store.
        path: PathBuf,
    },
    /// A file that should hold an identity holds none that is known here.
    #[error("`{path}` holds no identity that can be used: {why}")]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: &'static str,
    },
    /// Nothing here opens the store.
    #[error(
        "no identity here opens `{path}` ({tried}): name the right file with `LOKI_AGE_IDENTITY=FILE`"
    )]
    NotForUs {
        /// The store.
        path: PathBuf,
        /// Which files were tried.
        tried: String,
    },
    /// The file is no age file, or was changed by somebody without the key.
    #[error("`{path}` cannot be decrypted: {source}; restore it from a copy")]
    Damaged {
        /// The store.
        path: PathBuf,
        /// What age says.
        source: age::DecryptError,
    },
    /// A recipient is none.
    #[error("`{text}` is no recipient that can be used: {why}")]
    Recipient {
        /// What was given.
        text: String,
        /// What is wrong, and what to do.
        why: &'static str,
    },
    /// A recipient to be removed is not there.
    #[error("`{text}` is none of the recipients: `loki secrets recipients list` shows them")]
    NoSuchRecipient {
        /// What was given.
        text: String,
    },
    /// What would be written could not be opened here any more.
    #[error(
        "no identity here could open `{path}` afterwards, so nothing was changed: keep a recipient of your own"
    )]
    LockedOut {
        /// The store.
        path: PathBuf,
    },
    /// There is no secret of this name.
    #[error("no secret is called `{name}`: `loki secrets list` shows the names")]
    NoSuchSecret {
        /// The name.
        name: String,
    },
    /// Somebody else changed the store while it was being edited.
    #[error("`{path}` was changed meanwhile by somebody else: nothing was saved, edit it again")]
    Changed {
        /// The store.
        path: PathBuf,
    },
    /// The decrypted text has faults.
    #[error("the text in `{path}` has faults: `loki secrets edit` mends them")]
    Faults {
        /// The store.
        path: PathBuf,
        /// Each of them, values hidden.
        faults: Vec<Diagnostic>,
    },
}
