//! Tasks that could begin, in the order in which they should.
//!
//! A higher priority goes first, and within one priority the plan's order. So that nothing starves,
//! a priority that was passed over [`PATIENCE`] times while something of it waited has the next
//! turn. Tasks that rest until a time stand apart and cost nothing until then.
//!
//! Every priority keeps its tasks by role, so that a role which is held back costs one look, however
//! many of its tasks wait.

use std::{
    collections::{BTreeMap, BTreeSet, btree_set},
    iter::Peekable,
};

use jiff::Timestamp;

use super::{Entry, Task};
use crate::{name::Role, task::Priority};

/// How often a priority is passed over before it has a turn.
pub(super) const PATIENCE: u8 = 16;

const LEVELS: usize = Priority::ALL.len();

/// Tasks that could begin, by their place in the plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ready {
    levels: [BTreeMap<Role, BTreeSet<usize>>; LEVELS],
    resting: BTreeSet<(Timestamp, usize)>,
    /// How many there are of each priority, those that rest included: the same however far time is.
    waiting: [usize; LEVELS],
    passed: [u8; LEVELS],
}

fn level(task: &Task) -> usize {
    task.priority as usize
}

impl Ready {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting == [0; LEVELS]
    }

    pub(super) fn insert(&mut self, at: usize, entry: &Entry) {
        self.waiting[level(&entry.task)] += 1;
        match entry.until {
            Some(until) => {
                self.resting.insert((until, at));
            }
            None => self.stand(at, &entry.task),
        }
    }

    fn stand(&mut self, at: usize, task: &Task) {
        let roles = &mut self.levels[level(task)];
        match roles.get_mut(&task.role) {
            Some(tasks) => tasks.insert(at),
            None => roles
                .insert(task.role.clone(), BTreeSet::from([at]))
                .is_none(),
        };
    }

    /// Takes a task out, whether it stands or rests; one that is neither is left alone.
    pub(super) fn remove(&mut self, at: usize, entry: &Entry) {
        let level = level(&entry.task);
        let rested = entry
            .until
            .is_some_and(|until| self.resting.remove(&(until, at)));
        let roles = &mut self.levels[level];
        let stood = roles
            .get_mut(&entry.task.role)
            .is_some_and(|tasks| tasks.remove(&at));
        if stood && roles.get(&entry.task.role).is_some_and(BTreeSet::is_empty) {
            roles.remove(&entry.task.role);
        }
        if rested || stood {
            self.waiting[level] -= 1;
            if self.waiting[level] == 0 {
                self.passed[level] = 0;
            }
        }
    }

    /// Lets those stand whose time has come.
    pub(super) fn wake(&mut self, now: Timestamp, entries: &[Entry]) {
        while let Some((until, at)) = self.resting.first().copied()
            && until <= now
        {
            self.resting.pop_first();
            self.stand(at, &entries[at].task);
        }
    }

    /// Returns when the next one has rested enough.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.resting.first().map(|(until, _)| *until)
    }

    /// Counts a claim, by which every lower priority of which something waits was passed over.
    pub(super) fn charge(&mut self, priority: Priority) {
        let waiting = self.waiting;
        charge(&mut self.passed, waiting, priority as usize);
    }

    /// Returns those of one role and priority that stand after a place in the plan.
    pub(super) fn after(&self, at: usize, task: &Task) -> impl Iterator<Item = usize> + '_ {
        let tasks = self.levels[level(task)].get(&task.role);
        tasks
            .into_iter()
            .flat_map(move |tasks| tasks.range(at + 1..).copied())
    }

    /// Begins to name them in their order. `room` is how many of a role may begin, where that is
    /// bounded.
    pub(super) fn order<'r>(&'r self, room: &BTreeMap<Role, usize>) -> Order<'r> {
        let lane = |(role, tasks): (&Role, &'r BTreeSet<usize>)| Lane {
            tasks: tasks.iter().peekable(),
            room: room.get(role).copied().unwrap_or(usize::MAX),
        };
        Order {
            lanes: self
                .levels
                .each_ref()
                .map(|roles| roles.iter().map(lane).collect()),
            waiting: self.waiting,
            passed: self.passed,
            taken: BTreeSet::new(),
        }
    }
}

fn charge(passed: &mut [u8; LEVELS], waiting: [usize; LEVELS], claimed: usize) {
    passed[claimed] = 0;
    for level in claimed + 1..LEVELS {
        if waiting[level] > 0 {
            passed[level] = (passed[level] + 1).min(PATIENCE);
        }
    }
}

/// The tasks of one priority and role.
struct Lane<'r> {
    tasks: Peekable<btree_set::Iter<'r, usize>>,
    room: usize,
}

/// Names tasks in their order, as if each that is named were claimed.
pub(super) struct Order<'r> {
    lanes: [Vec<Lane<'r>>; LEVELS],
    waiting: [usize; LEVELS],
    passed: [u8; LEVELS],
    taken: BTreeSet<usize>,
}

impl Order<'_> {
    /// Returns whether a task was named or taken along already.
    pub(super) fn has(&self, at: usize) -> bool {
        self.taken.contains(&at)
    }

    /// Takes a task along with one that was named.
    pub(super) fn take_along(&mut self, at: usize, priority: Priority) {
        self.taken.insert(at);
        self.count(priority as usize);
    }

    fn count(&mut self, level: usize) {
        self.waiting[level] -= 1;
        charge(&mut self.passed, self.waiting, level);
        if self.waiting[level] == 0 {
            self.passed[level] = 0;
        }
    }

    /// Returns the first lane of a priority that has something, and what.
    fn first(&mut self, level: usize) -> Option<(usize, usize)> {
        let taken = &self.taken;
        let mut first: Option<(usize, usize)> = None;
        for (lane, one) in self.lanes[level].iter_mut().enumerate() {
            if one.room == 0 {
                continue;
            }
            while one.tasks.next_if(|at| taken.contains(at)).is_some() {}
            if let Some(at) = one.tasks.peek()
                && first.is_none_or(|(least, _)| **at < least)
            {
                first = Some((**at, lane));
            }
        }
        first
    }
}

impl Iterator for Order<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let firsts: [Option<(usize, usize)>; LEVELS] =
            std::array::from_fn(|level| self.first(level));
        let there = |level: &usize| firsts[*level].is_some();
        let overdue = (0..LEVELS).find(|level| there(level) && self.passed[*level] >= PATIENCE);
        let level = overdue.or_else(|| (0..LEVELS).find(there))?;
        let (at, lane) = firsts[level]?;
        let lane = &mut self.lanes[level][lane];
        lane.tasks.next();
        lane.room -= 1;
        self.taken.insert(at);
        self.count(level);
        Some(at)
    }
}
