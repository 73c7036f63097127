//! Why advisories could not be imported, kept or read.

use std::{io, path::PathBuf};

use crate::{diagnostic::Diagnostic, vetting::Unusable};

/// Why advisories could not be imported or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A directory or file cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Unread {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory that was named is none.
    #[error("`{}` is no directory of advisories; unpack the export and name the directory", .0.display())]
    NoDirectory(PathBuf),
    /// Something in a directory is neither a file nor a directory.
    #[error("`{}` is a link or no plain file, and is not followed; put the records themselves there", .0.display())]
    Link(PathBuf),
    /// A bound is passed.
    #[error("`{}` has {what}; import fewer records at once", path.display())]
    TooMuch {
        /// Where.
        path: PathBuf,
        /// What there is too much of.
        what: &'static str,
    },
    /// Records are faulty.
    #[error("nothing was imported: of {records} records {} cannot be read", faults.len())]
    Faulty {
        /// How many were looked at.
        records: u64,
        /// What is wrong in each, the first of them only.
        faults: Vec<Diagnostic>,
    },
    /// No record is about a package that rules name.
    #[error(
        "no record there is about a package of npm, pip, cargo or Debian; name the directory of an unpacked export"
    )]
    Nothing,
    /// What is kept is not what was written.
    #[error("the advisories in `{}` cannot be used: {source}; type `loki advisories import DIR` again, or `loki advisories remove`", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Unusable,
    },
    /// The file of what is kept cannot be written.
    #[error("the advisories could not be written to `{}`", path.display())]
    Unwritten {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
