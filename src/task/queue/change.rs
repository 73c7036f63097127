//! The moves of a plan that has begun: tasks that are added, cancelled, tried once more or put
//! elsewhere in the order. A person may make them after the end of a run, too, unless it is done:
//! going on with it acts on them.

use std::collections::BTreeSet;

use super::{Entry, Queue, QueueError, State, Task};
use crate::{
    diagnostic::closest,
    event::{Event, Outcome},
    name::TaskId,
    task::{Priority, plan::Fault},
};

impl Queue {
    /// Takes one event of a change into account; others are none.
    pub(super) fn apply_change(&mut self, event: &Event) -> Result<(), QueueError> {
        match event {
            Event::TaskAdded { task, .. } => self.add(task),
            Event::TaskCancelled { task, .. } => self.cancel(task),
            Event::TaskRetried { task, .. } => self.try_again(task),
            Event::TaskPrioritised { task, priority, .. } => self.prioritise(task, *priority),
            _ => Ok(()),
        }
    }

    fn add(&mut self, task: &Task) -> Result<(), QueueError> {
        self.changeable()?;
        if self.entries.is_empty() {
            return Err(QueueError::Unplanned);
        }
        let faults = self.faults_of(task);
        if !faults.is_empty() {
            return Err(QueueError::Unplannable { faults });
        }
        let at = self.entries.len();
        let depends: BTreeSet<usize> = task.depends_on.iter().map(|id| self.index[id]).collect();
        for dependency in &depends {
            self.entries[*dependency].dependents.push(at);
        }
        self.entries.push(Entry::new(task.clone()));
        self.index.insert(task.id.clone(), at);
        self.place(at);
        self.reopen();
        Ok(())
    }

    fn faults_of(&self, task: &Task) -> Vec<Fault> {
        let id = task.id.clone();
        let mut faults = Vec::new();
        if self.index.contains_key(&id) {
            faults.push(Fault::Duplicate { task: id });
        }
        for missing in task
            .depends_on
            .iter()
            .filter(|id| !self.index.contains_key(id))
        {
            let near = closest(missing.as_str(), self.index.keys().map(TaskId::as_str));
            faults.push(Fault::UnknownDependency {
                task: task.id.clone(),
                missing: missing.clone(),
                nearest: near.and_then(|word| word.parse().ok()),
            });
        }
        faults
    }

    /// Puts a task that is not under way where its dependencies say.
    fn place(&mut self, at: usize) {
        let depends: BTreeSet<&TaskId> = self.entries[at].task.depends_on.iter().collect();
        let states: Vec<State> = depends
            .iter()
            .map(|id| self.entries[self.index[*id]].state)
            .collect();
        let open = states.iter().filter(|state| **state != State::Done).count();
        let entry = &mut self.entries[at];
        entry.waits = open;
        if states.into_iter().any(is_lost) {
            entry.state = State::Blocked;
            return;
        }
        entry.state = State::Pending;
        self.open += 1;
        if open == 0 {
            self.ready.insert(at, &self.entries[at]);
        }
    }

    /// Cancels a task, and all that waits for it: that could never begin.
    fn cancel(&mut self, task: &TaskId) -> Result<(), QueueError> {
        self.changeable()?;
        let at = self.named(task)?;
        let state = self.entries[at].state;
        if matches!(state, State::Done | State::Reverted | State::Cancelled) {
            return Err(QueueError::State {
                task: task.clone(),
                state,
                wanted: "cancelled",
            });
        }
        let mut lost = vec![at];
        while let Some(next) = lost.pop() {
            if self.drop_one(next) {
                lost.extend(&self.entries[next].dependents);
            }
        }
        self.reopen();
        Ok(())
    }

    /// Cancels one task and returns whether it was not over.
    fn drop_one(&mut self, at: usize) -> bool {
        let state = self.entries[at].state;
        if matches!(state, State::Done | State::Reverted | State::Cancelled) {
            return false;
        }
        self.leave(at);
        if !matches!(state, State::Failed | State::Blocked) {
            self.open -= 1;
        }
        self.ready.remove(at, &self.entries[at]);
        self.entries[at].state = State::Cancelled;
        self.entries[at].until = None;
        self.cancelled += 1;
        true
    }

    /// Has a task that failed or was cancelled begin anew, and what was blocked by it wait again.
    fn try_again(&mut self, task: &TaskId) -> Result<(), QueueError> {
        self.changeable()?;
        let at = self.named(task)?;
        let state = self.entries[at].state;
        if !matches!(state, State::Failed | State::Cancelled) {
            return Err(QueueError::State {
                task: task.clone(),
                state,
                wanted: "tried again",
            });
        }
        let lost = |id: &&TaskId| is_lost(self.entries[self.index[*id]].state);
        if let Some(on) = self.entries[at].task.depends_on.iter().find(lost) {
            return Err(QueueError::Waits {
                task: task.clone(),
                on: on.clone(),
            });
        }
        self.cancelled -= usize::from(state == State::Cancelled);
        let entry = &mut self.entries[at];
        entry.version += 1;
        entry.forgiven = entry.attempts - entry.interrupted;
        (entry.deferrals, entry.until) = (0, None);
        self.place(at);
        let mut blocked = self.entries[at].dependents.clone();
        while let Some(next) = blocked.pop() {
            if self.entries[next].state == State::Blocked {
                self.place(next);
                if self.entries[next].state == State::Pending {
                    blocked.extend(&self.entries[next].dependents);
                }
            }
        }
        self.reopen();
        Ok(())
    }

    fn prioritise(&mut self, task: &TaskId, priority: Priority) -> Result<(), QueueError> {
        self.changeable()?;
        let at = self.named(task)?;
        let entry = &self.entries[at];
        let stands = entry.state == State::Pending && entry.waits == 0;
        if stands {
            self.ready.remove(at, &self.entries[at]);
        }
        self.entries[at].task.priority = priority;
        if stands {
            self.ready.insert(at, &self.entries[at]);
        }
        Ok(())
    }

    fn named(&self, task: &TaskId) -> Result<usize, QueueError> {
        let unknown = || QueueError::Unknown { task: task.clone() };
        self.index.get(task).copied().ok_or_else(unknown)
    }

    /// A run that is done takes no change.
    fn changeable(&self) -> Result<(), QueueError> {
        match self.ended {
            Some(Outcome::Done) => Err(QueueError::Ended),
            _ => Ok(()),
        }
    }

    /// A run that failed can be gone on with once its plan has changed.
    fn reopen(&mut self) {
        if self.ended == Some(Outcome::Failed) {
            self.ended = Some(Outcome::Stopped);
        }
    }
}

/// Returns whether what waits for a task in this state never begins.
fn is_lost(state: State) -> bool {
    matches!(
        state,
        State::Failed | State::Blocked | State::Reverted | State::Cancelled
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{
        Action,
        queue::tests::{ended, named as task, resumed},
    };

    fn id(name: &str) -> TaskId {
        name.parse().unwrap()
    }

    fn by() -> String {
        "uid 1".to_owned()
    }

    fn added(name: &str, depends_on: &[&str]) -> Event {
        Event::TaskAdded {
            task: task(name, depends_on),
            by: by(),
        }
    }

    fn cancelled(name: &str) -> Event {
        Event::TaskCancelled {
            task: id(name),
            by: by(),
            reason: None,
        }
    }

    fn retried(name: &str) -> Event {
        Event::TaskRetried {
            task: id(name),
            by: by(),
        }
    }

    fn prioritised(name: &str, priority: Priority) -> Event {
        Event::TaskPrioritised {
            task: id(name),
            by: by(),
            priority,
        }
    }

    fn claimed(name: &str, version: u64, attempt: u32) -> Event {
        Event::TaskClaimed {
            task: id(name),
            version,
            attempt,
        }
    }

    fn failed(name: &str, version: u64, attempt: u32) -> Event {
        Event::TaskFailed {
            task: id(name),
            version,
            attempt,
            reason: "tests".to_owned(),
            retry: false,
        }
    }

    fn done(name: &str) -> Event {
        Event::TaskDone {
            task: id(name),
            version: 1,
            attempt: 1,
            commit: None,
        }
    }

    /// A queue of `a`, `b` that waits for it, and `c` that waits for `b`, after these events.
    fn after(events: &[Event]) -> Queue {
        let mut queue = Queue::default();
        let tasks = vec![task("a", &[]), task("b", &["a"]), task("c", &["b"])];
        queue.apply(&Event::Planned { tasks }).unwrap();
        for event in events {
            queue
                .apply(event)
                .unwrap_or_else(|refused| panic!("{event:?}: {refused}"));
        }
        queue
    }

    fn state(queue: &Queue, name: &str) -> State {
        queue.get(&id(name)).unwrap().state
    }

    fn names(queue: &Queue) -> Vec<String> {
        let named = |action| match action {
            Action::Claim { task, .. } => task.to_string(),
            other => format!("{other:?}"),
        };
        queue.next(9).into_iter().map(named).collect()
    }

    /// What is refused must change nothing.
    fn refused(queue: &Queue, event: &Event) -> QueueError {
        let mut copy = queue.clone();
        let refused = copy.apply(event).unwrap_err();
        assert_eq!(&copy, queue);
        refused
    }

    #[test]
    fn an_added_task_waits_for_what_it_depends_on_and_ends_with_the_run() {
        let mut queue = after(&[added("d", &["a"]), added("e", &[])]);
        assert_eq!(names(&queue), ["a", "e"]);
        queue.apply(&claimed("a", 1, 1)).unwrap();
        queue.apply(&done("a")).unwrap();
        assert_eq!(names(&queue), ["b", "d", "e"]);
        assert!(matches!(
            refused(&queue, &ended(Outcome::Done)),
            QueueError::Unfinished { .. }
        ));
    }

    #[test]
    fn what_cannot_be_added_is_refused_with_what_was_meant() {
        let queue = after(&[]);
        let text = |event: &Event| refused(&queue, event).to_string();
        assert!(text(&added("a", &[])).contains("task `a` is listed more than once"));
        assert!(text(&added("d", &["aa"])).contains("did you mean `a`?"));
        assert!(text(&added("d", &["d"])).contains("`d` depends on `d`, which is not in the plan"));
        let none = Queue::default();
        assert_eq!(refused(&none, &added("d", &[])), QueueError::Unplanned);
    }

    #[test]
    fn what_depends_on_something_lost_is_blocked_at_once() {
        let queue = after(&[claimed("a", 1, 1), failed("a", 1, 1), added("d", &["a"])]);
        assert_eq!(state(&queue, "d"), State::Blocked);
        assert_eq!(queue.next(9), [Action::Finish(Outcome::Failed)]);
    }

    #[test]
    fn cancelling_takes_along_what_waits_and_the_run_can_be_done_without() {
        let mut queue = after(&[added("d", &[]), cancelled("b")]);
        assert_eq!(
            [state(&queue, "b"), state(&queue, "c")],
            [State::Cancelled; 2]
        );
        for name in ["a", "d"] {
            queue.apply(&claimed(name, 1, 1)).unwrap();
            queue.apply(&done(name)).unwrap();
        }
        assert_eq!(queue.next(9), [Action::Finish(Outcome::Done)]);
        assert!(matches!(
            refused(&queue, &cancelled("a")),
            QueueError::State { .. }
        ));
        assert!(matches!(
            refused(&queue, &cancelled("b")),
            QueueError::State { .. }
        ));
        assert!(matches!(
            refused(&queue, &cancelled("x")),
            QueueError::Unknown { .. }
        ));
        queue.apply(&ended(Outcome::Done)).unwrap();
        for event in [
            added("e", &[]),
            retried("b"),
            prioritised("b", Priority::Low),
        ] {
            assert_eq!(refused(&queue, &event), QueueError::Ended);
        }
    }

    #[test]
    fn a_run_of_which_everything_was_cancelled_did_nothing_and_is_not_done() {
        let queue = after(&[cancelled("a")]);
        assert_eq!(queue.next(9), [Action::Finish(Outcome::Stopped)]);
    }

    #[test]
    fn cancelling_takes_a_task_out_of_every_state_it_can_be_in() {
        let mut claimed_one = after(&[claimed("a", 1, 1), cancelled("a")]);
        assert_eq!(claimed_one.next(9), [Action::Finish(Outcome::Stopped)]);
        assert!(matches!(
            refused(&claimed_one, &done("a")),
            QueueError::State { .. }
        ));
        claimed_one.apply(&retried("a")).unwrap();
        assert_eq!(names(&claimed_one), ["a"]);
        let waiting = Event::Waiting {
            task: id("a"),
            version: 1,
            attempt: 1,
            commit: "c".to_owned(),
            needs: vec![crate::event::Need {
                rule: "r".to_owned(),
                path: "p".to_owned(),
                kind: None,
                digest: "d".to_owned(),
                message: "m".to_owned(),
            }],
        };
        let queue = after(&[claimed("a", 1, 1), waiting, cancelled("a")]);
        assert_eq!(queue.next(9), [Action::Finish(Outcome::Stopped)]);
        let queue = after(&[claimed("a", 1, 1), failed("a", 1, 1), cancelled("a")]);
        assert_eq!(state(&queue, "c"), State::Cancelled);
    }

    #[test]
    fn a_task_from_the_dead_letters_begins_anew_with_all_its_tries_and_what_it_blocked() {
        let mut queue = after(&[
            claimed("a", 1, 1),
            failed("a", 1, 1),
            ended(Outcome::Failed),
        ]);
        assert_eq!(refused(&queue, &resumed()), QueueError::Ended);
        assert!(matches!(
            refused(&queue, &retried("b")),
            QueueError::State { .. }
        ));
        queue.apply(&retried("a")).unwrap();
        assert_eq!(queue.next(9), []);
        assert_eq!(
            [state(&queue, "b"), state(&queue, "c")],
            [State::Pending; 2]
        );
        queue.apply(&resumed()).unwrap();
        for attempt in 2..=6 {
            let version = u64::from(attempt);
            assert_eq!(queue.get(&id("a")).unwrap().tries(), attempt - 2);
            queue.apply(&claimed("a", version, attempt)).unwrap();
            let again = Event::TaskFailed {
                task: id("a"),
                version,
                attempt,
                reason: "tests".to_owned(),
                retry: true,
            };
            queue.apply(&again).unwrap();
        }
        assert_eq!(state(&queue, "a"), State::Failed);
        assert_eq!(state(&queue, "b"), State::Blocked);
    }

    #[test]
    fn what_waits_for_something_cancelled_is_not_tried_before_it() {
        let mut queue = after(&[cancelled("a")]);
        assert_eq!(
            refused(&queue, &retried("b")),
            QueueError::Waits {
                task: id("b"),
                on: id("a")
            }
        );
        queue.apply(&retried("a")).unwrap();
        queue.apply(&retried("b")).unwrap();
        assert_eq!(names(&queue), ["a"]);
    }

    #[test]
    fn another_priority_counts_at_once_and_wherever_the_task_is() {
        let mut queue = after(&[added("d", &[]), prioritised("d", Priority::Critical)]);
        assert_eq!(names(&queue), ["d", "a"]);
        queue.apply(&prioritised("b", Priority::High)).unwrap();
        queue.apply(&claimed("a", 1, 1)).unwrap();
        queue.apply(&prioritised("a", Priority::Low)).unwrap();
        queue.apply(&done("a")).unwrap();
        assert_eq!(names(&queue), ["d", "b"]);
        queue.apply(&prioritised("d", Priority::Low)).unwrap();
        assert_eq!(names(&queue), ["b", "d"]);
    }
}
