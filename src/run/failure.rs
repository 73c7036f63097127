//! Why an attempt failed, and whether another could do better.

use std::{error::Error, io::ErrorKind, time::Duration};

use jiff::Timestamp;

use crate::{
    diagnostic::explained,
    engine::EngineError,
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
    pub(super) pause: Option<Pause>,
    /// The check that failed, where it was one.
    pub(super) check: Option<String>,
    /// The machine lacks something that only a person can give it, such as room on its disk: the
    /// attempt counts as none, and the run stops.
    pub(super) lacks: Option<&'static str>,
}

/// How long to leave alone what was too busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// At least this long.
    AtLeast(Duration),
    /// Until a time that it named.
    Until(Timestamp),
}

impl Failure {
    /// A failure of the work: the next attempt is told of it.
    pub(super) fn retry(reason: String) -> Self {
        Self {
            reason,
            retry: true,
            pause: None,
            check: None,
            lacks: None,
        }
    }

    /// A failure that a further attempt cannot mend.
    pub(super) fn fatal(reason: String) -> Self {
        Self {
            reason,
            retry: false,
            pause: None,
            check: None,
            lacks: None,
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
        let lacks = match &cause {
            SandboxError::Engine(cause) => lacks_engine(cause),
            _ => None,
        };
        Self {
            lacks: lacks.or_else(|| lacks_room(&cause)),
            reason: explained(&cause),
            retry: !hopeless,
            pause: None,
            check: None,
        }
    }
}

impl From<Trouble> for Failure {
    fn from(Trouble { reason, remedy }: Trouble) -> Self {
        Self {
            reason,
            retry: remedy != Remedy::Person,
            lacks: None,
            check: None,
            pause: match remedy {
                Remedy::Wait(pause) => Some(Pause::AtLeast(pause)),
                Remedy::Until(time) => Some(Pause::Until(time)),
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
        Self {
            lacks: lacks_room(&cause),
            ..Self::fatal(explained(&cause))
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(cause: std::io::Error) -> Self {
        Self {
            lacks: lacks_room(&cause),
            ..Self::fatal(format!("a file of the run could not be written: {cause}"))
        }
    }
}

/// What to do about a full disk.
const ROOM: &str = "make room on the disk";
/// What a program of the system says last when there is no room.
const FULL: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// Returns what a person must do when a fault says that the disk is full. Programs say it at the
/// end of a line; what an agent printed is not asked here.
pub(super) fn lacks_room(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut next = Some(cause);
    while let Some(fault) = next {
        let kind = fault
            .downcast_ref::<std::io::Error>()
            .map(std::io::Error::kind);
        if matches!(
            kind,
            Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        ) {
            return Some(ROOM);
        }
        next = fault.source();
    }
    let text = explained(cause);
    let mut lines = text.lines().flat_map(|line| line.split("\\n"));
    let full = |line: &str| FULL.iter().any(|words| line.trim_end().ends_with(words));
    lines.any(full).then_some(ROOM)
}

/// Returns what a person must do when the engine is gone.
fn lacks_engine(cause: &EngineError) -> Option<&'static str> {
    let gone = match cause {
        EngineError::NotFound { .. } | EngineError::TimedOut { .. } => true,
        // There was no answer at all.
        EngineError::Api { status, .. } => status.is_none(),
        _ => false,
    };
    gone.then_some("start the engine")
}

impl From<Ended> for Failure {
    fn from(cause: Ended) -> Self {
        Self::fatal(cause.to_string())
    }
}
