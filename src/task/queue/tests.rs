//! Tables for single transitions, properties for everything else.

use std::collections::BTreeMap;

use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use super::*;

fn id(at: usize) -> TaskId {
    format!("t{at}").parse().unwrap()
}

fn task(at: usize, depends_on: &[usize]) -> Task {
    Task {
        id: id(at),
        role: "eng-backend".parse().unwrap(),
        title: format!("task {at}"),
        description: String::new(),
        depends_on: depends_on.iter().map(|at| id(*at)).collect(),
        accept: Vec::new(),
        files: Vec::new(),
        priority: crate::task::Priority::default(),
    }
}

fn planned(tasks: Vec<Task>) -> Queue {
    let mut queue = Queue::default();
    queue.apply(&Event::Planned { tasks }).unwrap();
    queue
}

fn claimed(at: usize, version: u64, attempt: u32) -> Event {
    Event::TaskClaimed {
        task: id(at),
        version,
        attempt,
    }
}

fn done(at: usize, version: u64, attempt: u32) -> Event {
    Event::TaskDone {
        task: id(at),
        version,
        attempt,
        commit: None,
    }
}

#[expect(clippy::fn_params_excessive_bools, reason = "it mirrors the event")]
fn failed(at: usize, version: u64, attempt: u32, retry: bool) -> Event {
    Event::TaskFailed {
        task: id(at),
        version,
        attempt,
        reason: "tests".to_owned(),
        retry,
    }
}

fn conflicted(at: usize, version: u64, attempt: u32) -> Event {
    Event::TaskConflicted {
        task: id(at),
        version,
        attempt,
        files: Vec::new(),
    }
}

fn stop() -> Event {
    Event::StopRequested {
        by: "test".to_owned(),
        drain: true,
    }
}

fn claim(at: usize, version: u64, attempt: u32) -> Action {
    Action::Claim {
        task: id(at),
        version,
        attempt,
    }
}

fn apply_all(queue: &mut Queue, events: &[Event]) {
    for event in events {
        queue.apply(event).unwrap();
    }
}

fn states(queue: &Queue) -> Vec<State> {
    queue.tasks().map(|standing| standing.state).collect()
}

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

/// Plans without cycles: a task depends only on earlier ones, then the order is reversed or not.
fn plans() -> impl Strategy<Value = Vec<Task>> {
    let edges = prop::collection::vec(
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        1..8,
    );
    (edges, any::<bool>()).prop_map(|(edges, reverse)| {
        let depends = |(at, on): (usize, &Vec<prop::sample::Index>)| {
            let on: Vec<usize> = on.iter().filter(|_| at > 0).map(|i| i.index(at)).collect();
            task(at, &on)
        };
        let mut tasks: Vec<Task> = edges.iter().enumerate().map(depends).collect();
        if reverse {
            tasks.reverse();
        }
        tasks
    })
}

/// Any event about tasks, most of them impossible when they come.
fn events() -> impl Strategy<Value = Event> {
    let about = || (0..8_usize, 1..4_u64, 1..4_u32);
    prop_oneof![
        6 => about().prop_map(|(at, version, attempt)| claimed(at, version, attempt)),
        4 => about().prop_map(|(at, version, attempt)| done(at, version, attempt)),
        2 => (about(), any::<bool>())
            .prop_map(|((at, version, attempt), retry)| failed(at, version, attempt, retry)),
        2 => about().prop_map(|(at, version, attempt)| conflicted(at, version, attempt)),
        1 => plans().prop_map(|tasks| Event::Planned { tasks }),
        1 => any::<bool>()
            .prop_map(|drain| Event::StopRequested { by: "test".to_owned(), drain }),
        1 => prop_oneof![
            Just(Outcome::Done),
            Just(Outcome::Failed),
        ].prop_map(|outcome| Event::RunEnded { outcome, reason: None }),
    ]
}

/// What must hold after every event, seen from outside.
fn assert_sound(queue: &Queue, before: &Queue, event: &Event) {
    for standing in queue.tasks() {
        let is_done = |id: &TaskId| queue.get(id).unwrap().state == State::Done;
        if matches!(standing.state, State::Claimed | State::Done | State::Failed) {
            assert!(standing.task.depends_on.iter().all(is_done), "{event:?}");
        }
        assert!(standing.attempts <= queue.max_attempts());
        let Some(earlier) = before.get(&standing.task.id) else {
            continue;
        };
        assert!(standing.version >= earlier.version && standing.attempts >= earlier.attempts);
        if matches!(earlier.state, State::Done | State::Failed | State::Blocked) {
            assert_eq!(earlier.state, standing.state);
        }
    }
    for action in queue.next(usize::MAX) {
        let Action::Claim {
            task,
            version,
            attempt,
        } = action
        else {
            continue;
        };
        assert_eq!(queue.stopping(), Stopping::No);
        let mut copy = queue.clone();
        copy.apply(&Event::TaskClaimed {
            task,
            version,
            attempt,
        })
        .unwrap();
    }
}

proptest! {
    #[test]
    fn any_order_of_events_keeps_the_queue_sound(
        plan in plans(),
        events in prop::collection::vec(events(), 0..200),
    ) {
        let mut queue = Queue::with_max_attempts(3);
        let mut taken: Vec<Event> = Vec::new();
        let mut holders: HashMap<TaskId, u32> = HashMap::new();
        for event in std::iter::once(Event::Planned { tasks: plan }).chain(events) {
            let before = queue.clone();
            if queue.apply(&event).is_err() {
                prop_assert_eq!(&queue, &before);
                continue;
            }
            match &event {
                Event::TaskClaimed { task, .. } => {
                    prop_assert_eq!(before.stopping(), Stopping::No);
                    prop_assert_eq!(*holders.entry(task.clone()).and_modify(|n| *n += 1).or_insert(1), 1);
                }
                Event::TaskDone { task, .. }
                | Event::TaskFailed { task, .. }
                | Event::TaskConflicted { task, .. } => {
                    holders.entry(task.clone()).and_modify(|n| *n -= 1);
                }
                _ => {}
            }
            assert_sound(&queue, &before, &event);
            taken.push(event);
        }
        let mut replayed = Queue::with_max_attempts(3);
        apply_all(&mut replayed, &taken);
        prop_assert_eq!(replayed, queue);
    }

    #[test]
    fn a_driven_queue_ends_with_every_task_done_failed_or_blocked(
        plan in plans(),
        free in 1..4_usize,
        fates in prop::collection::vec((0..10_u8, any::<prop::sample::Index>()), 1..50),
    ) {
        let mut queue = planned(plan);
        let mut running: Vec<(TaskId, u64, u32)> = Vec::new();
        let mut fates = fates.into_iter().cycle();
        let outcome = loop {
            let actions = queue.next(free - running.len());
            if let [Action::Finish(outcome)] = actions[..] {
                break outcome;
            }
            for action in actions {
                let Action::Claim { task, version, attempt } = action else { panic!("claim and end") };
                queue.apply(&Event::TaskClaimed { task: task.clone(), version, attempt }).unwrap();
                running.push((task, version, attempt));
            }
            prop_assert!(!running.is_empty(), "nothing runs, nothing is claimed, nothing ends");
            let (fate, which) = fates.next().unwrap();
            let (task, version, attempt) = running.remove(which.index(running.len()));
            let event = match fate {
                0..=5 => Event::TaskDone { task, version, attempt, commit: None },
                6 => Event::TaskConflicted { task, version, attempt, files: Vec::new() },
                _ => Event::TaskFailed {
                    task, version, attempt, reason: String::new(), retry: fate < 9,
                },
            };
            queue.apply(&event).unwrap();
        };
        let all_done = queue.tasks().all(|standing| standing.state == State::Done);
        prop_assert_eq!(outcome, if all_done { Outcome::Done } else { Outcome::Failed });
        for standing in queue.tasks() {
            let open = matches!(standing.state, State::Pending | State::Claimed);
            prop_assert!(!open);
        }
        prop_assert_eq!(queue.apply(&Event::RunEnded { outcome, reason: None }), Ok(()));
    }
}

fn cut(at: usize, version: u64, attempt: u32) -> Event {
    Event::Interrupted {
        task: id(at),
        version,
        attempt,
        reason: "its orchestrator ended".to_owned(),
        outside: Vec::new(),
        by: None,
    }
}

fn resumed() -> Event {
    Event::Resumed {
        loki: "0".to_owned(),
        engine: "none".to_owned(),
        spec_sha256: String::new(),
        policy_sha256: String::new(),
        torn: 0,
    }
}

fn ended(outcome: Outcome) -> Event {
    Event::RunEnded {
        outcome,
        reason: None,
    }
}

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

fn of(at: usize, priority: crate::task::Priority) -> Task {
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
        let turn = usize::from(ready::PATIENCE) + crate::task::Priority::ALL.len();
        let mut queue = planned(vec![task(0, &[])]);
        let mut waits: HashMap<usize, (usize, usize)> = HashMap::from([(0, (0, turn))]);
        let mut levels: HashMap<usize, usize> = HashMap::from([(0, 2)]);
        for (level, more) in steps {
            for level in std::iter::once(level).chain(std::iter::repeat_n(0, more)) {
                let at = levels.len();
                let ahead = waits.keys().filter(|one| levels[*one] == level).count();
                queue.apply(&added(of(at, crate::task::Priority::ALL[level]))).unwrap();
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
