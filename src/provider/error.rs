//! What can be wrong with a provider.

use std::{io, path::PathBuf};

use crate::{diagnostic::Diagnostic, name::TaskId};

/// Why a provider cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// `--provider command` came without a program.
    #[error("`--provider command` names no program; add `--command ./agent.sh`")]
    NoProgram,
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A path names something that is not a plain file.
    #[error("`{}` is not a regular file; give the file itself", path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// A file is larger than it may be.
    #[error("`{}` is larger than {max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The cap in bytes.
        max: usize,
    },
    /// A file is neither a script with an interpreter line nor a binary program.
    #[error("`{}` is no program: begin the script with a line such as `#!/bin/sh`", path.display())]
    NotAProgram {
        /// The file.
        path: PathBuf,
    },
    /// A macro is wrong; all its faults are given.
    #[error("the macro `{}` has {} fault(s)", path.display(), faults.len())]
    Macro {
        /// Its directory.
        path: PathBuf,
        /// What is wrong.
        faults: Vec<Diagnostic>,
    },
    /// A macro holds nothing for a task.
    #[error("the macro has no script for the task `{task}`")]
    NoScript {
        /// The task.
        task: TaskId,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers for the name of a session: {0}")]
    Random(getrandom::Error),
}
