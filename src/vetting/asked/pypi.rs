//! Paths of pip: the pages of an index (`/simple/`, `/simple/requests/`) and files anywhere below a
//! prefix, whose names alone say what they are.

use super::{Asked, Unread, metadata, package};
use crate::{
    policy::RegistryKind::Pypi,
    vetting::{name::canonical, version::Version},
};

/// How names of source distributions end.
const SOURCES: [&str; 7] = [
    ".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz", ".tar.Z", ".tar",
];

/// Reads a path below the prefix, in parts.
pub(super) fn read(parts: &[&str]) -> Result<Asked, Unread> {
    match parts {
        [""] => Ok(Asked::Index),
        // Also the name of a project may end so.
        [name] | [name, ""] if is_file(name) => Err(Unread::Twofold(format!(
            "`{name}` is the name of a project and of a file"
        ))),
        [name] | [name, ""] => metadata(Pypi, name),
        [.., name] if is_file(name) => file(name),
        _ => Err(Unread::Strange(Pypi)),
    }
}

fn is_file(name: &str) -> bool {
    let name = name.strip_suffix(".metadata").unwrap_or(name);
    name.ends_with(".whl") || SOURCES.iter().any(|end| name.ends_with(end))
}

/// Reads the name of a file, or of the metadata beside it, which is the same version's.
pub(in crate::vetting) fn file(name: &str) -> Result<Asked, Unread> {
    let name = name.strip_suffix(".metadata").unwrap_or(name);
    if let Some(stem) = name.strip_suffix(".whl") {
        return wheel(stem);
    }
    let stem = SOURCES.iter().find_map(|end| name.strip_suffix(end));
    source(stem.ok_or(Unread::Strange(Pypi))?)
}

/// `name-version[-build]-python-abi-platform`.
fn wheel(stem: &str) -> Result<Asked, Unread> {
    let parts: Vec<&str> = stem.split('-').collect();
    let (name, version) = match parts.as_slice() {
        [name, version, _, _, _] => (name, version),
        [name, version, build, _, _, _] if build.starts_with(|c: char| c.is_ascii_digit()) => {
            (name, version)
        }
        _ => return Err(Unread::Strange(Pypi)),
    };
    // A `-` would part the name there, and stands as `_`.
    match Version::read(Pypi, version) {
        Some(_) => package(Pypi, name, version),
        None => package(Pypi, name, &version.replace('_', "-")),
    }
}

/// `name-version`, where either may hold a `-`: exactly one of the places must part them.
fn source(stem: &str) -> Result<Asked, Unread> {
    let places = stem.match_indices('-');
    let mut fits = places.filter_map(|(at, _)| {
        let (name, version) = (stem.get(..at)?, stem.get(at + 1..)?);
        canonical(Pypi, name)?;
        Version::read(Pypi, version)?;
        Some((name, version))
    });
    match (fits.next(), fits.next()) {
        (Some((name, version)), None) => package(Pypi, name, version),
        (Some((a, _)), Some((b, _))) => Err(Unread::Twofold(format!(
            "`{stem}` is a version of `{a}` and of `{b}`"
        ))),
        (None, _) => Err(Unread::Strange(Pypi)),
    }
}
