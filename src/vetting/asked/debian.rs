//! Paths of apt: everything below `dists`, and the files of a pool, whose directory is the source
//! package: `/pool/main/o/openssl/libssl3_3.0.11-1~deb12u2_amd64.deb`.

use super::{Asked, Package, Unread, metadata, package};
use crate::{
    policy::RegistryKind::Debian,
    vetting::{name::canonical, version::Version},
};

const BINARIES: [&str; 3] = [".deb", ".udeb", ".ddeb"];
/// How files of one version of a source package end, after `name_version`.
const SOURCES: [&str; 3] = [".dsc", ".debian.tar.", ".diff.gz"];
/// How a whole source package of Debian's own ends.
const NATIVE: &str = ".tar.";

/// Reads a path below the prefix, in parts.
pub(super) fn read(parts: &[&str]) -> Result<Asked, Unread> {
    let strange = Unread::Strange(Debian);
    if parts.iter().any(|part| part.contains('%')) {
        return Err(strange);
    }
    let Some((file, above)) = parts.split_last() else {
        return Err(strange);
    };
    let is_package = BINARIES.iter().any(|end| file.ends_with(end));
    let pool = above.iter().position(|part| *part == "pool");
    let Some(pool) = pool else {
        let listed = above.first() == Some(&"dists") && !is_package;
        return if listed {
            Ok(Asked::Index)
        } else {
            Err(strange)
        };
    };
    let [.., prefix, source] = above.get(pool + 1..).unwrap_or_default() else {
        return Err(strange);
    };
    if canonical(Debian, source).is_none() || *prefix != directory(source) {
        return Err(strange);
    }
    match BINARIES.iter().find_map(|end| file.strip_suffix(end)) {
        Some(stem) => binary(source, stem),
        None => source_file(source, file),
    }
}

/// Returns the directory of a source package's own: `libx` for `libxml2`, `o` for `openssl`.
fn directory(source: &str) -> &str {
    let letters = if source.starts_with("lib") { 4 } else { 1 };
    source.get(..letters).unwrap_or(source)
}

/// `name_version_architecture`.
fn binary(source: &str, stem: &str) -> Result<Asked, Unread> {
    let parts: Vec<&str> = stem.split('_').collect();
    let [name, version, _] = parts.as_slice() else {
        return Err(Unread::Strange(Debian));
    };
    let binary = canonical(Debian, name).ok_or(Unread::Strange(Debian))?;
    let asked = package(Debian, source, version)?;
    Ok(match asked {
        Asked::Package(package) => Asked::Package(Package {
            binary: Some(binary),
            ..package
        }),
        other => other,
    })
}

/// `name_version.dsc` and what belongs to it; what came from upstream belongs to many versions.
fn source_file(source: &str, file: &str) -> Result<Asked, Unread> {
    let strange = || Unread::Strange(Debian);
    let (name, rest) = file.split_once('_').ok_or_else(strange)?;
    if name != source {
        return Err(strange());
    }
    if let Some((version, end)) = rest.split_once(".orig") {
        let is_archive = end.contains(NATIVE) && Version::read(Debian, version).is_some();
        return if is_archive {
            metadata(Debian, source)
        } else {
            Err(strange())
        };
    }
    let ends = SOURCES.iter().chain([&NATIVE]);
    let version = ends
        .filter_map(|end| rest.split_once(end))
        .find(|(_, behind)| !behind.contains(['.', '_']))
        .map(|(version, _)| version);
    package(Debian, source, version.ok_or_else(strange)?)
}
