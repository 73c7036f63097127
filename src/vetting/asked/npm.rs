//! Paths of npm: `/left-pad`, `/@scope%2Fname`, `/left-pad/1.3.0`, `/left-pad/-/left-pad-1.3.0.tgz`.

use super::{Asked, Unread, metadata, package};
use crate::policy::RegistryKind::Npm;

/// What concerns no package, or no version of one.
const INDEXES: [&[&str]; 4] = [
    &[""],
    &["-", "ping"],
    &["-", "npm", "v1", "keys"],
    &["-", "v1", "search"],
];

/// Reads a path below the prefix, in parts.
pub(super) fn read(parts: &[&str]) -> Result<Asked, Unread> {
    if INDEXES.contains(&parts) {
        return Ok(Asked::Index);
    }
    if let ["-", "package", rest @ .., "dist-tags"] = parts {
        return match named(rest) {
            Some((name, [])) => metadata(Npm, &name),
            _ => Err(Unread::Strange(Npm)),
        };
    }
    let (name, rest) = named(parts).ok_or(Unread::Strange(Npm))?;
    match rest {
        [] => metadata(Npm, &name),
        // A version or a tag: what is known of it.
        [one] if *one != "-" && is_plain(one) => metadata(Npm, &name),
        ["-", file] => tarball(&name, file),
        // Some mirrors repeat the scope before the file.
        ["-", scope, file] if name.split_once('/').is_some_and(|(own, _)| own == *scope) => {
            tarball(&name, file)
        }
        _ => Err(Unread::Strange(Npm)),
    }
}

/// Takes a name, scoped or not, from the front.
fn named<'p>(parts: &'p [&'p str]) -> Option<(String, &'p [&'p str])> {
    let (first, rest) = parts.split_first()?;
    if !first.starts_with('@') {
        return is_plain(first).then(|| ((*first).to_owned(), rest));
    }
    if let Some((scope, name)) = first.split_once("%2F") {
        let fits = is_plain(scope) && is_plain(name);
        return fits.then(|| (format!("{scope}/{name}"), rest));
    }
    let (name, rest) = rest.split_first()?;
    let fits = is_plain(first) && is_plain(name);
    fits.then(|| (format!("{first}/{name}"), rest))
}

fn is_plain(part: &str) -> bool {
    !part.is_empty() && !part.contains('%')
}

/// Reads `left-pad-1.3.0.tgz` as a file of `left-pad`, and `name-1.0.0.tgz` as one of `@scope/name`.
fn tarball(name: &str, file: &str) -> Result<Asked, Unread> {
    let base = name.rsplit('/').next().unwrap_or(name);
    let version = file
        .strip_suffix(".tgz")
        .and_then(|stem| stem.strip_prefix(base)?.strip_prefix('-'));
    package(Npm, name, version.ok_or(Unread::Strange(Npm))?)
}
