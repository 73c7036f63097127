//! What a person can type after `loki secrets`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::args::Json;

/// `loki secrets …`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Secrets {
    #[command(subcommand)]
    pub(in crate::cli) verb: Verb,
    /// The user's own store, whether or not the project has one
    #[arg(long, global = true)]
    pub(in crate::cli) user: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// Make an empty store, and an identity where there is none
    Init,
    /// Keep a value: read from standard input, or from the terminal without showing it
    Set {
        /// The name, such as API_KEY
        name: String,
        #[arg(hide = true, num_args = 0.., allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// List the names, never the values
    List(Json),
    /// Remove a secret
    Rm {
        /// The name
        name: String,
    },
    /// Open all secrets in $VISUAL or $EDITOR, in memory only
    Edit {
        /// A directory for the decrypted text, where this machine has none in memory: it is
        /// written to a disk there
        #[arg(long = "in", value_name = "DIR")]
        within: Option<PathBuf>,
    },
    /// List, add and remove those who can read the store
    #[command(subcommand)]
    Recipients(RecipientsVerb),
}

/// `loki secrets recipients …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RecipientsVerb {
    /// List the public keys
    List(Json),
    /// Let a public key read the store
    Add(Key),
    /// Take a public key out
    Rm(Key),
}

/// A public key.
#[derive(Debug, Args)]
pub(in crate::cli) struct Key {
    /// An age key, or an SSH key with or without quotes
    #[arg(required = true, num_args = 1.., value_name = "KEY")]
    pub(in crate::cli) words: Vec<String>,
}
