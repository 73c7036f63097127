//! What ended under way, and going on with it.

use super::*;

#[test]
fn an_attempt_that_was_cut_off_is_claimed_again_and_counts_as_none() {
    let mut queue = planned(vec![task(0, &[])]);
    for attempt in 1..=20 {
        let version = u64::from(attempt);
        apply_all(
            &mut queue,
            &[claimed(0, version, attempt), cut(0, version, attempt)],
        );
        assert_eq!(queue.next(9), [claim(0, version + 1, attempt + 1)]);
    }
    // The five that count are still to come.
    for attempt in 21..=25 {
        let standing = queue.get(&id(0)).unwrap();
        assert_eq!((standing.tries(), standing.interrupted), (attempt - 21, 20));
        let version = u64::from(attempt);
        apply_all(
            &mut queue,
            &[
                claimed(0, version, attempt),
                failed(0, version, attempt, true),
            ],
        );
    }
    assert_eq!(states(&queue), [State::Failed]);
}

#[test]
fn a_run_that_ended_under_way_shows_no_task_as_running_and_can_be_gone_on_with() {
    for outcome in [Outcome::Stopped, Outcome::Waiting] {
        let mut queue = planned(vec![task(0, &[]), task(1, &[0])]);
        apply_all(&mut queue, &[claimed(0, 1, 1), stop(), ended(outcome)]);
        assert_eq!(states(&queue), [State::Interrupted, State::Pending]);
        assert_eq!(queue.next(9), []);
        assert_eq!(queue.apply(&done(0, 1, 1)), Err(QueueError::Ended));
        // What was asked of the orchestrator that ended is not asked of the next.
        apply_all(&mut queue, &[resumed()]);
        assert_eq!(states(&queue), [State::Claimed, State::Pending]);
        assert_eq!((queue.next(9), queue.stopping()), (vec![], Stopping::No));
        apply_all(&mut queue, &[done(0, 1, 1)]);
        assert_eq!(queue.next(9), [claim(1, 1, 1)]);
    }
}

#[test]
fn a_run_that_is_over_is_not_gone_on_with() {
    let mut queue = planned(vec![task(0, &[])]);
    apply_all(
        &mut queue,
        &[claimed(0, 1, 1), done(0, 1, 1), ended(Outcome::Done)],
    );
    let before = queue.clone();
    assert_eq!(queue.apply(&resumed()), Err(QueueError::Ended));
    let mut failing = planned(vec![task(0, &[])]);
    apply_all(
        &mut failing,
        &[
            claimed(0, 1, 1),
            failed(0, 1, 1, false),
            ended(Outcome::Failed),
        ],
    );
    assert_eq!(failing.apply(&resumed()), Err(QueueError::Ended));
    assert_eq!(queue, before, "a refused event changes nothing");
}

#[test]
fn a_run_whose_orchestrator_died_is_gone_on_with_as_it_stands() {
    let mut queue = planned(vec![task(0, &[]), task(1, &[])]);
    apply_all(&mut queue, &[claimed(0, 1, 1), resumed(), resumed()]);
    assert_eq!(states(&queue), [State::Claimed, State::Pending]);
    apply_all(&mut queue, &[cut(0, 1, 1)]);
    assert_eq!(queue.next(9), [claim(0, 2, 2), claim(1, 1, 1)]);
    let stale = queue.apply(&cut(0, 1, 1));
    assert!(matches!(stale, Err(QueueError::Stale { .. })), "{stale:?}");
}
