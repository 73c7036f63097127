//! Why an attempt failed, and whether another could do better.

use std::time::Duration;

use crate::{
    diagnostic::explained,
    git,
    link::LinkError,
    provider::{Remedy, Trouble},
    sandbox::SandboxError,
};

use super::recorder::Ended;

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// For the journal and the next brief.
    pub(super) reason: String,
    /// Whether another attempt may do better.
    pub(super) retry: bool,
    /// How long to leave alone first what was too busy. Then it is no fault of the work either.
    pub(super) pause: Option<Duration>,
}

impl Failure {
    /// A failure of the work: the next attempt is told of it.
    pub(super) fn retry(reason: String) -> Self {
        Self {
            reason,
            retry: true,
            pause: None,
        }
    }

    /// A failure that a further attempt cannot mend.
    pub(super) fn fatal(reason: String) -> Self {
        Self {
            reason,
            retry: false,
            pause: None,
        }
    }
}

impl From<SandboxError> for Failure {
    fn from(cause: SandboxError) -> Self {
        if let SandboxError::Link(LinkError::Refused { step, .. }) = &cause
            && step == "exec"
        {
            return Self::fatal(format!(
                "the agent's program could not be started: {}; are the program and its `#!` interpreter in the image, \
                 does the role's `execute` list allow them (`loki policy show ROLE`), do its lines end as on Unix?",
                explained(&cause)
            ));
        }
        let hopeless = matches!(
            cause,
            SandboxError::Isolation(_) | SandboxError::Link(LinkError::Refused { .. })
        );
        Self {
            reason: explained(&cause),
            retry: !hopeless,
            pause: None,
        }
    }
}

impl From<Trouble> for Failure {
    fn from(Trouble { reason, remedy }: Trouble) -> Self {
        Self {
            reason,
            retry: remedy != Remedy::Person,
            pause: match remedy {
                Remedy::Wait(pause) => Some(pause),
                Remedy::Again | Remedy::Person => None,
            },
        }
    }
}

impl From<LinkError> for Failure {
    fn from(cause: LinkError) -> Self {
        SandboxError::from(cause).into()
    }
}

impl From<git::GitError> for Failure {
    fn from(cause: git::GitError) -> Self {
        Self::fatal(explained(&cause))
    }
}

impl From<std::io::Error> for Failure {
    fn from(cause: std::io::Error) -> Self {
        Self::fatal(format!("a file of the run could not be written: {cause}"))
    }
}

impl From<Ended> for Failure {
    fn from(cause: Ended) -> Self {
        Self::fatal(cause.to_string())
    }
}
