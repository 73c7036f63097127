//! What a person can type after `loki audit`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

use crate::{
    cli::{args::Json, asked},
    journal::export,
    name::RunId,
};

/// The verbs.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// Make the key that seals journals, if there is none, and print its public half
    Init(Json),
    /// Put a new key in the place of the one in use; what the old one sealed stays verifiable
    Rotate(Json),
    /// Print the public key, with the keys before it
    Key(PublicHalf),
    /// Verify the journal of a run: its chain, its seals, and the seal that is kept outside
    Verify(Verify),
    /// Print the newest seal of a run in one line, to be kept elsewhere
    Anchor(Anchor),
    /// Print the journal of a run for other tools
    Export(Export),
    /// Replace old journals of ended runs by one signed line each; asks before it removes anything
    Prune(Prune),
}

/// `loki audit key`.
#[derive(Debug, Args)]
pub(in crate::cli) struct PublicHalf {
    /// Print the key alone, as a PEM file that openssl reads
    #[arg(long, conflicts_with = "json")]
    pub(super) pem: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `loki audit verify`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    /// The run (default: the newest)
    #[arg(long)]
    pub(super) run: Option<RunId>,
    /// Every run of this repository
    #[arg(long, conflicts_with = "run")]
    pub(super) all: bool,
    /// The public key to trust, or a file that `loki audit key` printed (default: this user's own)
    #[arg(long, value_name = "PUB")]
    pub(super) key: Option<String>,
    /// Also hold it against a seal that `loki audit anchor` printed
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    pub(super) anchor: Option<PathBuf>,
    /// Accept a journal without any seal, as older versions wrote them: only its chain is checked
    #[arg(long)]
    pub(super) unsealed: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `loki audit anchor`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Anchor {
    /// The run (default: the newest)
    #[arg(long)]
    pub(super) run: Option<RunId>,
    /// Write it to this file instead
    #[arg(long, value_name = "FILE")]
    pub(super) to: Option<PathBuf>,
}

/// A form of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Format {
    /// The records as they stand in the journal
    Jsonl,
    /// Events of the Open Cybersecurity Schema Framework
    Ocsf,
    /// Messages of RFC 5424
    Syslog,
}

impl From<Format> for export::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Jsonl => Self::Jsonl,
            Format::Ocsf => Self::Ocsf,
            Format::Syslog => Self::Syslog,
        }
    }
}

/// `loki audit export`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    /// The run (default: the newest)
    #[arg(long)]
    pub(super) run: Option<RunId>,
    /// In which form
    #[arg(long, value_enum)]
    pub(super) format: Format,
}

/// `loki audit prune`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Prune {
    /// Keep the journals of so many of the newest runs
    #[arg(long, value_name = "N", required_unless_present = "older_than")]
    pub(super) keep: Option<usize>,
    /// Only those whose run ended longer ago than this, such as 30d
    #[arg(long, value_name = "TIME", value_parser = asked::time)]
    pub(super) older_than: Option<Duration>,
    /// Remove without asking; without a terminal nothing is removed otherwise
    #[arg(long)]
    pub(super) yes: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}
