//! What differs between two listings.

use std::collections::HashMap;

use serde::Serialize;

use super::entry::{Entry, EntryPath, Kind, Listing};

/// How something differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It is only in the second.
    Added,
    /// It is only in the first.
    Removed,
    /// Its contents, or what it points to, are others.
    Contents,
    /// It is a file in one and something else in the other.
    Kind,
    /// Only its permission bits are others.
    Mode,
}

/// Something that differs. Times do not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where it is.
    pub path: EntryPath,
    /// How it differs.
    pub how: How,
    /// Its length in the first, where it is a file there.
    pub before: Option<u64>,
    /// Its length in the second.
    pub after: Option<u64>,
}

/// Returns what differs, in the order of listings.
#[must_use]
pub fn diff(before: &Listing, after: &Listing) -> Vec<Difference> {
    let mut old: HashMap<&EntryPath, &Entry> =
        before.entries.iter().map(|one| (&one.path, one)).collect();
    let mut found = Vec::new();
    for new in &after.entries {
        let was = old.remove(&new.path);
        let how = match was {
            None => Some(How::Added),
            Some(was) => changed(was, new),
        };
        found.extend(how.map(|how| difference(was, Some(new), how)));
    }
    let gone = old.into_values();
    found.extend(gone.map(|was| difference(Some(was), None, How::Removed)));
    found.sort_by(|one, other| one.path.order(&other.path));
    found
}

fn changed(was: &Entry, is: &Entry) -> Option<How> {
    match (&was.is, &is.is) {
        (Kind::File { .. }, Kind::File { .. }) | (Kind::Link { .. }, Kind::Link { .. })
            if was.is != is.is =>
        {
            Some(How::Contents)
        }
        (was, is) if std::mem::discriminant(was) != std::mem::discriminant(is) => Some(How::Kind),
        _ => (was.mode != is.mode).then_some(How::Mode),
    }
}

fn difference(was: Option<&Entry>, is: Option<&Entry>, how: How) -> Difference {
    let size = |entry: Option<&Entry>| match entry?.is {
        Kind::File { size, .. } => Some(size),
        Kind::Directory | Kind::Link { .. } => None,
    };
    let path = is.or(was).map(|entry| entry.path.clone());
    Difference {
        path: path.unwrap_or_default(),
        how,
        before: size(was),
        after: size(is),
    }
}
