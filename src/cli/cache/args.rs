//! What a person can type after `loki cache`.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::cli::{args::Json, asked};

/// `loki cache …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// List what is kept, what was used last first
    List(Json),
    /// Remove what is kept; what a sandbox uses stays
    Prune(Prune),
}

/// `loki cache prune`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Prune {
    /// Only those whose key begins so
    #[arg(value_name = "KEY", value_parser = key)]
    pub(super) keys: Vec<String>,
    /// Remove only what was not used for so long, such as 7d or 12h
    #[arg(long, value_name = "TIME", value_parser = asked::time)]
    pub(super) older_than: Option<Duration>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Reads the beginning of a key.
fn key(text: &str) -> Result<String, String> {
    let digits = text
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if (8..=64).contains(&text.len()) && digits {
        Ok(text.to_owned())
    } else {
        Err("a key begins with 8 to 64 digits of 0-9 and a-f: `loki cache list`".to_owned())
    }
}
