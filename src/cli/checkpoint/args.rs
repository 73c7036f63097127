//! What a person can type after `loki checkpoint`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

use crate::{
    cli::asked,
    name::{CheckpointId, RunId},
};

/// The verbs.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// Keep what running sandboxes wrote, or a directory
    Create(Create),
    /// List checkpoints
    List(Listed),
    /// Show what a checkpoint holds, and what it left out
    Show(One),
    /// Compare two checkpoints; exits 1 when they differ
    Diff(Diff),
    /// Verify a checkpoint, then unpack it into a new directory
    Restore(Restore),
    /// Verify a checkpoint, then write it as a tar
    Export(Export),
    /// Read checkpoints whole and name the first thing that is wrong
    Verify(Verify),
    /// Remove old checkpoints and what only they needed
    Prune(Prune),
}

/// `loki checkpoint create`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// Sandboxes to keep, such as `store-1` or a container of `loki sandbox ls` (default: every one
    /// that runs in this repository)
    #[arg(conflicts_with_all = ["dir", "archive"])]
    pub(super) sandboxes: Vec<String>,
    /// Keep this directory instead
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// Keep what a tar holds instead, packed with gzip, zstd or not at all; `-` reads standard input
    #[arg(long, value_name = "FILE", conflicts_with = "dir")]
    pub(super) archive: Option<PathBuf>,
    /// Do not pause the sandbox: a second look must prove that nothing was changed meanwhile
    #[arg(long)]
    pub(super) no_pause: bool,
    /// The most that all checkpoints together may take, such as 500MiB
    #[arg(long, value_name = "SIZE", default_value = "50GiB", value_parser = size)]
    pub(super) quota: u64,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `loki checkpoint list`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Listed {
    /// Only those of this run
    #[arg(long)]
    pub(super) run: Option<RunId>,
    #[command(flatten)]
    pub(super) trust: Trust,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Whose signature counts.
#[derive(Debug, Args)]
pub(in crate::cli) struct Trust {
    /// The public key to trust (default: this user's own)
    #[arg(long, value_name = "PUB")]
    pub(super) key: Option<String>,
}

/// `loki checkpoint show`.
#[derive(Debug, Args)]
pub(in crate::cli) struct One {
    /// The checkpoint
    pub(super) id: CheckpointId,
    #[command(flatten)]
    pub(super) trust: Trust,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `loki checkpoint diff`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Diff {
    /// The earlier checkpoint
    pub(super) before: CheckpointId,
    /// The later one
    pub(super) after: CheckpointId,
    #[command(flatten)]
    pub(super) trust: Trust,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `loki checkpoint restore`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Restore {
    /// The checkpoint
    pub(super) id: CheckpointId,
    /// The directory to make: it does not exist yet, or is empty
    #[arg(long, value_name = "DIR")]
    pub(super) to: PathBuf,
    /// Also make symbolic links that lead out of the tree
    #[arg(long)]
    pub(super) all_links: bool,
    #[command(flatten)]
    pub(super) trust: Trust,
}

/// How an exported tar is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Format {
    /// Not at all
    Tar,
    /// With gzip
    Gzip,
    /// With zstd
    Zstd,
}

/// `loki checkpoint export`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    /// The checkpoint
    pub(super) id: CheckpointId,
    /// The file to write, which must not exist (default: standard output)
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// How it is packed
    #[arg(long, value_enum, default_value_t = Format::Zstd)]
    pub(super) format: Format,
    /// Also write symbolic links that lead out of the tree
    #[arg(long)]
    pub(super) all_links: bool,
    #[command(flatten)]
    pub(super) trust: Trust,
}

/// `loki checkpoint verify`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    /// Checkpoints (default: all)
    pub(super) ids: Vec<CheckpointId>,
    #[command(flatten)]
    pub(super) trust: Trust,
}

/// `loki checkpoint prune`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Prune {
    /// Keep so many of the newest
    #[arg(long, value_name = "N", required_unless_present = "older_than")]
    pub(super) keep: Option<usize>,
    /// Remove only what is older than this, such as 7d or 12h
    #[arg(long, value_name = "TIME", value_parser = asked::time)]
    pub(super) older_than: Option<Duration>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) trust: Trust,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Reads a size such as `500MiB`.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || "write a number and its unit: 500MiB, 20GiB, 1TiB".to_owned();
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    let (number, shift) = units
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))
        .ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let bytes = number.checked_mul(1 << shift).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn a_size_has_a_unit() {
        assert_eq!(size("2KiB"), Ok(2048));
        assert_eq!(size("1TiB"), Ok(1 << 40));
        for text in [
            "",
            "5",
            "GiB",
            "0MiB",
            "-1MiB",
            "1.5GiB",
            "99999999999TiB",
            "1GB",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
