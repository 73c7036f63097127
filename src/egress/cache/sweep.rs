//! Makes room: of the role that uses most, what was not used for longest goes first.

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    time::{Duration, SystemTime},
};

use rustix::fs::{AtFlags, FileType};

use super::shelf::{Shelf, UNFINISHED, names, open_directory, remove};

/// What a small answer counts as: its entry in the file system, and the time to look at it.
const LEAST: u64 = 16 << 10;
/// How long an answer may take to become whole: after that it never will.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Returns what a file of so many bytes counts as.
pub(super) fn weight(length: u64) -> u64 {
    length.max(LEAST)
}

/// Returns when a file was last used; at the beginning of time, of what is none.
pub(super) fn used(directory: &OwnedFd, name: &str) -> SystemTime {
    look(directory, name).map_or(SystemTime::UNIX_EPOCH, |(used, _)| used)
}

/// Returns when a file was last used, and its weight.
fn look(directory: &OwnedFd, name: &str) -> Option<(SystemTime, u64)> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let (seconds, nanoseconds) = (stat.st_mtime, stat.st_mtime_nsec);
    let since = Duration::new(
        u64::try_from(seconds).ok()?,
        u32::try_from(nanoseconds).ok()?,
    );
    let used = SystemTime::UNIX_EPOCH.checked_add(since)?;
    Some((used, weight(u64::try_from(stat.st_size).ok()?)))
}

/// One kept answer of a role.
struct One {
    used: SystemTime,
    weight: u64,
    place: String,
    name: String,
}

/// Removes answers until a tenth of the room is free, and what can be none. One process at a time;
/// several at once would only remove more.
pub(super) fn sweep(shelf: &Shelf) {
    let Ok(_alone) = shelf.sweeping.try_lock() else {
        return;
    };
    leftovers(shelf);
    let mut roles = HashMap::new();
    for role in names(shelf.root()).unwrap_or_default() {
        if role == UNFINISHED {
            continue;
        }
        match open_directory(shelf.root(), &role) {
            Ok(directory) => drop(roles.insert(role, of_role(&directory))),
            Err(_) => remove(shelf.root(), &role),
        }
    }
    let sum = |ones: &Vec<One>| ones.iter().map(|one| one.weight).sum::<u64>();
    let mut weights: HashMap<String, u64> = roles
        .iter()
        .map(|(role, ones)| (role.clone(), sum(ones)))
        .collect();
    let goal = shelf.room().all / 10 * 9;
    while weights.values().sum::<u64>() > goal {
        let heaviest = weights.iter().max_by_key(|(_, weight)| **weight);
        let Some(role) = heaviest.map(|(role, _)| role.clone()) else {
            break;
        };
        let Some(one) = roles.get_mut(&role).and_then(Vec::pop) else {
            break;
        };
        drop_one(shelf, &role, &one);
        if let Some(weight) = weights.get_mut(&role) {
            *weight = weight.saturating_sub(one.weight);
        }
    }
    shelf.counted(weights.values().sum());
}

/// Returns the answers of a role, the one used last first.
fn of_role(role: &OwnedFd) -> Vec<One> {
    let mut ones = Vec::new();
    for place in names(role).unwrap_or_default() {
        let Ok(directory) = open_directory(role, &place) else {
            remove(role, &place);
            continue;
        };
        for name in names(&directory).unwrap_or_default() {
            match look(&directory, &name) {
                Some((used, weight)) => ones.push(One {
                    used,
                    weight,
                    place: place.clone(),
                    name,
                }),
                None => remove(&directory, &name),
            }
        }
        // One that holds something stays.
        rustix::fs::unlinkat(role, &place, AtFlags::REMOVEDIR).ok();
    }
    ones.sort_by_key(|one| std::cmp::Reverse(one.used));
    ones
}

fn drop_one(shelf: &Shelf, role: &str, one: &One) {
    let Ok(role) = open_directory(shelf.root(), role) else {
        return;
    };
    if let Ok(place) = open_directory(&role, &one.place) {
        remove(&place, &one.name);
    }
    rustix::fs::unlinkat(&role, &one.place, AtFlags::REMOVEDIR).ok();
}

/// Removes what a process that was killed left behind.
fn leftovers(shelf: &Shelf) {
    let Ok(directory) = open_directory(shelf.root(), UNFINISHED) else {
        return;
    };
    let files = names(&directory).unwrap_or_default();
    let looked: Vec<_> = files
        .into_iter()
        .map(|name| (look(&directory, &name), name))
        .collect();
    // The newest of them tells the time.
    let newest = looked
        .iter()
        .filter_map(|(one, _)| Some(one.as_ref()?.0))
        .max();
    for (one, name) in looked {
        let old = one.is_none_or(|(used, _)| {
            newest.is_some_and(|newest| {
                newest
                    .duration_since(used)
                    .is_ok_and(|since| since > LONGEST)
            })
        });
        if old {
            remove(&directory, &name);
        }
    }
}
