//! Names of rooms that are used one after another, such as that of a task's checks.
//!
//! A session that is cut off leaves its room behind: its container ends a moment later, and what
//! wrote its files may not have ended either. Whoever comes next takes another name, for as long as
//! this process lives; a name that was given back is used again.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use crate::name::RunId;

/// Names in use, and those of rooms that were left behind, by run.
static TAKEN: Mutex<BTreeSet<(RunId, String)>> = Mutex::new(BTreeSet::new());

/// Takes a name: this one, or else one made of it.
pub(super) fn take(run: &RunId, name: &str) -> String {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let next = |number: u32| match number {
        1 => name.to_owned(),
        more => format!("{name}-{more}"),
    };
    let free = (1..).map(next);
    let mut free = free.filter(|name| !taken.contains(&(run.clone(), name.clone())));
    let name = free.next().expect("there are more numbers than rooms");
    taken.insert((run.clone(), name.clone()));
    name
}

/// Gives a name back whose room is gone.
pub(super) fn give_back(run: &RunId, name: &str) {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    taken.remove(&(run.clone(), name.to_owned()));
}

/// Returns the names that were taken of this one and not given back.
pub(super) fn left(run: &RunId, name: &str) -> Vec<String> {
    let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let of = taken.iter().filter(|(of, one)| {
        let rest = one.strip_prefix(name);
        let is_number = |rest: &str| {
            rest.strip_prefix('-')
                .is_some_and(|rest| rest.parse::<u32>().is_ok())
        };
        of == run && rest.is_some_and(|rest| rest.is_empty() || is_number(rest))
    });
    of.map(|(_, name)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_used_again_only_when_its_room_is_gone() {
        let [run, other]: [RunId; 2] = ["names-1", "names-2"].map(|name| name.parse().unwrap());
        assert_eq!(take(&run, "a-checks"), "a-checks");
        give_back(&run, "a-checks");
        assert_eq!(take(&run, "a-checks"), "a-checks");
        // Whoever had it was cut off.
        assert_eq!(take(&run, "a-checks"), "a-checks-2");
        assert_eq!(take(&other, "a-checks"), "a-checks");
        assert_eq!(take(&run, "a-checks-b"), "a-checks-b");
        give_back(&run, "a-checks-2");
        assert_eq!(left(&run, "a-checks"), ["a-checks"]);
        assert_eq!(take(&run, "a-checks"), "a-checks-2");
    }
}
