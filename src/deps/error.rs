//! Why something is not kept.

use std::{io, path::PathBuf};

/// Why something is not kept.
#[derive(Debug, thiserror::Error)]
pub enum DepsError {
    /// The operating system refused.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The install left something behind that is not kept.
    #[error("the install left `{path}`, {why}: nothing of it is kept")]
    Refused {
        /// Its path, hidden characters escaped.
        path: String,
        /// What it is.
        why: &'static str,
    },
    /// The install left nothing where its result is looked for.
    #[error("the install ended well, but made no directory `{path}`")]
    Nothing {
        /// Where it should be.
        path: String,
    },
    /// The install left more than is kept.
    #[error("the install left more than {most} {what}: nothing of it is kept")]
    TooMuch {
        /// How many there may be.
        most: u64,
        /// Of what.
        what: &'static str,
    },
}

impl DepsError {
    pub(super) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io {
            doing,
            path: path.into(),
            source: source.into(),
        }
    }
}
