//! What a role may do. Only the checker here can build a [`Policy`]; an empty one allows nothing.
//!
//! ```text
//! Source (layer, file, text) ── yaml ──► tree with places ── file, fields, egress ──► entries
//! entries of all files ── resolve: default < swarm pattern < role, then layer by layer ──► Rights
//! ```
//! A field that a more specific entry names replaces the less specific one whole; what nobody
//! names is denied, or has the default that `docs/policy.md` lists. Every fault of every file is
//! reported at once. Reads no file itself: texts come in as [`Source`]s.

mod address;
mod decide;
mod egress;
mod execute;
mod fields;
mod file;
mod glob;
mod host;
mod programs;
mod resolve;
mod rights;
mod sheet;
mod units;
mod yaml;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::PathBuf};

pub use decide::{Denied, Permit, Target, decide, name_ports};
pub use glob::{GlobError, Matcher};
pub use host::HostError;
pub use rights::{
    Egress, EgressRule, Files, Glob, Globs, HostEntry, HostPattern, Minimum, Origin, Program,
    Protocol, Rates, Resources, Rights,
};

use crate::{diagnostic::Diagnostic, name::Role};

/// Whose policy a file is. Later layers override earlier ones. There is no layer for files of the
/// project: they come with the code and are not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Shipped with Loki.
    BuiltIn,
    /// `/etc/loki/policies`.
    Organisation,
    /// `~/.config/loki/policies`.
    User,
    /// Named on the command line.
    Given,
}

/// One policy file, already read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Whose it is.
    pub layer: Layer,
    /// Its path, as shown to people.
    pub file: PathBuf,
    /// What it holds.
    pub text: String,
}

/// Which kind of model a role's work needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Planning and design.
    Planning,
    /// Ordinary development.
    Development,
    /// Small and fast.
    Fast,
}

/// The checked rights of all roles.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    roles: BTreeMap<Role, (Rights, Option<Tier>)>,
    sha256: String,
}

impl Policy {
    /// Returns the policies that are shipped with Loki.
    #[must_use]
    pub fn builtin_sources() -> Vec<Source> {
        let shipped = [
            ("defaults", include_str!("../../policies/defaults.yaml")),
            (
                "engineering",
                include_str!("../../policies/engineering.yaml"),
            ),
            ("operations", include_str!("../../policies/operations.yaml")),
            ("business", include_str!("../../policies/business.yaml")),
            ("data", include_str!("../../policies/data.yaml")),
            ("product", include_str!("../../policies/product.yaml")),
            ("growth", include_str!("../../policies/growth.yaml")),
            ("review", include_str!("../../policies/review.yaml")),
        ];
        let source = |(name, text): (&str, &str)| Source {
            layer: Layer::BuiltIn,
            file: PathBuf::from(format!("policies/{name}.yaml")),
            text: text.to_owned(),
        };
        shipped.map(source).into()
    }

    /// Builds the policy that `sources` say together.
    ///
    /// # Errors
    /// Returns every fault of every file, in the order of files and lines.
    pub fn check(sources: &[Source]) -> Result<Self, Vec<Diagnostic>> {
        resolve::check(sources)
    }

    /// Returns what `role` may do, none when there is no such role.
    #[must_use]
    pub fn rights(&self, role: &Role) -> Option<Rights> {
        self.roles.get(role).map(|(rights, _)| rights.clone())
    }

    /// Returns which kind of model `role` asks for, none when it does not say.
    #[must_use]
    pub fn tier(&self, role: &Role) -> Option<Tier> {
        self.roles.get(role).and_then(|(_, tier)| *tier)
    }

    /// Returns all roles in alphabetical order.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.keys()
    }

    /// Returns the hash of the layers and texts the policy was built from, in hexadecimal. It does
    /// not depend on where the files lie.
    #[must_use]
    pub fn sha256(&self) -> String {
        self.sha256.clone()
    }
}
