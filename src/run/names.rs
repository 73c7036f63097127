//! Names of rooms that are used one after another, such as that of a task's checks.
//!
//! A session that is cut off leaves its room behind: its container ends a moment later, and what
//! wrote its files may not have ended either. Whoever comes next takes another name, for as long as
//! this run is worked on; a name that was given back is used again.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A run's names in use, and those of rooms that were left behind.
#[derive(Debug, Default)]
pub struct Names(Mutex<BTreeSet<String>>);

impl Names {
    /// Takes a name: this one, or else one made of it.
    pub(super) fn take(&self, name: &str) -> String {
        let mut taken = self.taken();
        let next = |number: u32| match number {
            1 => name.to_owned(),
            more => format!("{name}-{more}"),
        };
        let mut free = (1..).map(next).filter(|name| !taken.contains(name));
        let name = free.next().expect("there are more numbers than rooms");
        taken.insert(name.clone());
        name
    }

    /// Gives a name back whose room is gone.
    pub(super) fn give_back(&self, name: &str) {
        self.taken().remove(name);
    }

    /// Returns the names that were taken of this one and not given back.
    pub(super) fn left(&self, name: &str) -> Vec<String> {
        let taken = self.taken();
        let of = taken.iter().filter(|one| {
            let rest = one.strip_prefix(name);
            let is_number = |rest: &str| {
                rest.strip_prefix('-')
                    .is_some_and(|rest| rest.parse::<u32>().is_ok())
            };
            rest.is_some_and(|rest| rest.is_empty() || is_number(rest))
        });
        of.cloned().collect()
    }

    fn taken(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_used_again_only_when_its_room_is_gone() {
        let names = Names::default();
        assert_eq!(names.take("a-checks"), "a-checks");
        names.give_back("a-checks");
        assert_eq!(names.take("a-checks"), "a-checks");
        // Whoever had it was cut off.
        assert_eq!(names.take("a-checks"), "a-checks-2");
        assert_eq!(names.take("a-checks-b"), "a-checks-b");
        names.give_back("a-checks-2");
        assert_eq!(names.left("a-checks"), ["a-checks"]);
        assert_eq!(names.take("a-checks"), "a-checks-2");
    }
}
