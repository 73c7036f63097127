//! Paths of cargo: a sparse index (`/config.json`, `/se/rd/serde`) and files
//! (`/serde/1.0.0/download`, `/serde/serde-1.0.0.crate`), also below `crates` and `api/v1/crates`.

use super::{Asked, Unread, metadata, package};
use crate::policy::RegistryKind::Crates;

/// Reads a path below the prefix, in parts.
pub(super) fn read(parts: &[&str]) -> Result<Asked, Unread> {
    if parts == ["config.json"] {
        return Ok(Asked::Index);
    }
    if let Some(name) = parts.last().filter(|_| is_index(parts)) {
        return metadata(Crates, name);
    }
    let (api, parts) = match parts {
        ["api", "v1", "crates", rest @ ..] | ["v1", "crates", rest @ ..] => (true, rest),
        ["crates", rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    match parts {
        [name] if api => metadata(Crates, name),
        [name, version, "download"] => package(Crates, name, version),
        [name, file] => {
            let stem = file.strip_suffix(".crate");
            let version = stem.and_then(|stem| stem.strip_prefix(name)?.strip_prefix('-'));
            package(Crates, name, version.ok_or(Unread::Strange(Crates))?)
        }
        _ => Err(Unread::Strange(Crates)),
    }
}

/// Returns whether a path is where an index keeps the crate that its last part names.
fn is_index(parts: &[&str]) -> bool {
    let Some(name) = parts.last() else {
        return false;
    };
    let lower = name.to_ascii_lowercase();
    let directories = directories(&lower);
    name.is_ascii() && parts.len() == directories.len() + 1 && parts.starts_with(&directories)
}

/// Returns the directories of a name of small letters: `se`, `rd` for `serde`.
fn directories(name: &str) -> Vec<&str> {
    match name.len() {
        0 => vec![name],
        1 => vec!["1"],
        2 => vec!["2"],
        3 => vec!["3", name.get(..1).unwrap_or_default()],
        _ => vec![
            name.get(..2).unwrap_or_default(),
            name.get(2..4).unwrap_or_default(),
        ],
    }
}

/// Returns where an index keeps a crate.
pub(super) fn index_path(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    format!("{}/{name}", directories(&name).join("/"))
}
