//! What has landed in a run, in its order, and whose work conflicted: a fold of the journal.
//!
//! Landing needs it to know which tasks an agent did not see, and a conflict to say who changed
//! what. It holds nothing that the journal does not say, so a run that is taken up again folds it
//! anew with [`Landings::fold`].

use std::collections::HashMap;

use crate::{
    event::{Event, Record},
    git::ObjectId,
    name::TaskId,
    task::Task,
};

/// One task that landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing {
    /// The task.
    pub task: TaskId,
    /// Where the branch was before.
    pub from: ObjectId,
    /// Where it was then.
    pub commit: ObjectId,
    /// Which move of the branch it was: tasks are not always done in the order they landed in.
    order: usize,
}

/// What landed in a run so far, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Landings {
    tasks: HashMap<TaskId, Task>,
    committed: HashMap<TaskId, ObjectId>,
    announced: HashMap<TaskId, Landing>,
    landed: Vec<Landing>,
    conflicted: HashMap<TaskId, ObjectId>,
    /// Where the branch was left by what took something back, and which move that was.
    reverted: Option<(usize, ObjectId)>,
    moves: usize,
}

impl Landings {
    /// Folds the records of a run.
    #[must_use]
    pub fn fold<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut landings = Self::default();
        for record in records {
            landings.apply(&record.event);
        }
        landings
    }

    /// Takes one event into account. An id that is none is not ours: it is passed over.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Planned { tasks } => {
                self.tasks = tasks
                    .iter()
                    .map(|task| (task.id.clone(), task.clone()))
                    .collect();
            }
            Event::TaskAdded { task, .. } => {
                self.tasks.insert(task.id.clone(), task.clone());
            }
            Event::Committed { task, commit, .. } | Event::Waiting { task, commit, .. } => {
                if let Ok(commit) = commit.parse() {
                    self.committed.insert(task.clone(), commit);
                }
            }
            Event::Landing {
                task, from, commit, ..
            } => {
                if let (Ok(from), Ok(commit)) = (from.parse(), commit.parse()) {
                    self.announce(task.clone(), from, commit);
                }
            }
            Event::TaskDone { task, .. } => {
                self.conflicted.remove(task);
                if let Some(landing) = self.announced.remove(task) {
                    self.insert(landing);
                }
            }
            Event::TaskConflicted { task, .. } => {
                if let Some(commit) = self.committed.get(task) {
                    self.conflicted.insert(task.clone(), commit.clone());
                }
            }
            Event::TaskFailed { task, .. } => {
                self.announced.remove(task);
            }
            Event::Reverted { task, commit, .. } => {
                self.landed.retain(|one| one.task != *task);
                self.moves += 1;
                self.reverted = commit.parse().ok().map(|commit| (self.moves, commit));
            }
            _ => {}
        }
    }

    fn announce(&mut self, task: TaskId, from: ObjectId, commit: ObjectId) {
        self.moves += 1;
        let landing = Landing {
            task: task.clone(),
            from,
            commit,
            order: self.moves,
        };
        self.announced.insert(task, landing);
    }

    /// Puts a landing where it belongs; one that is known already changes nothing.
    fn insert(&mut self, landing: Landing) {
        let same = |one: &Landing| (&one.task, &one.commit) == (&landing.task, &landing.commit);
        if self.landed.iter().any(same) {
            return;
        }
        let at = self.landed.partition_point(|one| one.order < landing.order);
        self.landed.insert(at, landing);
    }

    /// Returns where the journal left the branch, none while nothing moved it.
    #[must_use]
    pub fn tip(&self) -> Option<&ObjectId> {
        let landed = self.landed.last().map(|one| (one.order, &one.commit));
        let reverted = self
            .reverted
            .as_ref()
            .map(|(order, commit)| (*order, commit));
        landed.max(reverted).map(|(_, commit)| commit)
    }

    /// Returns everything that landed and was not taken back, oldest first.
    #[must_use]
    pub fn landed(&self) -> &[Landing] {
        &self.landed
    }

    /// Returns the landing of a task, none when it did not land or was taken back.
    #[must_use]
    pub fn of(&self, task: &TaskId) -> Option<&Landing> {
        self.landed.iter().find(|one| one.task == *task)
    }

    /// Returns what landed after another task did.
    #[must_use]
    pub fn after(&self, task: &TaskId) -> &[Landing] {
        let at = self.landed.iter().position(|one| one.task == *task);
        at.and_then(|at| self.landed.get(at + 1..))
            .unwrap_or_default()
    }

    /// Returns what landed after the branch was at `base`: what work that began there did not see.
    /// Of a base that is not known that is everything.
    #[must_use]
    pub fn since(&self, base: &ObjectId) -> &[Landing] {
        if let Some(at) = self.landed.iter().position(|one| one.from == *base) {
            return self.landed.get(at..).unwrap_or_default();
        }
        match self.landed.last() {
            Some(last) if last.commit == *base => &[],
            _ => &self.landed,
        }
    }

    /// Returns where the branch was last about to move to for a task that is not done yet.
    pub(super) fn announced(&self, task: &TaskId) -> Option<&ObjectId> {
        self.announced.get(task).map(|landing| &landing.commit)
    }

    /// Takes a landing into account before the journal says that its task is done.
    pub(super) fn add(&mut self, task: &Task, from: ObjectId, commit: ObjectId) {
        self.tasks.insert(task.id.clone(), task.clone());
        self.conflicted.remove(&task.id);
        if !self.announced.contains_key(&task.id) {
            self.announce(task.id.clone(), from, commit);
        }
        if let Some(landing) = self.announced.get(&task.id).cloned() {
            self.insert(landing);
        }
    }

    /// Takes a conflict into account before the journal says so.
    pub(super) fn add_conflict(&mut self, task: &TaskId, commit: ObjectId) {
        self.conflicted.insert(task.clone(), commit);
    }

    /// Returns a task as planned.
    #[must_use]
    pub fn task(&self, id: &TaskId) -> Option<&Task> {
        self.tasks.get(id)
    }

    /// Returns the work of a task that conflicted when it was to land, and was not done again.
    #[must_use]
    pub fn conflicted(&self, task: &TaskId) -> Option<&ObjectId> {
        self.conflicted.get(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: &str) -> ObjectId {
        digit.repeat(40).parse().unwrap()
    }

    fn task(name: &str) -> TaskId {
        name.parse().unwrap()
    }

    fn committed(name: &str, commit: &str) -> Event {
        Event::Committed {
            task: task(name),
            attempt: 1,
            commit: id(commit).to_string(),
        }
    }

    fn landed(name: &str, from: &str, commit: &str) -> [Event; 3] {
        [
            committed(name, commit),
            Event::Landing {
                task: task(name),
                attempt: 1,
                from: id(from).to_string(),
                commit: id(commit).to_string(),
            },
            Event::TaskDone {
                task: task(name),
                version: 1,
                attempt: 1,
                commit: Some(id(commit).to_string()),
            },
        ]
    }

    fn folded(events: impl IntoIterator<Item = Event>) -> Landings {
        let mut landings = Landings::default();
        events.into_iter().for_each(|event| landings.apply(&event));
        landings
    }

    fn names(landings: &[Landing]) -> Vec<&str> {
        landings.iter().map(|one| one.task.as_str()).collect()
    }

    #[test]
    fn what_landed_after_a_base_or_a_task_is_known() {
        let landings = folded([landed("a", "1", "2"), landed("b", "2", "3")].concat());
        assert_eq!(names(landings.landed()), ["a", "b"]);
        assert_eq!(names(landings.since(&id("1"))), ["a", "b"]);
        assert_eq!(names(landings.since(&id("2"))), ["b"]);
        assert_eq!(names(landings.since(&id("3"))), [""; 0]);
        assert_eq!(names(landings.since(&id("9"))), ["a", "b"]);
        assert_eq!(names(landings.after(&task("a"))), ["b"]);
        assert_eq!(names(landings.after(&task("c"))), [""; 0]);
        assert_eq!(landings.of(&task("b")).unwrap().from, id("2"));
    }

    #[test]
    fn only_what_was_done_has_landed_and_what_was_taken_back_has_not() {
        let [commit, announced, done] = landed("a", "1", "2");
        assert!(
            folded([commit.clone(), announced.clone()])
                .landed()
                .is_empty()
        );
        let back = Event::Reverted {
            task: task("a"),
            by: "x".to_owned(),
            from: id("2").to_string(),
            commit: id("3").to_string(),
            reverts: id("2").to_string(),
        };
        let landings = folded([commit, announced, done, back]);
        assert!(landings.landed().is_empty());
        assert_eq!(landings.tip(), Some(&id("3")));
    }

    #[test]
    fn what_is_done_late_keeps_its_place_and_nothing_counts_twice() {
        let ([a, moved_a, done_a], [b, moved_b, done_b]) =
            (landed("a", "1", "2"), landed("b", "2", "3"));
        let mut landings = folded([a, moved_a, b, moved_b, done_b.clone(), done_a.clone()]);
        assert_eq!(names(landings.landed()), ["a", "b"]);
        assert_eq!(landings.tip(), Some(&id("3")));
        landings.apply(&done_b);
        landings.apply(&done_a);
        assert_eq!(names(landings.landed()), ["a", "b"]);
    }

    #[test]
    fn conflicting_work_is_known_until_it_lands() {
        let conflict = Event::TaskConflicted {
            task: task("a"),
            version: 1,
            attempt: 1,
            files: Vec::new(),
        };
        let mut events = vec![committed("a", "5"), conflict];
        assert_eq!(
            folded(events.clone()).conflicted(&task("a")),
            Some(&id("5"))
        );
        events.extend(landed("a", "1", "2"));
        assert_eq!(folded(events).conflicted(&task("a")), None);
    }
}
