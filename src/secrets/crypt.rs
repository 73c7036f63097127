//! From the text to the encrypted file and back.

use std::{
    io::{Read, Write},
    path::Path,
};

use age::{
    DecryptError, Decryptor, Encryptor,
    armor::{ArmoredReader, ArmoredWriter, Format},
};
use zeroize::Zeroizing;

use super::{error::SecretsError, identity::Identities, recipients::Recipients};

/// How the encrypted file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As bytes.
    Binary,
    /// As lines of text.
    Armored,
}

/// Returns how a file is written, so that it stays as its owner chose.
pub(super) fn form(sealed: &[u8]) -> Form {
    if sealed.starts_with(b"-----BEGIN AGE") {
        Form::Armored
    } else {
        Form::Binary
    }
}

/// Encrypts a text to every recipient.
pub(super) fn seal(
    path: &Path,
    text: &str,
    recipients: &Recipients,
    form: Form,
) -> Result<Vec<u8>, SecretsError> {
    let keys = recipients.iter().map(super::recipients::Recipient::key);
    // Fails for no recipient at all; keys of both kinds agree with each other.
    let encryptor = Encryptor::with_recipients(keys).map_err(|_| SecretsError::LockedOut {
        path: path.to_owned(),
    })?;
    let format = match form {
        Form::Binary => Format::Binary,
        Form::Armored => Format::AsciiArmor,
    };
    let write = || {
        let armored = ArmoredWriter::wrap_output(Vec::new(), format)?;
        let mut stream = encryptor.wrap_output(armored)?;
        stream.write_all(text.as_bytes())?;
        stream.finish()?.finish()
    };
    write().map_err(|source| SecretsError::Io {
        doing: "encrypted",
        path: path.to_owned(),
        source,
    })
}

/// Decrypts a file with the first identity that can.
pub(super) fn open(
    path: &Path,
    sealed: &[u8],
    own: &Identities,
) -> Result<Zeroizing<String>, SecretsError> {
    let damaged = |source| SecretsError::Damaged {
        path: path.to_owned(),
        source,
    };
    let mut tried = Vec::new();
    for file in own.paths() {
        let keys = match own.read(file) {
            Ok(keys) if keys.is_empty() => {
                tried.push(format!("no `{}`", file.display()));
                continue;
            }
            Ok(keys) => keys,
            Err(cause) => {
                tried.push(cause.to_string());
                own.pass_over(cause)?;
                continue;
            }
        };
        let decryptor = Decryptor::new_buffered(ArmoredReader::new(sealed)).map_err(damaged)?;
        match decryptor.decrypt(keys.iter().map(super::identity::Identity::key)) {
            Ok(stream) => return text(stream, sealed.len()).map_err(damaged),
            Err(DecryptError::NoMatchingKeys) => {
                tried.push(format!("`{}` has another key", file.display()));
            }
            Err(cause) => return Err(damaged(cause)),
        }
    }
    Err(SecretsError::NotForUs {
        path: path.to_owned(),
        tried: tried.join(", "),
    })
}

/// Reads the text into room that never grows, for a buffer that does leaves copies behind.
fn text(mut stream: impl Read, room: usize) -> Result<Zeroizing<String>, DecryptError> {
    let mut text = Zeroizing::new(String::with_capacity(room));
    stream.read_to_string(&mut text)?;
    Ok(text)
}
