//! What a person can type after `loki advisories`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::args::Json;

/// `loki advisories …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AdvisoriesVerb {
    /// Replace what is kept with the OSV records (*.json) of these directories
    Import(Import),
    /// List the advisories, by package
    List(List),
    /// Say how many there are, how old, and from where
    Status(Json),
    /// Remove all of them
    #[command(alias = "rm")]
    Remove,
}

/// `loki advisories import`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// Directories of unpacked exports of the OSV project; those below them count
    #[arg(required = true, value_name = "DIR")]
    pub(super) directories: Vec<PathBuf>,
}

/// `loki advisories list`.
#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// Only these packages, or those of a registry: left-pad, npm, npm/left-pad
    #[arg(value_name = "PACKAGE")]
    pub(super) packages: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}
