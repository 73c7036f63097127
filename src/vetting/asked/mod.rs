//! What the path of a request asks of a registry.
//!
//! Each registry has its few forms. A path is read below every prefix that the registry has on that
//! host; where two readings differ, neither counts.

mod crates;
mod debian;
mod npm;
pub(super) mod pypi;

use crate::policy::{RegistryHost, RegistryKind, RegistryRule, Target};

use super::{name::canonical, version::Version};

/// What is asked of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// What names no package: how the registry works, or lists of all packages.
    Index,
    /// What is known of a package, in the form in which names are compared.
    Metadata(String),
    /// A version of a package.
    Package(Package),
}

/// One file of one version of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Whose packages they are.
    pub kind: RegistryKind,
    /// The name, in the form in which names are compared; of Debian the source package's.
    pub name: String,
    /// The name as the path says it.
    pub spelled: String,
    /// Of Debian, the name of the package that is installed.
    pub binary: Option<String>,
    /// The version, as the path says it.
    pub version: String,
}

impl Package {
    /// Returns it as people write it: `left-pad 1.3.0`.
    #[must_use]
    pub fn shown(&self) -> String {
        let name = self.binary.as_ref().unwrap_or(&self.name);
        format!("{name} {}", self.version)
    }
}

/// Why a path is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It has no form that the registry is known for.
    #[error("its path is no known form of a path of `{kind}`, so no package can be told from it", kind = .0.name())]
    Strange(RegistryKind),
    /// It has two.
    #[error("its path can be read in two ways: {0}")]
    Twofold(String),
    /// The version is none.
    #[error("`{version}` is no version of a package of `{kind}`", kind = .kind.name())]
    Version {
        /// Whose packages.
        kind: RegistryKind,
        /// What stands where the version should.
        version: String,
    },
}

/// Reads what a path, in its normal form and without its query, asks of the registry of a rule.
///
/// # Errors
/// Returns [`Unread`] when it is no known form, or more than one.
pub fn asked(rule: &RegistryRule, target: &Target, path: &str) -> Result<Asked, Unread> {
    let mut readings: Vec<Asked> = Vec::new();
    let mut why = Unread::Strange(rule.kind);
    for host in &rule.hosts {
        let here = host.host == target.name && host.port == target.port;
        let below = path.strip_prefix(host.prefix.as_str());
        let Some(below) = below
            .and_then(|rest| rest.strip_prefix('/'))
            .filter(|_| here)
        else {
            continue;
        };
        match read(rule.kind, below) {
            Ok(reading) if !readings.contains(&reading) => readings.push(reading),
            Ok(_) => {}
            Err(Unread::Strange(_)) => {}
            Err(error) => why = error,
        }
    }
    match (readings.pop(), readings.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => Err(Unread::Twofold(
            "the registry has two prefixes on this host, and it fits both".to_owned(),
        )),
        (None, _) => Err(why),
    }
}

/// Reads a path below the prefix of a registry, without its first slash.
fn read(kind: RegistryKind, below: &str) -> Result<Asked, Unread> {
    let parts: Vec<&str> = below.split('/').collect();
    match kind {
        RegistryKind::Npm => npm::read(&parts),
        RegistryKind::Pypi => pypi::read(&parts),
        RegistryKind::Crates => crates::read(&parts),
        RegistryKind::Debian => debian::read(&parts),
    }
}

/// Returns the path, in the normal form, at which a host of a registry says when the versions of a
/// package came out; none for a registry that does not say.
#[must_use]
pub fn metadata_path(host: &RegistryHost, package: &Package) -> Option<String> {
    let below = match package.kind {
        RegistryKind::Npm => package.name.replacen('/', "%2F", 1),
        RegistryKind::Pypi => format!("{}/", package.name),
        // The index has a crate under the spelling that it was published with.
        RegistryKind::Crates => crates::index_path(&package.spelled),
        RegistryKind::Debian => return None,
    };
    Some(format!("{}/{below}", host.prefix))
}

/// Makes a package of a name and a version that are both one.
fn package(kind: RegistryKind, name: &str, version: &str) -> Result<Asked, Unread> {
    let spelled = name.to_owned();
    let name = canonical(kind, name).ok_or(Unread::Strange(kind))?;
    if Version::read(kind, version).is_none() {
        let version = version.chars().take(64).collect();
        return Err(Unread::Version { kind, version });
    }
    Ok(Asked::Package(Package {
        kind,
        name,
        spelled,
        binary: None,
        version: version.to_owned(),
    }))
}

/// Takes a name as asking for what is known of its package.
fn metadata(kind: RegistryKind, name: &str) -> Result<Asked, Unread> {
    let name = canonical(kind, name).ok_or(Unread::Strange(kind))?;
    Ok(Asked::Metadata(name))
}
