//! Why a sandbox did not start, or could not go on.

use std::io;

use crate::{egress::StartError, engine::EngineError, event::Overrun, link::LinkError};

use super::isolation::Shortfall;

/// Why a sandbox did not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The link failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The gateway could not be set up.
    #[error(transparent)]
    Gateway(#[from] StartError),
    /// What is enforced is too little.
    #[error(transparent)]
    Isolation(#[from] Shortfall),
    /// The slot's files could not be written.
    #[error("the sandbox's files could not be written: {0}")]
    Slot(#[source] io::Error),
    /// Somebody else connected to the link's socket.
    #[error(
        "a process that is not the sandbox's own connected to its link; look for it on this host, then try again"
    )]
    Stranger,
    /// A bug: a prepared container was to be given to a role whose own would be another one.
    #[error("a bug of ours: a container was prepared for other rights than these")]
    Misfit,
    /// The agent's private repository could not be made.
    #[error(
        "the agent's repository could not be made: `{command}` ended with exit code {code}; does the image hold git?"
    )]
    NoRepository {
        /// What ran.
        command: String,
        /// How it ended.
        code: i32,
    },
    /// A secret of the role's is not kept, or has a name that only Loki sets.
    #[error("secret `{name}` cannot be given: {why}")]
    Secret {
        /// Its name.
        name: String,
        /// What keeps it from being given, and what to type next.
        why: &'static str,
    },
    /// A program passed a cap, and everything in the sandbox was ended.
    #[error("{0}")]
    Overrun(Overrun),
    /// The container ended before its guest connected.
    #[error(
        "the container ended before it was ready (exit code {code}): {reason}; `loki doctor` checks the engine"
    )]
    Died {
        /// Its exit code.
        code: i64,
        /// What the engine says, or the link.
        reason: String,
    },
}
