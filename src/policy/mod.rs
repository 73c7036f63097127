//! What a role may do. Only the checker here can build a [`Policy`]; an empty one allows nothing.
//!
//! ```text
//! Source (layer, file, text) ── yaml, sheet ──► tree with places
//!   ── file: fields, limits, egress, denials, settings, expect ──► entries
//!   ── resolve: names, then layers laid over each other, held to cover ──► fields of each role
//!   ── assemble: denials and maxima taken out, defaults filled in ──► Rights
//! Rights ── decide (traffic), glob (paths), verdict (any act) ──► allowed or denied, by which rule
//!   ── written, explain, diff, suggest, schema ──► what people read
//! ```
//! A field that a more specific entry names replaces the less specific one whole; what nobody
//! names is denied, or has the default that `docs/policy.md` lists. Every fault of every file is
//! reported at once. Reads no file itself: texts come in as [`Source`]s.

mod address;
mod assemble;
mod cover;
mod decide;
mod delivery;
mod denials;
pub mod diff;
mod egress;
mod execute;
mod expect;
pub mod explain;
mod fields;
mod file;
mod glob;
mod host;
pub mod host_files;
mod layers;
mod limits;
mod names;
pub mod plain;
mod programs;
mod provider;
mod request;
mod resolve;
mod rights;
pub mod schema;
mod settings;
mod sheet;
pub mod suggest;
mod trust;
mod units;
mod verdict;
pub mod written;
mod yaml;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

pub use decide::{Denied, Permit, Target, decide, name_ports};
pub use delivery::{Delivery, Form};
pub use glob::{GlobError, Matcher};
pub use host::HostError;
pub use host_files::HostKind;
pub use provider::{entry_of, is_internal};
pub use request::{
    Credential, CredentialForm, DeniedRequests, GitRule, PUSH_HEAD_MAX, PathError, PathPattern,
    Push, PushError, RegistryHost, RegistryKind, RegistryRule, Request, RequestPermit, RequestRule,
    UrlPath, decide_request, git_push,
};
pub use rights::{
    DeniedHost, DeniedNames, Egress, EgressRule, Files, Glob, Globs, HostEntry, HostPattern,
    Minimum, Origin, Program, Protocol, Rates, Resources, Rights,
};
pub use units::duration;

pub use settings::{AgentPool, Rotation};
pub use trust::{Change, Pins, PinsError, changed_lines};
pub use verdict::{Act, ActError, Asked, Verdict};

use crate::{diagnostic::Diagnostic, name::Role};

/// Whose policy a file is. Later layers override earlier ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Shipped with Loki.
    #[default]
    BuiltIn,
    /// `/etc/loki/policies`.
    Organisation,
    /// `~/.config/loki/policies`.
    User,
    /// `.loki/policies` of the repository. It comes with the code: until a person trusts it, it
    /// narrows only.
    Project,
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

/// What the check must know besides the texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The names of the secrets that are kept.
    pub secrets: BTreeSet<String>,
    /// The hosts that packages of each kind come from, as this machine's own tools say.
    pub registries: BTreeMap<RegistryKind, Vec<RegistryHost>>,
    /// Whether a person trusts the project's files as they are.
    pub trust: Trust,
    /// The entry of the agent program that works, such as `provider-claude`: what it needs is
    /// added to every role but Loki's own.
    pub provider: Option<Role>,
}

/// Whether the project's own files may widen rights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Trust {
    /// They narrow only.
    #[default]
    No,
    /// A person has looked at exactly these files.
    Pinned,
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
    roles: BTreeMap<Role, (Arc<Rights>, Option<Tier>)>,
    pool: AgentPool,
    rotation: Rotation,
    notes: Vec<Diagnostic>,
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
            ("providers", include_str!("../../policies/providers.yaml")),
            ("install", include_str!("../../policies/install.yaml")),
        ];
        let source = |(name, text): (&str, &str)| Source {
            layer: Layer::BuiltIn,
            file: PathBuf::from(format!("policies/{name}.yaml")),
            text: text.to_owned(),
        };
        shipped.map(source).into()
    }

    /// Builds the policy that `sources` say together, where no secrets are kept and the project
    /// is not trusted.
    ///
    /// # Errors
    /// Those of [`Policy::check_knowing`].
    pub fn check(sources: &[Source]) -> Result<Self, Vec<Diagnostic>> {
        Self::check_knowing(sources, &Facts::default())
    }

    /// Builds the policy that `sources` say together.
    ///
    /// # Errors
    /// Returns every fault of every file, in the order of files and lines.
    pub fn check_knowing(sources: &[Source], facts: &Facts) -> Result<Self, Vec<Diagnostic>> {
        resolve::check(sources, facts)
    }

    /// Returns what a person should know although nothing is wrong: what an untrusted project asks
    /// for in vain, and sections that nothing acts on yet.
    #[must_use]
    pub fn notes(&self) -> &[Diagnostic] {
        &self.notes
    }

    /// Returns how many sandboxes are to stand ready.
    #[must_use]
    pub fn agent_pool(&self) -> &AgentPool {
        &self.pool
    }

    /// Returns how secrets are to be renewed. Nothing acts on it yet.
    #[must_use]
    pub fn rotation(&self) -> &Rotation {
        &self.rotation
    }

    /// Returns what `role` may do, none when there is no such role.
    #[must_use]
    pub fn rights(&self, role: &Role) -> Option<Rights> {
        self.shared(role).map(Arc::unwrap_or_clone)
    }

    /// Returns the same for many at once: a hundred sandboxes of a role have its rights once.
    #[must_use]
    pub fn shared(&self, role: &Role) -> Option<Arc<Rights>> {
        self.roles.get(role).map(|(rights, _)| Arc::clone(rights))
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
