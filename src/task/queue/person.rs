//! The moves of work that waits for a person.

use std::collections::BTreeSet;

use super::{Attempt, Queue, QueueError, State};
use crate::event::{Event, Need};

impl Queue {
    /// Takes one event of work that waits for a person into account; others are none of it.
    pub(super) fn apply_persons(&mut self, event: &Event) -> Result<(), QueueError> {
        match event {
            Event::Waiting {
                task,
                version,
                attempt,
                commit,
                needs,
            } => self.wait(Attempt::new(task, *version, *attempt), commit, needs),
            Event::Approved {
                task,
                version,
                attempt,
                digests,
                ..
            } => self.approve(Attempt::new(task, *version, *attempt), digests),
            Event::Rejected {
                task,
                version,
                attempt,
                ..
            } => self.reject(Attempt::new(task, *version, *attempt)),
            _ => Ok(()),
        }
    }

    /// Lays the work of the current attempt aside until a person has approved all of `needs`.
    fn wait(
        &mut self,
        attempt: Attempt<'_>,
        commit: &str,
        needs: &[Need],
    ) -> Result<(), QueueError> {
        self.alive()?;
        let at = self.current(attempt, State::Claimed, "laid aside")?;
        if needs.is_empty() {
            return Err(QueueError::NothingAsked {
                task: attempt.task.clone(),
            });
        }
        self.leave(at);
        let entry = &mut self.entries[at];
        entry.state = State::Waiting;
        entry.commit = Some(commit.to_owned());
        entry.outstanding = needs.iter().map(|need| need.digest.clone()).collect();
        self.waiting += 1;
        Ok(())
    }

    /// Takes approvals. With the last one that is outstanding the work may land. Also where the run
    /// has ended: it can be resumed.
    fn approve(&mut self, attempt: Attempt<'_>, digests: &[String]) -> Result<(), QueueError> {
        let at = self.current(attempt, State::Waiting, "approved")?;
        let given: BTreeSet<&String> = digests.iter().collect();
        let asked = &self.entries[at].outstanding;
        if given.is_empty() || !given.iter().all(|digest| asked.contains(*digest)) {
            return Err(QueueError::NothingAsked {
                task: attempt.task.clone(),
            });
        }
        self.approved.extend(digests.iter().cloned());
        let entry = &mut self.entries[at];
        entry.outstanding.retain(|digest| !given.contains(digest));
        if entry.outstanding.is_empty() {
            self.leave(at);
            self.entries[at].state = State::Approved;
            self.landing.insert(at);
        }
        Ok(())
    }

    /// Ends an attempt whose work a person refused.
    fn reject(&mut self, attempt: Attempt<'_>) -> Result<(), QueueError> {
        let at = self.current(attempt, State::Waiting, "rejected")?;
        if self.has_attempts_left(at) {
            self.put_back(at);
        } else {
            self.fail(at);
        }
        Ok(())
    }

    /// Finds a task whose current attempt is the one meant and which is in a state.
    fn current(
        &self,
        attempt: Attempt<'_>,
        wanted: State,
        verb: &'static str,
    ) -> Result<usize, QueueError> {
        let at = self.locate(attempt)?;
        let entry = &self.entries[at];
        if entry.state != wanted {
            return Err(QueueError::State {
                task: attempt.task.clone(),
                state: entry.state,
                wanted: verb,
            });
        }
        if attempt.number != entry.attempts {
            return Err(QueueError::Attempt {
                task: attempt.task.clone(),
                given: attempt.number,
                current: entry.attempts,
            });
        }
        Ok(at)
    }

    /// Takes a task out of the counts of its state.
    pub(super) fn leave(&mut self, at: usize) {
        match self.entries[at].state {
            State::Claimed => self.claimed -= 1,
            State::Waiting => self.waiting -= 1,
            State::Approved => {
                self.landing.remove(&at);
            }
            State::Pending
            | State::Done
            | State::Failed
            | State::Blocked
            | State::Reverted
            | State::Interrupted
            | State::Cancelled => {}
        }
        self.entries[at].outstanding.clear();
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        event::{Event, Need, Outcome},
        name::TaskId,
        task::{
            Action, Decision, Queue, QueueError, State, Verdict,
            queue::tests::{ended, named as task},
        },
    };

    fn id(name: &str) -> TaskId {
        name.parse().unwrap()
    }

    fn claimed(name: &str, version: u64, attempt: u32) -> Event {
        Event::TaskClaimed {
            task: id(name),
            version,
            attempt,
        }
    }

    fn waiting(name: &str, version: u64, attempt: u32, digests: &[&str]) -> Event {
        let need = |digest: &&str| Need {
            rule: "host-executable".to_owned(),
            path: format!("file-{digest}"),
            kind: Some("makefile".to_owned()),
            digest: (*digest).to_owned(),
            message: "is run".to_owned(),
        };
        Event::Waiting {
            task: id(name),
            version,
            attempt,
            commit: "c0".to_owned(),
            needs: digests.iter().map(need).collect(),
        }
    }

    fn said(name: &str, attempt: u32, verdict: Verdict) -> Decision {
        Decision {
            task: id(name),
            attempt,
            by: "uid 1".to_owned(),
            verdict,
        }
    }

    fn approved(name: &str, version: u64, attempt: u32, digests: &[&str]) -> Event {
        let digests = digests.iter().map(|digest| (*digest).to_owned()).collect();
        said(name, attempt, Verdict::Approve(digests)).event(version)
    }

    fn rejected(name: &str, version: u64, attempt: u32) -> Event {
        said(name, attempt, Verdict::Reject("no".to_owned())).event(version)
    }

    fn done(name: &str) -> Event {
        Event::TaskDone {
            task: id(name),
            version: 1,
            attempt: 1,
            commit: None,
        }
    }

    /// A queue of `a`, `b` that depends on it, and `c`, after these events.
    fn after(events: &[Event]) -> Queue {
        let mut queue = Queue::default();
        let tasks = vec![task("a", &[]), task("b", &["a"]), task("c", &[])];
        queue.apply(&Event::Planned { tasks }).unwrap();
        for event in events {
            queue.apply(event).unwrap();
        }
        queue
    }

    fn state(queue: &Queue, name: &str) -> State {
        queue.get(&id(name)).unwrap().state
    }

    fn land() -> Action {
        Action::Land {
            task: id("a"),
            version: 1,
            attempt: 1,
            commit: "c0".to_owned(),
        }
    }

    #[test]
    fn the_others_go_on_while_one_waits_and_then_the_run_waits() {
        let mut queue = after(&[claimed("a", 1, 1), waiting("a", 1, 1, &["x"])]);
        assert_eq!(state(&queue, "a"), State::Waiting);
        let claim = Action::Claim {
            task: id("c"),
            version: 1,
            attempt: 1,
        };
        assert_eq!(queue.next(9), [claim]);
        queue.apply(&claimed("c", 1, 1)).unwrap();
        assert_eq!(queue.next(9), []);
        queue.apply(&done("c")).unwrap();
        assert_eq!(queue.next(9), [Action::Finish(Outcome::Waiting)]);
        assert!(queue.apply(&ended(Outcome::Done)).is_err());
        assert_eq!(queue.apply(&ended(Outcome::Waiting)), Ok(()));
    }

    #[test]
    fn work_lands_once_all_of_it_is_approved() {
        let mut queue = after(&[claimed("a", 1, 1), waiting("a", 1, 1, &["x", "y"])]);
        queue.apply(&approved("a", 1, 1, &["x"])).unwrap();
        assert_eq!(state(&queue, "a"), State::Waiting);
        assert_eq!(queue.get(&id("a")).unwrap().outstanding.len(), 1);
        queue.apply(&approved("a", 1, 1, &["y"])).unwrap();
        assert_eq!(state(&queue, "a"), State::Approved);
        assert_eq!(queue.next(0), [land()]);
        assert_eq!(queue.approved().len(), 2);
        queue.apply(&done("a")).unwrap();
        assert_eq!(state(&queue, "a"), State::Done);
        assert_eq!(queue.next(9).len(), 2);
    }

    #[test]
    fn only_what_is_asked_for_can_be_approved_and_only_while_it_waits() {
        let queue = after(&[claimed("a", 1, 1), waiting("a", 1, 1, &["x"])]);
        let refused = |event: &Event| {
            let mut copy = queue.clone();
            let refused = copy.apply(event).unwrap_err();
            assert_eq!(copy, queue, "a refused event changes nothing");
            refused
        };
        let unasked = QueueError::NothingAsked { task: id("a") };
        assert_eq!(refused(&approved("a", 1, 1, &["z"])), unasked);
        assert_eq!(refused(&approved("a", 1, 1, &["x", "z"])), unasked);
        assert_eq!(refused(&approved("a", 1, 1, &[])), unasked);
        assert!(matches!(
            refused(&approved("a", 2, 1, &["x"])),
            QueueError::Stale { .. }
        ));
        assert!(matches!(
            refused(&approved("a", 1, 2, &["x"])),
            QueueError::Attempt { .. }
        ));
        assert!(matches!(
            refused(&approved("c", 1, 1, &["x"])),
            QueueError::State { .. }
        ));
        assert!(matches!(refused(&done("a")), QueueError::State { .. }));
        assert!(matches!(
            refused(&waiting("a", 1, 1, &["y"])),
            QueueError::State { .. }
        ));
    }

    #[test]
    fn what_waits_for_nothing_cannot_wait() {
        let mut queue = after(&[claimed("a", 1, 1)]);
        assert!(queue.apply(&waiting("a", 1, 1, &[])).is_err());
        assert_eq!(state(&queue, "a"), State::Claimed);
    }

    #[test]
    fn rejected_work_is_an_attempt_that_failed() {
        let mut queue = after(&[claimed("a", 1, 1), waiting("a", 1, 1, &["x"])]);
        queue.apply(&rejected("a", 1, 1)).unwrap();
        assert_eq!(state(&queue, "a"), State::Pending);
        let standing = queue.get(&id("a")).unwrap();
        assert_eq!((standing.version, standing.outstanding.len()), (2, 0));
        for attempt in 2..=queue.max_attempts() {
            let version = u64::from(attempt);
            queue.apply(&claimed("a", version, attempt)).unwrap();
            queue
                .apply(&waiting("a", version, attempt, &["x"]))
                .unwrap();
            queue.apply(&rejected("a", version, attempt)).unwrap();
        }
        assert_eq!(state(&queue, "a"), State::Failed);
        assert_eq!(state(&queue, "b"), State::Blocked);
    }

    #[test]
    fn a_person_may_decide_after_the_end_and_nothing_else_happens_then() {
        let mut queue = after(&[
            claimed("a", 1, 1),
            waiting("a", 1, 1, &["x"]),
            claimed("c", 1, 1),
            done("c"),
            ended(Outcome::Waiting),
        ]);
        let mut other = queue.clone();
        queue.apply(&approved("a", 1, 1, &["x"])).unwrap();
        assert_eq!(state(&queue, "a"), State::Approved);
        assert_eq!(queue.next(9), []);
        assert_eq!(queue.apply(&done("a")), Err(QueueError::Ended));
        other.apply(&rejected("a", 1, 1)).unwrap();
        assert_eq!(other.next(9), []);
        assert_eq!(other.apply(&claimed("a", 2, 2)), Err(QueueError::Ended));
    }

    #[test]
    fn a_stop_ends_a_run_whose_work_waits_or_is_approved() {
        let stop = Event::StopRequested {
            by: "test".to_owned(),
            drain: true,
        };
        let mut queue = after(&[claimed("a", 1, 1), waiting("a", 1, 1, &["x"]), stop]);
        assert_eq!(queue.next(9), [Action::Finish(Outcome::Stopped)]);
        queue.apply(&approved("a", 1, 1, &["x"])).unwrap();
        assert_eq!(queue.next(9), [Action::Finish(Outcome::Stopped)]);
    }

    #[test]
    fn approved_work_that_cannot_land_goes_back_to_the_queue() {
        let mut queue = after(&[
            claimed("a", 1, 1),
            waiting("a", 1, 1, &["x"]),
            approved("a", 1, 1, &["x"]),
        ]);
        let conflict = Event::TaskConflicted {
            task: id("a"),
            version: 1,
            attempt: 1,
            files: Vec::new(),
        };
        queue.apply(&conflict).unwrap();
        assert_eq!(state(&queue, "a"), State::Pending);
        assert!(!queue.next(9).contains(&land()));
        assert_eq!(
            queue.approved().len(),
            1,
            "the same contents need no second look"
        );
    }
}
