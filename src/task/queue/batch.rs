//! Which small tasks are done together, in one session of one agent.
//!
//! Tasks are joined when all of this holds: one role, one priority; each could begin now and has
//! never begun before; each is short; each names the files it is about and shares one with another of
//! the batch; each has acceptance checks of its own, for only these say of each whether it was done.
//! So one that was tried is never joined again, and a batch that came apart is done one by one.

use std::collections::BTreeSet;

use super::{Claimable, Queue, Task, ready::Order};
use crate::name::Role;

/// How far ahead a task looks for others.
const LOOK: usize = 64;

/// What may be done together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batching {
    /// Roles whose tasks are never joined.
    pub apart: BTreeSet<Role>,
    /// Most tasks of one batch.
    pub tasks: usize,
    /// Longest text of one task, in bytes.
    pub each: usize,
    /// Longest text of all tasks together, in bytes.
    pub together: usize,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            apart: BTreeSet::new(),
            tasks: 10,
            each: 1000,
            together: 6000,
        }
    }
}

impl Queue {
    /// Returns what is to be done with a task that is about to be claimed, itself first.
    pub(super) fn together(
        &self,
        at: usize,
        order: &mut Order<'_>,
        batching: &Batching,
    ) -> Vec<Claimable> {
        let mut batch = vec![at];
        let lead = &self.entries[at].task;
        if self.may_join(at, batching) {
            let mut size = size(lead);
            let others: Vec<usize> = self.ready.after(at, lead).take(LOOK).collect();
            for other in others {
                let more = self::size(&self.entries[other].task);
                let fits = batch.len() < batching.tasks && size + more <= batching.together;
                if fits
                    && !order.has(other)
                    && self.may_join(other, batching)
                    && self.shares(other, &batch)
                {
                    size += more;
                    batch.push(other);
                    order.take_along(other, lead.priority);
                }
            }
        }
        batch.into_iter().map(|at| self.claimable(at)).collect()
    }

    fn may_join(&self, at: usize, batching: &Batching) -> bool {
        let entry = &self.entries[at];
        let task = &entry.task;
        entry.attempts == 0
            && !task.files.is_empty()
            && !task.accept.is_empty()
            && size(task) <= batching.each
            && !batching.apart.contains(&task.role)
    }

    fn shares(&self, at: usize, batch: &[usize]) -> bool {
        let files = &self.entries[at].task.files;
        let theirs = batch.iter().flat_map(|at| &self.entries[*at].task.files);
        theirs
            .into_iter()
            .any(|one| files.iter().any(|other| overlap(one, other)))
    }
}

/// How much a task says.
fn size(task: &Task) -> usize {
    let checks: usize = task.accept.iter().map(String::len).sum();
    task.title.len() + task.description.len() + checks
}

/// Returns whether two paths name the same file, or one a directory that holds the other. A glob
/// counts as the directory before its first sign.
fn overlap(one: &str, other: &str) -> bool {
    let (one, other) = (parts(one), parts(other));
    one.iter().zip(&other).all(|(one, other)| one == other)
}

/// The names of a path down to the first that holds a glob's sign.
fn parts(path: &str) -> Vec<&str> {
    let plain = |part: &&str| !part.contains(['*', '?', '[', '{']);
    let parts = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    parts.take_while(plain).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        event::Event,
        task::{Action, Terms},
    };

    fn fix(at: usize, file: &str) -> Task {
        Task {
            id: format!("t{at}").parse().unwrap(),
            role: "eng-web".parse().unwrap(),
            title: format!("fix {at}"),
            description: String::new(),
            depends_on: Vec::new(),
            accept: vec![format!("test -f {at}")],
            files: vec![file.to_owned()],
            priority: crate::task::Priority::default(),
        }
    }

    fn planned(tasks: Vec<Task>) -> Queue {
        let mut queue = Queue::default();
        queue.apply(&Event::Planned { tasks }).unwrap();
        queue
    }

    /// The names of each session that would begin in three slots.
    fn sessions(queue: &Queue, batching: &Batching) -> Vec<Vec<String>> {
        let terms = Terms {
            free: 3,
            room: &BTreeMap::new(),
            batching: Some(batching),
        };
        let named = |action: Action| match action {
            Action::Claim { task, .. } => vec![task.to_string()],
            Action::Together(tasks) => tasks.into_iter().map(|one| one.task.to_string()).collect(),
            other => panic!("{other:?}"),
        };
        queue.next_within(&terms).into_iter().map(named).collect()
    }

    #[test]
    fn ten_minor_fixes_of_one_page_are_one_session_and_the_eleventh_is_another() {
        let queue = planned((0..11).map(|at| fix(at, "src/page.html")).collect());
        let sessions = sessions(&queue, &Batching::default());
        assert_eq!(sessions.iter().map(Vec::len).collect::<Vec<_>>(), [10, 1]);
        assert_eq!(sessions[0][0], "t0");
    }

    #[test]
    fn what_differs_in_one_thing_is_not_joined() {
        let lead = || fix(0, "src/a.js");
        let changed = |change: &dyn Fn(&mut Task)| {
            let mut other = fix(1, "src/a.js");
            change(&mut other);
            sessions(&planned(vec![lead(), other]), &Batching::default()).len()
        };
        assert_eq!(changed(&|_| ()), 1);
        assert_eq!(changed(&|task| task.files = vec!["src".to_owned()]), 1);
        assert_eq!(
            changed(&|task| task.files = vec!["src/**/*.js".to_owned()]),
            1
        );
        assert_eq!(changed(&|task| task.files = vec!["src/b.js".to_owned()]), 2);
        assert_eq!(
            changed(&|task| task.files = vec!["src/a.js.map".to_owned()]),
            2
        );
        assert_eq!(changed(&|task| task.files.clear()), 2);
        assert_eq!(changed(&|task| task.accept.clear()), 2);
        assert_eq!(changed(&|task| task.role = "eng-qa".parse().unwrap()), 2);
        assert_eq!(
            changed(&|task| task.priority = crate::task::Priority::High),
            2
        );
        assert_eq!(changed(&|task| task.description = "x".repeat(1001)), 2);
        assert_eq!(
            changed(&|task| task.depends_on = vec!["t0".parse().unwrap()]),
            1 /* it waits */
        );
        let apart = Batching {
            apart: BTreeSet::from(["eng-web".parse().unwrap()]),
            ..Batching::default()
        };
        assert_eq!(
            sessions(&planned(vec![lead(), fix(1, "src/a.js")]), &apart).len(),
            2
        );
    }

    #[test]
    fn the_texts_together_have_a_bound() {
        let long = |at| Task {
            description: "x".repeat(900),
            ..fix(at, "a")
        };
        let sessions = sessions(&planned((0..8).map(long).collect()), &Batching::default());
        assert_eq!(sessions.iter().map(Vec::len).collect::<Vec<_>>(), [6, 2]);
    }

    #[test]
    fn what_was_tried_before_is_done_alone() {
        let mut queue = planned((0..3).map(|at| fix(at, "a")).collect());
        for at in 0..2 {
            let task = || format!("t{at}").parse().unwrap();
            let claimed = Event::TaskClaimed {
                task: task(),
                version: 1,
                attempt: 1,
            };
            let cut = Event::Interrupted {
                task: task(),
                version: 1,
                attempt: 1,
                reason: "the batch came apart".to_owned(),
                outside: Vec::new(),
                by: None,
            };
            queue.apply(&claimed).unwrap();
            queue.apply(&cut).unwrap();
        }
        assert_eq!(
            sessions(&queue, &Batching::default()),
            [["t0"], ["t1"], ["t2"]]
        );
    }

    #[test]
    fn without_a_rule_nothing_is_joined() {
        let queue = planned((0..3).map(|at| fix(at, "a")).collect());
        assert_eq!(queue.next(9).len(), 3);
    }
}
