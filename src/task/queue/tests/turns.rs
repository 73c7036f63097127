//! Priorities, roles that are held back, and what rests.

use std::collections::BTreeMap;

use proptest::prelude::{prop, prop_assert, proptest};

use super::*;

fn of(at: usize, priority: Priority) -> Task {
    Task {
        priority,
        ..task(at, &[])
    }
}

fn added(task: Task) -> Event {
    Event::TaskAdded {
        task,
        by: "uid 1".to_owned(),
    }
}

fn deferred(at: usize, version: u64, attempt: u32, until: Timestamp) -> Event {
    Event::TaskDeferred {
        task: id(at),
        version,
        attempt,
        reason: "busy".to_owned(),
        until,
        provider_until: None,
    }
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// Claims and ends the first task that goes, and says which.
fn step(queue: &mut Queue) -> usize {
    let [
        Action::Claim {
            task,
            version,
            attempt,
        },
    ] = &queue.next(1)[..]
    else {
        panic!("nothing goes")
    };
    let at = task.as_str().trim_start_matches('t').parse().unwrap();
    apply_all(
        queue,
        &[
            claimed(at, *version, *attempt),
            done(at, *version, *attempt),
        ],
    );
    at
}

#[test]
fn higher_priorities_go_first_and_within_one_the_plan_decides() {
    use crate::task::Priority::{Critical, High, Low, Normal};
    let order = [Low, Normal, Critical, High, Normal, Critical, Low];
    let tasks = (0..).zip(order).map(|(at, priority)| of(at, priority));
    let mut queue = planned(tasks.collect());
    let all: Vec<Action> = [2, 5, 3, 1, 4, 0, 6].map(|at| claim(at, 1, 1)).into();
    assert_eq!(queue.next(9), all);
    assert_eq!(queue.next(2), all[..2]);
    let gone: Vec<usize> = (0..7).map(|_| step(&mut queue)).collect();
    assert_eq!(gone, [2, 5, 3, 1, 4, 0, 6]);
}

#[test]
fn however_much_is_critical_something_lower_has_a_turn() {
    use crate::task::Priority::{Critical, Low};
    let mut queue = planned(vec![of(0, Low), of(1, Critical)]);
    let mut turns = Vec::new();
    for claims in 1..200 {
        queue.apply(&added(of(claims + 1, Critical))).unwrap();
        if step(&mut queue) == 0 {
            turns.push(claims);
        }
    }
    assert_eq!(turns, [usize::from(ready::PATIENCE) + 1]);
}

#[test]
fn a_role_that_is_held_back_holds_up_nobody_else() {
    let other = Task {
        role: "eng-qa".parse().unwrap(),
        ..task(2, &[])
    };
    let queue = planned(vec![task(0, &[]), task(1, &[]), other]);
    let claims = |room: usize| {
        let room = BTreeMap::from([("eng-backend".parse().unwrap(), room)]);
        let terms = Terms {
            free: 9,
            room: &room,
            batching: None,
        };
        queue.next_within(&terms)
    };
    assert_eq!(claims(0), [claim(2, 1, 1)]);
    assert_eq!(claims(1), [claim(0, 1, 1), claim(2, 1, 1)]);
}

#[test]
fn what_its_provider_put_off_rests_and_loses_no_attempt() {
    let mut queue = planned(vec![task(0, &[]), task(1, &[])]);
    queue.apply(&claimed(0, 1, 1)).unwrap();
    queue.apply(&deferred(0, 1, 1, time(60))).unwrap();
    assert_eq!(queue.next(9), [claim(1, 1, 1)]);
    assert_eq!(queue.next_wake(), Some(time(60)));
    apply_all(&mut queue, &[claimed(1, 1, 1), done(1, 1, 1)]);
    queue.wake(time(59));
    // There is something to come, so this is not the end.
    assert_eq!((queue.next(9), queue.has_ready()), (vec![], true));
    let standing = queue.get(&id(0)).unwrap();
    assert_eq!((standing.tries(), standing.deferrals), (0, 1));
    assert_eq!(standing.until, Some(time(60)));
    queue.wake(time(60));
    assert_eq!(queue.next(9), [claim(0, 2, 2)]);
    // A journal is folded without a clock, and a claim in it is one.
    let mut folded = planned(vec![task(0, &[])]);
    let again = [
        claimed(0, 1, 1),
        deferred(0, 1, 1, time(60)),
        claimed(0, 2, 2),
        failed(0, 2, 2, true),
    ];
    apply_all(&mut folded, &again);
    assert_eq!(folded.next(9), [claim(0, 3, 3)]);
    assert_eq!(folded.get(&id(0)).unwrap().deferrals, 0);
}

#[test]
fn a_stop_does_not_wait_for_what_rests() {
    let mut queue = planned(vec![task(0, &[])]);
    apply_all(
        &mut queue,
        &[claimed(0, 1, 1), deferred(0, 1, 1, time(60)), stop()],
    );
    assert_eq!(queue.next(9), [Action::Finish(Outcome::Stopped)]);
}

/// The shortest time that so many rounds of claiming and ending take in a queue of so many tasks.
#[expect(clippy::disallowed_methods, reason = "it measures time")]
fn rounds(tasks: usize) -> std::time::Duration {
    let fresh = planned((0..tasks).map(|at| task(at, &[])).collect());
    let measured = (0..5).map(|_| {
        let mut queue = fresh.clone();
        let begun = std::time::Instant::now();
        for at in 0..900 {
            assert_eq!(queue.next(1), [claim(at, 1, 1)]);
            apply_all(&mut queue, &[claimed(at, 1, 1), done(at, 1, 1)]);
        }
        begun.elapsed()
    });
    measured.min().unwrap()
}

#[test]
fn ten_times_the_tasks_do_not_take_ten_times_as_long_to_choose_from() {
    let (thousand, ten) = (rounds(1000), rounds(10_000));
    assert!(ten < thousand * 5, "{thousand:?} against {ten:?}");
}

proptest! {
    #[test]
    fn every_task_that_could_begin_does_within_a_bound(
        steps in prop::collection::vec((0..4_usize, 0..3_usize), 1..100),
    ) {
        // What one priority waits for at most between two of its turns.
        let turn = usize::from(ready::PATIENCE) + Priority::ALL.len();
        let mut queue = planned(vec![task(0, &[])]);
        let mut waits: HashMap<usize, (usize, usize)> = HashMap::from([(0, (0, turn))]);
        let mut levels: HashMap<usize, usize> = HashMap::from([(0, 2)]);
        for (level, more) in steps {
            for level in std::iter::once(level).chain(std::iter::repeat_n(0, more)) {
                let at = levels.len();
                let ahead = waits.keys().filter(|one| levels[*one] == level).count();
                queue.apply(&added(of(at, Priority::ALL[level]))).unwrap();
                levels.insert(at, level);
                waits.insert(at, (0, (ahead + 1) * turn));
            }
            let gone = step(&mut queue);
            waits.remove(&gone);
            for (at, (claims, bound)) in &mut waits {
                *claims += 1;
                prop_assert!(*claims <= *bound, "t{at} waited for {claims} claims");
            }
        }
    }
}
