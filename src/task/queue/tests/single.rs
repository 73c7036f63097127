//! The order of tasks, and what the result of each does.

use super::*;

#[test]
fn tasks_are_claimed_in_plan_order_once_their_dependencies_are_done() {
    let mut queue = planned(vec![
        task(0, &[2]),
        task(1, &[]),
        task(2, &[]),
        task(3, &[0, 1]),
    ]);
    assert_eq!(queue.next(1), [claim(1, 1, 1)]);
    assert_eq!(queue.next(9), [claim(1, 1, 1), claim(2, 1, 1)]);
    apply_all(&mut queue, &[claimed(1, 1, 1), claimed(2, 1, 1)]);
    assert_eq!(queue.next(9), []);
    apply_all(&mut queue, &[done(2, 1, 1)]);
    assert_eq!(queue.next(9), [claim(0, 1, 1)]);
    let early = queue.apply(&claimed(3, 1, 1));
    assert_eq!(
        early,
        Err(QueueError::Waits {
            task: id(3),
            on: id(0)
        })
    );
    apply_all(
        &mut queue,
        &[
            claimed(0, 1, 1),
            done(0, 1, 1),
            done(1, 1, 1),
            claimed(3, 1, 1),
        ],
    );
    apply_all(&mut queue, &[done(3, 1, 1)]);
    assert_eq!(queue.next(9), [Action::Finish(Outcome::Done)]);
}

#[test]
fn of_a_hundred_claimers_of_one_task_one_wins() {
    let mut queue = planned(vec![task(0, &[])]);
    let claims = vec![queue.next(1); 100];
    let mut won = 0;
    for actions in claims {
        let [
            Action::Claim {
                version, attempt, ..
            },
        ] = actions[..]
        else {
            panic!("no claim")
        };
        match queue.apply(&claimed(0, version, attempt)) {
            Ok(()) => won += 1,
            Err(QueueError::State {
                state: State::Claimed,
                ..
            }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(won, 1);
    apply_all(&mut queue, &[failed(0, 1, 1, true)]);
    let stale = queue.apply(&claimed(0, 1, 2));
    assert_eq!(
        stale,
        Err(QueueError::Stale {
            task: id(0),
            given: 1,
            current: 2
        })
    );
    assert_eq!(queue.next(1), [claim(0, 2, 2)]);
}

#[test]
fn a_result_of_an_older_attempt_is_refused() {
    let mut queue = planned(vec![task(0, &[])]);
    apply_all(
        &mut queue,
        &[claimed(0, 1, 1), failed(0, 1, 1, true), claimed(0, 2, 2)],
    );
    let stale = queue.apply(&done(0, 1, 1));
    assert_eq!(
        stale,
        Err(QueueError::Stale {
            task: id(0),
            given: 1,
            current: 2
        })
    );
    let wrong = queue.apply(&done(0, 2, 1));
    assert_eq!(
        wrong,
        Err(QueueError::Attempt {
            task: id(0),
            given: 1,
            current: 2
        })
    );
}

#[test]
fn attempts_are_bounded_and_conflicts_count() {
    let mut queue = planned(vec![
        task(0, &[]),
        task(1, &[0]),
        task(2, &[1]),
        task(3, &[]),
    ]);
    for attempt in 1..=MAX_ATTEMPTS {
        let version = u64::from(attempt);
        queue.apply(&claimed(0, version, attempt)).unwrap();
        assert_eq!(queue.may_retry(&id(0)), attempt < MAX_ATTEMPTS);
        let event = if attempt % 2 == 0 {
            conflicted(0, version, attempt)
        } else {
            failed(0, version, attempt, true)
        };
        queue.apply(&event).unwrap();
    }
    let expected = [
        State::Failed,
        State::Blocked,
        State::Blocked,
        State::Pending,
    ];
    assert_eq!(states(&queue), expected);
    apply_all(&mut queue, &[claimed(3, 1, 1), done(3, 1, 1)]);
    assert_eq!(queue.next(9), [Action::Finish(Outcome::Failed)]);
}

#[test]
fn a_failure_without_retry_is_final() {
    let mut queue = planned(vec![task(0, &[])]);
    apply_all(&mut queue, &[claimed(0, 1, 1), failed(0, 1, 1, false)]);
    assert_eq!(states(&queue), [State::Failed]);
    assert!(matches!(
        queue.apply(&claimed(0, 1, 2)),
        Err(QueueError::State { .. })
    ));
}

#[test]
fn a_stopped_queue_waits_for_what_runs_and_claims_nothing() {
    let mut queue = planned(vec![task(0, &[]), task(1, &[])]);
    apply_all(&mut queue, &[claimed(0, 1, 1), stop()]);
    assert_eq!(queue.next(9), []);
    assert_eq!(
        queue.apply(&claimed(1, 1, 1)),
        Err(QueueError::Stops { task: id(1) })
    );
    apply_all(&mut queue, &[failed(0, 1, 1, true)]);
    assert_eq!(queue.next(9), [Action::Finish(Outcome::Stopped)]);
    apply_all(
        &mut queue,
        &[
            Event::StopRequested {
                by: "test".to_owned(),
                drain: false,
            },
            stop(),
        ],
    );
    assert_eq!(queue.stopping(), Stopping::Now);
}

#[test]
fn a_stop_after_the_last_task_does_not_undo_it() {
    let mut queue = planned(vec![task(0, &[])]);
    apply_all(&mut queue, &[claimed(0, 1, 1), stop(), done(0, 1, 1)]);
    assert_eq!(queue.next(1), [Action::Finish(Outcome::Done)]);
}

#[test]
fn a_run_with_open_tasks_or_no_plan_cannot_be_called_done() {
    let over = |outcome| Event::RunEnded {
        outcome,
        reason: None,
    };
    let mut queue = Queue::default();
    assert_eq!(queue.next(1), []);
    assert_eq!(queue.apply(&over(Outcome::Done)), Err(QueueError::NoPlan));
    queue
        .apply(&Event::Planned {
            tasks: vec![task(0, &[])],
        })
        .unwrap();
    let refused = queue.apply(&over(Outcome::Done));
    assert_eq!(
        refused,
        Err(QueueError::Unfinished {
            task: id(0),
            state: State::Pending
        })
    );
    apply_all(&mut queue, &[over(Outcome::Failed)]);
    assert_eq!(queue.apply(&claimed(0, 1, 1)), Err(QueueError::Ended));
    assert_eq!(queue.next(1), []);
}

#[test]
fn a_faulty_or_second_plan_is_refused() {
    let mut queue = Queue::default();
    let cyclic = Event::Planned {
        tasks: vec![task(0, &[1]), task(1, &[0])],
    };
    assert!(matches!(
        queue.apply(&cyclic),
        Err(QueueError::Unplannable { .. })
    ));
    assert!(matches!(
        queue.apply(&Event::Planned { tasks: vec![] }),
        Err(QueueError::Unplannable { .. })
    ));
    let sound = Event::Planned {
        tasks: vec![task(0, &[]), task(1, &[0, 0])],
    };
    queue.apply(&sound).unwrap();
    assert_eq!(queue.apply(&sound), Err(QueueError::PlannedTwice));
}
